"""Calibration: turns scores into probabilities, and chooses thresholds for a minimum precision.

The input is scores of photos that a classifier was not trained on, counted in bins, fold by fold. All results follow
from the counts: the cost does not grow with the number of photos, and counts of several machines can be added. The
quality of a class is cross-fitted: calibration and threshold are fitted on the other folds, and judged on one that they
have not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.moments import FOLDS
from models.prior_shift import negative_weight, offset_shift
from models.score_counts import ScoreCounts, ScoreHistogram

LOWER_PRECISIONS = (0.9, 0.8, 0.7)
"""Of a class that never reaches its wanted precision where it is rarer than it was; see `fit_thresholds`."""
RELIABILITY_BINS = 10
"""Bins of probabilities for the reliability, equally wide."""

_LIKELY = (float(np.finfo(np.float32).tiny), float(np.nextafter(np.float32(1), np.float32(0))))
"""Bounds of thresholds, which are stored as float32 and must not become 0 or 1."""
_FEW = 10
"""Minimum of positives, and of negatives, of a class that counts for the typical slope."""
_NEWTON_STEPS = 30
_ANY, _ALIKE = 0.5, 0.125
"""Standard deviation of slopes around the typical slope, as a share of it: in the first pass, and in the second.

Scores are in units of each class's own negatives, so the slopes are much alike. Of Caltech-101's classes (30 positives
each, EfficientNet-Lite0) the log loss on photos not used was 0.0068; 0.0073 with 0.5 for both, or with Platt's targets.
"""


@dataclass(frozen=True)
class Calibration:
    """p = 1 / (1 + exp(-(slope * z + offset))), and the thresholds of each class; each float64 [classes]."""

    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Thresholds as probabilities; 1 where no threshold reaches the minimum precision."""
    least_scores: NDArray[np.float64]
    """Thresholds as z; infinite where no threshold reaches the minimum precision."""

    @classmethod
    def of(cls, slopes: NDArray[np.float64], offsets: NDArray[np.float64], least: NDArray[np.float64]) -> Calibration:
        """Return the calibration with the thresholds that `least` scores are."""
        reached = np.isfinite(least)
        thresholds = np.where(reached, _sigmoid(slopes * np.where(reached, least, 0) + offsets).clip(*_LIKELY), 1.0)
        return cls(slopes, offsets, thresholds, least)

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of scores [classes, n]."""
        return _sigmoid(self.slopes[:, None] * scores + self.offsets[:, None])


@dataclass(frozen=True)
class Quality:
    """Quality of each classifier on photos that neither it nor its calibration has seen; float64 [classes]."""

    average_precision: NDArray[np.float64]
    precision: NDArray[np.float64]
    """Precision at the threshold; NaN where no photo reaches it."""
    recall: NDArray[np.float64]
    predicted: NDArray[np.float64]
    """[classes, reliability bins]: the mean probability of the photos in the bin."""
    observed: NDArray[np.float64]
    """[classes, reliability bins]: the share of them that are TRUE."""
    weights: NDArray[np.float64]
    """[classes, reliability bins]: the number of photos in the bin."""

    @property
    def calibration_errors(self) -> NDArray[np.float64]:
        """Return the expected calibration error of each class: the mean of |predicted - observed|."""
        wrong = (np.abs(self.predicted - self.observed) * self.weights).sum(axis=1)
        return np.asarray(wrong / np.maximum(self.weights.sum(axis=1), 1))


def calibrate(
    counts: ScoreCounts,
    wanted_precision: float,
    negative_weights: NDArray[np.float64],
    frequencies: NDArray[np.float64] | None = None,
) -> tuple[Calibration, Quality]:
    """Fit the calibration on all folds, and measure its quality by cross-fitting.

    The average precision is that among the counted photos, whatever the frequencies.

    Args:
        wanted_precision: minimum precision, 0 to 1; one imaginary negative counts above every threshold, so that few
            positives never seem surer than they are.
        negative_weights: [classes]: the number of negatives that each of `counts.negatives` stands for; 1 where all
            were counted.
        frequencies: [classes]: the share of photos that show each class where the tags are used; None: as among the
            counted photos.
    """
    positives = counts.positives.astype(np.float64)
    negatives = counts.weighted_negatives(negative_weights)
    known = trained_frequencies(positives.sum(axis=(0, 2)), negatives.sum(axis=(0, 2)))
    used = known if frequencies is None else frequencies
    weight = negative_weight(known, used)

    def fit(folds: list[int]) -> Calibration:
        some, others = positives[folds].sum(axis=0), negatives[folds].sum(axis=0)
        slopes, offsets = _logistic(some, others, counts.centres)
        least = least_scores(some, others * weight[:, None], counts.edges, wanted_precision, negative_weights * weight)
        return Calibration.of(slopes, offsets + offset_shift(known, used), least)

    judged = _Judged(counts)
    for fold in range(FOLDS):
        made = fit([other for other in range(FOLDS) if other != fold])
        judged.add(made, positives[fold], negatives[fold] * weight[:, None])
    quality = judged.quality(average_precision(positives.sum(axis=0), negatives.sum(axis=0)))
    return fit(list(range(FOLDS))), quality


def trained_frequencies(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of positives among the labelled photos of each class, never quite 0 or 1."""
    return np.asarray((positives + 0.5) / (positives + negatives + 1))


