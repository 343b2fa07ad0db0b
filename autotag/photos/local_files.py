"""FileFetcher: reads photos on this machine's file systems, and no other files."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from autotag.photos.errors import PhotoError, Reason
from autotag.settings import Settings

_CHUNK_BYTES = 1 << 20
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM)
_NO_DEVICE = (errno.ENXIO, errno.ENODEV)
_STORAGE_DOWN = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN)


class FileFetcher:
    """Reads photos by ``file`` URI. Safe for many threads.

    Args:
        settings: `photo_roots`, `photo_max_bytes` and `photo_deadline_s`.
        any_file: True to read all files, not only those below `photo_roots`.
    """

    def __init__(self, settings: Settings, *, any_file: bool) -> None:
        self._roots = settings.photo_roots
        self._max_bytes = settings.photo_max_bytes
        self._deadline_s = settings.photo_deadline_s
        self._any_file = any_file

    def fetch(self, uri: str) -> bytes:
        """Return the file's bytes. The deadline is checked between two reads: a read that hangs cannot be ended.

        Raises:
            PhotoError: the file cannot be read; or it lies outside the roots once links are resolved, which is checked
                first and does not tell if it exists.
        """
        path = _path(uri)
        root = None if self._any_file else self._root_of(os.path.realpath(path))
        try:
            # O_NONBLOCK: opening a pipe would wait for a writer.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                if root is not None:  # The opened file is checked: a link may have changed.
                    self._root_of(str(Path(f"/proc/self/fd/{fd}").readlink()))
                return self._read(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _failure(error, root) from error

    def facts(self, uri: str) -> os.stat_result | None:
        """Return a fetched file's present size and times; None if it is gone."""
        try:
            return os.stat(_path(uri))  # noqa: PTH116 - Path's raises for odd names
        except (OSError, PhotoError):
            return None

    def _read(self, fd: int) -> bytes:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            what = "a directory" if stat.S_ISDIR(facts.st_mode) else "no regular file"
            raise PhotoError(Reason.NOT_A_FILE, f"it is {what}")
        if facts.st_size > self._max_bytes:
            raise too_large(facts.st_size, self._max_bytes)
        deadline = time.monotonic() + self._deadline_s
        chunks, total = [], 0
        while chunk := os.read(fd, _CHUNK_BYTES):
            total += len(chunk)
            if total > self._max_bytes:
                raise too_large(None, self._max_bytes)
            if time.monotonic() > deadline:
                raise PhotoError(Reason.TIMEOUT, f"not read within {self._deadline_s:g} s")
            chunks.append(chunk)
        return b"".join(chunks)

    def _root_of(self, real_path: str) -> str:
        """Return the photo root above a path without links; raise PhotoError if there is none."""
        for root in self._roots:
            real_root = os.path.realpath(root)
            if real_path == real_root or real_path.startswith(real_root.rstrip("/") + "/"):
                return real_root
        roots = ", ".join(map(repr, self._roots)) or "none"
        raise PhotoError(Reason.FORBIDDEN, f"it is not below any of autotag.photo.roots: {roots}")


def too_large(size: int | None, limit: int) -> PhotoError:
    """Return the error for a photo of `size` bytes; None if its size is not known, only that it exceeds the limit."""
    has = f"has {size} bytes" if size is not None else "has more bytes"
    return PhotoError(Reason.TOO_LARGE, f"{has}; at most {limit} (autotag.photo.max.bytes)")


def _path(uri: str) -> str:
    """Return the absolute path in a file URI (RFC 8089); bytes that are not UTF-8 become surrogates."""
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise PhotoError(Reason.FORBIDDEN, f"it is on another host, {parts.netloc!r}; give it an http or https URI")
    if parts.query or parts.fragment:
        raise PhotoError(Reason.BAD_URI, "a file URI has no query or fragment; write '?' as %3F and '#' as %23")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if not path.startswith("/") or "\0" in path:
        raise PhotoError(Reason.BAD_URI, "a file URI needs an absolute path, such as file:///photos/cat.jpg")
    return path


def _failure(error: OSError, root: str | None) -> PhotoError:
    said = error.strerror or str(error)
    if error.errno in _STORAGE_DOWN:
        return PhotoError(Reason.STORAGE_DOWN, f"no file can be opened there now: {said}")
    if error.errno in _NO_FILE:
        if root is not None and not Path(root).is_dir():
            return PhotoError(Reason.STORAGE_DOWN, f"its photo root {root!r} is not there; mount it")
        return PhotoError(Reason.NOT_FOUND, said)
    if error.errno in _NO_PERMISSION:
        return PhotoError(Reason.FORBIDDEN, f"{said}; let this process's user read it")
    if error.errno in _NO_DEVICE:
        return PhotoError(Reason.NOT_A_FILE, said)
    return PhotoError(Reason.INTERRUPTED, f"cannot be read: {said}")
