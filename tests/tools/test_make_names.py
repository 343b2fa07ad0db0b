"""make_names: which English words find a class, and how the list made by hand is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.classes import ClassTable
from tools.make_classes import Synset
from tools.make_names import LANGUAGES, read_hand, synonyms

CLASSES = ClassTable([("n1", "dog", []), ("n2", "truck", []), ("n00007846", "person", []), ("n4", "canine", [])])


def test_a_class_is_found_by_its_lemmas_and_those_just_below_by_their_first_sense_and_by_hand() -> None:
    synsets = {
        "n1": Synset(("dog", "domestic_dog", "hound"), ("n4",)),
        "n2": Synset(("truck", "hound"), ()),
        "n5": Synset(("puppy", "pick", "Rover"), ("n1", "n0")),
        "n6": Synset(("mongrel",), ("n5",)),  # two steps below
        "n7": Synset(("kid",), ("n00007846",)),
        "n8": Synset(("hybrid",), ("n1", "n2")),  # below two
    }
    senses = {
        **{"hound": ["n2", "n1"], "puppy": ["n5"], "pick": ["n9", "n5"], "rover": ["n5"], "mongrel": ["n6"]},
        **{"kid": ["n7"], "hybrid": ["n8"], "domestic_dog": ["n1"]},
    }
    found = synonyms(CLASSES, {"n2": ["lorry", "dog"]}, synsets, senses)
    assert found == {"n1": ["domestic dog", "puppy"], "n2": ["lorry", "hound"]}


def test_an_empty_cell_is_cldrs_name_and_a_dash_none(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    cldr = {language: {"🐕": f"dog in {language}"} for language in LANGUAGES}
    path.write_text("# names\ndog\t🐕\tdoggy\tHund,Köter\t-\t\t\t\t\t\n")
    rows = read_hand(path, CLASSES, cldr)
    assert rows["n1", "de"] == ["Hund", "Köter"]
    assert ("n1", "fr") not in rows
    assert rows["n1", "zh"] == ["dog in zh"]
    assert rows["n1", "en"] == ["doggy"]
    path.write_text("dgo\t\t\t" + "\t".join("abcdefg") + "\n")
    with pytest.raises(SystemExit, match="line 1: no class 'dgo'"):
        read_hand(path, CLASSES, cldr)
