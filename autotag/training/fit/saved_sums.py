"""Sums saved beside the features of a training set, with the snapshot that they belong to.

    statistics/<number>-<digest>/arrays.npz, snapshot.parquet, done.json (written last)

The newest complete folder counts. No file is changed in place: after a killed training the folder before it counts, and
after two trainings at once the one with the higher number does.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autotag.errors import InputError
from autotag.storage.folder import Folder
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from models.arrays import arrays_from
from models.errors import ModelError
from models.moments import Statistics

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{6})-[0-9a-f]{12}")
_ARRAYS, _SNAPSHOT, _DONE = "arrays.npz", "snapshot.parquet", "done.json"


@dataclass(frozen=True)
class SavedSums:
    """A snapshot, and the sums of exactly its photos and labels."""

    snapshot: Snapshot
    statistics: Statistics


def latest(training_set: TrainingSet) -> SavedSums | None:
    """Return the sums of the last training; None if there are no complete ones."""
    folder = training_set.folder.folder("statistics")
    for name in sorted(filter(_NAME.fullmatch, folder.names()), reverse=True):
        if sums := _read(folder.folder(name)):
            return sums
    return None


def save(training_set: TrainingSet, sums: SavedSums) -> None:
    """Write the sums to a new folder, and remove all but the last folder before it.

    Raises:
        InputError: a file cannot be written.
    """
    files = {_ARRAYS: sums_to_bytes(sums.statistics), _SNAPSHOT: sums.snapshot.write()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    folder = training_set.folder.folder("statistics")
    names = sorted(filter(_NAME.fullmatch, folder.names()))
    digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]
    new = folder.folder(f"{int(names[-1][:6]) + 1 if names else 1:06d}-{digest}")
    for name, data in files.items():
        new.write(name, data)
    new.write(_DONE, json.dumps(digests).encode())
    for name in names[:-1]:  # another training may be reading the last
        folder.remove(name)


def _read(folder: Folder) -> SavedSums | None:
    """Read a folder of `save`; log a damaged one and return None."""
    try:
        digests = json.loads(folder.read(_DONE))
        files = {name: folder.read(name) for name in (_ARRAYS, _SNAPSHOT)}
        for name, data in files.items():
            if hashlib.sha256(data).hexdigest() != digests[name]:
                raise ValueError(f"{name} is damaged")
        snapshot = Snapshot.read(files[_SNAPSHOT])
        return SavedSums(snapshot, sums_from_bytes(snapshot.class_ids, files[_ARRAYS]))
    except (InputError, ValueError, TypeError, KeyError, ModelError) as error:
        log.warning("%s: ignored, these sums are damaged: %s", folder, error)
        return None


def sums_to_bytes(statistics: Statistics) -> bytes:
    """Return the sums as bytes of a file, equal for equal sums; `sums_from_bytes` reads them."""
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **statistics.arrays())
    return data.getvalue()


def sums_from_bytes(classes: Sequence[str], data: bytes) -> Statistics:
    """Read the bytes of `sums_to_bytes`; raise ModelError for other bytes."""
    return Statistics.from_arrays(classes, arrays_from(data))
