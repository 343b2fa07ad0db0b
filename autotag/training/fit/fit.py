"""Training: from a training set to calibrated classifiers with thresholds, and the quality of each."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autotag.errors import JobError
from autotag.jobs.workers import Workers
from autotag.progress import Progress, silent
from autotag.training.dataset.label_log import Ancestors
from autotag.training.dataset.snapshot import Snapshot, StaleStatisticsError
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.regulariser import compare
from autotag.training.fit.saved_sums import SavedSums
from autotag.training.fit.scoring import Scores, score
from autotag.training.fit.update_sums import Update, update
from models.calibration import (
    RELIABILITY_BINS,
    Calibration,
    Quality,
    calibrate,
    reliability,
    trained_frequencies,
    uncalibrated,
)
from models.moments import FOLDS, Moments
from models.prior_shift import estimate_frequencies, negative_weight, offset_shift
from models.ridge import Classifiers, Solver
from models.score_counts import ScoreHistogram

log = logging.getLogger(__name__)

_SURE = 1.645
"""Standard deviations of a one-sided 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Minimum quality of a classifier."""

    precision: float = 0.9
    """Minimum precision, 0 to 1."""
    least_recall: float = 0.1
    """Minimum recall at that precision, 0 to 1; a class below it is left out."""
    sample: int = 200_000
    """Number of photos that are scored for all classes; the others are scored for the classes of their labels only."""


@dataclass(frozen=True)
class Trained:
    """The calibration for photos among which classes are as frequent as among the training photos."""

    frequencies: NDArray[np.float64]
    """The share of TRUE among the labelled photos of each class, [classes]."""
    calibration: Calibration


@dataclass(frozen=True)
class Training:
    """Classifiers of all classes of a training set, in the order of `Snapshot.class_ids`, and their quality."""

    training_set: TrainingSet
    snapshot: Snapshot
    update: Update
    wanted: Wanted
    strength: float
    strengths: dict[float, float]
    """Mean average precision of each regulariser that was compared."""
    classifiers: Classifiers
    frequencies: NDArray[np.float64]
    """The share of photos that show each class, [classes], among those that calibration and quality hold for."""
    calibration: Calibration
    quality: Quality
    histogram: ScoreHistogram
    trained: Trained
    unlabelled: int | None
    """Number of unlabelled photos that the frequencies were estimated from; None: they are the training photos'."""
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    scores: Scores
    error_before: float
    """Expected calibration error over all classes, before calibration: from the moments alone."""
    error_after: float
    """Expected calibration error over all classes, after calibration."""
    left_out: dict[str, str]
    """The reason for each class that is not good enough, by id."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each step."""

    @property
    def kept_classes(self) -> NDArray[np.int64]:
        """The positions of the classes that are good enough."""
        return np.array([at for at, id_ in enumerate(self.snapshot.class_ids) if id_ not in self.left_out], np.int64)


def train(
    training_set: TrainingSet,
    ancestors: Ancestors,
    wanted: Wanted,
    workers: Workers,
    progress: Progress = silent,
    like: NDArray[np.float32] | None = None,
) -> Training:
    """Update the saved sums, and train classifiers from them.

    If the saved sums are stale (a file of features was lost and computed again, or another training removed a photo),
    all photos are read again.

    Args:
        ancestors: see `snapshot.take_snapshot`.
        like: features of unlabelled photos, float32 [n, d]: calibration, thresholds and quality are those for photos
            like these. None: for photos like the training photos.

    Raises:
        JobError: there are no labels or too few photos, or a worker was killed.
        InputError: a file cannot be read or written.
    """
    try:
        return _train(training_set, ancestors, wanted, workers, progress, like, afresh=False)
    except StaleStatisticsError as error:
        log.warning("all photos are read again: %s", error)
        return _train(training_set, ancestors, wanted, workers, progress, like, afresh=True)


def _train(
    training_set: TrainingSet,
    ancestors: Ancestors,
    wanted: Wanted,
    workers: Workers,
    progress: Progress,
    like: NDArray[np.float32] | None,
    *,
    afresh: bool,
) -> Training:
    clock = _Clock()
    done = update(training_set, ancestors, workers, progress, afresh=afresh)
    _check(training_set, done.sums)
    clock.lap("statistics")
    # Another number of threads would change the last digits of the results.
    with threadpool_limits(1, user_api="blas"):
        return _trained(training_set, done, wanted, workers, progress, like, clock)


