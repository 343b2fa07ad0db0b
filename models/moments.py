"""Exact moments of labelled photos.

The moments are, over all photos, the sum and the second moments, and for each class the sum and the count of its
positives and of the photos with a known label. Features are whole numbers (fixed_point.py), so the sums are exact: the
order and the pieces in which photos are added and subtracted make no difference, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

FOLDS = 5
"""Parts of the photos, by a hash of their ids; a classifier is judged on folds that it was not trained on."""
BLOCK_ROWS = 8192
"""Photos added at once: 84 MB of float64 for 1280 features."""
EXACT_ROWS = 2**22
"""Products of two 16-bit numbers that a float64 sums up without rounding, with a bit to spare."""


@dataclass(frozen=True)
class Labels:
    """Labels of a block of photos, each pair of photo and class at most once."""

    rows: NDArray[np.int64]
    """[m]: the place of the photo in the block."""
    classes: NDArray[np.int64]
    """[m]: the place of the class in `Statistics.classes`."""
    values: NDArray[np.int8]
    """[m]: 1 TRUE, -1 FALSE, 0 unknown."""
    closed: NDArray[np.bool_]
    """[m]: True if the photo is FALSE for the class without a label: exhaustive photo, closed class."""

    def some(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Labels:
        """Return the labels at the chosen places."""
        return Labels(self.rows[which], self.classes[which], self.values[which], self.closed[which])


class Statistics:
    """Exact sums over labelled photos, fold by fold; the size depends on classes and features, not on photos.

    A photo that is `exhaustive` is FALSE for every closed class without a label; all other pairs are unknown.
    """

    def __init__(self, dim: int, classes: Sequence[str]) -> None:
        self.dim = dim
        """Length of a feature vector."""
        self.classes = tuple(classes)
        count = len(self.classes)
        self.counts = np.zeros((FOLDS, 2), np.int64)
        """[fold, 2]: numbers of all photos, and of the exhaustive ones."""
        self.sums = np.zeros((FOLDS, 2, dim), np.int64)
        """[fold, 2, d]: sums of all photos' features, and of the exhaustive ones'."""
        self.second = np.zeros((FOLDS, dim, dim), np.int64)
        """[fold, d, d]: sums of products of two features."""
        self.positive_counts = np.zeros((FOLDS, count), np.int64)
        self.positive_sums = np.zeros((FOLDS, count, dim), np.int64)
        """[fold, class, d]: sums of the photos that are TRUE."""
        self.known_counts = np.zeros((FOLDS, count), np.int64)
        self.known_sums: NDArray[np.int64] | None = None
        """[fold, class, d]: sums of the photos with a known label, less those that are known because their class is
        closed; None while they are 0."""

    def add(
        self,
        features: NDArray[np.int16],
        folds: NDArray[np.int8],
        exhaustive: NDArray[np.bool_],
        labels: Labels,
        sign: int = 1,
    ) -> None:
        """Add photos or, with a `sign` of -1, subtract them.

        Args:
            features: int16 [n, d], fixed point.
            folds: int8 [n], from 0 to `FOLDS` - 1.
            exhaustive: bool [n].
            labels: of these photos; `Labels.rows` are places in `features`.

        Raises:
            ModelError: the features have another shape or type.
        """
        if features.dtype != np.int16 or features.ndim != 2 or features.shape[1] != self.dim:
            raise ModelError(f"features must be int16 [n, {self.dim}]. Given: {features.dtype} {list(features.shape)}")
        # The photos of a fold lie together, so that each fold takes one matrix product.
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
        # Labels that differ from the default: explicit negatives of open classes, explicit unknowns of closed ones.
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
        # A loop over the classes that occur: numpy's reduceat is nine times slower.
        for group, start, end in zip(groups.tolist(), starts.tolist(), ends.tolist(), strict=True):
            flat_counts[group] += sign * (end - start)
            flat_sums[group] += sign * block[rows[start:end]].sum(axis=0).astype(np.int64)

    def merge(self, other: Statistics) -> None:
        """Add the sums of other statistics of the same classes and features."""
        if (other.dim, other.classes) != (self.dim, self.classes):
            raise ModelError("statistics of other classes or features cannot be added")
        if self.known_sums is None and other.known_sums is not None:
            self.known_sums = np.zeros_like(self.positive_sums)
        for name, array in other.arrays().items():
            mine: NDArray[np.int64] = getattr(self, name)
            mine += array

    def arranged(self, classes: Sequence[str]) -> Statistics:
        """Return the statistics for `classes`, in this order; new classes have no labels. Arrays may be shared."""
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
        """Return all arrays by name, for storage; `from_arrays` reads them."""
        names = ["counts", "sums", "second", "positive_counts", "positive_sums", "known_counts"]
        # Omitted when all is zero again, so that equal sums give equal files.
        if self.known_sums is not None and (self.known_counts.any() or self.known_sums.any()):
            names.append("known_sums")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, classes: Sequence[str], arrays: Mapping[str, Any]) -> Statistics:
        """Make statistics of the result of `arrays`.

        Raises:
            ModelError: an array is missing, or has another shape or type.
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
            raise ModelError(f"the statistics are malformed: {error!r}") from error
        return new

    def moments(self, scale: int, closed: NDArray[np.bool_], without: int | None = None) -> Moments:
        """Return means and covariance of the photos of all folds, or of all but fold `without`.

        Args:
            scale: the factor by which the features were multiplied.
            closed: [classes]: True if exhaustive photos without a label are FALSE.
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
    """[classes]: number of photos that are TRUE."""
    negatives: NDArray[np.int64]
    """[classes]: number of photos that are FALSE."""
    positive_means: NDArray[np.float64]
    """[classes, d]; 0 for a class without such photos."""
    negative_means: NDArray[np.float64]
    """[classes, d]; 0 for a class without such photos."""
