"""Counts of scores in bins, fold by fold: their size does not grow with the photos, and those of machines add up."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import arrays_from
from models.errors import ModelError
from models.moments import FOLDS

COUNTS = "counts.npz"
"""File of a bank with its `ScoreHistogram`; without it the bank's thresholds stay as they are."""

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
        return _edges(self._low, self._width)

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

    def histogram(
        self, negative_weights: NDArray[np.float64], frequencies: NDArray[np.float64], precision: float
    ) -> ScoreHistogram:
        """Return these counts with what new thresholds are chosen by; see the fields of `ScoreHistogram`."""
        return ScoreHistogram(
            low=self._low,
            width=self._width,
            positives=self.positives.astype(np.float32),
            negatives=self.weighted_negatives(negative_weights).astype(np.float32),
            negative_weights=negative_weights.astype(np.float32),
            frequencies=_open_shares(frequencies),
            precision=np.full(len(frequencies), precision),
        )


@dataclass(frozen=True)
class ScoreHistogram:
    """Scores of the photos that a bank was calibrated on, in bins: what new thresholds are chosen from and judged by.

    All arrays but `precision` are float32; `low`, `width`, `negative_weights` and `frequencies` are [classes].
    """

    low: NDArray[np.float32]
    """Lower edge of the first bin."""
    width: NDArray[np.float32]
    """Width of each bin."""
    positives: NDArray[np.float32]
    """[FOLDS, classes, BINS]"""
    negatives: NDArray[np.float32]
    """[FOLDS, classes, BINS], each sampled one counted as often as it stands for others."""
    negative_weights: NDArray[np.float32]
    """The number of negatives that each sampled one stands for; see `calibration.calibrate`."""
    frequencies: NDArray[np.float32]
    """The share of photos that show the class where the bank's calibration and thresholds hold."""
    precision: NDArray[np.float64]
    """The wanted minimum precision of the thresholds, float64 [classes]."""

    @property
    def edges(self) -> NDArray[np.float64]:
        """Return the lower edge of each bin, float64 [classes, bins]."""
        return _edges(self.low, self.width)

    def take(self, places: Sequence[int] | NDArray[np.integer]) -> Self:
        """Return the histogram of some of the classes, in this order."""
        chosen = {name: np.take(getattr(self, name), places, _class_axis(name)) for name in self._arrays()}
        return type(self)(**chosen)

    def at(self, frequencies: NDArray[np.float64]) -> Self:
        """Return the same scores with other frequencies, where new thresholds hold."""
        return replace(self, frequencies=_open_shares(frequencies))

    @classmethod
    def concatenated(cls, parts: Sequence[Self]) -> Self:
        """Return the histogram of the classes of all parts, in this order."""
        return cls(
            **{
                name: np.concatenate([getattr(one, name) for one in parts], axis=_class_axis(name))
                for name in cls._arrays()
            }
        )

    def to_bytes(self) -> bytes:
        """Return the content of `COUNTS`; equal histograms give equal bytes."""
        data = io.BytesIO()
        arrays = {name: getattr(self, name) for name in self._arrays()}
        np.savez_compressed(data, allow_pickle=False, **arrays)
        return data.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str, classes: int) -> Self:
        """Read what `to_bytes` returned.

        Args:
            where: the file's name, for messages.
            classes: the number of classes that it must have.

        Raises:
            ModelError: it is no such file, of another number of classes, or holds impossible values.
        """
        try:
            arrays = arrays_from(data)
            found = cls(**{name: arrays[name] for name in cls._arrays()})
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError(f"{where}: cannot be read as counts of scores: {error!r}") from error
        for name in cls._arrays():
            array = getattr(found, name)
            shape = (FOLDS, classes, BINS) if _class_axis(name) else (classes,)
            kind = np.dtype(np.float64 if name == "precision" else np.float32)
            if array.dtype != kind or array.shape != shape:
                raise ModelError(
                    f"{where}: {name} must be {kind} {list(shape)}. It is {array.dtype} {list(array.shape)}"
                )
            if not np.isfinite(array).all() or (name != "low" and (array < 0).any()):
                raise ModelError(f"{where}: {name} has a value that is negative or not finite")
        shares = np.concatenate([found.frequencies, found.precision])
        if not ((shares > 0) & (shares < 1)).all() or (found.width <= 0).any():
            raise ModelError(f"{where}: needs frequencies and a precision between 0 and 1, and widths above 0")
        return found

    @classmethod
    def _arrays(cls) -> list[str]:
        return [one.name for one in fields(cls)]


def _open_shares(shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return shares as float32 that are neither 0 nor 1."""
    return shares.clip(1e-9, 1 - 1e-6).astype(np.float32)


def _class_axis(name: str) -> int:
    return 1 if name in ("positives", "negatives") else 0


def _edges(low: NDArray[np.float32], width: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(low[:, None] + width[:, None] * np.arange(BINS, dtype=np.float64))
