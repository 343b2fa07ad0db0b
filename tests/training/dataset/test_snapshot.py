"""Snapshots: the latest features of each photo, and the labels in force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from autotag.jobs.workers import LocalWorkers
from autotag.training.dataset import label_log
from autotag.training.dataset.snapshot import Snapshot, StaleStatisticsError, changes, take_snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.update_sums import update
from models.moments import FOLDS
from tests.set_histories import (
    CLASSES,
    Step,
    ancestors,
    assert_same_snapshot,
    assert_same_statistics,
    histories,
    joined_photos,
    labelled,
    new_set,
    removed,
    some_set,
)

Photo = tuple[str, bool, dict[str, int]]
"""Name of the file of its features, True if exhaustive, and its labels."""


def join(training_set: TrainingSet, known: Snapshot | None = None) -> Snapshot:
    return take_snapshot(training_set, known or Snapshot.empty(), ancestors)


def described(snapshot: Snapshot) -> dict[str, Photo]:
    found: dict[str, Photo] = {}
    for at, id_ in enumerate(snapshot.photo_ids.to_pylist()):
        labels = slice(snapshot.offsets[at], snapshot.offsets[at + 1])
        pairs = zip(snapshot.classes[labels].tolist(), snapshot.values[labels].tolist(), strict=True)
        found[id_] = (
            snapshot.parts[snapshot.part[at]],
            bool(snapshot.exhaustive[at]),
            {snapshot.class_ids[class_]: value for class_, value in pairs},
        )
    return found


def plain(training_set: TrainingSet) -> dict[str, Photo]:
    """Return the same from a plain loop over all files."""
    log = training_set.log()
    tables = [training_set.read_labels(facts["name"])[0].to_pylist() for facts in log]
    removed_at: dict[str, tuple[int, int]] = {}
    for number, facts in enumerate(log):
        if facts["kind"] == "removal":
            removed_at |= {row["photo_id"]: (number, facts["at_us"]) for row in tables[number]}
    latest: dict[str, tuple[int, str]] = {}
    for name in training_set.parts():
        for row in training_set.read_part(name, ["photo_id", "computed_us"]).to_pylist():
            latest[row["photo_id"]] = max((row["computed_us"], name), latest.get(row["photo_id"], (0, "")))
    corrections = [number for number, facts in enumerate(log) if facts["kind"] == "corrections"]
    labels = [number for number, facts in enumerate(log) if facts["kind"] == "labels"]
    found: dict[str, Photo] = {}
    for photo_id, (at_us, name) in sorted(latest.items()):
        number, gone_us = removed_at.get(photo_id, (-1, -1))
        if at_us <= gone_us:
            continue
        own: dict[str, int] = {}
        exhaustive = False
        for file in [*labels, *corrections[-1:]]:
            mine = [row for row in tables[file] if row["photo_id"] == photo_id and file > number]
            own |= {row["class_id"]: row["value"] for row in mine}
            exhaustive |= bool(mine) and log[file]["exhaustive"]
        named = {class_id for facts in log for class_id in facts["names"]}
        found[photo_id] = (name, exhaustive, own | implied(own, exhaustive, named))
    return found


def implied(own: dict[str, int], exhaustive: bool, named: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for class_id in sorted(named - own.keys()):
        shown = any(value == 1 and class_id in ancestors(other) for other, value in own.items())
        denied = any(value == -1 and other in ancestors(class_id) for other, value in own.items()) and not exhaustive
        if shown or denied:
            found[class_id] = int(shown) - int(denied)
    return found


@given(histories)
@hypothesis_settings(max_examples=40)
def test_photos_and_labels_are_what_a_plain_loop_finds(history: list[Step]) -> None:
    with new_set() as training_set:
        for step in history:
            step(training_set)
        assert described(join(training_set)) == plain(training_set)


@given(histories, histories)
@hypothesis_settings(max_examples=40)
def test_looking_at_what_is_new_alone_comes_to_the_same_as_looking_at_all(first: list[Step], then: list[Step]) -> None:
    with new_set() as training_set:
        for step in first:
            step(training_set)
        known = join(training_set)
        for step in then:
            step(training_set)
        assert_same_snapshot(join(training_set, known), join(training_set))


@given(histories)
@hypothesis_settings(max_examples=40)
def test_what_is_written_is_read_back(history: list[Step]) -> None:
    with new_set() as training_set:
        for step in history:
            step(training_set)
        snapshot = join(training_set)
        back = Snapshot.read(snapshot.write())
        assert_same_snapshot(back, snapshot)
        assert back.parts == snapshot.parts
        assert back.write() == snapshot.write()


@given(histories, histories)
@hypothesis_settings(max_examples=40)
def test_changes_are_the_photos_of_which_anything_is_different(first: list[Step], then: list[Step]) -> None:
    with new_set() as training_set:
        for step in first:
            step(training_set)
        old = join(training_set)
        for step in then:
            step(training_set)
        new = join(training_set, old)
        taken_away, added = changes(old, new)
        before, after = described(old), described(new)
        same = {id_ for id_ in before.keys() & after.keys() if before[id_] == after[id_]}
        assert set(old.photo_ids.take(taken_away).to_pylist()) == before.keys() - same
        assert set(new.photo_ids.take(added).to_pylist()) == after.keys() - same


def made(tmp_path: Path, *history: Step) -> dict[str, Photo]:
    training_set = some_set(tmp_path)
    for step in history:
        step(training_set)
    return described(join(training_set))


def labels_of(tmp_path: Path, *rows: tuple[str, int], exhaustive: bool = False) -> dict[str, int]:
    """Return the resulting labels of one photo; other photos have labels for every class."""
    others = [("another", class_id, 0) for class_id in CLASSES]
    said = [("a", class_id, value) for class_id, value in rows]
    history = joined_photos(["a"], 0), labelled(others, "labels", False), labelled(said, "labels", exhaustive)
    return made(tmp_path, *history)["a"][2]


def test_what_shows_a_class_shows_those_that_contain_it(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("spaniel", 1)) == {"animal": 1, "dog": 1, "pet": 1, "spaniel": 1}


def test_what_does_not_show_a_class_shows_none_of_those_in_it(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("animal", -1)) == {"animal": -1, "dog": -1, "spaniel": -1}


def test_a_label_of_its_own_wins_over_what_follows_even_if_it_says_unknown(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("spaniel", 1), ("dog", -1), ("pet", 0)) == {
        "animal": 1,
        "dog": -1,
        "pet": 0,
        "spaniel": 1,
    }


def test_what_follows_both_ways_is_unknown(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("spaniel", 1), ("animal", -1))["dog"] == 0


def test_an_exhaustive_photo_needs_no_label_to_be_false(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ("animal", -1), exhaustive=True) == {"animal": -1}


def test_labels_of_photos_that_do_not_exist_change_nothing(tmp_path: Path) -> None:
    rows = [(f"nowhere {number}", "teapot", 1) for number in range(100_000)]
    assert made(tmp_path, joined_photos(["a"], 0), labelled([*rows, ("a", "teapot", -1)], "labels", False)) == {
        "a": (some_set(tmp_path).parts()[0], False, {"teapot": -1})
    }


def test_a_class_whose_labels_were_all_withdrawn_is_a_class_still(tmp_path: Path) -> None:
    training_set = some_set(tmp_path)
    for step in (joined_photos(["a"], 0), labelled([("a", "teapot", 1)], "labels", True), removed(["a"])):
        step(training_set)
    snapshot = join(training_set)
    assert (len(snapshot), snapshot.class_ids) == (0, ("teapot",))


def test_implied_labels_do_not_depend_on_where_they_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    photos = [f"{number}" for number in range(50)]
    rows = [(photo, class_id, int(draw.integers(-1, 2))) for photo in photos for class_id in draw.choice(CLASSES, 2)]
    training_set = some_set(tmp_path)
    for step in (joined_photos(photos, 0), labelled(rows, "labels", False)):
        step(training_set)
    whole = join(training_set)
    monkeypatch.setattr(label_log, "_PHOTOS", 7)
    assert_same_snapshot(join(training_set), whole)


def test_a_file_of_features_that_is_gone_is_told(tmp_path: Path) -> None:
    training_set = some_set(tmp_path)
    joined_photos(["a"], 0)(training_set)
    known = join(training_set)
    training_set.folder.remove(f"features/{known.parts[0]}.parquet")
    with pytest.raises(StaleStatisticsError, match=known.parts[0]):
        join(training_set, known)
    assert len(join(training_set)) == 0


def test_a_photo_is_in_one_fold_for_ever(tmp_path: Path) -> None:
    training_set = some_set(tmp_path)
    joined_photos([f"photo-{number}" for number in range(1000)], 0)(training_set)
    snapshot = join(training_set)
    # As the first 8 bytes of SHA-256 have it; whoever changes them throws away everybody's statistics.
    assert snapshot.folds()[:8].tolist() == [1, 2, 0, 4, 4, 4, 4, 2]
    assert np.bincount(snapshot.folds(), minlength=FOLDS).min() > 150
    some = np.array([5, 3])
    assert snapshot.folds(some).tolist() == snapshot.folds()[some].tolist()


def test_labels_of_some_photos_are_those_that_all_have(tmp_path: Path) -> None:
    training_set = some_set(tmp_path)
    rows = [("a", "dog", 1), ("c", "dog", -1), ("c", "teapot", 1)]
    for step in (joined_photos(["a", "b", "c"], 0), labelled(rows, "labels", False)):
        step(training_set)
    snapshot = join(training_set)
    labels = snapshot.labels_of(np.array([2, 1, 0]))
    found = [
        (int(row), snapshot.class_ids[class_], int(value))
        for row, class_, value, _ in zip(*vars(labels).values(), strict=True)
    ]
    assert found == [(0, "dog", -1), (0, "teapot", 1), (2, "dog", 1)]


def test_silence_about_an_exhaustive_photo_means_false_only_of_classes_that_exhaustive_labels_name(
    tmp_path: Path,
) -> None:
    training_set = some_set(tmp_path)
    photos, whole = [f"p{number}" for number in range(6)], [("p0", "dog", 1), ("p1", "dog", -1), ("p2", "dog", 1)]
    corrected = [("p0", "sky", 1), ("p1", "sky", -1), ("p5", "sky", 1)]
    history = joined_photos(photos, 0), labelled(whole, "labels", True), labelled(corrected, "corrections", False)
    for step in history:
        step(training_set)
    before = update(training_set, ancestors, LocalWorkers(1)).sums
    moments = before.statistics.moments(training_set.scale, before.snapshot.closed)
    assert dict(zip(before.snapshot.class_ids, moments.positives.tolist(), strict=True)) == {"dog": 2, "sky": 2}
    assert dict(zip(before.snapshot.class_ids, moments.negatives.tolist(), strict=True)) == {"dog": 1, "sky": 1}
    labelled([("p3", "sky", -1)], "labels", True)(training_set)  # from now on they are about the sky, too
    after = update(training_set, ancestors, LocalWorkers(1)).sums
    moments = after.statistics.moments(training_set.scale, after.snapshot.closed)
    assert dict(zip(after.snapshot.class_ids, moments.negatives.tolist(), strict=True)) == {"dog": 2, "sky": 3}
    afresh = update(training_set, ancestors, LocalWorkers(1), afresh=True).sums
    assert_same_statistics(after.statistics, afresh.statistics)
