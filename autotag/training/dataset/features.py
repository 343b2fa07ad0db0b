"""Extraction of features: the workers of a job compute them piece by piece, each photo once."""

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
    """Photos whose features are computed together and written to one file; its name is a digest of the photos."""

    name: str
    photos: tuple[TrainingPhoto, ...]


class PieceResult(NamedTuple):
    """The result of a piece."""

    name: str
    failures: list[PhotoFailure]
    """Photos without features; all others of the piece have them."""
    clipped: int = 0
    """Number of single values that exceeded the range of the fixed-point format."""
    was_done: bool = False
    """True if another join, or an interrupted run of this one, had computed the piece before."""


def pieces(
    photos: Iterable[TrainingPhoto], states: Mapping[str, PhotoState], *, retry_failed: bool
) -> list[FeaturePiece]:
    """Cut the photos that must be read into pieces: new photos, moved ones, and failed ones that may succeed now.

    Two joins of the same photos make the same pieces, and each piece is computed once.
    """
    new: list[TrainingPhoto] = []
    again: list[TrainingPhoto] = []
    for photo in photos:
        before = states.get(photo.id)
        if before is None:
            new.append(photo)
        elif before.uri != photo.uri or before.state is State.FAILED or (before.state is State.BAD and retry_failed):
            again.append(photo)  # last, so that a join that starts later cuts the new photos at the same places
    return [
        FeaturePiece(_name(some, states), tuple(some))
        for group in (new, again)
        for some in (group[start : start + PIECE_PHOTOS] for start in range(0, len(group), PIECE_PHOTOS))
    ]


def _name(photos: Sequence[TrainingPhoto], states: Mapping[str, PhotoState]) -> str:
    """Return a digest of the photos and of the time of each one's state: a second try has another name."""
    facts = [[photo.id, photo.uri, states[photo.id].at_us if photo.id in states else 0] for photo in photos]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Extraction:
    """Computes the features of pieces. Small to pickle; loads the network once per process.

    Args:
        settings: as for `Tagger.open`; `model` names one bundle, not a folder of bundles.
        folder: the folder of the training set.
        computed_us: time given to all features: the start of the join, so that a later removal wins.
        source: the places that photos may be read from.
    """

    settings: Settings
    folder: Folder
    computed_us: int
    source: PhotoSource

    def __call__(self, piece: FeaturePiece) -> PieceResult:
        """Compute a piece and write it; if that was done before, only read its result."""
        training_set = TrainingSet.open(self.folder)
        return _earlier_result(training_set, piece) or self._compute(training_set, piece)

    def _compute(self, training_set: TrainingSet, piece: FeaturePiece) -> PieceResult:
        tagger = worker_tagger(self.settings, self.source)
        training_set.check(tagger.bundle)
        photos: list[tuple[str, str]] = []
        features: list[NDArray[np.float32]] = []
        failures: list[PhotoFailure] = []
        for photo, computed in features_of(tagger, self.settings, piece.photos):
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
    """Return the result of a piece that was computed before; None if it was not, or photos have been lost since."""
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


def features_of(
    tagger: Tagger, settings: Settings, photos: Sequence[TrainingPhoto]
) -> Iterator[tuple[TrainingPhoto, NDArray[np.float32] | PhotoError]]:
    """Yield each photo with its features, float32 [d], or with the error that prevents them, in their order."""
    reader = _PieceReader(tagger, settings)
    computed = tagger.features(reader.uris(photos), reader.read)
    for photo, (_, features) in zip(photos, computed, strict=True):
        yield photo, features


class _PieceReader:
    """Reads the photos of a piece: by URI, or from rows of a Parquet file that hold their bytes."""

    def __init__(self, tagger: Tagger, settings: Settings) -> None:
        self._tagger = tagger
        self._settings = settings
        self._bytes: dict[str, bytes | PhotoError] = {}
        """By URI: the bytes of rows that `read` has not taken yet, or the error of reading them."""

    def uris(self, photos: Iterable[TrainingPhoto]) -> Iterator[str]:
        """Yield the URIs of the photos, for `read`; each row is read when its URI is yielded."""
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
    """Yield the bytes of the photos in these rows; an error for each remaining row once the file cannot be read."""
    done = 0
    try:
        for data in parquet.cells(open_url(file), file, BYTES, numbers):
            yield data if isinstance(data, bytes) else b""
            done += 1
    except InputError as error:
        yield from [PhotoError(Reason.INTERRUPTED, str(error))] * (len(numbers) - done)
