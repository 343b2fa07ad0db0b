"""ClassTable, and the table of all classes that is written from WordNet and the everyday classes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.classes import CLASSES, ClassTable, is_category
from models.errors import ModelError
from tests.model_files import CLASS_ROWS
from tools.make_classes import Everyday, make_table, read_everyday, read_wordnet


@pytest.fixture
def table() -> ClassTable:
    return ClassTable(CLASS_ROWS)


@pytest.fixture(scope="module")
def imagenet() -> ClassTable:
    return ClassTable.open(CLASSES)


def test_what_was_written_is_read_back(tmp_path: Path, table: ClassTable) -> None:
    table.write(tmp_path / "classes.tsv", "facts\n\nof a kind")
    text = (tmp_path / "classes.tsv").read_text()
    assert text.startswith("# facts\n#\n# of a kind\nn1\tspaniel\tn11,n12\n")
    read = ClassTable.open(tmp_path / "classes.tsv")
    assert (read.ids, read.names, read.parents) == (table.ids, table.names, table.parents)


def test_ancestors_are_all_above_and_not_the_class_itself(table: ClassTable) -> None:
    assert table.ancestors("n1") == {"n10", "n11", "n12"}
    assert table.ancestors("n10") == set()


def test_members_count_a_leaf_once_however_many_ways_lead_to_it(table: ClassTable) -> None:
    assert table.members(["n1", "n2", "n3"]) == {"n10": [0, 1], "n11": [0], "n12": [0]}
    assert list(table.members(["n3", "n2", "n1"])) == ["n10", "n11", "n12"]


def test_a_class_is_found_by_id_or_name_in_any_case(table: ClassTable) -> None:
    assert [table.find(text) for text in ("n3", "teapot", "TEAPOT", "kettle")] == ["n3", "n3", "n3", None]
    assert ("n3" in table, "teapot" in table, len(table)) == (True, False, 6)
    with pytest.raises(ModelError, match="'n99'"):
        table.name("n99")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "A", []), ("a", "B", [])], "id 'a' occurs twice"),
        ([("a", "Crane", []), ("b", "crane", [])], "name 'crane' occurs twice"),
        ([("a", "A", ["z"])], "unknown parent 'z'"),
        ([("a", "A", ["b"]), ("b", "B", ["a"]), ("c", "C", [])], r"contain themselves: \['a', 'b'\]"),
        ([("a", "A", ["a"])], "contain themselves"),
        ([("", "A", [])], "no id or no name"),
        ([("a", "", [])], "no id or no name"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows: list[tuple[str, str, list[str]]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ClassTable(rows)


def test_a_malformed_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "classes.tsv"
    path.write_text("# comment\nn1\tspaniel\t\nn2 wolf\n")
    with pytest.raises(ModelError, match=r"classes\.tsv, line 3.*n2 wolf"):
        ClassTable.open(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"classes\.tsv"):
        ClassTable.open(path)
    with pytest.raises(ModelError, match=r"none\.tsv"):
        ClassTable.open(tmp_path / "none.tsv")


def test_20000_classes_open_in_under_a_tenth_of_a_second(tmp_path: Path) -> None:
    rows = [(f"n{number}", f"class {number}", [f"n{number // 5}"] if number else []) for number in range(20_000)]
    ClassTable(rows).write(tmp_path / "classes.tsv")
    times_s = []
    for _ in range(5):
        start = time.thread_time()
        ClassTable.open(tmp_path / "classes.tsv")
        times_s.append(time.thread_time() - start)
    assert min(times_s) < 0.1


def test_imagenet_has_its_1000_classes_in_index_order_first(imagenet: ClassTable) -> None:
    leaves = imagenet.ids[:1000]
    assert list(leaves) == sorted(leaves)
    names = {0: "tench", 207: "golden retriever", 281: "tabby", 487: "cellular telephone", 999: "toilet tissue"}
    assert {index: imagenet.names[index] for index in names} == names
    members = imagenet.members(leaves)
    assert len(members[imagenet.find("dog")]) == 118


def test_imagenets_colliding_names_are_told_apart(imagenet: ClassTable) -> None:
    names = set(imagenet.names)
    assert {"crane (wading bird)", "crane (lifting device)", "Cardigan (corgi)", "cardigan (sweater)"} <= names
    assert {"maillot (tights)", "maillot (swimsuit)"} <= names
    assert not names & {"crane", "cardigan", "Cardigan", "maillot"}


def test_imagenets_parents_are_words_that_people_search(imagenet: ClassTable) -> None:
    wanted = ["animal", "dog", "bird", "vehicle", "food", "building", "furniture", "clothing", "musical instrument"]
    assert [name for name in wanted if imagenet.find(name) is None] == []
    useless = ["entity", "physical entity", "object", "whole", "artifact", "instrumentality", "matter", "placental"]
    assert [name for name in useless if imagenet.find(name) is not None] == []
    retriever = imagenet.ancestors("n02099601")
    assert {imagenet.name(id_) for id_ in retriever} >= {"retriever", "dog", "domestic animal", "mammal", "animal"}


def test_imagenets_exceptions_hold(imagenet: ClassTable) -> None:
    # "cap" goes where it covers a bottle and stays where it is worn; nobody looks for cars among containers.
    cap, jeep = imagenet.find("cap"), imagenet.find("jeep")
    assert cap is not None
    assert jeep is not None
    assert "hat" not in {imagenet.name(id_) for id_ in imagenet.ancestors(cap)}
    assert "headdress" in {imagenet.name(id_) for id_ in imagenet.ancestors(cap)}
    assert "vehicle" in {imagenet.name(id_) for id_ in imagenet.ancestors(jeep)}
    assert "container" not in {imagenet.name(id_) for id_ in imagenet.ancestors(jeep)}


def test_no_two_parents_say_the_same_and_none_has_one_leaf(imagenet: ClassTable) -> None:
    everyday = [one.id for one in read_everyday() if not is_category(one.id)]
    leaves = [*imagenet.ids[:1000], *(id_ for id_ in everyday if id_ not in imagenet.ids[:1000])]
    above = {
        id_: {leaves[place] for place in places} | ({id_} & set(everyday))
        for id_, places in imagenet.members(leaves).items()
        if not is_category(id_)
    }
    members = [tuple(sorted(ids)) for ids in above.values()]
    assert len(set(members)) == len(members)
    assert min(map(len, members)) > 1


def test_every_everyday_class_is_in_the_table(imagenet: ClassTable) -> None:
    for one in read_everyday():
        assert is_category(one.id) or imagenet.name(one.id) == one.name
        assert one.id in imagenet


def test_everyday_classes_lie_where_people_look(imagenet: ClassTable) -> None:
    def above(name: str) -> set[str]:
        id_ = imagenet.find(name)
        assert id_ is not None
        return {imagenet.name(ancestor) for ancestor in imagenet.ancestors(id_)}

    assert above("daisy") >= {"flower", "plant", "Flowers and plants"}
    assert above("beagle") >= {"dog", "animal", "Animals", "Cats and dogs"}
    assert above("baby") == {"child", "person", "People", "Children"}
    assert above("beach") >= {"Water and beaches", "Outdoors"}
    assert {"plant"}.isdisjoint(above("tree") | above("grass"))


def test_categories_contain_no_category_and_have_names_of_their_own(imagenet: ClassTable) -> None:
    categories = [id_ for id_ in imagenet.ids if is_category(id_)]
    assert len(categories) >= 25
    assert [id_ for id_ in categories if imagenet.parents[id_]] == []


DATA_NOUN = """\
  1 This is the licence
  2
