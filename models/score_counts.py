"""Scores counted in bins, fold by fold: what it costs does not grow with the photos, and several machines' add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.moments import FOLDS

BINS = 256
"""Of a class's scores; some 0.1 of the negatives' standard deviation wide."""
_BELOW, _ABOVE = 8.0, 6.0
"""The bins reach from so far below the negatives' mean to so far above twice the positives'; the outer two are open."""


class ScoreCounts:
    """How many photos of each fold and class scored how high; mergeable."""

    def __init__(self, positive_scores: NDArray[np.float32]) -> None:
        """Bins for classes whose positives have these mean scores, float32 [classes]."""
        count = len(positive_scores)
        self._low = np.full(count, -_BELOW, np.float32)
        self._width = ((2 * positive_scores.clip(0) + _ABOVE + _BELOW) / BINS).astype(np.float32)
        self.positives = np.zeros((FOLDS, count, BINS), np.int32)
        self.negatives = np.zeros((FOLDS, count, BINS), np.int32)
        """Of photos of which all classes were scored; each may stand for several."""
        self.labelled_negatives = np.zeros((FOLDS, count, BINS), np.int32)
        """Of others, which stand for themselves alone."""

    @property
    def edges(self) -> NDArray[np.float64]:
        """The lower edge of each bin, float64 [classes, bins]."""
        return self._low[:, None] + self._width[:, None] * np.arange(BINS, dtype=np.float64)

    @property
    def centres(self) -> NDArray[np.float64]:
        """float64 [classes, bins]"""
        return self.edges + self._width[:, None] / 2.0

    def bins(self, scores: NDArray[np.float32], classes: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """The bin of each score: of [n, classes], or of [n] and the class of each."""
        low, width = (self._low, self._width) if classes is None else (self._low[classes], self._width[classes])
        places = scores - low
        places /= width
        return places.clip(0, BINS - 1, out=places).astype(np.int32)

    def add_negatives(self, fold: int, scores: NDArray[np.float32]) -> None:
        """Count the scores of photos, float32 [n, classes], as negatives', but for those that are -infinity."""
        classes = scores.shape[1]
        flat = self.bins(scores) + np.arange(classes, dtype=np.int32) * BINS
        counts = np.bincount(flat.ravel(), minlength=classes * BINS).reshape(classes, BINS)
        counts[:, 0] -= np.isneginf(scores).sum(axis=0)
        self.negatives[fold] += counts.astype(np.int32)

    def add(
        self, folds: NDArray[np.int8], scores: NDArray[np.float32], classes: NDArray[np.int64], *, positive: bool
    ) -> None:
        """Count single scores, float32 [m], each of its fold and class, as positives' or as labelled negatives'."""
        counts = self.positives if positive else self.labelled_negatives
        np.add.at(counts, (folds, classes, self.bins(scores, classes)), 1)

    def weighted_negatives(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many negatives there are, float64 [folds, classes, bins], if each of `negatives` stands for so many."""
        return np.asarray(self.negatives * weights[:, None] + self.labelled_negatives)

    def merge(self, other: ScoreCounts) -> None:
        """Add the counts of the same classes and bins."""
        self.positives += other.positives
        self.negatives += other.negatives
        self.labelled_negatives += other.labelled_negatives