def _trained(
    training_set: TrainingSet,
    done: Update,
    wanted: Wanted,
    workers: Workers,
    progress: Progress,
    like: NDArray[np.float32] | None,
    clock: _Clock,
) -> Training:
    """Train classifiers from updated sums, and measure them."""
    snapshot, statistics = done.sums.snapshot, done.sums.statistics
    progress("solving")
    moments = statistics.moments(training_set.scale, snapshot.closed)
    solver = Solver(moments)
    clock.lap("solve")
    progress("choosing the regulariser")
    by_fold = [Solver(statistics.moments(training_set.scale, snapshot.closed, without=fold)) for fold in range(FOLDS)]
    strengths = compare(training_set, snapshot, by_fold)
    # Of two that are equally good, the stronger.
    strength = max(strengths, key=lambda one: (round(strengths[one], 4), one))
    clock.lap("choosing the regulariser")
    classifiers = solver.classifiers(strength)
    clock.lap("solve")
    scores = score(
        training_set,
        snapshot,
        [one.classifiers(strength) for one in by_fold],
        classifiers.positive_scores,
        wanted.sample,
        workers,
        progress,
    )
    clock.lap("scoring")
    weights = _negative_weights(scores, moments)
    calibration, quality = calibrate(scores.counts, wanted.precision, weights)
    trained = Trained(_frequencies(scores, weights), calibration)
    frequencies = trained.frequencies
    if like is not None:
        progress("estimating frequencies")
        seen = (like @ classifiers.weights + classifiers.biases).astype(np.float64)
        frequencies = estimate_frequencies(calibration.probabilities(seen.T).T, frequencies)
        calibration, quality = calibrate(scores.counts, wanted.precision, weights, frequencies)
    error_before = _error_before(scores, moments, weights, classifiers, trained.frequencies, frequencies)
    error_after = _error(
        np.stack([quality.weights, quality.weights * quality.predicted, quality.weights * quality.observed])
    )
    clock.lap("calibration")
    return Training(
        training_set=training_set,
        snapshot=snapshot,
        update=done,
        wanted=wanted,
        strength=strength,
        strengths=strengths,
        classifiers=classifiers,
        frequencies=frequencies,
        calibration=calibration,
        quality=quality,
        histogram=scores.counts.histogram(weights, frequencies, wanted.precision),
        trained=trained,
        unlabelled=None if like is None else len(like),
        positives=moments.positives,
        negatives=moments.negatives,
        scores=scores,
        error_before=error_before,
        error_after=error_after,
        left_out=_left_out(snapshot, moments, calibration, quality, wanted),
        seconds=clock.seconds,
    )


def _check(training_set: TrainingSet, sums: SavedSums) -> None:
    """Raise JobError if no classifier can be trained from these photos and labels."""
    snapshot, where = sums.snapshot, training_set.folder
    if not len(snapshot):
        raise JobError(f"{where}: holds no photos: autotag join --photos ...")
    if not (snapshot.values == 1).any():
        raise JobError(f"{where}: none of its {len(snapshot)} photos shows a class: autotag join --labels ...")
    if np.count_nonzero(sums.statistics.counts[:, 0]) < 2:
        raise JobError(
            f"{where}: {len(snapshot)} photos are too few: each must be scored by classifiers that were trained on "
            "others. Add some: autotag join --photos ..."
        )


def _negative_weights(scores: Scores, moments: Moments) -> NDArray[np.float64]:
    """Return the weight of each sampled negative, [classes]: the number of negatives that it stands for."""
    counted, labelled = (
        counts.sum(axis=(0, 2)) for counts in (scores.counts.negatives, scores.counts.labelled_negatives)
    )
    return np.asarray(np.maximum((moments.negatives - labelled) / np.maximum(counted, 1), 1.0))


def _frequencies(scores: Scores, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of TRUE among the labelled photos of each class."""
    negatives = scores.counts.weighted_negatives(weights)
    return trained_frequencies(scores.counts.positives.sum(axis=(0, 2)), negatives.sum(axis=(0, 2)))


def _error_before(
    scores: Scores,
    moments: Moments,
    weights: NDArray[np.float64],
    classifiers: Classifiers,
    trained: NDArray[np.float64],
    frequencies: NDArray[np.float64],
) -> float:
    """Return the expected calibration error over all classes of a calibration from the moments alone."""
    positives = scores.counts.positives.sum(axis=0).astype(np.float64)
    negatives = scores.counts.weighted_negatives(weights).sum(axis=0) * negative_weight(trained, frequencies)[:, None]
    prior = moments.positives / np.maximum(moments.positives + moments.negatives, 1)
    made = uncalibrated(classifiers.positive_scores, prior)
    made = replace(made, offsets=made.offsets + offset_shift(trained, frequencies))
    return _error(reliability(made.probabilities(scores.counts.centres), positives, negatives))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _error(sums: NDArray[np.float64]) -> float:
    """Return the expected calibration error over all classes, from sums of `calibration.reliability`."""
    many, probability, true = sums.reshape(3, -1, RELIABILITY_BINS).sum(axis=1)
    return float(np.abs(probability - true).sum() / max(many.sum(), 1))


def _left_out(
    snapshot: Snapshot,
    moments: Moments,
    calibration: Calibration,
    quality: Quality,
    wanted: Wanted,
) -> dict[str, str]:
    """Return the reason for each class that misses the wanted quality."""
    reasons = {}
    positives, negatives = moments.positives, moments.negatives
    for at, id_ in enumerate(snapshot.class_ids):
        if not positives[at]:
            reasons[id_] = "no photo is labelled TRUE"
        elif not negatives[at]:
            reasons[id_] = "no photo is labelled FALSE: label some, or join the labels with --exhaustive"
        elif not np.isfinite(calibration.least_scores[at]):
            reasons[id_] = f"precision {wanted.precision:g} is never reached, with {positives[at]} positives"
        elif _at_best(quality.precision[at], quality.recall[at] * positives[at]) < wanted.precision:
            share = f"{quality.precision[at]:.0%}"
            reasons[id_] = f"its precision is {share}, below {wanted.precision:g} by more than chance explains"
        elif not quality.recall[at] >= wanted.least_recall:
            reasons[id_] = (
                f"its recall at precision {wanted.precision:g} is {quality.recall[at]:.0%}, less than "
                f"{wanted.least_recall:.0%}"
            )
    return reasons


def _at_best(precision: float, reasons: float) -> float:
    """Return the upper bound of a measured precision: Wilson's 95 % interval for so many true positives.

    With 30 positives the precision cannot be measured to a hundredth, so a value just below the wanted one passes.

    Args:
        found: number of true positives.
    """
    if not precision > 0:
        return precision
    said = reasons / precision
    spread = _SURE**2 / said
    middle = precision + spread / 2
    return float((middle + _SURE * math.sqrt((precision * (1 - precision) + spread / 4) / said)) / (1 + spread))
