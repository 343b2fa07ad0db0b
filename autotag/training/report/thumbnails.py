"""Thumbnails of photos for a report: the part of each photo that the network sees, smaller."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from autotag.errors import InputError
from autotag.photos.local_files import too_large
from autotag.photos.reader import PhotoError, PhotoReader
from autotag.photos.source import PhotoSource
from autotag.photos.thumbnail import jpeg
from autotag.progress import Progress, silent
from autotag.settings import Settings
from autotag.storage import parquet
from autotag.storage.text_lines import open_url
from autotag.training.dataset.label_files import BYTES, row_place
from models.preprocessing import Preprocessing

Thumbnail = Callable[[str], bytes | None]
"""Returns the JPEG of the photo at a URI; None if it cannot be read any more. Several threads call it at once."""

SIDE = 112
"""Pixels."""
READERS = 8
"""Number of photos that are read at once."""


@contextmanager
def thumbnailer(settings: Settings, preprocessing: Preprocessing) -> Iterator[Thumbnail]:
    """Give a function that makes thumbnails of photos from any place that training reads; 112 x 112 pixels, upright.

    Args:
        settings: as for `PhotoReader`.
        preprocessing: the network's preprocessing; only its size is changed, so the network's crop is shown.
    """
    short_side = round(preprocessing.resize_short_side * SIDE / preprocessing.size)
    small = replace(preprocessing, size=SIDE, resize_short_side=short_side)
    with PhotoReader(settings, small, PhotoSource(any_file=True, object_stores=True)) as reader:

        def thumbnail(uri: str) -> bytes | None:
            try:
                file, row = row_place(uri)
                if not file:
                    return jpeg(reader.read(uri).pixels)
                return jpeg(reader.decode(_in_parquet(file, row, settings.photo_max_bytes)).pixels)
            except (PhotoError, InputError):
                return None

        yield thumbnail


def write_thumbnails(
    photos: Mapping[str, str], folder: Path, thumbnail: Thumbnail, progress: Progress = silent
) -> dict[str, str]:
    """Write a file for each photo, and remove files of other photos.

    Args:
        photos: URIs by photo id.

    Returns:
        The file's name by photo id; empty if the photo cannot be read.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def write(photo_id: str) -> str:
        data = thumbnail(photos[photo_id])
        if data is None:
            return ""
        name = hashlib.sha256(photo_id.encode()).hexdigest()[:32] + ".jpg"
        (folder / name).write_bytes(data)
        return name

    names: dict[str, str] = {}
    progress("thumbnails", 0, len(photos))
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="thumbnail")
    try:
        for photo_id, name in zip(photos, pool.map(write, photos), strict=True):
            names[photo_id] = name
            progress("thumbnails", len(names), len(photos))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    written = set(names.values())
    for path in folder.glob("*.jpg"):
        if path.name not in written:  # from an earlier report in this folder
            path.unlink()
    return names


def _in_parquet(file: str, row: int, max_bytes: int) -> bytes:
    data = next(parquet.cells(open_url(file), file, BYTES, [row]))
    if not isinstance(data, bytes):
        return b""
    if len(data) > max_bytes:
        raise too_large(len(data), max_bytes)
    return data
