"""Counts of scores in bins, fold by fold: their size does not grow with the photos, and those of machines add up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.moments import FOLDS

BINS = 256
"""Bins of the scores of a class, each some 0.1 of the negatives' standard deviation wide."""
_BELOW, _ABOVE = 8.0, 6.0
"""The bins reach from this far below the negatives' mean to this far above twice the positives'; the outer are open."""


class ScoreCounts:
    """Numbers of photos by fold, class and bin of their score; counts can be added."""

    def __init__(self, positive_scores: NDArray[np.float32]) -> None:
        """Choose the bins for classes whose positives have these mean scores, float32 [classes]."""
        count = len(positive_scores)
        self._low = np.full(count, -_BELOW, np.float32)
        self._width = ((2 * positive_scores.clip(0) + _ABOVE + _BELOW) / BINS).astype(np.float32)
        self.positives = np.zeros((FOLDS, count, BINS), np.int32)
        self.negatives = np.zeros((FOLDS, count, BINS), np.int32)
        """Negatives among photos that were scored for all classes; each may stand for several photos."""
        self.labelled_negatives = np.zeros((FOLDS, count, BINS), np.int32)
        """Labelled negatives among the other photos; each stands for itself."""

    @property
    def edges(self) -> NDArray[np.float64]:
        """Return the lower edge of each bin, float64 [classes, bins]."""
        return self._low[:, None] + self._width[:, None] * np.arange(BINS, dtype=np.float64)

    @property
    def centres(self) -> NDArray[np.float64]:
        """float64 [classes, bins]"""
        return self.edges + self._width[:, None] / 2.0

    def bins(self, scores: NDArray[np.float32], classes: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Return the bin of each score: of scores [n, classes], or of scores [n] and the class of each."""
        low, width = (self._low, self._width) if classes is None else (self._low[classes], self._width[classes])
        places = scores - low
        places /= width
        return places.clip(0, BINS - 1, out=places).astype(np.int32)

    def add_negatives(self, fold: int, scores: NDArray[np.float32]) -> None:
        """Count the scores of photos, float32 [n, classes], as those of negatives, except scores of -infinity."""
        classes = scores.shape[1]
        flat = self.bins(scores) + np.arange(classes, dtype=np.int32) * BINS
        counts = np.bincount(flat.ravel(), minlength=classes * BINS).reshape(classes, BINS)
        counts[:, 0] -= np.isneginf(scores).sum(axis=0)
        self.negatives[fold] += counts.astype(np.int32)

    def add(
        self, folds: NDArray[np.int8], scores: NDArray[np.float32], classes: NDArray[np.int64], *, positive: bool
    ) -> None:
        """Count single scores, float32 [m], each with its fold and class, of positives or of labelled negatives."""
        counts = self.positives if positive else self.labelled_negatives
        np.add.at(counts, (folds, classes, self.bins(scores, classes)), 1)

    def weighted_negatives(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of negatives, float64 [folds, classes, bins], if each of `negatives` has this weight."""
        return np.asarray(self.negatives * weights[:, None] + self.labelled_negatives)

    def merge(self, other: ScoreCounts) -> None:
        """Add other counts of the same classes and bins."""
        self.positives += other.positives
        self.negatives += other.negatives
        self.labelled_negatives += other.labelled_negatives
