"""What the tests of training share: sets, parts and labels in a few words, and a bundle that can be run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotag.training.dataset.labels import LabelCollector, LabelTable
from autotag.training.dataset.training_set import TrainingSet

RED, GREEN, BLUE = (250, 10, 10), (10, 250, 10), (10, 10, 250)


def write_photo(path: Path, colour: tuple[int, int, int] = RED) -> Path:
    """A photo of one colour, and so of these features to a bundle of `write_colour_bundle`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), colour).save(path)
    return path


def add_photos(training_set: TrainingSet, ids: Iterable[str], at_us: int = 1, value: int = 7) -> str:
    """A part with these photos, all of whose features are `value`; its name."""
    ids = list(ids)
    name = hashlib.sha256(repr((ids, at_us)).encode()).hexdigest()[:32]
    fixed = np.full((len(ids), training_set.dim), value, np.int16)
    training_set.write_part(name, [(id_, f"file:///{id_}") for id_ in ids], fixed, at_us)
    return name


def label_table(*rows: tuple[str, str, int]) -> LabelTable:
    """Labels of photo, class and value."""
    collector = LabelCollector()
    for row in rows:
        collector.add(*row)
    return collector.table()[0]


def facts(kind: str = "labels", source: str = "labels.csv", exhaustive: bool = False, **more: Any) -> dict[str, Any]:
    """What is said of a file of the log."""
    return {"kind": kind, "exhaustive": exhaustive, "names": {}, "source": source, "by": "ann", **more}


def features_of(training_set: TrainingSet) -> dict[str, list[int]]:
    """Of each photo the features of its latest row, over all parts; of equal ones the last part's."""
    latest: dict[str, tuple[int, list[int]]] = {}
    for name in training_set.parts():
        table = training_set.read_part(name)
        rows = training_set.fixed_features(table).tolist()
        times = table.column("computed_us").to_pylist()
        for photo_id, at_us, row in zip(table.column("photo_id").to_pylist(), times, rows, strict=True):
            if at_us >= latest.get(photo_id, (-1, []))[0]:
                latest[photo_id] = (at_us, row)
    return {photo_id: row for photo_id, (_, row) in latest.items()}


def labels_of(training_set: TrainingSet, name: str) -> set[tuple[str, str, int]]:
    """The rows of a file of the log."""
    table, _ = training_set.read_labels(name)
    return set(zip(*(table.column(column).to_pylist() for column in ("photo_id", "class_id", "value")), strict=True))
