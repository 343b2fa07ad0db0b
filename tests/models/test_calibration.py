"""Scores to probabilities and thresholds, from counts in bins; what is said of them is judged by other photos."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from models import calibration
from models.calibration import average_precision, calibrate, reliability, uncalibrated
from models.moments import FOLDS
from models.score_counts import BINS, ScoreCounts

Counts = NDArray[np.float64]


def counts_of(positives: NDArray[np.int32], negatives: NDArray[np.int32]) -> ScoreCounts:
    """Counts of arrays [folds, classes, bins]."""
    counts = ScoreCounts(np.full(positives.shape[1], 3, np.float32))
    counts.positives[:], counts.negatives[:] = positives, negatives
    return counts


def drawn_counts(
    photos: int, classes: int = 3, distance: float = 3.0, share: float = 0.1, seed: int = 0
) -> ScoreCounts:
    """Counts of photos whose scores are normal: negatives around 0, positives around `distance`."""
    draw = np.random.default_rng(seed)
    counts = ScoreCounts(np.full(classes, distance, np.float32))
    for fold in range(FOLDS):
        for class_ in range(classes):
            shows = draw.random(photos // FOLDS) < share
            scores = (draw.normal(0, 1, len(shows)) + shows * distance).astype(np.float32)
            for positive in (True, False):
                some = scores[shows == positive]
                folds, places = np.full(len(some), fold), np.full(len(some), class_)
                counts.add(folds, some, places, positive=positive)
    return counts


def ones(counts: ScoreCounts) -> Counts:
    return np.ones(counts.positives.shape[1])


small_counts = arrays.arrays(np.int32, (FOLDS, 2, BINS), elements=st.integers(0, 5), fill=st.just(0))


# Bins


@given(arrays.arrays(np.float32, 30, elements=st.floats(-50, 50, width=32)), st.floats(0, 20, width=32))
def test_a_score_is_in_the_bin_between_whose_edges_it_lies(scores: NDArray[np.float32], mean: float) -> None:
    counts = ScoreCounts(np.array([mean, 1], np.float32))
    bins = counts.bins(scores, np.zeros(30, np.int64))
    lower, width = counts.edges[0, bins], counts.edges[0, 1] - counts.edges[0, 0]
    inside = (bins > 0) & (bins < BINS - 1)
    assert (np.abs(scores - lower - width / 2)[inside] <= width * (0.5 + 1e-3)).all()
    assert (scores[bins == 0] < counts.edges[0, 1] + 1e-3).all()
    assert (scores[bins == BINS - 1] > counts.edges[0, -1] - 1e-3).all()
    np.testing.assert_array_equal(counts.bins(np.stack([scores, scores], axis=1))[:, 0], bins)


def test_the_bins_reach_beyond_both_means() -> None:
    counts = ScoreCounts(np.array([0, 7], np.float32))
    assert (counts.edges[:, 0] <= -5).all()
    assert (counts.edges[:, -1] > [5, 14]).all()


@given(arrays.arrays(np.float32, (9, 2), elements=st.floats(-9, 19, width=32) | st.just(-np.inf)))
def test_negatives_are_counted_together_as_they_are_one_by_one(scores: NDArray[np.float32]) -> None:
    together, single = ScoreCounts(np.ones(2, np.float32)), ScoreCounts(np.ones(2, np.float32))
    together.add_negatives(3, scores)
    for row in scores:
        for class_, value in enumerate(row):
            if np.isfinite(value):
                single.add(np.array([3]), np.array([value]), np.array([class_]), positive=False)
    np.testing.assert_array_equal(together.negatives, single.labelled_negatives)


@given(small_counts, small_counts)
def test_counts_are_added(first: NDArray[np.int32], second: NDArray[np.int32]) -> None:
    one, other = counts_of(first, second), counts_of(second, first)
    other.labelled_negatives += first
    one.merge(other)
    np.testing.assert_array_equal(one.positives, first + second)
    np.testing.assert_array_equal(one.negatives, first + second)
    np.testing.assert_array_equal(
        one.weighted_negatives(np.array([2.0, 3.0]))[:, 1], 3 * (first + second)[:, 1] + first[:, 1]
    )


# Average precision


@given(
    arrays.arrays(np.float64, (2, 12), elements=st.integers(0, 4).map(float)),
    arrays.arrays(np.float64, (2, 12), elements=st.integers(0, 4).map(float)),
)
def test_average_precision_is_the_mean_of_the_precision_at_each_positive(positives: Counts, negatives: Counts) -> None:
    found = average_precision(positives, negatives)
    for class_ in range(2):
        at_each = [
            positives[class_, place:].sum() / (positives[class_, place:].sum() + negatives[class_, place:].sum())
            for place in range(12)
            for _ in range(int(positives[class_, place]))
        ]
        assert found[class_] == pytest.approx(np.mean(at_each) if at_each else 0)


# Probabilities


def loss(slope: float, offset: float, positives: Counts, negatives: Counts, scores: Counts, typical: float) -> float:
    """Return the negative log probability of the curve, by the scores and by the prior, half as wide as `typical`."""
    x = slope * scores + offset
    cost = positives * np.logaddexp(0, -x) + negatives * np.logaddexp(0, x)
    return float(cost.sum() + ((slope - typical) * 2 / typical) ** 2 / 2)


@pytest.mark.parametrize(
    ("positives", "negatives", "distance"),
    [(1000, 1000, 2.0), (5, 5000, 3.0), (1, 1_000_000, 4.0), (300, 10, 1.0), (50, 50, 12.0), (20, 400, 0.0)],
)
def test_the_curve_is_the_one_that_fits_best(positives: int, negatives: int, distance: float) -> None:
    centres = ScoreCounts(np.array([max(distance, 0)], np.float32)).centres
    shares = [np.exp(-((centres - mean) ** 2) / 2) for mean in (distance, 0.0)]
    true, false = (many * share / share.sum() for many, share in zip((positives, negatives), shares, strict=True))
    for typical in (0.7, 3.0):
        (slope,), (offset,) = calibration._platt(true, false, centres, typical, 0.5)
        best = loss(slope, offset, true, false, centres, typical)
        for step in (1e-2, 1e-3):
            for direction in np.linspace(0, 2 * math.pi, 16):
                near = slope + step * math.cos(direction), offset + step * math.sin(direction)
                if near[0] >= typical / 20:
                    assert loss(*near, true, false, centres, typical) >= best - 1e-9 * best


def test_probabilities_are_true_of_normal_scores() -> None:
    counts = drawn_counts(200_000, classes=1, distance=3.0, share=0.02)
    made, quality = calibrate(counts, 0.9, ones(counts))
    # Two normal distributions 3 apart, 2 % positives: slope 3, and offset log(0.02 / 0.98) - 9 / 2.
    assert made.slopes[0] == pytest.approx(3, rel=0.03)
    assert made.offsets[0] == pytest.approx(math.log(0.02 / 0.98) - 4.5, rel=0.03)
    assert quality.calibration_errors[0] < 0.001
    filled = quality.weights[0] > 200
    np.testing.assert_allclose(quality.predicted[0, filled], quality.observed[0, filled], atol=0.05)


def test_normal_scores_of_equal_spread_need_no_calibration() -> None:
    made = uncalibrated(np.array([3, 0], np.float32), np.array([0.02, 0.5]))
    assert made.slopes.tolist() == [3, 0]
    assert made.offsets[0] == pytest.approx(math.log(0.02 / 0.98) - 4.5)
    np.testing.assert_allclose(made.probabilities(np.array([[1.5], [7.0]])), [[0.02], [0.5]])
    assert np.isfinite(uncalibrated(np.zeros(2, np.float32), np.array([0.0, 1.0])).offsets).all()


def test_a_class_of_few_positives_is_the_steeper_the_steeper_the_others_are() -> None:
    slopes = []
    for distance in (1.0, 2.0, 4.0):
        counts = drawn_counts(5000, classes=10, distance=distance)
        for array in (counts.positives, counts.labelled_negatives):
            array[:, 9] = 0
        counts.positives[0, 9, counts.bins(np.array([3], np.float32), np.array([9]))] = 1
        counts.labelled_negatives[:, 9, counts.bins(np.zeros(1, np.float32), np.array([9]))] = 900
        made, _ = calibrate(counts, 0.9, ones(counts))
        slopes.append(made.slopes[9])
    assert slopes[0] < slopes[1] < slopes[2]


@given(small_counts, small_counts, st.floats(0.05, 0.95), st.floats(1, 100))
def test_every_calibration_can_be_kept_in_a_bank(
    positives: NDArray[np.int32], negatives: NDArray[np.int32], wanted: float, weight: float
) -> None:
    counts = counts_of(positives, negatives)
    made, quality = calibrate(counts, wanted, np.full(2, weight))
    assert (made.slopes > 0).all()
    assert np.isfinite(made.offsets).all()
    kept = made.thresholds.astype(np.float32)
    assert ((kept > 0) & (kept <= 1)).all()
    assert ((kept == 1) == np.isinf(made.least_scores)).all()
    for array in (quality.average_precision, quality.recall, quality.predicted, quality.observed):
        assert ((array >= 0) & (array <= 1 + 1e-9)).all()
    assert (np.isnan(quality.precision) == (quality.recall == 0)).all() or negatives.any()
    assert np.isfinite(quality.calibration_errors).all()


def test_a_threshold_that_is_all_but_sure_is_reached_still_once_it_is_kept() -> None:
    counts = drawn_counts(2000, classes=1, distance=40.0)
    counts.labelled_negatives[:, 0, -2] += 20  # mislabelled: only the very surest are right often enough
    counts.positives[:, 0, -1] += 2000
    made, _ = calibrate(counts, 0.95, ones(counts))
    assert made.thresholds.astype(np.float32)[0] < 1


def test_no_classes_are_calibrated_too() -> None:
    made, quality = calibrate(ScoreCounts(np.zeros(0, np.float32)), 0.9, np.zeros(0))
    assert made.slopes.shape == quality.precision.shape == (0,)


# Thresholds


def least_score(counts: ScoreCounts, folds: list[int], class_: int, wanted: float, weight: float) -> float:
    """Compute by a plain loop the lowest bin edge, with positives and enough precision, one negative added."""
    for place in range(BINS):
        if not counts.positives[folds, class_, place].any():
            continue
        true = counts.positives[folds, class_, place:].sum()
        false = counts.negatives[folds, class_, place:].sum() * weight + weight
        if true / (true + false) >= wanted:
            return float(counts.edges[class_, place])
    return math.inf


@given(small_counts, small_counts, st.floats(0.05, 0.95), st.sampled_from([1.0, 2.5]))
def test_the_threshold_is_the_lowest_at_which_so_many_are_right(
    positives: NDArray[np.int32], negatives: NDArray[np.int32], wanted: float, weight: float
) -> None:
    counts = counts_of(positives, negatives)
    made, _ = calibrate(counts, wanted, np.full(2, weight))
    for class_ in range(2):
        assert made.least_scores[class_] == pytest.approx(
            least_score(counts, list(range(FOLDS)), class_, wanted, weight)
        )


@given(small_counts, small_counts, st.floats(0.05, 0.95))
def test_quality_is_of_each_fold_by_what_the_others_made(
    positives: NDArray[np.int32], negatives: NDArray[np.int32], wanted: float
) -> None:
    counts = counts_of(positives, negatives)
    _, quality = calibrate(counts, wanted, ones(counts))
    for class_ in range(2):
        true = false = 0
        for fold in range(FOLDS):
            others = [other for other in range(FOLDS) if other != fold]
            said = counts.edges[class_] >= least_score(counts, others, class_, wanted, 1)
            true += int(positives[fold, class_, said].sum())
            false += int(negatives[fold, class_, said].sum())
        assert quality.recall[class_] == pytest.approx(true / max(positives[:, class_].sum(), 1))
        if true + false:
            assert quality.precision[class_] == pytest.approx(true / (true + false))
        else:
            assert math.isnan(quality.precision[class_])


def test_scores_that_mean_nothing_are_not_said_to_be_precise() -> None:
    counts = drawn_counts(200, classes=300, distance=0.0, share=0.5)
    made, quality = calibrate(counts, 0.6, ones(counts))
    reached = np.isfinite(made.least_scores)
    assert reached.sum() > 50  # by chance, somewhere in a class's scores
    assert np.nanmean(quality.precision[reached]) < 0.55  # half of all photos are positives
    assert quality.average_precision.mean() < 0.6


def test_a_class_needs_nine_positives_to_be_right_nine_times_in_ten() -> None:
    for many, reached in ((8, False), (9, True)):
        counts = ScoreCounts(np.full(1, 5, np.float32))
        counts.positives[0, 0, 200] = many
        counts.negatives[:, 0, 50] = 1000
        made, _ = calibrate(counts, 0.9, ones(counts))
        assert np.isfinite(made.least_scores[0]) == reached


def test_negatives_that_stand_for_several_count_as_so_many() -> None:
    sampled = drawn_counts(20_000, classes=2)
    sampled.negatives, sampled.labelled_negatives = sampled.labelled_negatives, sampled.negatives
    every = counts_of(sampled.positives, 5 * sampled.negatives)
    made, quality = calibrate(sampled, 0.9, np.full(2, 5.0))
    wanted, all_quality = calibrate(every, 0.9, np.ones(2))
    np.testing.assert_allclose(made.slopes, wanted.slopes)
    np.testing.assert_allclose(made.offsets, wanted.offsets)
    np.testing.assert_allclose(quality.average_precision, all_quality.average_precision)
    np.testing.assert_allclose(quality.weights, all_quality.weights)


# Reliability


@given(
    arrays.arrays(np.float64, (2, 20), elements=st.floats(0, 1)),
    arrays.arrays(np.float64, (2, 20), elements=st.integers(0, 3).map(float)),
    arrays.arrays(np.float64, (2, 20), elements=st.integers(0, 3).map(float)),
)
def test_reliability_sums_what_falls_into_each_bin(probabilities: Counts, positives: Counts, negatives: Counts) -> None:
    found = reliability(probabilities, positives, negatives)
    wanted: dict[tuple[int, int], Any] = {}
    for class_ in range(2):
        for p, true, false in zip(probabilities[class_], positives[class_], negatives[class_], strict=True):
            sums = wanted.setdefault((class_, min(int(p * 10), 9)), np.zeros(3))
            sums += [true + false, (true + false) * p, true]
    for class_ in range(2):
        for place in range(10):
            np.testing.assert_allclose(found[:, class_, place], wanted.get((class_, place), np.zeros(3)), atol=1e-9)
