"""Cross-fitted scores: each photo is scored by classifiers trained without its fold, for calibration and report."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autotag.jobs.workers import Workers
from autotag.progress import Progress, silent
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.scratch import work_folder
from autotag.training.fit.update_sums import PartRows, concatenated, part_rows, together
from models.arrays import array_from, arrays_from
from models.fixed_point import from_fixed
from models.moments import FOLDS
from models.ridge import Classifiers
from models.score_counts import ScoreCounts

MISTAKES = 6
"""Maximum number of mistakes of each kind per class: highest negatives, lowest positives."""
_TOGETHER = 4096
"""Minimum number of photos scored at once; blocks do not depend on the number of workers."""
_PAIRS = 50
"""If more than one in this many scores is needed, one matrix product computes all of them."""
_COUNTS = ("positives", "negatives", "labelled_negatives")


class Extremes:
    """The highest scores of each class and their photos; the order in which blocks are added does not matter."""

    def __init__(self, classes: int) -> None:
        self.scores = np.full((classes, MISTAKES), -np.inf, np.float32)
        """[classes, MISTAKES], descending; -infinity in unused entries."""
        self.photos = np.full((classes, MISTAKES), -1, np.int64)

    def add(self, classes: NDArray[np.int64], scores: NDArray[np.float32], photos: NDArray[np.int64]) -> None:
        """Add scores of single pairs of class and photo; -infinity is ignored."""
        high = (scores >= self.scores[classes, -1]) & np.isfinite(scores)
        classes, scores, photos = classes[high], scores[high], photos[high]
        touched = np.zeros(len(self.scores), np.bool_)
        touched[classes] = True
        filled = np.isfinite(self.scores) & touched[:, None]
        all_classes = np.concatenate([np.nonzero(filled)[0], classes])
        all_scores = np.concatenate([self.scores[filled], scores])
        all_photos = np.concatenate([self.photos[filled], photos])
        order = np.lexsort((all_photos, -all_scores, all_classes))
        sorted_classes = all_classes[order]
        rank = np.arange(len(order)) - np.searchsorted(sorted_classes, sorted_classes)
        best = order[rank < MISTAKES]
        places = (all_classes[best], rank[rank < MISTAKES])
        self.scores[touched], self.photos[touched] = -np.inf, -1
        self.scores[places], self.photos[places] = all_scores[best], all_photos[best]

    def add_all(self, scores: NDArray[np.float32], photos: NDArray[np.int64]) -> None:
        """Add the scores [n, classes] of photos; -infinity is ignored."""
        # Skip classes whose scores are all below their recorded ones: most of them.
        some = np.flatnonzero(scores.max(axis=0) >= self.scores[:, -1])
        lowest_first = np.argpartition(scores.T[some], max(len(scores) - MISTAKES, 0), axis=1)
        rows = lowest_first[:, -MISTAKES:].ravel()
        classes = np.repeat(some, min(MISTAKES, len(scores)))
        self.add(classes, scores[rows, classes], photos[rows])


@dataclass
class Scores:
    """Scores of all photos, and the worst mistakes of each class."""

    counts: ScoreCounts
    false: Extremes
    """Negatives with the highest scores."""
    missed: Extremes
    """Positives with the lowest scores; the scores are negated."""

    def merge(self, other: Scores) -> None:
        """Add the scores of other photos, of the same classes."""
        self.counts.merge(other.counts)
        for mine, theirs in ((self.false, other.false), (self.missed, other.missed)):
            filled = np.isfinite(theirs.scores)
            mine.add(np.nonzero(filled)[0], theirs.scores[filled], theirs.photos[filled])

    def write(self) -> bytes:
        data = io.BytesIO()
        arrays: dict[str, NDArray[Any]] = {name: getattr(self.counts, name) for name in _COUNTS}
        for name, extremes in (("false", self.false), ("missed", self.missed)):
            arrays |= {f"{name}_scores": extremes.scores, f"{name}_photos": extremes.photos}
        np.savez(data, allow_pickle=False, **arrays)
        return data.getvalue()

    @classmethod
    def read(cls, positive_scores: NDArray[np.float32], data: bytes) -> Scores:
        scores = cls.nothing(positive_scores)
        arrays = arrays_from(data)
        for name in _COUNTS:
            setattr(scores.counts, name, arrays[name])
        for name, extremes in (("false", scores.false), ("missed", scores.missed)):
            extremes.scores[:], extremes.photos[:] = arrays[f"{name}_scores"], arrays[f"{name}_photos"]
        return scores

    @classmethod
    def nothing(cls, positive_scores: NDArray[np.float32]) -> Scores:
        classes = len(positive_scores)
        return cls(ScoreCounts(positive_scores), Extremes(classes), Extremes(classes))


@dataclass(frozen=True)
class _Piece:
    training_set: TrainingSet
    whole: tuple[PartRows, ...]
    """Exhaustive photos, scored for every class."""
    labelled: tuple[PartRows, ...]
    """Photos scored only for the classes that they have labels for."""
    classifiers: str
    """Name of the file with the classifiers of each fold."""
    result: str
    """Name of the file for the scores."""


def score(
    training_set: TrainingSet,
    snapshot: Snapshot,
    by_fold: Sequence[Classifiers],
    positive_scores: NDArray[np.float32],
    sample: int,
    workers: Workers,
    progress: Progress = silent,
) -> Scores:
    """Score each photo with the classifiers that were trained without its fold.

    Args:
        by_fold: for each fold, the classifiers trained on the other folds.
        positive_scores: mean score of each class's positives; it scales the bins.
        sample: number of exhaustive photos, chosen by hash, that are scored for all classes; the others are scored for
            the classes of their labels only.

    Raises:
        InputError, JobError: as for `update_sums.update`.
    """
    matrices = [np.vstack([one.weights, one.biases[None]]) for one in by_fold]
    data = io.BytesIO()
    np.save(data, np.stack(matrices))
    total = Scores.nothing(positive_scores)
    with work_folder(training_set.folder) as work:
        classifiers = f"{work}/classifiers.npy"
        training_set.folder.write(classifiers, data.getvalue())
        lists = zip_longest(*(_split(rows, workers.count) for rows in _chosen(snapshot, sample)), fillvalue=[])
        pieces = [
            _Piece(training_set, tuple(whole), tuple(labelled), classifiers, f"{work}/{index}.npz")
            for index, (whole, labelled) in enumerate(lists)
        ]
        photos = {piece.result: sum(len(one.photo_ids) for one in (*piece.whole, *piece.labelled)) for piece in pieces}
        done, to_score = 0, sum(photos.values())
        progress("scoring", done, to_score)
        for result in workers.map(_Scorer(positive_scores, snapshot.closed), pieces):
            total.merge(Scores.read(positive_scores, training_set.folder.read(result)))
            training_set.folder.remove(result)
            done += photos[result]
            progress("scoring", done, to_score)
    return total


def _chosen(snapshot: Snapshot, sample: int) -> tuple[list[PartRows], list[PartRows]]:
    """Return the photos to score for all classes, and the photos to score for their labels only."""
    exhaustive = np.flatnonzero(snapshot.exhaustive)
    chosen = exhaustive[np.argsort(snapshot.hashes(exhaustive), kind="stable")[:sample]]
    is_whole = np.zeros(len(snapshot), np.bool_)
    is_whole[chosen] = True
    has_labels = np.diff(snapshot.offsets) > 0
    return (
        list(part_rows(snapshot, np.flatnonzero(is_whole))),
        list(part_rows(snapshot, np.flatnonzero(~is_whole & has_labels))),
    )


def _split(rows: list[PartRows], count: int) -> list[list[PartRows]]:
    """Split into at most `count` lists of whole blocks: the last digits of a product depend on its block."""
    blocks = list(together(rows, _TOGETHER))
    each = -(-len(blocks) // count) or 1
    return [[one for block in blocks[at : at + each] for one in block] for at in range(0, len(blocks), each)]


@dataclass(frozen=True)
class _Scorer:
    """Scores one piece in a worker."""

    positive_scores: NDArray[np.float32]
    closed: NDArray[np.bool_]
    """[classes]: True if an exhaustive photo without a label for the class is FALSE."""

    def __call__(self, piece: _Piece) -> str:
        folder = piece.training_set.folder
        classifiers: NDArray[np.float32] = array_from(folder.read(piece.classifiers))
        scores = Scores.nothing(self.positive_scores)
        # One thread: each core has its process, and another number of threads would change the last digits.
        with threadpool_limits(1, user_api="blas"):
            self._score(piece, classifiers, scores)
        folder.write(piece.result, scores.write())
        return piece.result

    def _score(self, piece: _Piece, classifiers: NDArray[np.float32], scores: Scores) -> None:
        for rows, work in ((piece.whole, partial(_score_whole, self.closed)), (piece.labelled, _score_labelled)):
            for some in together(rows, _TOGETHER):
                fixed, photos = concatenated(piece.training_set, some)
                features = from_fixed(fixed, piece.training_set.scale)
                for fold in range(FOLDS):
                    here = np.flatnonzero(photos.folds == fold)
                    if len(here):
                        work(scores, fold, features[here], _of(photos, here), classifiers[fold])


def _of(photos: PartRows, here: NDArray[np.int64]) -> PartRows:
    """Return the photos at these rows, without their ids."""
    place = np.full(len(photos.places), -1, np.int64)
    place[here] = np.arange(len(here))
    rows = place[photos.labels.rows]
    labels = replace(photos.labels, rows=rows).some(rows >= 0)
    return PartRows("", (), photos.places[here], photos.folds[here], photos.exhaustive[here], labels)


def _score_whole(
    closed: NDArray[np.bool_],
    scores: Scores,
    fold: int,
    features: NDArray[np.float32],
    photos: PartRows,
    classifiers: NDArray[np.float32],
) -> None:
    values = features @ classifiers[:-1]
    values += classifiers[-1]
    labels = photos.labels
    _take_labelled(scores, photos, values[labels.rows, labels.classes])
    values[:, ~closed] = -np.inf
    not_negative = labels.values != -1
    values[labels.rows[not_negative], labels.classes[not_negative]] = -np.inf
    scores.counts.add_negatives(fold, values)
    scores.false.add_all(values, photos.places)


def _score_labelled(
    scores: Scores,
    fold: int,  # noqa: ARG001 - the signature of `_score_whole`
    features: NDArray[np.float32],
    photos: PartRows,
    classifiers: NDArray[np.float32],
) -> None:
    labels = photos.labels
    if len(labels.rows) * _PAIRS > len(features) * classifiers.shape[1]:
        values = (features @ classifiers[:-1])[labels.rows, labels.classes] + classifiers[-1][labels.classes]
    else:
        columns = classifiers[:-1].T
        values = np.einsum("md,md->m", features[labels.rows], columns[labels.classes]) + classifiers[-1][labels.classes]
    _take_labelled(scores, photos, values)


def _take_labelled(scores: Scores, photos: PartRows, values: NDArray[np.float32]) -> None:
    """Add the scores of TRUE labels, and of FALSE labels of photos that would be unknown without them."""
    labels = photos.labels
    for which, extremes, sign in (
        (labels.values == 1, scores.missed, -1),
        ((labels.values == -1) & ~labels.closed, scores.false, 1),
    ):
        some, score = labels.some(which), values[which]
        scores.counts.add(photos.folds[some.rows], score, some.classes, positive=sign < 0)
        extremes.add(some.classes, sign * score, photos.places[some.rows])
