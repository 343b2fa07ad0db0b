"""A synthetic training set: features with a structure that can be learned, and labels as a large site has them."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotag.storage.folder import Folder
from autotag.training.dataset.labels import LabelTable
from autotag.training.dataset.training_set import TrainingSet
from models.bundle import Bundle

DIM = 1280
LABELS_PER_PHOTO = 4.4
PART_PHOTOS = 256
_POOL = 16384


@dataclass
class Maker:
    """Draws photos: noise plus the prototypes of their classes. The class of rank r has a frequency of 1 / r^0.9."""

    classes: int

    def __post_init__(self) -> None:
        draw = np.random.default_rng(0)
        self._noise = np.abs(draw.normal(0, 900, (_POOL, DIM))).astype(np.int16)
        self._prototypes = np.abs(draw.normal(0, 500, (self.classes, DIM))).astype(np.int16)
        self._prototypes[draw.random((self.classes, DIM)) < 0.9] = 0
        frequencies = 1 / np.arange(1, self.classes + 1) ** 0.9
        self._frequencies = frequencies / frequencies.sum()

    def features(self, photos: int, seed: int) -> tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]:
        """Return features int16 [photos, DIM], and photo (ascending) and class of each label; no label occurs twice."""
        draw = np.random.default_rng([1, seed])
        count = int(photos * LABELS_PER_PHOTO)
        keys = np.unique(
            draw.integers(0, photos, count) * self.classes + draw.choice(self.classes, count, p=self._frequencies)
        )
        rows, classes = keys // self.classes, keys % self.classes
        features = self._noise[draw.integers(0, _POOL, photos)] // 2 + self._noise[draw.integers(0, _POOL, photos)] // 2
        starts = np.searchsorted(rows, np.arange(photos + 1)).tolist()
        for photo, (start, end) in enumerate(itertools.pairwise(starts)):
            for class_ in classes[start:end]:
                features[photo] += self._prototypes[class_]
        return features, rows, classes


def make(folder: Folder, bundle: Bundle, maker: Maker, photos: int, first: int = 0) -> TrainingSet:
    """Add `photos` photos, numbered from `first` on and exhaustively labelled, to the training set in a folder."""
    training_set = TrainingSet.open_or_create(folder, bundle)
    ids, all_rows, all_classes = [f"photo-{number:08d}" for number in range(first, first + photos)], [], []
    for start in range(0, photos, PART_PHOTOS):
        some = ids[start : start + PART_PHOTOS]
        features, rows, classes = maker.features(len(some), first + start)
        name = hashlib.sha256(some[0].encode()).hexdigest()[:32]
        training_set.write_part(name, [(id_, f"file:///made/{id_}") for id_ in some], features, 1)
        all_rows.append(rows + start)
        all_classes.append(classes)
    class_ids = [f"class-{number:05d}" for number in range(maker.classes)]
    labels = LabelTable(
        ids,
        class_ids,
        np.concatenate(all_rows).astype(np.int32),
        np.concatenate(all_classes).astype(np.int32),
        np.ones(sum(map(len, all_rows)), np.int8),
    )
    names = {id_: id_ for id_ in class_ids}
    facts = {"kind": "labels", "exhaustive": True, "names": names, "source": f"made {first}", "by": "bench"}
    training_set.add_labels(labels, facts)
    return training_set
