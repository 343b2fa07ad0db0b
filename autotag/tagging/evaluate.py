"""Measures a bundle's accuracy: top-1 and top-5 on a folder of labelled photos."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotag.errors import AutotagError
from autotag.photos.reader import find_photos
from autotag.progress import Progress, silent
from models.bank import Softmax
from models.bundle import Bundle
from models.classes import ClassTable
from models.errors import ModelError
from models.network import FeatureNetwork

log = logging.getLogger(__name__)

BATCH_PHOTOS = 32

_WNID = re.compile(r"n\d{8}(?!\d)")


@dataclass(frozen=True)
class Labelled:
    """A photo's file and the id of its class."""

    path: Path
    label: str


@dataclass(frozen=True)
class Evaluation:
    """Top-1 and top-5 accuracy, from 0 to 1."""

    photos: int
    top1: float
    top5: float
    unreadable: tuple[Path, ...] = ()
    """Photos that gave no pixels; the figures leave them out."""


def labelled_photos(folder: Path, classes: ClassTable) -> list[Labelled]:
    """Return the photos in a folder, in order, with the class of each.

    A file's name begins with a wnid (``n02084071_12.jpg``), or it lies in a sub-folder named by a class's id or display
    name, in upper or lower case, with blanks or underscores.

    Raises:
        ModelError: there are no photos, or some names are no class; the message lists those names.
    """
    files = list(find_photos(folder))
    if not files:
        raise ModelError(f"{folder}: there are no photos here")
    photos, unknown = [], set()
    for path in files:
        wnid = _WNID.match(path.name)
        name = wnid[0] if wnid else path.parent.name if path.parent != folder else path.name
        label = classes.find(name) or classes.find(name.replace("_", " "))
        if label is None:
            unknown.add(name)
        else:
            photos.append(Labelled(path, label))
    if unknown:
        listed = ", ".join(sorted(unknown)[:20]) + (", ..." if len(unknown) > 20 else "")
        raise ModelError(f"{folder}: {len(unknown)} names are no class of this bundle: {listed}")
    return photos


def evaluate(
    bundle: Bundle,
    network: FeatureNetwork,
    folder: Path,
    read_pixels: Callable[[Path], NDArray[np.uint8]],
    progress: Progress = silent,
) -> Evaluation:
    """Measure the bundle's classifiers, without sums over leaves, on a folder of photos.

    The rank of a label is its rank in the bank that has it: a bank of exclusive classes, if there is one, since a photo
    shows several classes of any other. A photo labelled with a parent class counts as right if the best class is below
    the parent.

    Args:
        read_pixels: reads a photo's file as uint8 [s, s, 3], RGB, by the bundle's preprocessing. If it raises an
            `AutotagError`, the photo is left out.

    Raises:
        ModelError: as from `labelled_photos`; or no photo could be read.
    """
    photos = labelled_photos(folder, bundle.classes)
    ranks: list[int] = []
    unreadable: list[Path] = []
    for start in range(0, len(photos), BATCH_PHOTOS):
        batch, pixels = [], []
        for photo in photos[start : start + BATCH_PHOTOS]:
            try:
                pixels.append(read_pixels(photo.path))
                batch.append(photo)
            except AutotagError as error:
                log.warning("%s is left out: %s", photo.path, error)
                unreadable.append(photo.path)
        if batch:
            ranks += _ranks(bundle, network.features(np.stack(pixels)), [photo.label for photo in batch])
        progress("evaluating", min(start + BATCH_PHOTOS, len(photos)), len(photos))
    if not ranks:
        raise ModelError(f"{folder}: none of its {len(photos)} photos can be read")
    places = np.array(ranks)
    return Evaluation(len(ranks), float((places < 1).mean()), float((places < 5).mean()), tuple(unreadable))


def _ranks(bundle: Bundle, features: NDArray[np.float32], labels: Sequence[str]) -> Iterator[int]:
    """Return for each photo the number of classes that score higher than the right one; all if no classifier has it."""
    exclusive_first = sorted(bundle.banks, key=lambda bank: not isinstance(bank.rule, Softmax))
    scored = [(bank.classifiers, bank.probabilities(features)[:, : len(bank.classifiers)]) for bank in exclusive_first]
    for photo, label in enumerate(labels):
        rank = sum(len(ids) for ids, _ in scored)
        for ids, probabilities in scored:
            right = [id_ == label or label in bundle.classes.ancestors(id_) for id_ in ids]
            if any(right):
                row = probabilities[photo]
                rank = int((row > row[right].max()).sum())
                break
        yield rank
