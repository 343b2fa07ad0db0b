"""TrainingSet: one network, a log without repetitions, removal, and killed writers."""

from __future__ import annotations

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from autotag.errors import InputError, JobError
from autotag.storage.folder import Folder
from autotag.training.dataset.photo_states import State, compact, read_photo_states, remove, remove_leftovers
from autotag.training.dataset.training_set import PhotoFailure, TrainingSet
from models.bundle import Bundle
from tests.model_files import write_small_bundle
from tests.training_sets import add_photos, facts, features_of, label_table, labels_of


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return a bundle with 3 features whose network is never run."""
    return write_small_bundle(tmp_path / "bundle")


@pytest.fixture
def training_set(tmp_path: Path, bundle: Bundle) -> TrainingSet:
    return TrainingSet.open_or_create(Folder(str(tmp_path / "set")), bundle)


def failed(photo_id: str, at_us: int, *, permanent: bool = True) -> PhotoFailure:
    return PhotoFailure(photo_id, f"file:///{photo_id}", "damaged", "it is", permanent, at_us)


# Which network


def test_a_place_where_no_set_can_be_made_is_named_with_the_reason(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in ("/proc/nothing", str(tmp_path / "file")):
        with pytest.raises(InputError, match=f"^{place}: no training set can be made here .*: name another folder"):
            TrainingSet.open_or_create(Folder(place), bundle)


def test_a_set_keeps_the_network_it_was_made_for(training_set: TrainingSet, bundle: Bundle) -> None:
    again = TrainingSet.open(training_set.folder)
    assert again == training_set
    assert (again.network, again.dim, again.scale) == (bundle.network_key, 3, 8192)


def test_another_networks_bundle_is_refused_and_both_keys_are_named(training_set: TrainingSet, tmp_path: Path) -> None:
    other = write_small_bundle(tmp_path / "other", precision="bf16")
    with pytest.raises(JobError) as refused:
        TrainingSet.open_or_create(training_set.folder, other)
    assert training_set.network in str(refused.value)
    assert other.network_key in str(refused.value)
    assert "name another training set" in str(refused.value)


def test_another_bundle_of_the_same_network_is_welcome(training_set: TrainingSet, tmp_path: Path) -> None:
    other = write_small_bundle(tmp_path / "other", banks=("imagenet", "own"))
    assert TrainingSet.open_or_create(training_set.folder, other) == training_set


def test_a_folder_without_a_set_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no training set here; `autotag join --set .*nothing` makes one"):
        TrainingSet.open(Folder(str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"format": "other"}', '{"format": "autotag-training-set", "format_version": 2}']
)
def test_a_set_json_that_is_none_is_named(training_set: TrainingSet, content: str) -> None:
    training_set.folder.write("set.json", content.encode())
    with pytest.raises(InputError, match=r"set\.json: is not the description of a training set, version 1"):
        TrainingSet.open(training_set.folder)


def test_a_scale_of_nothing_is_refused(training_set: TrainingSet) -> None:
    said = json.loads(training_set.folder.read("set.json"))
    training_set.folder.write("set.json", json.dumps({**said, "scale": 0}).encode())
    with pytest.raises(InputError, match="must be above 0"):
        TrainingSet.open(training_set.folder)


# Features


def test_a_part_is_read_back_as_it_was_written(training_set: TrainingSet) -> None:
    fixed = np.array([[1, -2, 32767], [-32767, 0, 5]], np.int16)
    training_set.write_part("0" * 32, [("a/ü.jpg", "file:///a"), ("b", "http://b/")], fixed, [3, 4])
    table = training_set.read_part("0" * 32)
    assert training_set.parts() == ["0" * 32]
    assert table.select(["photo_id", "uri", "computed_us"]).to_pylist() == [
        {"photo_id": "a/ü.jpg", "uri": "file:///a", "computed_us": 3},
        {"photo_id": "b", "uri": "http://b/", "computed_us": 4},
    ]
    assert training_set.fixed_features(table).tolist() == fixed.tolist()
    assert training_set.fixed_features(table.slice(1)).tolist() == [[-32767, 0, 5]]
    assert training_set.fixed_features(table.slice(2)).shape == (0, 3)
    assert table.column("features")[0].as_py() == bytes.fromhex("0100feffff7f")


def test_a_part_without_photos_is_one(training_set: TrainingSet) -> None:
    name = add_photos(training_set, [])
    assert training_set.fixed_features(training_set.read_part(name)).shape == (0, 3)


@pytest.mark.parametrize("damage", ["cut", "rubbish", "empty", "other"])
def test_a_damaged_part_is_named_with_what_to_do(training_set: TrainingSet, bundle: Bundle, damage: str) -> None:
    name = add_photos(training_set, ["a", "b"])
    path = f"features/{name}.parquet"
    data = training_set.folder.read(path)
    other = TrainingSet(training_set.folder, "f" * 64, 3, 4096, "other")
    damaged = {"cut": data[:-20], "rubbish": b"PAR1" + bytes(100), "empty": b""}
    if damage == "other":
        other.write_part(name, [("a", "file:///a")], np.zeros((1, 3), np.int16), 1)
    else:
        training_set.folder.write(path, damaged[damage])
    with pytest.raises(InputError, match=rf"{path}: .*remove the file, and the next join computes its photos again"):
        read_photo_states(training_set)


def test_a_wrong_byte_in_kept_features_is_told_with_the_file(training_set: TrainingSet) -> None:
    name = add_photos(training_set, ["a", "b"], value=7)
    fixed = np.arange(2 * training_set.dim, dtype=np.int16).reshape(2, -1) + 1000
    training_set.write_part(name, [("a", ""), ("b", "")], fixed, 1)
    path = Path(training_set.folder.url) / f"features/{name}.parquet"
    data = path.read_bytes()
    at = data.index(fixed.tobytes())
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(InputError, match=f"{name}.parquet: cannot be read.*remove the file"):
        training_set.read_part(name)


# The log


def test_the_same_labels_twice_are_said_once(training_set: TrainingSet) -> None:
    labels = label_table(("a", "dog", 1), ("b", "dog", -1), ("b", "cat", 0))
    assert training_set.add_labels(labels, facts()) == ("000001", True)
    assert training_set.add_labels(labels, facts()) == ("000001", False)
    assert training_set.add_labels(labels, facts(source="a copy.csv")) == ("000001", False)
    assert training_set.label_files() == ["000001"]
    assert labels_of(training_set, "000001") == {("a", "dog", 1), ("b", "dog", -1), ("b", "cat", 0)}


def test_labels_that_were_changed_and_changed_back_are_said_again(training_set: TrainingSet) -> None:
    first, second = label_table(("a", "dog", 1)), label_table(("a", "dog", -1))
    names = [training_set.add_labels(labels, facts()) for labels in (first, second, first, first)]
    assert names == [("000001", True), ("000002", True), ("000003", True), ("000003", False)]


def test_two_files_that_are_joined_by_turns_are_each_said_once(training_set: TrainingSet) -> None:
    one = label_table(("a", "dog", 1), ("b", "cat", -1))
    two = label_table(("a", "dog", 1), ("b", "dog", -1), ("c", "cat", 1))
    for _ in range(3):
        training_set.add_labels(one, facts(source="one.csv"))
        training_set.add_labels(two, facts(source="two.csv"))
    assert training_set.label_files() == ["000001", "000002"]


@pytest.mark.parametrize("value", [-1, 0])
def test_a_file_wins_over_another_that_contradicts_it_whenever_it_is_joined_again(
    training_set: TrainingSet, value: int
) -> None:
    one, two = label_table(("a", "cat", 1), ("a", "dog", 1)), label_table(("a", "dog", value), ("b", "cat", -1))
    said = [(one, "one.csv"), (two, "two.csv"), (one, "one.csv"), (one, "one.csv"), (two, "two.csv")]
    names = [training_set.add_labels(labels, facts(source=source)) for labels, source in said]
    assert names == [
        (f"{at:06d}", at_is_new) for at, at_is_new in ((1, True), (2, True), (3, True), (3, False), (4, True))
    ]


def test_of_corrections_the_last_file_alone_counts(training_set: TrainingSet) -> None:
    one, two = label_table(("a", "dog", 1)), label_table(("b", "dog", 1))
    said = [training_set.add_labels(labels, facts(kind="corrections"))[1] for labels in (one, one, two, one)]
    assert said == [True, False, True, True]


def test_labels_that_mean_something_else_are_said(training_set: TrainingSet) -> None:
    labels = label_table(("a", "dog", 1))
    said = [facts(), facts(exhaustive=True), facts(kind="corrections")]
    assert [training_set.add_labels(labels, one)[1] for one in said] == [True, True, True]


def test_labels_are_said_again_after_a_removal(training_set: TrainingSet) -> None:
    add_photos(training_set, ["a"])
    labels = label_table(("a", "dog", 1))
    training_set.add_labels(labels, facts())
    remove(training_set, ["a"], "ann")
    assert training_set.add_labels(labels, facts()) == ("000003", True)


def test_times_in_the_log_only_grow_whatever_the_clock_says(training_set: TrainingSet) -> None:
    far = 2**60
    training_set.add_labels(label_table(("a", "dog", 1)), facts(at_us=far))
    training_set.add_labels(label_table(("a", "dog", -1)), facts())
    assert [one["at_us"] for one in training_set.log()] == [far, far + 1]


def test_many_who_write_the_log_at_once_lose_and_repeat_nothing(training_set: TrainingSet) -> None:
    tables = [label_table((f"p{number % 10}", "dog", 1)) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda table: training_set.add_labels(table, facts(source="-")), tables[:10]))
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda table: TrainingSet.open(training_set.folder).add_labels(table, facts()), tables))
    names = training_set.label_files()
    assert names == [f"{number:06d}" for number in range(1, len(names) + 1)]
    assert {row for name in names for row in labels_of(training_set, name)} == {(f"p{n}", "dog", 1) for n in range(10)}
    assert {name for name, is_new in done if is_new} <= set(names)


def test_who_says_the_same_at_the_same_time_says_it_once(training_set: TrainingSet) -> None:
    labels = label_table(*((f"p{number}", "dog", 1) for number in range(100)))
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: training_set.add_labels(labels, facts()), range(16)))
    assert training_set.label_files() == ["000001"]
    assert sorted(is_new for _, is_new in done) == [False] * 15 + [True]


def test_reports_have_numbers_of_their_own(training_set: TrainingSet) -> None:
    def report(number: int) -> str:
        return training_set.add_report({"summary.json": str(number).encode(), "bad_lines.jsonl": b""})

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(report, range(16)))
    assert sorted(names) == [f"joins/{number:06d}" for number in range(1, 17)]
    assert [training_set.folder.read(f"{name}/summary.json") for name in names] == [b"%d" % n for n in range(16)]


# What is known, and removal


def test_the_latest_of_a_photo_is_what_is_known(training_set: TrainingSet) -> None:
    add_photos(training_set, ["new", "old", "again"], at_us=5)
    training_set.write_failures("1" * 32, [failed("old", 3), failed("again", 9, permanent=False), failed("bad", 4)])
    known = read_photo_states(training_set)
    assert {photo_id: (one.state, one.at_us) for photo_id, one in known.items()} == {
        "new": (State.FEATURES, 5),
        "old": (State.FEATURES, 5),
        "again": (State.FAILED, 9),
        "bad": (State.BAD, 4),
    }


def test_a_removal_takes_what_is_older_and_leaves_what_comes_later(training_set: TrainingSet) -> None:
    far = 2**60  # by a clock that is ahead of ours
    add_photos(training_set, ["a", "b"], at_us=far)
    removed = remove(training_set, ["a", "nobody", "a"], "ann")
    assert (removed.photos, removed.unknown, removed.before) == (["a"], ["nobody"], [])
    known = read_photo_states(training_set)
    assert [known[photo_id].state for photo_id in ("a", "b", "nobody")] == [
        State.REMOVED,
        State.FEATURES,
        State.REMOVED,
    ]
    again = remove(training_set, ["a"], "ann")
    assert (again.photos, again.before) == ([], ["a"])
    assert training_set.label_files() == ["000001"]
    add_photos(training_set, ["a"], at_us=far + 1)
    assert read_photo_states(training_set)["a"].state is State.FEATURES


def filled(training_set: TrainingSet) -> list[str]:
    """Return a set with outdated, removed and repeated rows, and the names of its parts."""
    names = [
        add_photos(training_set, ["gone", "moved", "kept"], at_us=1, value=1),
        add_photos(training_set, ["moved", "gone", "both"], at_us=2, value=2),
        add_photos(training_set, ["both", "other"], at_us=2, value=3),
        add_photos(training_set, ["gone"], at_us=3, value=4),
    ]
    training_set.write_failures("1" * 32, [failed("gone", 2), failed("kept", 0), failed("bad", 2)])
    remove(training_set, ["gone"], "ann")
    return sorted(names)


def rows_of(training_set: TrainingSet) -> list[str]:
    tables = [training_set.read_part(name, ["photo_id"]) for name in training_set.parts()]
    return sorted(photo_id for table in tables for photo_id in table.column("photo_id").to_pylist())


def test_compacting_leaves_one_row_of_each_photo_that_counts(training_set: TrainingSet) -> None:
    names = filled(training_set)
    before = features_of(training_set)
    assert compact(training_set) == 7
    assert training_set.parts() == names
    assert rows_of(training_set) == ["both", "kept", "moved", "other"]
    assert features_of(training_set) == {id_: row for id_, row in before.items() if id_ != "gone"}
    assert [one.photo_id for one in training_set.read_failures("1" * 32)] == ["bad"]
    assert compact(training_set) == 0


def test_what_a_join_writes_while_a_set_is_compacted_stays(
    training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(training_set)
    listed, lists = TrainingSet.parts, iter(range(1, 9))

    def parts(training_set: TrainingSet) -> list[str]:
        count = next(lists)
        add_photos(training_set, ["new", "kept"], at_us=10 + count, value=count)
        return listed(training_set)

    monkeypatch.setattr(TrainingSet, "parts", parts)
    compact(training_set)
    monkeypatch.undo()
    found = features_of(training_set)
    assert (found["new"], found["kept"], found["moved"]) == ([3, 3, 3], [3, 3, 3], [2, 2, 2])


def test_what_a_killed_writer_left_is_removed_after_a_day(training_set: TrainingSet) -> None:
    name = add_photos(training_set, ["a"])
    features = Path(training_set.folder.url) / "features"
    old, young, others = (features / f".{name}.parquet.{end}" for end in ("1" * 32, "2" * 32, "swp"))
    for path in (old, young, others, features / f"{name}.parquet"):
        path.touch()
        if path != young:
            os.utime(path, (time.time() - 25 * 3600,) * 2)
    remove_leftovers(training_set)
    assert set(features.iterdir()) == {young, others, features / f"{name}.parquet"}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("writes", range(5))
def test_compacting_that_is_killed_is_done_the_next_time(
    training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    filled(training_set)
    before = features_of(training_set)
    left = iter(range(writes))
    write = Folder.write

    def dying(folder: Folder, name: str, data: bytes) -> None:
        if next(left, None) is None:
            raise Killed
        write(folder, name, data)

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Folder, "write", dying)
        compact(training_set)
    compact(training_set)
    assert features_of(training_set) == {id_: row for id_, row in before.items() if id_ != "gone"}
    assert rows_of(training_set) == ["both", "kept", "moved", "other"]
