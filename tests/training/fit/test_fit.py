"""Training on drawn features: the quality of the classifiers, and equal results with any workers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autotag.errors import JobError
from autotag.jobs.spark import SparkWorkers
from autotag.jobs.workers import LocalWorkers, Workers
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.fit import Training, Wanted, train
from models.fixed_point import from_fixed
from tests.drawn_features import SCALE, Drawn

HERE = LocalWorkers(1)
CLEAR = {f"clear {number}": (0.05, 6.0) for number in range(4)}
DRAWN = Drawn({**CLEAR, "dim": (0.05, 3.5), "noise": (0.05, 0.0), "rare": (0.0, 6.0), "everywhere": (0.6, 6.0)})


def trained(training_set: TrainingSet, workers: Workers = HERE, **wanted: float) -> Training:
    return train(training_set, lambda _: (), Wanted(**wanted), workers)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    training_set = DRAWN.new_set(tmp_path_factory.mktemp("set"))
    DRAWN.add(training_set, 3000)
    return training_set


@pytest.fixture(scope="module")
def done(drawn_set: TrainingSet) -> Training:
    return trained(drawn_set)


def place(done: Training, class_id: str) -> int:
    return done.snapshot.class_ids.index(class_id)


def said(done: Training, features: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the tags of photos, bool [photos, classes], in the order of `DRAWN.ids`."""
    z = from_fixed(features, SCALE) @ done.classifiers.weights + done.classifiers.biases
    probabilities = done.calibration.probabilities(z.T.astype(np.float64)).T
    found = probabilities >= done.calibration.thresholds
    return found[:, [place(done, id_) for id_ in DRAWN.ids]]


# How good they are


def test_clear_classes_are_found_and_what_is_noise_is_left_out(done: Training) -> None:
    for id_ in CLEAR:
        at = place(done, id_)
        assert id_ not in done.left_out
        assert done.quality.average_precision[at] > 0.95
        assert done.quality.recall[at] > 0.9
    assert done.quality.average_precision[place(done, "noise")] < 0.15
    assert "never reached" in done.left_out["noise"]
    assert done.left_out["rare"] == "no photo is labelled TRUE"
    assert [done.snapshot.class_ids[at] for at in done.kept_classes] == sorted(set(DRAWN.ids) - done.left_out.keys())


def test_what_is_said_of_new_photos_is_as_right_as_was_promised(done: Training) -> None:
    features, shows = DRAWN.photos(20_000, seed=5)
    found = said(done, features)
    for column, id_ in enumerate(DRAWN.ids):
        at = place(done, id_)
        if id_ in done.left_out:
            continue
        right = (found & shows)[:, column].sum()
        assert right / found[:, column].sum() > 0.9 - 0.06, id_
        assert right / shows[:, column].sum() == pytest.approx(done.quality.recall[at], abs=0.1), id_


def test_probabilities_of_new_photos_are_true(done: Training) -> None:
    features, shows = DRAWN.photos(20_000, seed=6)
    z = from_fixed(features, SCALE) @ done.classifiers.weights + done.classifiers.biases
    probabilities = done.calibration.probabilities(z.T.astype(np.float64))
    for column, id_ in enumerate(DRAWN.ids[:5]):
        p = probabilities[place(done, id_)]
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            some = (p >= low) & (p < low + 0.2)
            if some.sum() > 200:
                assert shows[some, column].mean() == pytest.approx(p[some].mean(), abs=0.1), (id_, low)
    assert done.error_after < 0.02
    assert done.error_after < done.error_before + 0.005


def test_labels_that_mean_nothing_are_not_said_to_be_learned(tmp_path: Path) -> None:
    """Measured on photos that it was trained on, noise would seem good: 120 photos have 60 features."""
    drawn = Drawn({f"noise {number}": (0.3, 0.0) for number in range(20)}, dim=60)
    training_set = drawn.new_set(tmp_path)
    drawn.add(training_set, 120)
    done = trained(training_set, precision=0.7)
    assert done.quality.average_precision.mean() < 0.42
    assert done.strengths
    assert max(done.strengths.values()) < 0.42
    reached = np.isfinite(done.calibration.least_scores)
    assert not (done.quality.precision[reached] * done.quality.recall[reached] > 0.35).any()


def test_the_same_said_in_two_ways_gives_the_same_classifiers(
    drawn_set: TrainingSet, done: Training, tmp_path: Path
) -> None:
    partial = DRAWN.new_set(tmp_path)
    DRAWN.add(partial, 3000, exhaustive=False)
    found = trained(partial)
    assert found.positives.tolist() == done.positives.tolist()
    assert found.negatives.tolist() == done.negatives.tolist()
    np.testing.assert_allclose(found.classifiers.weights, done.classifiers.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.calibration.slopes, done.calibration.slopes, rtol=1e-3)


def test_a_sample_of_the_photos_gives_the_thresholds_that_all_do(drawn_set: TrainingSet, done: Training) -> None:
    sampled = trained(drawn_set, sample=1000)
    for id_ in CLEAR:
        at = place(done, id_)
        assert sampled.calibration.slopes[at] == pytest.approx(done.calibration.slopes[at], rel=0.15)
        assert sampled.quality.recall[at] == pytest.approx(done.quality.recall[at], abs=0.1)
        assert sampled.quality.weights[at].sum() == pytest.approx(done.quality.weights[at].sum())


# Classes that cannot be


