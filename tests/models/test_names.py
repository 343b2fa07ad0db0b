"""Vocabulary, and the names of our own classes."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from models.classes import CLASSES, ClassTable, is_category
from models.errors import ModelError
from models.names import ENGLISH, NAMES, Vocabulary, vocabulary, word_key
from tools.make_classes import read_everyday
from tools.make_names import LANGUAGES

CLASS_TABLE = ClassTable.open(CLASSES)


@pytest.fixture
def words() -> Vocabulary:
    return Vocabulary(
        [
            ("n1", "en", ["puppy", "boot"]),
            ("n1", "de", ["Hund"]),
            ("n2", "de", ["Boot", "Straßenboot"]),
            ("n2", "fr", ["l\u2019été"]),
        ]
    )


def test_the_first_name_is_shown_and_a_class_without_one_has_its_english_name(words: Vocabulary) -> None:
    assert words.name("n2", "de", "boat") == "Boot"
    assert words.name("n1", "fr", "dog") == "dog"
    assert words.name("n1", "en", "dog") == "dog"  # not a synonym
    assert words.languages == ("de", "en", "fr")


def test_a_word_is_found_in_any_language_and_any_spelling_english_first(words: Vocabulary) -> None:
    assert words.find("PUPPY") == words.find(" hund ") == ["n1"]
    assert words.find("STRASSENBOOT") == ["n2"]
    assert words.find(unicodedata.normalize("NFD", "L'ÉTÉ")) == ["n2"]
    assert words.find("boot") == ["n1", "n2"]
    assert words.find("kettle") == []
    assert words.words({"n2"}) == ["boot", "Straßenboot", "l\u2019été"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("n1", "de", ["Hund"]), ("n2", "de", ["hund"])], "'hund' means both 'n1' and 'n2' in 'de'"),
        ([("n1", "de", ["Hund"]), ("n1", "de", ["Wauwau"])], "two rows"),
        ([("n1", "German", ["Hund"])], "'German'.*no code"),
        ([("n1", "de", ["Hund", ""])], "empty name"),
        ([("n1", "de", [])], "empty name"),
    ],
)
def test_names_that_contradict_one_another_are_refused(rows: list[tuple[str, str, list[str]]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Vocabulary(rows)


def test_a_file_that_is_no_table_of_names_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("# names\nn1\tde\tHund\nn2\tHund\n")
    with pytest.raises(ModelError, match=r"names\.tsv, line 3"):
        Vocabulary.open(path)
    with pytest.raises(ModelError, match="cannot be read"):
        Vocabulary.open(tmp_path / "none.tsv")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_everyday_class_and_category_has_a_name_of_its_own(language: str) -> None:
    ids = {one.id for one in read_everyday()} | {id_ for id_ in CLASS_TABLE.ids if is_category(id_)}
    names = {id_: vocabulary().name(id_, language, "") for id_ in ids}
    assert [id_ for id_, name in names.items() if not name] == []
    assert len(set(names.values())) == len(ids)


def test_the_table_names_only_our_classes_says_its_licences_and_is_small() -> None:
    text = NAMES.read_text(encoding="utf-8")
    assert {"UNICODE LICENSE V3", "WordNet 3.0 Copyright 2006 by Princeton University."} <= {
        line[2:].partition("  ")[0] for line in text.splitlines()
    }
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert {id_ for id_, _, _ in rows} <= set(CLASS_TABLE.ids)
    assert vocabulary().languages == tuple(sorted({ENGLISH, *LANGUAGES}))
    assert len(text.encode()) < 250_000
    assert unicodedata.is_normalized("NFC", text)


def test_no_synonym_hides_behind_the_name_of_a_class() -> None:
    names = {word_key(name) for name in CLASS_TABLE.names}
    english = [line.split("\t") for line in NAMES.read_text(encoding="utf-8").splitlines() if "\ten\t" in line]
    assert [word for _, _, words in english for word in words.split(",") if word_key(word) in names] == []


@pytest.mark.parametrize(
    ("word", "name"),
    [
        *[("Hund", "dog"), ("犬", "dog"), ("狗", "dog"), ("perro", "dog"), ("ÉGLISE", "church"), ("Straße", "street")],
        *[("Meer", "sea"), ("tramonto", "sunset"), ("夕焼け", "sunset"), ("日落", "sunset"), ("praia", "beach")],
        *[
            ("Tiere", "Animals"),
            ("風景", "Landscapes"),
            ("美食与饮品", "Food and drink"),
            ("Haustiere", "Cats and dogs"),
        ],
        *[("automobile", "car"), ("ocean", "sea"), ("puppy", "dog"), ("harbor", "harbour"), ("jewelry", "jewellery")],
        *[("couch", "sofa"), ("plane", "airplane"), ("bike", "bicycle"), ("kid", "child"), ("infant", "baby")],
        *[("outdoor", "Outdoors"), ("indoor", "Indoors"), ("seaside", "seashore"), ("cab", "taxi")],
    ],
)
def test_a_word_finds_the_class_that_people_mean(word: str, name: str) -> None:
    assert [CLASS_TABLE.name(id_) for id_ in vocabulary().find(word)] == [name]


def test_a_word_of_two_languages_finds_both_classes() -> None:
    assert [CLASS_TABLE.name(id_) for id_ in vocabulary().find("boot")] == ["footwear", "boat"]


@pytest.mark.parametrize("word", ["light", "soul", "female", "brothel?", "Paris", ""])
def test_a_word_that_would_mislead_finds_nothing(word: str) -> None:
    assert vocabulary().find(word) == []
