"""Scores equal those of a plain loop, with any workers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autotag.jobs.workers import LocalWorkers, Workers
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit import scoring
from autotag.training.fit.scoring import MISTAKES, Extremes, Scores, score
from autotag.training.fit.update_sums import update
from models.fixed_point import from_fixed
from models.moments import FOLDS
from models.ridge import Classifiers
from models.score_counts import ScoreCounts
from tests.set_histories import labelled, some_set
from tests.training_sets import features_of

DIM, CLASSES = 6, 4
HERE = LocalWorkers(1)


def drawn_set(path: Path, photos: int = 300) -> TrainingSet:
    """Return a set of several files: photos with exhaustive labels for all classes but one, single labels, or none."""
    draw = np.random.default_rng(0)
    training_set = some_set(path, DIM)
    ids = [f"photo {number}" for number in range(photos)]
    for number, some in enumerate(np.split(np.array(ids), [7, 90, 91, 200])):
        features = draw.normal(0, 100, (len(some), DIM)).astype(np.int16)
        training_set.write_part(f"{number:032x}", [(id_, "file:///x") for id_ in some.tolist()], features, 1)
    half = photos // 2
    for some, classes, exhaustive in ((ids[:half], 3, True), (ids[half // 2 : 2 * half - 20], CLASSES, False)):
        rows = [
            (id_, f"class {class_}", int(draw.choice([-1, 0, 1, 1])))
            for id_ in some
            for class_ in draw.choice(classes, 2, False)
        ]
        labelled(rows, "labels", exhaustive)(training_set)
    return training_set


@pytest.fixture
def training_set(tmp_path: Path) -> TrainingSet:
    return drawn_set(tmp_path)


def snapshot_of(training_set: TrainingSet) -> Snapshot:
    return update(training_set, lambda _: (), HERE).sums.snapshot


def classifiers_by_fold() -> list[Classifiers]:
    draw = np.random.default_rng(1)
    return [
        Classifiers(
            draw.normal(0, 1, (DIM, CLASSES)).astype(np.float32),
            draw.normal(0, 1, CLASSES).astype(np.float32),
            np.ones(CLASSES, np.float32),
        )
        for _ in range(FOLDS)
    ]


def scored(training_set: TrainingSet, sample: int, workers: Workers = HERE) -> Scores:
    snapshot = snapshot_of(training_set)
    found = score(training_set, snapshot, classifiers_by_fold(), np.ones(CLASSES, np.float32), sample, workers)
    assert training_set.folder.folder("work").names() == []
    return found


def plain(
    training_set: TrainingSet, sample: int
) -> tuple[ScoreCounts, list[list[tuple[float, int]]], list[list[tuple[float, int]]]]:
    """Return counts, and for each class the negatives with the highest scores and the positives with the lowest."""
    snapshot = snapshot_of(training_set)
    features = features_of(training_set)
    by_fold = classifiers_by_fold()
    counts = ScoreCounts(np.ones(CLASSES, np.float32))
    exhaustive = np.flatnonzero(snapshot.exhaustive)
    chosen = set(sorted(exhaustive.tolist(), key=lambda place: int(snapshot.hashes()[place]))[:sample])
    false: list[list[tuple[float, int]]] = [[] for _ in range(CLASSES)]
    missed: list[list[tuple[float, int]]] = [[] for _ in range(CLASSES)]
    for place, photo_id in enumerate(snapshot.photo_ids.to_pylist()):
        fold = int(snapshot.folds()[place])
        row = from_fixed(np.array(features[photo_id], np.int16), training_set.scale)
        values = row @ by_fold[fold].weights + by_fold[fold].biases
        here = slice(snapshot.offsets[place], snapshot.offsets[place + 1])
        labels = dict(zip(snapshot.classes[here].tolist(), snapshot.values[here].tolist(), strict=True))
        for class_ in range(CLASSES):
            closed = snapshot.exhaustive[place] and class_ < 3
            value = labels.get(class_, -1 if closed else 0)
            where = class_, counts.bins(values[class_ : class_ + 1], np.array([class_]))[0]
            if value == 1:
                counts.positives[fold][where] += 1
                missed[class_].append((float(-values[class_]), place))
            elif value == -1 and closed and place in chosen:
                counts.negatives[fold][where] += 1
                false[class_].append((float(values[class_]), place))
            elif value == -1 and not closed:
                counts.labelled_negatives[fold][where] += 1
                false[class_].append((float(values[class_]), place))
    return counts, *([sorted(one, reverse=True)[:MISTAKES] for one in some] for some in (false, missed))


def assert_plain(found: Scores, training_set: TrainingSet, sample: int) -> None:
    counts, false, missed = plain(training_set, sample)
    for name in ("positives", "negatives", "labelled_negatives"):
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(counts, name), err_msg=name)
    for extremes, wanted in ((found.false, false), (found.missed, missed)):
        for class_ in range(CLASSES):
            some = extremes.photos[class_] >= 0
            assert extremes.photos[class_, some].tolist() == [place for _, place in wanted[class_]]
            np.testing.assert_allclose(extremes.scores[class_, some], [value for value, _ in wanted[class_]], rtol=1e-4)


@pytest.mark.parametrize("sample", [1000, 40, 0])
@pytest.mark.parametrize("pairs", [1, 10**9])
@pytest.mark.parametrize("together", [50, 10**9])
def test_scores_are_those_of_a_plain_loop(
    training_set: TrainingSet, sample: int, pairs: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_PAIRS", pairs)  # all scores at once, or those that are labelled alone
    monkeypatch.setattr(scoring, "_TOGETHER", together)
    assert_plain(scored(training_set, sample), training_set, sample)


def test_any_number_of_processes_gives_the_same_bytes(
    training_set: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(LocalWorkers(2)) as workers:
        several = scored(training_set, 100, workers)
    assert several.write() == scored(training_set, 100).write()


def test_progress_is_told_of_all_photos_with_labels(training_set: TrainingSet) -> None:
    told: list[tuple[str, int, int | None]] = []
    snapshot = snapshot_of(training_set)
    score(
        training_set,
        snapshot,
        classifiers_by_fold(),
        np.ones(CLASSES, np.float32),
        1000,
        HERE,
        lambda *one: told.append(one),
    )
    photos = np.count_nonzero(snapshot.exhaustive | (np.diff(snapshot.offsets) > 0))
    assert (told[0], told[-1]) == (("scoring", 0, photos), ("scoring", photos, photos))


def test_scores_are_kept_and_taken_back(training_set: TrainingSet) -> None:
    found = scored(training_set, 100)
    back = Scores.read(np.ones(CLASSES, np.float32), found.write())
    assert back.write() == found.write()


def test_no_scores_leave_nothing_behind_when_a_file_cannot_be_read(training_set: TrainingSet) -> None:
    snapshot = snapshot_of(training_set)
    training_set.folder.write(f"features/{training_set.parts()[0]}.parquet", b"damaged")
    with pytest.raises(Exception, match="remove the file"):
        score(training_set, snapshot, classifiers_by_fold(), np.ones(CLASSES, np.float32), 10, HERE)
    assert training_set.folder.folder("work").names() == []


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(-5, 5), st.booleans()), max_size=20), max_size=6),
    st.randoms(use_true_random=False),
)
@hypothesis_settings(max_examples=50)
def test_the_highest_are_kept_in_whatever_order_they_come(
    blocks: list[list[tuple[int, int, bool]]], random: object
) -> None:
    single = [
        (class_, value, place) for place, (class_, value, _) in enumerate(one for block in blocks for one in block)
    ]
    shuffled = list(single)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = Extremes(3), Extremes(3)
    for extremes, rows in ((first, single), (second, shuffled)):
        for start in range(0, len(rows), 7):
            some: NDArray[np.int64] = np.array(rows[start : start + 7])
            extremes.add(some[:, 0], some[:, 1].astype(np.float32), some[:, 2])
    np.testing.assert_array_equal(first.photos, second.photos)
    for class_ in range(3):
        wanted = sorted((-value, place) for one, value, place in single if one == class_)[:MISTAKES]
        found = first.photos[class_][first.photos[class_] >= 0].tolist()
        assert found == [place for _, place in wanted]
        assert first.scores[class_, : len(found)].tolist() == [-value for value, _ in wanted]


@pytest.mark.parametrize("photos", [1, MISTAKES - 1, MISTAKES, 50])
def test_all_scores_at_once_have_the_same_highest_as_one_by_one(photos: int) -> None:
    draw = np.random.default_rng(photos)
    together, single = Extremes(5), Extremes(5)
    for block in range(4):
        scores = draw.normal(0, 1, (photos, 5)).astype(np.float32)
        scores[draw.random(scores.shape) < 0.3] = -np.inf
        places = np.arange(photos) + block * photos
        together.add_all(scores, places)
        rows, classes = np.indices(scores.shape)
        single.add(classes.ravel(), scores.ravel(), places[rows.ravel()])
    np.testing.assert_array_equal(together.scores, single.scores)
    np.testing.assert_array_equal(together.photos, single.photos)
