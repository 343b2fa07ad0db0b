"""Frequencies from unlabelled photos, and thresholds that hold where classes are as frequent as that."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.calibration import Calibration, calibrate, expected_quality, fit_thresholds
from models.moments import FOLDS
from models.prior_shift import estimate_frequencies, negative_weight, offset_shift
from models.score_counts import ScoreCounts, ScoreHistogram

DISTANCE = 3.0
"""Of the positives' scores from the negatives', both of which are normal with deviation 1."""
WANTED = 0.9


def drawn(count: int, share: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores of photos, and whether each shows the class."""
    draw = np.random.default_rng(seed)
    shows = draw.random(count) < share
    return (draw.normal(0, 1, count) + DISTANCE * shows).astype(np.float32), shows


def probabilities(scores: NDArray[np.float32], known: float) -> NDArray[np.float64]:
    """The true probabilities [n, 1] of such scores where so many photos show the class."""
    logit = DISTANCE * scores.astype(np.float64) - DISTANCE**2 / 2 + np.log(known / (1 - known))
    return np.asarray(1 / (1 + np.exp(-logit)))[:, None]


def estimated(count: int, share: float, known: float, seed: int = 1) -> float:
    return float(estimate_frequencies(probabilities(drawn(count, share, seed)[0], known), np.array([known]))[0])


def counts_of(scores: NDArray[np.float32], shows: NDArray[np.bool_]) -> ScoreCounts:
    counts = ScoreCounts(np.array([DISTANCE], np.float32))
    folds = (np.arange(len(scores)) % FOLDS).astype(np.int8)
    for positive in (True, False):
        some = shows == positive
        counts.add(folds[some], scores[some], np.zeros(some.sum(), np.int64), positive=positive)
    return counts


def reached(made: Calibration, share: float) -> tuple[float, float]:
    """Precision and recall of its threshold on many other photos."""
    scores, shows = drawn(400_000, share, seed=77)
    said = scores >= made.least_scores[0]
    return shows[said].mean(), said[shows].mean()


# Frequencies


@pytest.mark.parametrize(("share", "known"), [(0.03, 0.3), (0.6, 0.3), (0.3, 0.3), (0.02, 0.5), (0.9, 0.1)])
def test_a_frequency_is_found_whatever_was_known(share: float, known: float) -> None:
    assert estimated(5000, share, known) == pytest.approx(share, rel=0.15)


def test_few_photos_move_a_frequency_little_and_none_not_at_all() -> None:
    known = 0.02
    assert estimated(0, 0.5, known) == pytest.approx(known)
    assert known < estimated(5, 0.5, known) < 0.15
    assert known < estimated(5, 0.5, known) < estimated(50, 0.5, known) < estimated(500, 0.5, known) < 0.5


def test_photos_of_which_none_or_all_show_a_class_leave_a_frequency_between_0_and_1() -> None:
    for share in (0.0, 1.0):
        assert 0 < estimated(1000, share, 0.3) < 1
    assert estimated(1000, 0.0, 0.3) < 0.01
    sure = np.array([[0.0, 1.0]] * 10)
    assert (np.abs(estimate_frequencies(sure, np.array([0.5, 0.5])) - 0.5) < 0.5).all()


def test_each_class_is_estimated_by_itself() -> None:
    scores = [drawn(300, share, seed)[0] for seed, share in enumerate(np.linspace(0.01, 0.9, 300))]
    table = np.hstack([probabilities(one, 0.2) for one in scores])
    together = estimate_frequencies(table, np.full(300, 0.2))
    for at in (0, 150, 299):
        assert together[at] == pytest.approx(estimate_frequencies(table[:, [at]], np.array([0.2]))[0], abs=1e-6)


# Thresholds


@pytest.mark.parametrize("share", [0.03, 0.7])
def test_a_threshold_holds_on_photos_of_another_mix(share: float) -> None:
    counts = counts_of(*drawn(20_000, 0.3, seed=2))
    here, _ = calibrate(counts, WANTED, np.ones(1))
    there, quality = calibrate(counts, WANTED, np.ones(1), np.array([share]))
    before, after = reached(here, share), reached(there, share)
    if share < 0.3:
        assert before[0] < 0.6
    assert after[0] == pytest.approx(WANTED, abs=0.04)
    assert quality.precision[0] == pytest.approx(after[0], abs=0.05)
    assert quality.recall[0] == pytest.approx(after[1], abs=0.03)
    assert (after[1] > before[1]) == (share > 0.3)


