"""PhotoReader: reads the photo at a URI as pixels at the network's size; and finds the photos in a folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from autotag.photos.decoder_pool import DecoderPool
from autotag.photos.decoder_process import PhotoPixels
from autotag.photos.errors import PhotoError, Reason
from autotag.photos.fetch import PhotoFetcher, shortened
from autotag.photos.source import EVENT_SOURCE, PhotoSource
from autotag.settings import Settings
from models.preprocessing import Preprocessing

__all__ = [
    "EXTENSIONS",
    "PhotoError",
    "PhotoFetcher",
    "PhotoPixels",
    "PhotoReader",
    "Reason",
    "find_photos",
]

EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        *("jpg jpeg jpe jfif mpo", "png apng", "webp", "heic heif hif", "avif", "gif", "bmp dib", "tif tiff"),
        *("jxl", "jp2 j2k jpf jpx", "psd", "dng cr2 cr3 nef arw raf orf rw2"),
    )
    for name in names.split()
)
"""Endings of the names of photos' files, in lower case."""

log = logging.getLogger(__name__)

_FRESH_S, _SECOND_LOOK_S = 10.0, 0.25
"""The size of a truncated file that was written in the last `_FRESH_S` is checked again after `_SECOND_LOOK_S`."""


class PhotoReader:
    """Fetches and decodes photos. Safe for many threads; a context manager. No photo can crash or block the process.

    Args:
        settings: the ``photo_*``, `photo_fetch_threads` and `decoders`.
        preprocessing: the network's input format.
        source: the places that photos may be read from.
    """

    def __init__(self, settings: Settings, preprocessing: Preprocessing, source: PhotoSource = EVENT_SOURCE) -> None:
        self._fetcher = PhotoFetcher(settings, source)
        self._decoders = DecoderPool(
            settings.photo_decoders,
            preprocessing,
            timeout_s=settings.photo_decode_timeout_s,
            wait_s=settings.decoder_wait_s,
            max_pixels=settings.photo_max_pixels,
        )

    def start(self) -> None:
        """Start the decoding processes now, some 50 ms each, so that no photo waits for them."""
        self._decoders.start()

    def read(self, uri: str) -> PhotoPixels:
        """Return the upright middle of a photo. Waits for the network and an idle decoder.

        Raises:
            PhotoError: the photo gives no pixels; `reason` says why, `transient` is True if a later try may succeed.
                A truncated file that still grows is transient.
            RuntimeError: no decoding process can be started, which is no fault of the photo.
        """
        data = self._fetcher.fetch(uri)
        try:
            photo = self.decode(data)
        except PhotoError as error:
            if error.reason is Reason.TRUNCATED:
                self._check_written(uri, len(data))
            raise error.about(shortened(uri)) from error
        if photo.partial:
            self._check_written(uri, len(data))
        return photo

    def _check_written(self, uri: str, size: int) -> None:
        """Raise a transient PhotoError if a file's size differs from the `size` read: its upload is under way."""
        facts = self._fetcher.file_facts(uri)
        if facts and facts.st_size == size and time.time() - facts.st_mtime < _FRESH_S:
            time.sleep(_SECOND_LOOK_S)
            facts = self._fetcher.file_facts(uri)
        if facts and facts.st_size != size:
            detail = f"the file is being written: {size} bytes were read, now it has {facts.st_size}"
            raise PhotoError(Reason.INTERRUPTED, f"{shortened(uri)}: {detail}")

    def decode(self, data: bytes) -> PhotoPixels:
        """Decode a photo's bytes; otherwise like `read`."""
        return self._decoders.decode(data)

    def close(self) -> None:
        """End each decoding process after its present photo, and close the pooled connections."""
        self._decoders.close()
        self._fetcher.close()

    def __enter__(self) -> PhotoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_photos(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder whose names end like photos', sorted folder by folder. No file is opened.

    Hidden files and folders are left out, and links to folders are not followed. A folder that cannot be read is
    logged and left out.
    """

    def unreadable(error: OSError) -> None:
        log.warning("left out: %s", error)

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(parent, name)
