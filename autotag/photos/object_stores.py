"""Reads photos from object stores and remote file systems, through fsspec."""

from __future__ import annotations

import asyncio
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from autotag.photos.errors import PhotoError, Reason
from autotag.photos.local_files import too_large
from autotag.photos.source import OBJECT_STORE_SCHEMES

_FORBIDDEN_CODES = ("AccessDenied", "AllAccessDisabled", "InvalidObjectState", "403")
"""S3's codes for one object that may not be read. Its other refusals are about our credentials."""


def read_photo(uri: str, max_bytes: int, deadline_s: float) -> bytes:
    """Return the bytes of a photo by a URI of `OBJECT_STORE_SCHEMES`, with one request where the store supports that.

    Args:
        deadline_s: applies to the stores that fsspec reads asynchronously, s3 and gs among them.

    Raises:
        PhotoError: `reason` says why, `transient` is True if a later try may succeed. A fault of the store or of our
            credentials is no fault of the photo, and transient.
    """
    if uri.partition("://")[0].lower() not in OBJECT_STORE_SCHEMES or "::" in uri:
        raise PhotoError(Reason.BAD_URI, f"the scheme must be one of {', '.join(OBJECT_STORE_SCHEMES)}")
    try:
        data = _read_bounded(uri, max_bytes + 1, deadline_s)
    except Exception as error:
        if _s3_code(error) == "InvalidRange":
            return b""  # The object is empty, so it has no first byte.
        raise _photo_error(error) from error
    if len(data) > max_bytes:
        raise too_large(None, max_bytes)
    return data


def _read_bounded(uri: str, end: int, deadline_s: float) -> bytes:
    """Return the bytes before `end` of a file."""
    system, path = fsspec.core.url_to_fs(uri)
    if isinstance(system, AsyncFileSystem):

        async def read() -> Any:
            return await asyncio.wait_for(system._cat_file(path, start=0, end=end), deadline_s)

        return bytes(sync(system.loop, read))
    return bytes(system.cat_file(path, start=0, end=end))


def _photo_error(error: Exception) -> PhotoError:
    message = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return PhotoError(Reason.NOT_FOUND, message)
    if isinstance(error, IsADirectoryError):
        return PhotoError(Reason.NOT_A_FILE, message)
    if isinstance(error, PermissionError) and _s3_code(error) in (None, *_FORBIDDEN_CODES):
        return PhotoError(Reason.FORBIDDEN, message)
    if isinstance(error, TimeoutError):
        return PhotoError(Reason.TIMEOUT, "the store did not answer in time")
    if isinstance(error, OSError) and not isinstance(error, PermissionError):
        return PhotoError(Reason.SERVER_ERROR, message)
    return PhotoError(Reason.STORAGE_DOWN, f"{type(error).__name__}: {message}")


def _s3_code(error: Exception) -> str | None:
    """Return S3's error code; None for an error of another store."""
    answer = getattr(error.__cause__, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return None if code is None else str(code)
