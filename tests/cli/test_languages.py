"""Tags in people's languages: `--lang`, and searches and decisions by synonyms and names of any language."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autotag.cli import print_table
from autotag.stores import PhotoStore
from models.bundle import Tag
from models.classes import CLASSES, ClassTable
from tests import worlds
from tests.command_line import run_command
from tests.worlds import tagged

Run = Callable[..., subprocess.CompletedProcess[str]]
DOG = Tag("n02084071", "dog", 0.97, "everyday")
ANIMAL = Tag("n00015388", "animal", 0.98, "everyday")
ANIMALS = Tag("category:animals", "Animals", 0.99, "everyday")
TENCH = Tag("n01440764", "tench", 0.5, "imagenet")
BOAT = Tag("n02858304", "boat", 0.6, "everyday")
FOOTWEAR = Tag("n03380867", "footwear", 0.6, "imagenet")


@pytest.fixture
def run(config: Path, store: PhotoStore) -> Run:
    """Runs a command on a store whose photo "p" shows a dog."""
    store.runs.add_model(worlds.model(), ClassTable.open(CLASSES))
    store.write([tagged("p", tags=(ANIMALS, ANIMAL, DOG))])
    return functools.partial(run_command, config)


def found(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [photo["photo_id"] for photo in json.loads(done.stdout)["photos"]]


def test_show_names_tags_in_a_language_in_text_and_json_and_in_the_history(run: Run) -> None:
    lines = run("show", "p", "--lang", "de").stdout.splitlines()
    assert [line.split("  (")[0] for line in lines if line.startswith("  ")] == ["  0.9700  Hund", "    0.9800  Tier"]
    shown = json.loads(run("show", "p", "--lang", "ja", "--json").stdout)
    assert [tag["name"] for tag in shown["tags"]] == ["動物", "犬"]
    assert [category["name"] for category in shown["categories"]] == ["動物たち"]
    assert run("show", "p", "--history", "--lang", "fr").stdout.endswith(": chien 0.97 (animal)\n")
    (entry,) = run("show", "p", "--history", "--json", "--lang", "fr").stdout.splitlines()
    assert [tag["name"] for tag in json.loads(entry)["tags"]] == ["animaux", "animal", "chien"]


def test_a_decision_is_told_in_the_language_too(run: Run) -> None:
    assert run("tags", "add", "p", "Katze", "--by", "bob").stdout.startswith("'cat' (n02121620) added to p by bob")
    text = run("show", "p", "--lang", "it").stdout
    assert "1.0000  gatto  (n02121620, added by bob" in text
    assert "gatto added by bob" in text
    because = {tag.get("because") for tag in json.loads(run("show", "p", "--lang", "it", "--json").stdout)["tags"]}
    assert because == {None, "gatto"}


def test_search_and_owner_name_tags_in_a_language(run: Run) -> None:
    assert run("search", "dog", "--lang", "es").stdout.splitlines()[1].endswith("perro 0.97 (animal)")
    answer = json.loads(run("search", "dog", "--lang", "zh", "--json").stdout)
    assert answer["photos"][0]["tag"]["name"] == "狗"
    rows = run("owner", "ann", "--lang", "zh").stdout.splitlines()
    assert ["1", "狗", "n02084071"] in [row.split() for row in rows]
    counted = json.loads(run("owner", "ann", "--lang", "pt", "--json").stdout)
    assert {tag["name"] for tag in counted["tags"]} == {"animal", "cachorro"}
    assert {category["name"] for category in counted["categories"]} == {"animais"}


def test_a_class_without_a_name_in_a_language_has_its_english_one(run: Run, store: PhotoStore) -> None:
    store.write([tagged("q", tags=(TENCH,))])
    store.decide("q", "Mein Karpfen", worlds.Action.ADD, "bob", new=True)
    text = run("show", "q", "--lang", "de").stdout
    assert "tench" in text
    assert "Mein Karpfen" in text


def test_tag_names_tags_in_a_language_and_categories_too(run: Run, draw: Callable[..., Path]) -> None:
    names = {}
    for language in ("en", "de"):
        done = run("tag", draw(), "--json", "--min-score", "0", "--lang", language)
        line = json.loads(done.stdout)
        names[language] = {tag["id"]: tag["name"] for tag in [*line["tags"], *line["categories"]]}
    assert names["en"]["n02084071"] == "dog"
    assert names["de"]["n02084071"] == "Hund"
    assert names["de"]["n01440764"] == names["en"]["n01440764"] == "tench"
    assert " Hund, " in run("tag", draw(), "--min-score", "0", "--lang", "de").stdout  # among the parents of a breed


def test_the_setting_is_the_default_and_an_option_stands_over_it(run: Run) -> None:
    setting = ("-o", "autotag.language=de")
    assert "Hund" in run(*setting, "show", "p").stdout
    assert "chien" in run(*setting, "show", "p", "--lang", "fr").stdout
    assert "dog" in run(*setting, "show", "p", "--lang", "en").stdout


@pytest.mark.parametrize("command", [("tag", "x"), ("show", "x"), ("search", "x"), ("owner", "x"), ("demo",)])
def test_an_unknown_language_is_wrong_use_and_those_there_are_are_listed(run: Run, command: tuple[str, ...]) -> None:
    done = run(*command, "--lang", "tlh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'tlh' is no language of tags; there are de, en, es, fr, it, ja, pt, zh" in done.stderr
    done = run("-o", "autotag.language=tlh", *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("autotag: autotag.language is no language of tags; there are de, en")


@pytest.mark.parametrize("word", ["dog", "n02084071", "Hund", "hund", "perro", "犬", "狗", "puppy", "Tiere", "animaux"])
def test_search_finds_by_synonyms_and_names_of_any_language(run: Run, word: str) -> None:
    assert found(run("search", word, "--json")) == ["p"]


def test_search_in_pages_by_a_synonym(run: Run, store: PhotoStore) -> None:
    store.write([tagged(f"p{number}", content=number + 2, tags=(DOG,)) for number in range(3)])
    pages, cursor = [], []
    for _ in range(4):
        done = run("search", "puppy", "--limit", "1", "--json", *cursor)
        pages += found(done)
        cursor = ["--page", json.loads(done.stdout)["cursor"]]
    assert pages == ["p2", "p1", "p0", "p"]


def test_a_word_finds_the_class_that_it_means_beside_a_persons_own_tag(run: Run, store: PhotoStore) -> None:
    store.write([tagged("q", tags=(DOG,))])
    assert "'puppy' (puppy) added" in run("tags", "add", "q", "puppy", "--new").stdout
    assert sorted(found(run("search", "Puppy", "--json"))) == ["p", "q"]
    assert "'puppy' (puppy) removed" in run("tags", "remove", "q", "PUPPY").stdout
    assert sorted(found(run("search", "puppy", "--json"))) == ["p", "q"]
    store.write([tagged("boats", tags=(BOAT,)), tagged("shoes", tags=(FOOTWEAR,))])
    assert found(run("search", "boat", "--json")) == ["boats"]


def test_a_word_of_several_classes_finds_all_and_decides_about_the_one_on_the_photo(
    run: Run, store: PhotoStore
) -> None:
    store.write([tagged("boats", tags=(BOAT,)), tagged("shoes", tags=(FOOTWEAR,))])
    assert sorted(found(run("search", "boot", "--json"))) == ["boats", "shoes"]
    unclear = run("tags", "add", "p", "boot")
    assert (unclear.returncode, unclear.stderr) == (
        1,
        "autotag: 'boot' may mean 'footwear' or 'boat'; give one of these\n",
    )
    assert "'boat' (n02858304) removed" in run("tags", "remove", "boats", "Boot").stdout


def test_a_search_for_an_unknown_word_suggests_the_nearest_names(run: Run) -> None:
    done = run("search", "Schmeterling")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("no photo has the tag 'Schmeterling' (did you mean 'Schmetterling'")
    answer = json.loads(run("search", "autmobile", "--json").stdout)
    assert (answer["photos"], answer["near"][0]) == ([], "automobile")
    assert run("search", "church").stderr == "no photo has the tag 'church'\n"
    assert run("search", "Kirche").stderr == "'Kirche' is taken for 'church'\nno photo has the tag 'Kirche'\n"
    assert run("search", "qqqqqqqqqq").stderr == "no photo has the tag 'qqqqqqqqqq'\n"
    assert json.loads(run("search", "church", "--json").stdout) == {"photos": [], "cursor": None}


def test_a_decision_about_an_unknown_word_suggests_names_of_any_language(run: Run) -> None:
    done = run("tags", "add", "p", "Schmeterling")
    assert done.returncode == 1
    assert "no class is called 'Schmeterling' (did you mean 'Schmetterling'" in done.stderr


def test_the_columns_of_a_table_are_straight_in_japanese(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["犬", "1"], ["cat", "2"]], ["tag", "n"])
    assert capsys.readouterr().out == "tag  n\n犬   1\ncat  2\n"


def test_a_plural_and_a_category_in_any_language_are_understood(run: Run) -> None:
    assert found(run("search", "dogs", "--json")) == ["p"]
    assert run("search", "dogs").stderr == "'dogs' is taken for 'dog'\n"
    assert run("search", "hund", "--lang", "de").stderr == ""
    assert found(run("search", "--category", "Tiere", "--json")) == ["p"]
    assert found(run("search", "--category", "Animals", "--json")) == ["p"]
