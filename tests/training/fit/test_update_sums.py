"""Updated sums equal, byte for byte, the sums of reading all photos again."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autotag.errors import InputError
from autotag.jobs.workers import LocalWorkers, Workers
from autotag.storage.folder import Folder
from autotag.training.dataset.snapshot import StaleStatisticsError
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit import scratch
from autotag.training.fit import update_sums as statistics_module
from autotag.training.fit.saved_sums import SavedSums, latest, save
from autotag.training.fit.update_sums import Update, part_rows, read_features, split, together, update
from tests.set_histories import (
    PHOTOS,
    Step,
    ancestors,
    assert_same_snapshot,
    assert_same_statistics,
    compacted,
    histories,
    joined_photos,
    labelled,
    new_set,
    removed,
    some_set,
)

HERE = LocalWorkers(1)


class Killed(BaseException):
    """Stands for kill -9: no code runs after it."""


@pytest.fixture
def training_set(tmp_path: Path) -> TrainingSet:
    """Return a set with photos, labels of all kinds, and a removal."""
    found = some_set(tmp_path)
    for step in (
        joined_photos(PHOTOS[:4], 1),
        joined_photos(PHOTOS[3:], 2),
        labelled([(PHOTOS[0], "spaniel", 1), (PHOTOS[1], "teapot", -1), (PHOTOS[4], "teapot", 1)], "labels", False),
        labelled([(PHOTOS[2], "dog", 1), (PHOTOS[5], "dog", 0)], "labels", True),
        removed([PHOTOS[1]]),
    ):
        step(found)
    return found


def updated(training_set: TrainingSet, workers: Workers = HERE) -> Update:
    return update(training_set, ancestors, workers)


def assert_as_afresh(training_set: TrainingSet, sums: SavedSums) -> None:
    afresh = update(training_set, ancestors, HERE, afresh=True).sums
    assert_same_snapshot(sums.snapshot, afresh.snapshot)
    assert_same_statistics(sums.statistics, afresh.statistics)


@contextlib.contextmanager
def killed_at_write(number: int) -> Iterator[None]:
    """Raise `Killed` at the given number of writes and removals, as if the process were killed there."""
    done = 0

    def killing(name: str) -> None:
        nonlocal done
        done += 1
        if done > number:
            raise Killed(name)

    with pytest.MonkeyPatch.context() as patch:
        for method in ("write", "remove"):
            true = getattr(Folder, method)

            def first(self: Folder, name: str, *rest: bytes, true=true) -> None:  # type: ignore[no-untyped-def]
                killing(name)
                true(self, name, *rest)

            patch.setattr(Folder, method, first)
        yield


# The same as reading everything again


@given(st.lists(st.tuples(histories, st.booleans()), min_size=1, max_size=4))
@hypothesis_settings(max_examples=25)
def test_whatever_comes_and_goes_the_statistics_are_those_of_reading_everything_again(
    steps: list[tuple[list[Step], bool]],
) -> None:
    with new_set() as training_set:
        for history, compacts in steps:
            for step in history:
                step(training_set)
            sums = updated(training_set).sums
            if compacts:
                compacted(training_set)
        assert_as_afresh(training_set, sums)


@given(histories, histories, st.integers(0, 9))
@hypothesis_settings(max_examples=25)
def test_killed_between_any_two_writes_the_next_training_goes_on(
    before: list[Step], then: list[Step], number: int
) -> None:
    with new_set() as training_set:
        for step in before:
            step(training_set)
        updated(training_set)
        for step in then:
            step(training_set)
        with killed_at_write(number), contextlib.suppress(Killed):
            updated(training_set)
            compacted(training_set)
        assert_as_afresh(training_set, updated(training_set).sums)


def test_only_what_has_changed_is_read(training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    updated(training_set)
    joined_photos(["new"], 3)(training_set)
    read: list[str] = []
    true = TrainingSet.read_part

    def reading(self: TrainingSet, name: str, columns: list[str]) -> object:
        read.append(name)
        return true(self, name, columns)

    old = set(training_set.parts()[:2])
    monkeypatch.setattr(TrainingSet, "read_part", reading)
    done = updated(training_set)
    assert (done.taken_away, done.added) == (0, 1)
    assert read
    assert old.isdisjoint(read)


def test_a_label_that_changes_moves_its_photo_alone(training_set: TrainingSet) -> None:
    updated(training_set)
    labelled([(PHOTOS[0], "teapot", 1)], "corrections", False)(training_set)
    done = updated(training_set)
    assert (done.taken_away, done.added) == (1, 1)
    assert_as_afresh(training_set, done.sums)


def test_nothing_new_writes_nothing(training_set: TrainingSet) -> None:
    updated(training_set)
    before = training_set.folder.files()
    done = updated(training_set)
    assert (done.taken_away, done.added) == (0, 0)
    assert training_set.folder.files() == before


def test_several_processes_add_up_to_the_same(training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_module, "_FEW", 0)
    updated(training_set)
    for step in (joined_photos(PHOTOS[:3], 9), removed([PHOTOS[5]]), labelled([("x", "pet", 1)], "labels", False)):
        step(training_set)
    told: list[tuple[str, int, int | None]] = []
    with contextlib.closing(LocalWorkers(2)) as workers:
        done = update(training_set, ancestors, workers, lambda *one: told.append(one))
    changed = done.taken_away + done.added
    assert done.added == 3
    assert (told[0], told[-1]) == (("adding up", 0, changed), ("adding up", changed, changed))
    assert_as_afresh(training_set, done.sums)
    assert training_set.folder.folder("work").names() == []


def test_two_trainings_at_once_both_keep_what_is_true(training_set: TrainingSet) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(updated, [training_set] * 2)
    assert_same_statistics(first.sums.statistics, second.sums.statistics)
    found = latest(training_set)
    assert found is not None
    assert_same_statistics(found.statistics, first.sums.statistics)


def test_of_a_training_that_began_before_a_removal_and_ended_after_it_the_next_recovers(
    training_set: TrainingSet,
) -> None:
    updated(training_set)
    statistics = training_set.folder.folder("statistics")
    slow = {name: training_set.folder.read(f"statistics/{name}") for name in statistics.files()}
    removed([PHOTOS[0]])(training_set)
    updated(training_set)
    compacted(training_set)
    for name, data in slow.items():
        statistics.write(f"000009{name[6:]}", data)
    with pytest.raises(StaleStatisticsError, match=r"have no photo 'photo 0' any more"):
        updated(training_set)
    assert_as_afresh(training_set, update(training_set, ancestors, HERE, afresh=True).sums)
    assert updated(training_set).added == 0


# Saved sums


def test_the_last_two_are_kept(training_set: TrainingSet) -> None:
    for number in range(4):
        joined_photos([f"new {number}"], number)(training_set)
        updated(training_set)
    names = training_set.folder.folder("statistics").names()
    assert [name[:6] for name in names] == ["000003", "000004"]


@pytest.mark.parametrize("file", ["arrays.npz", "snapshot.parquet", "done.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "[]", "{}"])
def test_what_is_damaged_is_left_out_with_a_warning_and_made_again(
    training_set: TrainingSet, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = updated(training_set).sums
    folder = training_set.folder.folder("statistics")
    name = f"{folder.names()[0]}/{file}"
    data = folder.read(name)
    if damage == "gone":
        folder.remove(name)
    else:
        changed = {"cut": data[:-1], "changed": data[:20] + bytes([data[20] ^ 1]) + data[21:]}
        folder.write(name, changed.get(damage, damage.encode()))
    with caplog.at_level(logging.WARNING):
        assert latest(training_set) is None
    assert "these sums are damaged" in caplog.text
    done = updated(training_set)
    assert done.added == len(wanted.snapshot)
    assert_same_statistics(done.sums.statistics, wanted.statistics)


def test_where_the_newest_is_damaged_the_one_before_counts(training_set: TrainingSet) -> None:
    updated(training_set)
    joined_photos(["new"], 3)(training_set)
    updated(training_set)
    folder = training_set.folder.folder("statistics")
    folder.remove(f"{folder.names()[-1]}/done.json")
    done = updated(training_set)
    assert done.added == 1
    assert_as_afresh(training_set, done.sums)


def test_statistics_of_another_number_of_folds_are_made_again(training_set: TrainingSet) -> None:
    sums = updated(training_set).sums
    sums.statistics.counts = sums.statistics.counts[:2]
    training_set.folder.remove("statistics")
    save(training_set, sums)
    assert updated(training_set).added == len(PHOTOS) - 1


def test_a_file_of_features_that_is_damaged_is_named_with_what_to_do(training_set: TrainingSet) -> None:
    name = f"features/{training_set.parts()[0]}.parquet"
    training_set.folder.write(name, training_set.folder.read(name)[:-9])
    with pytest.raises(InputError, match=rf"{name}: .*; remove the file"):
        updated(training_set)
    assert latest(training_set) is None


def test_a_file_of_features_that_is_lost_is_no_longer_counted(training_set: TrainingSet) -> None:
    updated(training_set)
    training_set.folder.remove(f"features/{training_set.parts()[0]}.parquet")
    with pytest.raises(StaleStatisticsError, match="train again"):
        updated(training_set)
    done = update(training_set, ancestors, HERE, afresh=True)
    assert len(done.sums.snapshot) == 4
    assert updated(training_set).added == 0


def test_what_killed_trainings_left_goes_a_week_later(
    training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = training_set.folder
    folder.write(f"work/1-{'0' * 32}/0.npz", b"left")
    with scratch.work_folder(folder) as other:
        folder.write(f"{other}/0.npz", b"at work")
        with scratch.work_folder(folder) as mine:
            folder.write(f"{mine}/0.npz", b"mine")
            assert folder.folder("work").names() == sorted([other[5:], mine[5:]])
        assert folder.folder("work").names() == [other[5:]]
    assert folder.folder("work").names() == []


# Pieces


def test_features_come_in_the_order_of_the_photos(training_set: TrainingSet) -> None:
    snapshot = updated(training_set).sums.snapshot
    for rows in part_rows(snapshot, np.arange(len(snapshot))[::-1]):
        table = training_set.read_part(rows.part)
        by_id = dict(zip(table["photo_id"].to_pylist(), training_set.fixed_features(table).tolist(), strict=True))
        assert read_features(training_set, rows).tolist() == [by_id[id_] for id_ in rows.photo_ids]
        assert snapshot.photo_ids.take(rows.places).to_pylist() == list(rows.photo_ids)


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 5), st.integers(1, 20))
def test_pieces_are_cut_in_order_and_nothing_is_lost(sizes: list[int], count: int, photos: int) -> None:
    class Rows:
        def __init__(self, size: int) -> None:
            self.photo_ids = ("x",) * size

    rows = [Rows(size) for size in sizes]
    lists = split(rows, count)  # type: ignore[arg-type]
    assert [one for some in lists for one in some] == rows
    assert len(lists) <= count
    assert all(lists)
    blocks = list(together(rows, photos))  # type: ignore[arg-type]
    assert [one for some in blocks for one in some] == rows
    assert all(sum(len(one.photo_ids) for one in some) >= photos for some in blocks[:-1])
    assert all(sum(len(one.photo_ids) for one in some[:-1]) < photos for some in blocks)


def test_what_is_kept_says_which_photos_it_is_of(training_set: TrainingSet) -> None:
    updated(training_set)
    folder = training_set.folder.folder("statistics")
    found = latest(training_set)
    assert found is not None
    assert found.snapshot.photo_ids.to_pylist() == sorted(set(PHOTOS) - {PHOTOS[1]})
    assert found.statistics.counts[:, 0].sum() == len(PHOTOS) - 1
    assert set(json.loads(folder.read(f"{folder.names()[0]}/done.json"))) == {"arrays.npz", "snapshot.parquet"}
