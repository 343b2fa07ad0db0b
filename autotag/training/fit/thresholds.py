"""Thresholds for other photos: of a bank in use, without training; and which classes they moved for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotag.training.fit.candidate import BankThresholds, read_quality
from models.bank import ClassifierBank, Sigmoid, least_scores
from models.bundle import Bundle
from models.calibration import Calibration, expected_quality, fit_thresholds
from models.prior_shift import estimate_frequencies, offset_shift
from models.score_counts import ScoreHistogram


@dataclass(frozen=True)
class Threshold:
    """A class's threshold, and what it gives among the photos that thresholds are wanted for."""

    frequency: float
    """The share of photos that show the class for which the threshold was chosen."""
    threshold: float | None
    """As a probability; None where no threshold reaches the wanted precision, and there is no tag."""
    precision: float | None
    """Expected, as is `recall`."""
    recall: float


@dataclass(frozen=True)
class At:
    """Thresholds of all classes, and what they give; arrays float64 [classes]. See `Threshold`."""

    frequencies: NDArray[np.float64]
    calibration: Calibration
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @classmethod
    def before(
        cls,
        histogram: ScoreHistogram,
        known: NDArray[np.float64],
        calibration: Calibration,
        frequencies: NDArray[np.float64],
    ) -> At:
        """Return the thresholds chosen for `known` frequencies, and what they give where other `frequencies` hold."""
        return cls(known, calibration, *expected_quality(histogram, calibration.least_scores, frequencies))

    def threshold(self, at: int) -> Threshold:
        """Return that of one class."""
        precision = float(self.precision[at])
        return Threshold(
            frequency=round(float(self.frequencies[at]), 6),
            threshold=round(float(self.calibration.thresholds[at]), 6) if self.calibration.thresholds[at] < 1 else None,
            precision=round(precision, 6) if math.isfinite(precision) else None,
            recall=round(float(self.recall[at]), 6),
        )


@dataclass(frozen=True)
class MovedClass:
    """A class whose frequency is another than the one that its threshold was chosen for."""

    id: str
    name: str
    before: Threshold
    after: Threshold

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True)
class FittedBank:
    """A bank's thresholds for other photos."""

    bank: str
    thresholds: BankThresholds
    moved: list[MovedClass]
    """All classes, that whose threshold moved most first."""


def fit_bank(
    bundle: Bundle, bank: ClassifierBank, histogram: ScoreHistogram, features: NDArray[np.float32]
) -> FittedBank:
    """Return calibration and thresholds of a bank in use for photos like these; takes seconds.

    Args:
        bank: a bank of independent classes of `bundle`.
        histogram: the scores that it was calibrated on.
        features: of unlabelled photos as they come, float32 [n, d].

    Raises:
        InputError: the bank's file of quality holds something else.
        ModelError: the features do not fit the bank.
    """
    rule = bank.rule
    assert isinstance(rule, Sigmoid)  # noqa: S101 - others have no counts
    known = histogram.frequencies.astype(np.float64)
    slopes, offsets = rule.a.astype(np.float64), rule.b.astype(np.float64)
    frequencies = estimate_frequencies(bank.probabilities(features), known)
    made, precision, recall = fit_thresholds(histogram, slopes, offsets, frequencies)
    least = least_scores(rule, rule.thresholds).astype(np.float64)
    present = Calibration(slopes, offsets, rule.thresholds.astype(np.float64), least)
    names = [bundle.classes.name(id_) for id_ in bank.classifiers]
    now = At(frequencies, made, precision, recall)
    moved = moved_classes(bank.classifiers, names, At.before(histogram, known, present, frequencies), now)
    after = {one.id: one.after for one in moved}
    measured = read_quality(bundle, bank.name)
    quality = {id_: replace(measured[id_], **asdict(after[id_])) for id_ in bank.classifiers if id_ in measured}
    arrays = (rule.a, made.offsets.astype(np.float32), made.thresholds.astype(np.float32))
    return FittedBank(bank.name, BankThresholds(Sigmoid(*arrays), quality, histogram.at(frequencies)), moved)


def moved_classes(
    ids: Sequence[str],
    names: Sequence[str],
    before: At,
    after: At,
) -> list[MovedClass]:
    """Return the classes, that whose threshold moved most first.

    Args:
        ids, names: of the classes.
    """
    old, new = (one.calibration.least_scores for one in (before, after))
    # One that no threshold reaches, before and after, has not moved.
    distance = np.abs(np.nan_to_num(new, posinf=1e6) - np.nan_to_num(old, posinf=1e6))
    turned = np.abs(offset_shift(before.frequencies, after.frequencies))
    order = np.lexsort((-turned, -distance)).tolist()
    return [MovedClass(ids[at], names[at], before.threshold(at), after.threshold(at)) for at in order]