def test_classes_of_one_positive_or_of_no_negatives_are_left_out_with_the_reason(tmp_path: Path) -> None:
    drawn = Drawn({"clear": (0.2, 6.0), "one": (0.0, 6.0), "only": (0.0, 6.0)})
    training_set = drawn.new_set(tmp_path)
    drawn.add(training_set, 400, exhaustive=True)
    ids = [f"photo-0-{number:06d}" for number in range(400)]
    values = np.zeros((400, 3), np.int8)
    values[0, 1] = 1
    drawn.label(training_set, ids, values, exhaustive=False)
    done = trained(training_set)
    assert done.left_out == {
        "one": "precision 0.9 is never reached, with 1 positives",
        "only": "no photo is labelled TRUE",
    }
    partial = drawn.new_set(tmp_path / "partial")
    drawn.add(partial, 400, exhaustive=False)
    values[:, 1], values[:, 2] = 0, 1
    drawn.label(partial, ids, values, exhaustive=False)
    assert trained(partial).left_out["only"].startswith("no photo is labelled FALSE: label some")
    for array in (*astuple(trained(partial).classifiers), *astuple(trained(partial).calibration)[:3]):
        assert np.isfinite(array).all()


def test_a_class_that_finds_too_little_is_left_out(drawn_set: TrainingSet) -> None:
    left_out = trained(drawn_set, least_recall=0.99).left_out
    assert left_out["dim"].startswith("its recall at precision 0.9 is ")
    assert left_out["dim"].endswith(", less than 99%")


def test_without_photos_or_labels_it_is_said_what_to_do(tmp_path: Path) -> None:
    training_set = DRAWN.new_set(tmp_path)
    with pytest.raises(JobError, match="holds no photos: autotag join --photos"):
        trained(training_set)
    training_set.write_part("0" * 32, [("a", "file:///a")], np.ones((1, DRAWN.dim), np.int16), 1)
    with pytest.raises(JobError, match="none of its 1 photos shows a class: autotag join --labels"):
        trained(training_set)
    DRAWN.label(training_set, ["a"], np.ones((1, len(DRAWN.ids)), np.int8), exhaustive=True)
    with pytest.raises(JobError, match="1 photos are too few"):
        trained(training_set)


@pytest.mark.parametrize("photos", range(2, 12, 3))
def test_a_few_photos_are_trained_on_without_a_word(tmp_path: Path, photos: int) -> None:
    drawn = Drawn({"half": (0.5, 6.0), "always": (1.0, 6.0)})
    training_set = drawn.new_set(tmp_path)
    drawn.add(training_set, photos, seed=3)
    done = trained(training_set)
    assert done.left_out.keys() == {"half", "always"}


# The same, whatever the way


def assert_same(one: Training, other: Training) -> None:
    """Compare bit for bit."""
    assert one.strengths == other.strengths
    assert one.left_out == other.left_out
    for mine, theirs in (
        (one.classifiers, other.classifiers),
        (one.calibration, other.calibration),
        (one.quality, other.quality),
    ):
        for first, second in zip(astuple(mine), astuple(theirs), strict=True):
            assert first.tobytes() == second.tobytes()
    assert one.scores.write() == other.scores.write()


@pytest.fixture(scope="module")
def large_set(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Return a set with more photos than one process adds up alone, and several blocks of scores."""
    wide = Drawn({f"class {number}": (0.05, 4.0) for number in range(60)}, dim=160)
    training_set = wide.new_set(tmp_path_factory.mktemp("large"))
    wide.add(training_set, 24_000)
    return training_set


@pytest.fixture
def others(request: pytest.FixtureRequest) -> Iterator[Workers]:
    made = SparkWorkers("local[2]") if request.param == "spark" else LocalWorkers(request.param)
    with contextlib.closing(made):
        yield made


@pytest.mark.parametrize("others", [2, "spark"], indirect=True)
def test_several_processes_and_spark_make_the_same_classifiers(large_set: TrainingSet, others: Workers) -> None:
    results = []
    for workers in (HERE, others):
        large_set.folder.remove("statistics")
        results.append(trained(large_set, workers, sample=15_000))
    assert_same(*results)


def test_the_threads_that_a_process_is_given_change_nothing(tmp_path: Path) -> None:
    # Of much less BLAS makes no several threads.
    wide = Drawn({f"class {number}": (0.2, 4.0) for number in range(40)}, dim=800)
    training_set = wide.new_set(tmp_path)
    wide.add(training_set, 1500)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            results.append(trained(training_set))
    assert_same(*results)


def test_photos_that_come_later_give_the_classifiers_of_reading_all_at_once(tmp_path: Path) -> None:
    training_set = DRAWN.new_set(tmp_path)
    for seed in range(3):
        DRAWN.add(training_set, 400, seed=seed, exhaustive=seed != 1)
        later = trained(training_set)
    assert later.update.added == 400
    training_set.folder.remove("statistics")
    assert_same(later, trained(training_set))


def test_features_that_were_lost_and_computed_again_are_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training_set = DRAWN.new_set(tmp_path)
    DRAWN.add(training_set, 600, part_photos=100)
    trained(training_set)
    name = training_set.parts()[0]
    rows = training_set.read_part(name)
    # Its file was damaged and removed; then all but one photo could be read again.
    pairs = list(zip(rows["photo_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    training_set.write_part(name, pairs[1:], training_set.fixed_features(rows)[1:], 9)
    with caplog.at_level(logging.WARNING):
        done = trained(training_set)
    assert "read again" in caplog.text
    assert len(done.snapshot) == 599
    training_set.folder.remove("statistics")
    assert_same(done, trained(training_set))