def fit_thresholds(
    histogram: ScoreHistogram,
    slopes: NDArray[np.float64],
    offsets: NDArray[np.float64],
    frequencies: NDArray[np.float64],
) -> tuple[Calibration, NDArray[np.float64], NDArray[np.float64]]:
    """Return a bank's calibration where classes are as frequent as that, and the precision and recall to expect.

    At the histogram's own frequencies these are the thresholds that the bank has. Where a class's wanted precision is
    never reached, the first of `LOWER_PRECISIONS` that is stands in: a class in use should not end for the last
    hundredth. Precision, NaN where no photo reaches
    the threshold, and recall are cross-fitted; each [classes].

    Args:
        slopes, offsets: the bank's calibration, float64 [classes], which holds at `histogram.frequencies`.
        frequencies: the share of photos that show each class, float64 [classes].
    """
    weight = negative_weight(_known(histogram), frequencies)
    positives = histogram.positives.astype(np.float64)
    negatives, imagined = histogram.negatives * weight[:, None], histogram.negative_weights * weight

    def least(folds: list[int], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        some, others = positives[folds].sum(axis=0), negatives[folds].sum(axis=0)
        return least_scores(some, others, histogram.edges, wanted, imagined)

    folds = list(range(FOLDS))
    wanted = histogram.precision
    for lower in LOWER_PRECISIONS:
        wanted = np.where(np.isfinite(least(folds, wanted)), wanted, np.minimum(wanted, lower))
    by_fold = np.stack([least([other for other in folds if other != fold], wanted) for fold in folds])
    shift = offset_shift(histogram.frequencies.astype(np.float64), frequencies)
    made = Calibration.of(slopes, offsets + shift, least(folds, wanted))
    return made, *_precision_and_recall(histogram, by_fold, weight)


def expected_quality(
    histogram: ScoreHistogram, least: NDArray[np.float64], frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall of thresholds where classes are as frequent as that; see `fit_thresholds`.

    Args:
        least: thresholds as scores, float64 [classes], which were chosen for other frequencies; infinite for none.
        frequencies: the share of photos that show each class, float64 [classes].
    """
    return _precision_and_recall(histogram, least[None], negative_weight(_known(histogram), frequencies))


def _precision_and_recall(
    histogram: ScoreHistogram, least: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall at least scores [folds or 1, classes], where negatives count `weight` times."""
    # An edge that went through float32 may lie a little above itself.
    said = histogram.edges + histogram.width[:, None] / 2 >= least[:, :, None]
    true = (histogram.positives * said).sum(axis=(0, 2), dtype=np.float64)
    false = (histogram.negatives * said).sum(axis=(0, 2), dtype=np.float64) * weight
    precision = np.where(true + false > 0, true / np.maximum(true + false, 1e-12), np.nan)
    return precision, true / np.maximum(histogram.positives.sum(axis=(0, 2), dtype=np.float64), 1)


def _known(histogram: ScoreHistogram) -> NDArray[np.float64]:
    """Return the share of positives among the counted photos."""
    counted = (array.sum(axis=(0, 2), dtype=np.float64) for array in (histogram.positives, histogram.negatives))
    return trained_frequencies(*counted)


def average_precision(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the average precision: the mean, over a class's positives, of the precision at their score; [classes].

    Args:
        positives, negatives: counts [classes, bins]; photos of one bin count as having the same score. A class without
            positives gets 0.
    """
    above, false = _above(positives), _above(negatives)
    precision = above / np.maximum(above + false, 1e-12)
    return np.asarray((precision * positives).sum(axis=1) / np.maximum(positives.sum(axis=1), 1))


def uncalibrated(positive_scores: NDArray[np.float32], prior: NDArray[np.float64]) -> Calibration:
    """Return the calibration from the moments alone, as if positives and negatives were normal with equal deviation.

    Args:
        positive_scores: the positives' mean score, [classes]; the negatives' is 0.
        prior: the share of positives, [classes].
    """
    slopes = positive_scores.astype(np.float64)
    prior = prior.clip(1e-9, 1 - 1e-9)
    offsets = np.log(prior / (1 - prior)) - slopes**2 / 2
    nothing = np.full(len(slopes), np.nan)
    return Calibration(slopes, offsets, nothing, nothing)


def _logistic(
    positives: NDArray[np.float64], negatives: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slopes and offsets of the probabilities of scores."""
    slopes, _ = _platt(positives, negatives, centres, 1.0, _ANY)
    many = (positives.sum(axis=1) >= _FEW) & (negatives.sum(axis=1) >= _FEW)
    # A class of few photos is taken to be like the others.
    typical = float(np.median(slopes[many])) if many.any() else 1.0
    return _platt(positives, negatives, centres, typical, _ALIKE)


def _platt(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    scores: NDArray[np.float64],
    typical: float,
    spread: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the most probable slope and offset of each class's logistic curve by Newton's method.

    The slope has a normal prior around `typical`, of the standard deviation `spread` times that, and stays above a
    twentieth of it. The prior replaces the smoothed targets of Platt, Probabilistic Outputs for Support Vector
    Machines (1999): with some 30 positives they gave 0.15 where the true probability is 0.3.
    """
    some, others = positives.sum(axis=1), negatives.sum(axis=1)
    total = positives + negatives
    slopes = np.full(len(scores), typical)
    offsets = np.log((some + 1) / (others + 1)) - typical
    certainty = (1 / (spread * typical)) ** 2
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(slopes[:, None] * scores + offsets[:, None])
        error, curve = total * p - positives, total * p * (1 - p)
        by_slope = (error * scores).sum(axis=1) + certainty * (slopes - typical)
        by_offset = error.sum(axis=1)
        aa = (curve * scores * scores).sum(axis=1) + certainty
        ab, bb = (curve * scores).sum(axis=1), curve.sum(axis=1) + 1e-6
        determinant = np.maximum(aa * bb - ab * ab, 1e-12)
        # Far from the optimum a full step may lead away from it.
        slope_step = ((bb * by_slope - ab * by_offset) / determinant).clip(-typical, typical)
        offset_step = ((aa * by_offset - ab * by_slope) / determinant).clip(-2, 2)
        slopes = np.maximum(slopes - slope_step, typical / 20)
        offsets = offsets - offset_step
        if max(np.abs(slope_step).max(initial=0), np.abs(offset_step).max(initial=0)) < 1e-6:
            break
    return slopes, offsets


def least_scores(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    edges: NDArray[np.float64],
    wanted: float | NDArray[np.float64],
    negative_weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the lowest bin edge above which the precision is reached, [classes]; infinite where there is none.

    One negative of each class's weight counts above every edge. Only bins with positives count: without one, a lower
    threshold gains no recall and loses precision.

    Args:
        wanted: the precision, of all classes or of each.
    """
    true, false = _above(positives), _above(negatives) + negative_weights[:, None]
    good = (true / (true + false) >= np.asarray(wanted)[..., None]) & (positives > 0)
    return np.where(good.any(axis=1), edges[np.arange(len(edges)), good.argmax(axis=1)], np.inf)


class _Judged:
    """Sums up, fold by fold, the quality of calibrations that were fitted on the other folds."""

    def __init__(self, counts: ScoreCounts) -> None:
        self._edges, self._centres = counts.edges, counts.centres
        classes = len(self._edges)
        self._true, self._false, self._positives = np.zeros(classes), np.zeros(classes), np.zeros(classes)
        self._bins = np.zeros((3, classes, RELIABILITY_BINS))

    def add(self, made: Calibration, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> None:
        said = self._edges >= made.least_scores[:, None]
        self._true += (positives * said).sum(axis=1)
        self._false += (negatives * said).sum(axis=1)
        self._positives += positives.sum(axis=1)
        self._bins += reliability(made.probabilities(self._centres), positives, negatives)

    def quality(self, average_precision: NDArray[np.float64]) -> Quality:
        said = self._true + self._false
        weights, probability, true = self._bins
        filled = np.maximum(weights, 1e-12)
        return Quality(
            average_precision=average_precision,
            precision=np.where(said > 0, self._true / np.maximum(said, 1e-12), np.nan),
            recall=self._true / np.maximum(self._positives, 1),
            predicted=probability / filled,
            observed=true / filled,
            weights=weights,
        )


def reliability(
    probabilities: NDArray[np.float64], positives: NDArray[np.float64], negatives: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sums by equally wide bins of probability: photos, their probabilities, positives; [3, classes, bins].

    Args:
        probabilities, positives, negatives: [classes, n].
    """
    classes, _ = probabilities.shape
    bins = (probabilities * RELIABILITY_BINS).astype(np.int64).clip(0, RELIABILITY_BINS - 1)
    flat = (bins + np.arange(classes)[:, None] * RELIABILITY_BINS).ravel()
    many = positives + negatives
    sums = [
        np.bincount(flat, one.ravel(), classes * RELIABILITY_BINS) for one in (many, many * probabilities, positives)
    ]
    return np.stack(sums).reshape(3, classes, RELIABILITY_BINS).astype(np.float64)


def _above(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of each bin and all bins above it, [classes, bins]."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1 + small))
