"""Folder: a folder on this machine, in an object store, or in any other file system that fsspec reaches."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import fsspec

from autotag.errors import InputError

Value = TypeVar("Value")

_ONLY_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*")
"""A URL without a path. fsspec would take it for a local folder of that name."""
_WHOLE = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "http", "https"))
"""Stores where a file appears only once it is complete, and folders are only parts of names."""
_MOVES_OVER = frozenset(("sftp", "ssh", "memory"))
"""File systems where a move replaces an existing file atomically."""


class Folder:
    """A folder named by a path or URL (file, s3, hdfs, ...). Pickles as its URL, for executors.

    Raises:
        InputError: from every method: the address cannot be reached, or the file system refuses.
    """

    def __init__(self, url: str) -> None:
        if _ONLY_A_SCHEME.fullmatch(url):
            raise InputError(f"{url!r}: names no folder; write a path after the scheme, as in s3://bucket/folder")
        self.url = url.rstrip("/") or "/"
        """The URL as given. A relative path is made absolute, because executors run elsewhere."""
        if "://" not in self.url:
            self.url = os.path.abspath(self.url)  # noqa: PTH100 - Path's resolves links, and refuses what fsspec takes
        self._system, self._root = _reached(self.url, lambda: fsspec.core.url_to_fs(self.url))
        names = self._system.protocol
        self._protocols = {names} if isinstance(names, str) else set(names)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.url,)

    def __str__(self) -> str:
        return self.url

    @property
    def is_local(self) -> bool:
        """True if the folder lies in this machine's file system."""
        return "file" in self._protocols

    @property
    def path(self) -> Path:
        """Path on this machine; local folders only."""
        return Path(self._root)

    def folder(self, name: str) -> Folder:
        """Return a folder below this one."""
        return Folder(f"{self.url}/{name}")

    def names(self) -> list[str]:
        """Return the names directly in the folder, sorted, without hidden ones; none if there is no folder."""

        def listed() -> list[str]:
            self._system.invalidate_cache()  # fsspec caches listings, and other processes write here too
            try:
                paths = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
            return [str(path).rstrip("/").rpartition("/")[2] for path in paths]

        return sorted(name for name in _reached(self.url, listed) if name and not name.startswith("."))

    def files(self) -> list[str]:
        """Return the files below the folder at any depth: relative paths with '/', sorted, without hidden ones."""

        def listed() -> list[str]:
            self._system.invalidate_cache()
            start = len(self._root.rstrip("/")) + 1
            return [str(path)[start:] for path in self._system.find(self._root)]

        paths = _reached(self.url, listed)
        return sorted(path for path in paths if path and not path.startswith(".") and "/." not in path)

    def is_folder(self) -> bool:
        """Return True if a folder exists here, and not a file or nothing."""

        def looked() -> bool:
            self._system.invalidate_cache()
            return bool(self._system.isdir(self._root))

        return _reached(self.url, looked)

    def exists(self, name: str) -> bool:
        """Return True if the file exists."""

        def looked() -> bool:
            self._system.invalidate_cache()
            return bool(self._system.exists(self._path(name)))

        return _reached(self._shown(name), looked)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return bytes(_reached(self._shown(name), lambda: self._system.cat_file(self._path(name))))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it is seekable."""
        opened: BinaryIO = _reached(self._shown(name), lambda: self._system.open(self._path(name), "rb"))
        return opened

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine."""
        _reached(self._shown(name), lambda: self._system.get_file(self._path(name), str(path)))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, atomically and durably, replacing an existing one.

        Where a move cannot replace a file (HDFS), the old file has a hidden name beside it for a moment, and keeps that
        name if the writer is killed in that moment.
        """

        def written() -> None:
            path = self._path(name)
            if self._protocols & _WHOLE:
                self._system.pipe_file(path, data)
                return
            self._make_parent(path)
            if self.is_local:
                os.replace(_write_part(path, data), path)  # noqa: PTH105 - the path is fsspec's
                return
            part = _part(path)
            self._system.pipe_file(part, data)
            if self._protocols & _MOVES_OVER or not self._system.exists(path):
                self._system.mv(part, path)
                return
            old = _part(path)
            self._system.mv(path, old)
            try:
                self._system.mv(part, path)
            except BaseException:
                self._system.mv(old, path)
                raise
            self._system.rm_file(old)

        _reached(self._shown(name), written)

    def create(self, name: str, data: bytes) -> bool:
        """Write a whole file, as `write` does, unless it exists. Return True if this call has written it.

        Of several processes one writes: certain on this machine's file system and on S3, elsewhere as far as fsspec
        makes it so.
        """

        def created() -> bool:
            path = self._path(name)
            self._make_parent(path)
            try:
                if not self.is_local:
                    self._system.pipe_file(path, data, mode="create")
                    return True
                part = _write_part(path, data)
                try:
                    os.link(part, path)
                finally:
                    os.unlink(part)  # noqa: PTH108
            except FileExistsError:
                return False
            return True

        return _reached(self._shown(name), created)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content; do nothing if it does not exist."""

        def removed() -> None:
            self._system.invalidate_cache()
            if self._system.exists(self._path(name)):
                self._system.rm(self._path(name), recursive=True)

        _reached(self._shown(name), removed)

    def _make_parent(self, path: str) -> None:
        if not self._protocols & _WHOLE:  # there fsspec would look for the bucket, and create a missing one
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"


def split_url(url: str) -> tuple[Folder, str]:
    """Split the URL or path of a file into its folder and its name.

    Raises:
        InputError: it names no file, or the file system cannot be reached.
    """
    parent, slash, name = url.rpartition("/")
    if not name:
        raise InputError(f"{url!r}: names no file")
    return Folder(parent or (slash or ".")), name


def read_url(url: str) -> bytes:
    """Return the content of the file at a URL or path.

    Raises:
        InputError: the file cannot be read; the message says why.
    """
    folder, name = split_url(url)
    return folder.read(name)


def _part(path: str) -> str:
    """Return a hidden name beside `path`."""
    parent, _, last = path.rpartition("/")
    return f"{parent}/.{last}.{uuid.uuid4().hex}"


def _write_part(path: str, data: bytes) -> str:
    """Write a hidden file beside `path`, durably; return its path."""
    part = _part(path)
    try:
        with open(part, "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return part


def _reached(where: str, work: Callable[[], Value]) -> Value:
    try:
        return work()
    except FileNotFoundError as error:
        raise InputError(f"{where}: does not exist") from error
    except Exception as error:
        # fsspec's file systems raise their libraries' own errors. All of them are about this address.
        raise InputError(f"{where}: cannot be reached: {_said(error)}") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
