"""Bundles with any number of classifiers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from models.bank import ClassifierBank, Sigmoid
from models.bundle import BANKS, CLASSES, Bundle
from models.classes import ClassTable


def with_classifiers(bundle: Bundle, count: int, root: Path) -> Path:
    """Copy a bundle to a folder below `root`, with random independent classifiers beside its own, `count` in all.

    The weights are distributed like the head's own, and few photos reach the thresholds, so the cost is realistic.
    """
    folder = root / f"{bundle.precision}-{count}"
    if folder.exists():
        return folder
    part = root / f"{folder.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(bundle.folder, part)
    (part / "manifest.json").unlink()
    own = bundle.banks[0]
    extra = count - len(own.classifiers)
    if extra:
        draw = np.random.default_rng(0)
        ids = [f"drawn-{number:05d}" for number in range(extra)]
        rule = Sigmoid(np.ones(extra, np.float32), np.full(extra, -3, np.float32), np.full(extra, 0.999, np.float32))
        weights = draw.normal(0, 0.05, (own.dim, extra)).astype(np.float32)
        ClassifierBank.write(
            part / BANKS / "drawn", "drawn", own.network, ids, weights, np.zeros(extra, np.float32), rule
        )
        table = bundle.classes
        rows = [(id_, table.name(id_), table.parents[id_]) for id_ in table.ids]
        ClassTable([*rows, *((id_, id_, ()) for id_ in ids)]).write(part / CLASSES)
    Bundle.seal(part, bundle.name, bundle.network_key, bundle.precision, bundle.preprocessing, {})
    part.rename(folder)
    return folder
