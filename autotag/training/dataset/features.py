"""Photos to features, a piece at a time: by any of a job's workers, each photo once."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotag.errors import InputError
from autotag.jobs.worker_tagger import worker_tagger
from autotag.photos.errors import Reason
from autotag.photos.local_files import too_large
from autotag.photos.reader import PhotoError, PhotoPixels
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage import parquet
from autotag.storage.folder import Folder
from autotag.storage.text_lines import open_url
from autotag.tagging.tagger import Tagger
from autotag.training.dataset.label_files import BYTES, TrainingPhoto, row_place
from autotag.training.dataset.photo_states import PhotoState, State
from autotag.training.dataset.training_set import PhotoFailure, TrainingSet
from models.fixed_point import clipped, to_fixed

PIECE_PHOTOS = 256


class FeaturePiece(NamedTuple):
    """Photos whose features are computed together, and kept under a name that says of what they are."""

    name: str
    photos: tuple[TrainingPhoto, ...]


class PieceResult(NamedTuple):
    """The result of a piece."""

    name: str
    failures: list[PhotoFailure]
    """The photos that gave no features; all the others did."""
    clipped: int = 0
    """Single features that were larger than the fixed point holds."""
    was_done: bool = False
    """By another join, or this one before it was ended."""


def pieces(
    photos: Iterable[TrainingPhoto], states: Mapping[str, PhotoState], *, retry_failed: bool
) -> list[FeaturePiece]:
    """The photos that are still to be read: new ones, those that are elsewhere now, and those that may work now.

    Two joins of the same photos make the same pieces, of which each is then done once.
    """
    new: list[TrainingPhoto] = []
    again: list[TrainingPhoto] = []
    for photo in photos:
        before = states.get(photo.id)
        if before is None:
            new.append(photo)
        elif before.uri != photo.uri or before.state is State.FAILED or (before.state is State.BAD and retry_failed):
            again.append(photo)  # last, or a join that begins later would cut the new ones at other places
    return [
        FeaturePiece(_name(some, states), tuple(some))
        for group in (new, again)
        for some in (group[start : start + PIECE_PHOTOS] for start in range(0, len(group), PIECE_PHOTOS))
    ]


def _name(photos: Sequence[TrainingPhoto], states: Mapping[str, PhotoState]) -> str:
    """The digest of the photos and of when each was last known: what is tried again has another name."""
    facts = [[photo.id, photo.uri, states[photo.id].at_us if photo.id in states else 0] for photo in photos]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Extraction:
    """Computes the features of pieces; small to pickle, and loads the network once a process.

    Args:
        settings: those of `Tagger.open`, with `model` naming one bundle, not a folder of them.
        folder: the training set's.
        computed_us: of all that is computed: when the join began, so that a removal after that wins.
        source: the places that photos may be read from.
    """

    settings: Settings
    folder: Folder
    computed_us: int
    source: PhotoSource

    def __call__(self, piece: FeaturePiece) -> PieceResult:
        """Compute a piece and keep it; nothing but a look where that was done before."""
        training_set = TrainingSet.open(self.folder)
        return _earlier_result(training_set, piece) or self._compute(training_set, piece)

    def _compute(self, training_set: TrainingSet, piece: FeaturePiece) -> PieceResult:
        tagger = worker_tagger(self.settings, self.source)
        training_set.check(tagger.bundle)
        photos: list[tuple[str, str]] = []
        features: list[NDArray[np.float32]] = []
        failures: list[PhotoFailure] = []
        reader = _PieceReader(tagger, self.settings)
        for photo, (_, computed) in zip(
            piece.photos, tagger.features(reader.uris(piece.photos), reader.read), strict=True
        ):
            if isinstance(computed, PhotoError):
                failures.append(
                    PhotoFailure(*photo, computed.reason, computed.detail, not computed.transient, self.computed_us)
                )
            else:
                photos.append((photo.id, photo.uri))
                features.append(computed)
        fixed = to_fixed(np.array(features, np.float32).reshape(-1, training_set.dim), training_set.scale)
        training_set.write_failures(piece.name, failures)
        training_set.write_part(piece.name, photos, fixed, self.computed_us)
        return PieceResult(piece.name, failures, clipped(fixed))


def _earlier_result(training_set: TrainingSet, piece: FeaturePiece) -> PieceResult | None:
    """Return the result of a piece that was done before, if all its photos are still there."""
    if not training_set.has_part(piece.name):
        return None
    failures = training_set.read_failures(piece.name)
    there = set(training_set.read_part(piece.name, ["photo_id"]).column("photo_id").to_pylist())
    there.update(failure.photo_id for failure in failures)
    # The name tells which photos were asked for; the file may have lost rows since.
    return (
        PieceResult(piece.name, failures, was_done=True)
        if there.issuperset(photo.id for photo in piece.photos)
        else None
    )


class _PieceReader:
    """Reads a piece's photos: by URI, or from the rows of a Parquet file that hold their bytes."""

    def __init__(self, tagger: Tagger, settings: Settings) -> None:
        self._tagger = tagger
        self._settings = settings
        self._bytes: dict[str, bytes | PhotoError] = {}
        """Of rows whose turn has not come, or why they could not be read."""

    def uris(self, photos: Iterable[TrainingPhoto]) -> Iterator[str]:
        """The photos' URIs, for `read`; rows are read as they are asked for."""
        for file, group in itertools.groupby(photos, lambda photo: row_place(photo.uri)[0]):
            if not file:
                yield from (photo.uri for photo in group)
                continue
            uris = [photo.uri for photo in group]
            for uri, self._bytes[uri] in zip(uris, _rows(file, [row_place(uri)[1] for uri in uris]), strict=True):
                yield uri

    def read(self, uri: str) -> PhotoPixels:
        """Read a photo, as `Tagger.read` does."""
        if uri in self._bytes:
            data = self._bytes.pop(uri)
            if isinstance(data, PhotoError):
                raise data
            if len(data) > self._settings.photo_max_bytes:
                raise too_large(len(data), self._settings.photo_max_bytes)
            return self._tagger.extractor.reader.decode(data)
        return self._tagger.read(uri)


def _rows(file: str, numbers: Sequence[int]) -> Iterator[bytes | PhotoError]:
    """The photos in these rows; where the file cannot be read on, the error for each that is left."""
    done = 0
    try:
        for data in parquet.cells(open_url(file), file, BYTES, numbers):
            yield data if isinstance(data, bytes) else b""
            done += 1
    except InputError as error:
        yield from [PhotoError(Reason.INTERRUPTED, str(error))] * (len(numbers) - done)