@pytest.mark.parametrize("weight", [1.0, 7.0])
def test_a_bank_is_fitted_as_a_training_would_have_done(weight: float) -> None:
    counts, weights = counts_of(*drawn(5000, 0.3, seed=3)), np.array([weight])
    counts.negatives[:], counts.labelled_negatives[:] = counts.labelled_negatives, 0
    first = np.array([0.2])
    made, _ = calibrate(counts, WANTED, weights, first)
    histogram = counts.histogram(weights, first, WANTED)
    for share in (0.2, 0.02, 0.6):
        wanted, quality = calibrate(counts, WANTED, weights, np.array([share]))
        found, precision, recall = fit_thresholds(histogram, made.slopes, made.offsets, np.array([share]))
        assert found.least_scores[0] == wanted.least_scores[0]
        np.testing.assert_allclose(found.offsets, wanted.offsets, atol=1e-5)
        np.testing.assert_allclose(found.thresholds, wanted.thresholds, atol=1e-5)
        np.testing.assert_allclose(precision, quality.precision, atol=1e-5)
        np.testing.assert_allclose(recall, quality.recall, atol=1e-5)


def test_a_class_too_rare_for_its_scores_has_no_threshold() -> None:
    counts = counts_of(*drawn(100, 0.3, seed=4))
    made, _ = calibrate(counts, WANTED, np.ones(1))
    histogram = counts.histogram(np.ones(1), np.array([0.3]), WANTED)
    found, precision, recall = fit_thresholds(histogram, made.slopes, made.offsets, np.array([1e-4]))
    assert found.thresholds[0] == 1
    assert np.isnan(precision[0])
    assert recall[0] == 0


def test_a_class_that_misses_its_precision_by_little_keeps_tags_at_a_lower_one() -> None:
    counts = counts_of(*drawn(3000, 0.3, seed=5))
    ones = np.ones(1)
    made, _ = calibrate(counts, 0.97, ones)
    histogram = counts.histogram(ones, np.array([0.3]), 0.97)
    share = np.array([0.01])
    strict, _ = calibrate(counts, 0.97, ones, share)
    assert not np.isfinite(strict.least_scores[0])
    found, precision, recall = fit_thresholds(histogram, made.slopes, made.offsets, share)
    assert found.thresholds[0] < 1
    assert 0.6 < precision[0] < 0.97
    assert recall[0] > 0.05


def test_what_thresholds_for_one_mix_give_on_another_is_foretold() -> None:
    counts, other = counts_of(*drawn(20_000, 0.3, seed=2)), np.array([0.03])
    made, _ = calibrate(counts, WANTED, np.ones(1))
    histogram = counts.histogram(np.ones(1), np.array([0.3]), WANTED)
    precision, recall = expected_quality(histogram, made.least_scores, other)
    np.testing.assert_allclose([precision[0], recall[0]], reached(made, 0.03), atol=0.04)


def test_a_shift_and_its_weight_say_the_same() -> None:
    known, other = np.array([0.3]), np.array([0.01])
    assert offset_shift(known, known)[0] == 0
    assert negative_weight(known, known)[0] == 1
    assert np.exp(-offset_shift(known, other))[0] == pytest.approx(negative_weight(known, other)[0])


def test_a_histogram_of_some_classes_is_theirs() -> None:
    counts = ScoreCounts(np.array([1, 2, 3], np.float32))
    counts.positives[0, 2, 9] = 4
    whole = counts.histogram(np.array([1.0, 2, 3]), np.array([0.1, 0.2, 0.3]), WANTED)
    some = whole.take([2, 0])
    assert some.positives[0, 0, 9] == 4
    assert some.frequencies.tolist() == [np.float32(0.3), np.float32(0.1)]
    assert isinstance(some, ScoreHistogram)
    np.testing.assert_array_equal(some.edges, counts.edges[[2, 0]])
    again = ScoreHistogram.concatenated([whole.take([0]), whole.take([1, 2])])
    assert again.to_bytes() == whole.to_bytes()


def test_each_class_has_the_precision_that_is_wanted_of_it() -> None:
    counts = counts_of(*drawn(20_000, 0.3, seed=2))
    parts, share = [], np.array([0.05, 0.05])
    for wanted in (0.6, 0.95):
        made, _ = calibrate(counts, wanted, np.ones(1))
        parts.append(counts.histogram(np.ones(1), np.array([0.3]), wanted))
    both = ScoreHistogram.concatenated(parts)
    _, precision, _ = fit_thresholds(both, made.slopes.repeat(2), made.offsets.repeat(2), share)
    np.testing.assert_allclose(precision, [0.6, 0.95], atol=0.04)