00000001 03 n 01 entity 0 001 ~ 00000002 n 0000 | all there is
00000002 03 n 01 animal 0 001 @ 00000001 n 0000 | alive
00000003 05 n 01 craniate 0 001 @ 00000002 n 0000 | with a head
00000004 05 n 02 wading_bird 0 wader 0 002 @ 00000003 n 0000 + 00000009 v 0101 | wades
00000005 05 n 01 crane 0 001 @ 00000004 n 0000 | a bird
00000006 05 n 01 heron 0 001 @ 00000004 n 0000 | another bird
00000007 06 n 01 lifting_device 0 001 @ 00000001 n 0000 | lifts
00000008 06 n 01 Crane 0 002 @ 00000007 n 0000 @i 00000001 n 0000 | a machine
"""


def test_the_script_tidies_wordnet_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    synsets, licence = read_wordnet(tmp_path / "data.noun")
    assert licence == "This is the licence\n"
    assert synsets["n00000004"].hypernyms == ("n00000003",)
    assert synsets["n00000008"].hypernyms == ("n00000007", "n00000001")
    table = make_table(synsets, ["n00000005", "n00000006", "n00000008"], [], {})
    # Of animal, craniate and wading bird, which contain the same two, the last stays; entity is removed; lifting device
    # contains one leaf only.
    assert table.ids == ("n00000005", "n00000006", "n00000008", "n00000004")
    assert table.names == ("crane (wading bird)", "heron", "Crane (lifting device)", "wading bird")
    assert table.parents["n00000005"] == ("n00000004",)
    assert table.parents["n00000008"] == ()


CAPS_AND_CARTS = """\
03094503 06 n 01 container 0 000 | holds
04524313 06 n 01 vehicle 0 000 | moves
04576211 06 n 01 wheeled_vehicle 0 002 @ 03094503 n 0000 @ 04524313 n 0000 | has wheels
00000011 06 n 01 cart 0 001 @ 04576211 n 0000 | one
00000012 06 n 01 van 0 001 @ 04576211 n 0000 | two
02954340 06 n 01 cap 0 000 | worn
02954938 06 n 01 cap 0 000 | closes a bottle
00000013 06 n 02 bathing_cap 0 swimming_cap 0 001 @ 02954340 n 0000 | one
00000014 06 n 01 shower_cap 0 001 @ 02954340 n 0000 | two
00000015 06 n 01 crown_cap 0 001 @ 02954938 n 0000 | one
00000016 06 n 01 screw_cap 0 001 @ 02954938 n 0000 | two
00000017 06 n 01 box 0 001 @ 03094503 n 0000 | holds, and does not move
"""


def test_the_scripts_exceptions_hold(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(CAPS_AND_CARTS)
    leaves = [f"n000000{number}" for number in range(11, 18)]
    table = make_table(read_wordnet(tmp_path / "data.noun")[0], leaves, [], {})
    assert table.ids[7:] == ("n02954340", "n04576211")
    assert table.names[7:] == ("cap", "wheeled vehicle")
    assert table.parents["n00000015"] == ()


def test_everyday_classes_stay_and_categories_come_last(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    everyday = [
        Everyday("n00000004", "waders", learned=True, contains=("Crane (lifting device)",)),
        Everyday("at dusk", "at dusk", learned=False, parents=("waders",)),
        Everyday("category:wet", "wet", learned=True),
    ]
    table = make_table(
        read_wordnet(tmp_path / "data.noun")[0],
        ["n00000005", "n00000008"],
        everyday,
        {"wet": ("Wet places", ["waders"])},
    )
    # Wading bird contains one leaf only, but is an everyday class; a class that is a category is in no other place.
    assert table.ids == ("n00000005", "n00000008", "at dusk", "n00000004", "category:wet")
    assert table.names[2:] == ("at dusk", "waders", "Wet places")
    assert table.parents["n00000008"] == ("n00000004",)
    assert table.parents["n00000005"] == ("n00000004",)
    assert table.parents["at dusk"] == ("n00000004",)
    assert table.parents["n00000004"] == ("category:wet",)
