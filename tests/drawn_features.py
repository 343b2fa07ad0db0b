"""Training sets of drawn features, whose best classifiers are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotag.storage.folder import Folder
from autotag.training.dataset.labels import LabelTable
from autotag.training.dataset.training_set import TrainingSet
from tests.training_sets import facts

SCALE = 256


class Drawn:
    """Photos whose features are normal, and shifted by each class that they show.

    Args:
        classes: of each its share of the photos, and by how many standard deviations it shifts them.
    """

    def __init__(self, classes: Mapping[str, tuple[float, float]], dim: int = 24) -> None:
        draw = np.random.default_rng(99)
        self.ids = list(classes)
        self.dim = dim
        self._shares = np.array([share for share, _ in classes.values()])
        directions = draw.normal(0, 1, (len(classes), dim))
        distances = np.array([distance for _, distance in classes.values()])
        self._shifts = directions / np.linalg.norm(directions, axis=1, keepdims=True) * distances[:, None]

    def photos(self, count: int, seed: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Fixed features int16 [count, dim], and what each shows, bool [count, classes]."""
        draw = np.random.default_rng(seed)
        shows = draw.random((count, len(self.ids))) < self._shares
        features = draw.normal(0, 1, (count, self.dim)) + shows @ self._shifts
        return (features * SCALE).astype(np.int16), shows

    def new_set(self, path: Path) -> TrainingSet:
        """An empty training set for them."""
        return TrainingSet(Folder(str(path)), "network", self.dim, SCALE, "drawn")

    def add(
        self, training_set: TrainingSet, count: int, seed: int = 0, part_photos: int = 1000, *, exhaustive: bool = True
    ) -> None:
        """Add photos with all their labels."""
        features, shows = self.photos(count, seed)
        ids = [f"photo-{seed}-{number:06d}" for number in range(count)]
        for start in range(0, count, part_photos):
            pairs = [(id_, f"file:///{id_}") for id_ in ids[start : start + part_photos]]
            training_set.write_part(f"{seed:016x}{start:016x}", pairs, features[start : start + part_photos], 1 + seed)
        values = np.where(shows, 1, -1)
        if exhaustive:  # one label says that a photo was looked at
            values[:, 1:] = values[:, 1:].clip(0)
        self.label(training_set, ids, values, exhaustive=exhaustive)

    def label(
        self, training_set: TrainingSet, ids: list[str], values: NDArray[np.integer], *, exhaustive: bool
    ) -> None:
        """Say of each photo and class 1 TRUE, -1 FALSE, or 0 nothing: [photos, classes]."""
        order = np.argsort(self.ids)
        rows, classes = np.nonzero(values[:, order])
        table = LabelTable(
            ids,
            [self.ids[at] for at in order],
            rows.astype(np.int32),
            classes.astype(np.int32),
            values[:, order][rows, classes].astype(np.int8),
        )
        names = {id_: id_.title() for id_ in self.ids}
        training_set.add_labels(table, facts("labels", f"{ids[0]}", exhaustive, names=names))
