"""Choice of the regulariser by cross-validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.update_sums import part_rows, read_features
from models.fixed_point import from_fixed
from models.ridge import STRENGTHS, Solver

CLASSES, PHOTOS, POSITIVES = 200, 10_000, 50
"""Maximum size of the comparison: classes, photos (by hash), and positives of each class."""


def compare(training_set: TrainingSet, snapshot: Snapshot, by_fold: list[Solver]) -> dict[float, float]:
    """Return the cross-validated mean average precision of each regulariser.

    Args:
        by_fold: for each fold, the solver of the other folds.
    """
    classes = _compared_classes(snapshot)
    if not len(classes):
        return {STRENGTHS[-1]: 0.0}
    photos = _compared_photos(snapshot, classes)
    rows = list(part_rows(snapshot, photos))
    features = from_fixed(np.concatenate([read_features(training_set, one) for one in rows]), training_set.scale)
    places = np.concatenate([one.places for one in rows])
    folds = snapshot.folds(places)
    truth = _truth(snapshot, places, classes)
    precisions: dict[float, float] = {}
    for strength in STRENGTHS:
        scores = np.empty((len(places), len(classes)), np.float32)
        for fold, solver in enumerate(by_fold):
            made = solver.classifiers(strength, classes)
            here = folds == fold
            scores[here] = features[here] @ made.weights + made.biases
        each = [_average_precision(scores[:, at], truth[:, at]) for at in range(len(classes))]
        precisions[strength] = float(np.mean(each))
    return precisions


def _compared_classes(snapshot: Snapshot) -> NDArray[np.int64]:
    """Return classes with at least two positives, evenly spread over the numbers of positives."""
    counts = np.bincount(snapshot.classes[snapshot.values == 1], minlength=len(snapshot.class_ids))
    usable = np.flatnonzero(counts >= 2)
    usable = usable[np.argsort(counts[usable], kind="stable")]
    return usable[np.linspace(0, len(usable) - 1, min(len(usable), CLASSES)).astype(np.int64)]


def _compared_photos(snapshot: Snapshot, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    by_hash = np.argsort(snapshot.hashes(), kind="stable")
    rank = np.empty(len(snapshot), np.int64)
    rank[by_hash] = np.arange(len(snapshot))
    true = snapshot.values == 1
    rows, labelled = snapshot.rows[true], snapshot.classes[true]
    order = np.lexsort((rank[rows], labelled))
    starts = np.searchsorted(labelled[order], np.stack([classes, classes + 1]))
    positives = [rows[order[start:end]][:POSITIVES] for start, end in starts.T.tolist()]
    return np.unique(np.concatenate([by_hash[:PHOTOS], *positives]))


def _truth(snapshot: Snapshot, places: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return the labels, int8 [photos, classes]: 1 TRUE, -1 FALSE, 0 unknown."""
    column = np.full(len(snapshot.class_ids), -1, np.int64)
    column[classes] = np.arange(len(classes))
    truth = np.where(snapshot.exhaustive[places][:, None] & snapshot.closed[classes], -1, 0).astype(np.int8)
    labels = snapshot.labels_of(places)
    columns = column[labels.classes]
    wanted = columns >= 0
    truth[labels.rows[wanted], columns[wanted]] = labels.values[wanted]
    return truth


def _average_precision(scores: NDArray[np.float32], truth: NDArray[np.int8]) -> float:
    labelled = truth != 0
    right = truth[labelled][np.argsort(-scores[labelled], kind="stable")] == 1
    if not right.any():
        return 0.0
    return float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())
