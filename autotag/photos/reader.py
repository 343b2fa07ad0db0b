"""PhotoReader: a photo's URI to the pixels that a network wants; and what people call photos, as URIs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from autotag.photos.decoder_pool import DecoderPool
from autotag.photos.decoder_process import Preprocessing
from autotag.photos.errors import PhotoError, Reason
from autotag.photos.fetch import Fetch, PhotoFetcher, shortened
from autotag.settings import Settings

__all__ = ["EXTENSIONS", "PhotoError", "PhotoFetcher", "PhotoReader", "Reason", "find_photos", "photo_uri"]

EXTENSIONS = frozenset(
    f".{name}"
    for names in ("jpg jpeg jpe jfif mpo", "png apng", "webp", "heic heif hif", "avif", "gif", "bmp dib", "tif tiff")
    for name in names.split()
)
"""What files with photos are called, in lower case."""

log = logging.getLogger(__name__)


class PhotoReader:
    """Fetches and decodes photos. Safe for many threads; a context manager. No photo can end or block the process.

    Args:
        settings: the ``photo_*``, `photo_fetch_threads` and `decoders`.
        preprocessing: the network's.
        any_file: read any file, not only those below `photo_roots`: for a person who names the files.
        other_schemes: what fetches URIs that are not file, http or https; without it they are refused.
    """

    def __init__(
        self,
        settings: Settings,
        preprocessing: Preprocessing,
        any_file: bool = False,
        other_schemes: Fetch | None = None,
    ) -> None:
        self._fetcher = PhotoFetcher(settings, any_file=any_file, other_schemes=other_schemes)
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

    def read(self, uri: str) -> NDArray[np.uint8]:
        """The upright middle of a photo: uint8 [size, size, 3], RGB. Waits for the network and an idle decoder.

        Raises:
            PhotoError: it gives no pixels; `reason` says why, `transient` whether it may work later.
            RuntimeError: no decoding process can be started: our mistake, not the photo's.
        """
        data = self._fetcher.fetch(uri)
        try:
            return self.decode(data)
        except PhotoError as error:
            raise error.about(shortened(uri)) from error

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """As `read`, of a photo's bytes that the caller has."""
        return self._decoders.decode(data)

    def close(self) -> None:
        """End the decoding processes, each after the photo it is at, and close the pooled connections."""
        self._decoders.close()
        self._fetcher.close()

    def __enter__(self) -> PhotoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def photo_uri(text: str) -> str:
    """What a person gave, as an absolute URI: a URI stays, a path becomes ``file:///...``, links resolved."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|file:/", text):
        return text
    return Path(os.path.realpath(text)).as_uri()


def find_photos(folder: Path) -> Iterator[Path]:
    """The files below a folder that are called like photos, sorted folder by folder; nothing is opened.

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
