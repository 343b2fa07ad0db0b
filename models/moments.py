"""Exact sums over labelled photos, which only ever add up.

What is kept of the photos are moments: of all of them the sum and the second moments, and of each class the sum and
the count of its positives and of the photos whose label is known. Features are whole numbers (fixed_point.py), so the
sums are exact: in whatever order and pieces photos are added, and taken away again, the same statistics come out, bit
for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

FOLDS = 5
"""Parts that photos fall into by a hash of their ids; a classifier is judged by those that it was not trained on."""
BLOCK_ROWS = 8192
"""Photos added at once: 84 MB of float64 for 1280 features."""
EXACT_ROWS = 2**22
"""So many products of two 16-bit numbers add up in a float64 without rounding, with a bit to spare."""


@dataclass(frozen=True)
class Labels:
    """What some photos are labelled with, each pair of photo and class at most once."""

    rows: NDArray[np.int64]
    """[m]: the photo's place in the block."""
    classes: NDArray[np.int64]
    """[m]: the class's place in `Statistics.classes`."""
    values: NDArray[np.int8]
    """[m]: 1 TRUE, -1 FALSE, 0 unknown."""
    closed: NDArray[np.bool_]
    """[m]: whether the photo would be FALSE for the class if nothing were said."""

    def some(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Labels:
        """Some of them."""
        return Labels(self.rows[which], self.classes[which], self.values[which], self.closed[which])


class Statistics:
    """Exact sums over labelled photos, fold by fold; the size depends on classes and features, never on photos.

    A photo that is `exhaustive` is FALSE for every closed class that it has no label of; all else is unknown.
    """

    def __init__(self, dim: int, classes: Sequence[str]) -> None:
        self.dim = dim
        """Length of a feature vector."""
        self.classes = tuple(classes)
        count = len(self.classes)
        self.counts = np.zeros((FOLDS, 2), np.int64)
        """[fold, 2]: of all photos, and of the exhaustive ones."""
        self.sums = np.zeros((FOLDS, 2, dim), np.int64)
        """[fold, 2, d]: of all photos' features, and of the exhaustive ones'."""
        self.second = np.zeros((FOLDS, dim, dim), np.int64)
        """[fold, d, d]: the sums of products of two features."""
        self.positive_counts = np.zeros((FOLDS, count), np.int64)
        self.positive_sums = np.zeros((FOLDS, count, dim), np.int64)
        """[fold, class, d]: of the photos that are TRUE."""
        self.known_counts = np.zeros((FOLDS, count), np.int64)
        self.known_sums: NDArray[np.int64] | None = None
        """[fold, class, d]: of photos whose label is known, less the closed ones; None while those are the same."""

    def add(
        self,
        features: NDArray[np.int16],
        folds: NDArray[np.int8],
        exhaustive: NDArray[np.bool_],
        labels: Labels,
        sign: int = 1,
    ) -> None:
        """Add photos, or, with a `sign` of -1, take them away.

        Args:
            features: int16 [n, d], fixed point.
            folds: int8 [n], from 0 to `FOLDS` - 1.
            exhaustive: bool [n].
            labels: of these photos.

        Raises:
            ModelError: the features are of another shape or type.
        """
        if features.dtype != np.int16 or features.ndim != 2 or features.shape[1] != self.dim:
            raise ModelError(f"features must be int16 [n, {self.dim}]. Given: {features.dtype} {list(features.shape)}")
        # Photos of one fold lie together, so that each fold's product is one.
        order = np.argsort(folds, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        labels = replace(labels, rows=place[labels.rows])
        labels = labels.some(np.argsort(labels.rows, kind="stable"))
        second = np.zeros((FOLDS, self.dim, self.dim))
        for start in range(0, len(order), BLOCK_ROWS):
            some = order[start : start + BLOCK_ROWS]
            first, last = np.searchsorted(labels.rows, [start, start + len(some)])
            block = labels.some(slice(first, last))
            block = replace(block, rows=block.rows - start)
            self._add_block(features[some], folds[some], exhaustive[some], block, sign, second)
            if (start + BLOCK_ROWS) % EXACT_ROWS == 0:
                self.second += sign * second.astype(np.int64)
                second[:] = 0
        self.second += sign * second.astype(np.int64)

    def _add_block(
        self,
        features: NDArray[np.int16],
        folds: NDArray[np.int8],
        exhaustive: NDArray[np.bool_],
        labels: Labels,
        sign: int,
        second: NDArray[np.float64],
    ) -> None:
        block = features.astype(np.float64)
        ends = np.searchsorted(folds, np.arange(FOLDS + 1))
        for fold in range(FOLDS):
            photos = slice(ends[fold], ends[fold + 1])
            rows, whole = block[photos], exhaustive[photos]
            if len(rows):
                self.counts[fold] += sign * np.array([len(rows), whole.sum()])
                self.sums[fold] += sign * np.stack([rows.sum(axis=0), rows[whole].sum(axis=0)]).astype(np.int64)
                second[fold] += rows.T @ rows
        known = labels.closed
        positive = labels.values == 1
        self._add_classes(block, folds, labels.some(positive), sign, self.positive_counts, self.positive_sums)
        # Known though nothing else would be, and unknown though all else is.
        for one, its_sign in ((~known & (labels.values != 0), sign), (known & (labels.values == 0), -sign)):
            if one.any():
                if self.known_sums is None:
                    self.known_sums = np.zeros_like(self.positive_sums)
                self._add_classes(block, folds, labels.some(one), its_sign, self.known_counts, self.known_sums)

    def _add_classes(
        self,
        block: NDArray[np.float64],
        folds: NDArray[np.int8],
        labels: Labels,
        sign: int,
        counts: NDArray[np.int64],
        sums: NDArray[np.int64],
    ) -> None:
        keys = folds[labels.rows].astype(np.int64) * len(self.classes) + labels.classes
        order = np.argsort(keys, kind="stable")
        groups, starts = np.unique(keys[order], return_index=True)
        rows = labels.rows[order]
        ends = np.append(starts, len(rows))[1:]
        flat_counts, flat_sums = counts.reshape(-1), sums.reshape(-1, self.dim)
        # A loop over the classes that occur: numpy's reduceat takes nine times as long.
        for group, start, end in zip(groups.tolist(), starts.tolist(), ends.tolist(), strict=True):
            flat_counts[group] += sign * (end - start)
            flat_sums[group] += sign * block[rows[start:end]].sum(axis=0).astype(np.int64)

    def merge(self, other: Statistics) -> None:
        """Add all that another of the same classes and features has."""
        if (other.dim, other.classes) != (self.dim, self.classes):
            raise ModelError("statistics of other classes or features cannot be added")
        if self.known_sums is None and other.known_sums is not None:
            self.known_sums = np.zeros_like(self.positive_sums)
        for name, array in other.arrays().items():
            mine: NDArray[np.int64] = getattr(self, name)
            mine += array

    def arranged(self, classes: Sequence[str]) -> Statistics:
        """The same for these classes, in this order; new ones have no labels yet. It may share this one's arrays."""
        if tuple(classes) == self.classes:
            return self
        new = Statistics(self.dim, classes)
        place = {id_: index for index, id_ in enumerate(new.classes)}
        kept = [index for index, id_ in enumerate(self.classes) if id_ in place]
        places = [place[self.classes[index]] for index in kept]
        new.counts, new.sums, new.second = self.counts, self.sums, self.second
        new.positive_counts[:, places] = self.positive_counts[:, kept]
        new.positive_sums[:, places] = self.positive_sums[:, kept]
        new.known_counts[:, places] = self.known_counts[:, kept]
        if self.known_sums is not None:
            new.known_sums = np.zeros_like(new.positive_sums)
            new.known_sums[:, places] = self.known_sums[:, kept]
        return new

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """All arrays by name, to be kept; `from_arrays` takes them back."""
        names = ["counts", "sums", "second", "positive_counts", "positive_sums", "known_counts"]
        # What has come to nothing again is as if it had never been.
        if self.known_sums is not None and (self.known_counts.any() or self.known_sums.any()):
            names.append("known_sums")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, classes: Sequence[str], arrays: Mapping[str, Any]) -> Statistics:
        """What `arrays` gave.

        Raises:
            ModelError: an array is missing or of another shape or type.
        """
        new = cls.__new__(cls)
        new.classes, new.known_sums = tuple(classes), None
        try:
            new.dim = int(arrays["sums"].shape[-1])
            count, dim = len(new.classes), new.dim
            shapes = {
                "counts": (FOLDS, 2),
                "sums": (FOLDS, 2, dim),
                "second": (FOLDS, dim, dim),
                "positive_counts": (FOLDS, count),
                "positive_sums": (FOLDS, count, dim),
                "known_counts": (FOLDS, count),
                "known_sums": (FOLDS, count, dim),
            }
            for name, shape in shapes.items():
                if name in arrays or name != "known_sums":
                    array = arrays[name]
                    if array.shape != shape or array.dtype != np.int64:
                        raise ModelError(
                            f"statistics: {name} must be int64 {list(shape)}. It is {array.dtype} {list(array.shape)}"
                        )
                    setattr(new, name, array)
        except (KeyError, AttributeError, IndexError) as error:
            raise ModelError(f"these are no statistics: {error!r}") from error
        return new

    def moments(self, scale: int, closed: NDArray[np.bool_], without: int | None = None) -> Moments:
        """Means and covariance of the photos of all folds, or of all but one.

        Args:
            scale: what the features were multiplied by.
            closed: [classes]: whether exhaustive photos without a label are FALSE.
        """
        folds = [fold for fold in range(FOLDS) if fold != without]
        photos, whole = self.counts[folds].sum(axis=0).tolist()
        if not photos:
            raise ModelError("there are no labelled photos to train with")
        sums, whole_sums = self.sums[folds].sum(axis=0) / scale
        mean = sums / photos
        second = self.second[folds].sum(axis=0) / (photos * float(scale) ** 2)
        positives = self.positive_counts[folds].sum(axis=0)
        known = np.where(closed, whole, 0) + self.known_counts[folds].sum(axis=0)
        positive_sums = self.positive_sums[folds].sum(axis=0) / scale
        known_sums = np.where(closed[:, None], whole_sums, 0.0)
        if self.known_sums is not None:
            known_sums = known_sums + self.known_sums[folds].sum(axis=0) / scale
        negatives = known - positives
        return Moments(
            photos=photos,
            mean=mean,
            covariance=second - np.outer(mean, mean),
            positives=positives,
            negatives=negatives,
            positive_means=positive_sums / np.maximum(positives, 1)[:, None],
            negative_means=(known_sums - positive_sums) / np.maximum(negatives, 1)[:, None],
        )


@dataclass(frozen=True)
class Moments:
    """Means and covariance, in the features' own units, float64."""

    photos: int
    mean: NDArray[np.float64]
    """[d]"""
    covariance: NDArray[np.float64]
    """[d, d]"""
    positives: NDArray[np.int64]
    """[classes]: how many photos are TRUE."""
    negatives: NDArray[np.int64]
    """[classes]: how many are FALSE."""
    positive_means: NDArray[np.float64]
    """[classes, d]; 0 where there are none."""
    negative_means: NDArray[np.float64]
    """[classes, d]; 0 where there are none."""
