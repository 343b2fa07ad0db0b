"""A bundle with one more classifier bank: the candidate that a training or a handful of examples makes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bank import ClassifierBank, Sigmoid
from models.bundle import BANKS, CLASSES, Bundle
from models.classes import ClassTable

QUALITY = "quality.json"
"""In a bank's folder: what is known of each class."""


@dataclass(frozen=True)
class BankContent:
    """A bank of independent classes, to be written. Arrays are in the order of `class_ids`."""

    class_ids: Sequence[str]
    names: Mapping[str, str]
    weights: NDArray[np.float32]
    """[d, classes]"""
    biases: NDArray[np.float32]
    rule: Sigmoid
    quality: Mapping[str, Any]
    """Of each class: positives, negatives, average_precision, threshold, precision, recall, and what else there is."""


def write_candidate(base: Bundle, bank: str, content: BankContent, made: Mapping[str, Any], root: Path) -> Bundle:
    """Make a bundle of `base`'s network and banks and this one, which takes the place of one of its name.

    A class that `base` has already is meant by its id or, where a class was called so by people first, its name.

    Args:
        made: facts on how it was made.
        root: the folder that gets it, as a folder named by bank and version. The same content is written once.

    Raises:
        ModelError: what was made is no bundle.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    try:
        folder.chmod(0o755)  # mkdtemp's is for its owner alone
        shutil.copytree(
            base.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json", CLASSES)
        )
        shutil.rmtree(folder / BANKS / bank, ignore_errors=True)
        ids = [base.classes.find(id_) or id_ for id_ in content.class_ids]
        new = {
            id_: content.names[given]
            for id_, given in zip(ids, content.class_ids, strict=True)
            if id_ not in base.classes
        }
        rows = [(id_, base.classes.name(id_), base.classes.parents[id_]) for id_ in _used(base, bank)]
        ClassTable([*rows, *((id_, name, ()) for id_, name in new.items())]).write(folder / CLASSES)
        ClassifierBank.write(
            folder / BANKS / bank, bank, base.network_key, ids, content.weights, content.biases, content.rule
        )
        quality = {id_: content.quality[given] for id_, given in zip(ids, content.class_ids, strict=True)}
        (folder / BANKS / bank / QUALITY).write_text(json.dumps(quality, indent=1) + "\n", encoding="utf-8")
        sealed = Bundle.seal(folder, base.name, base.network_key, base.precision, base.preprocessing, made)
        target = root / f"{bank}-{sealed.version[:12]}"
        if not target.exists():
            folder.rename(target)
        return Bundle.open(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_quality(bundle: Bundle, bank: str) -> dict[str, Any]:
    """What is known of each class of a bank, by id; nothing where nothing is."""
    path = bundle.folder / BANKS / bank / QUALITY
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _used(base: Bundle, bank: str) -> list[str]:
    """The classes of the table but those that only the bank had that is replaced."""
    others = {id_ for one in base.banks if one.name != bank for id_ in one.ids}
    replaced = {id_ for one in base.banks if one.name == bank for id_ in one.ids} - others
    needed = others | {above for id_ in others for above in base.classes.ancestors(id_)}
    return [id_ for id_ in base.classes.ids if id_ not in replaced or id_ in needed]
