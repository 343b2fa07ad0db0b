"""Folder: a folder anywhere that fsspec reaches: on this machine, in an object store. Only this file knows fsspec."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import fsspec

from autotag.errors import InputError

Value = TypeVar("Value")


class Folder:
    """A folder named by a path or URL (file, s3, hdfs, ...). Pickles as its name, so that executors may have it.

    Raises:
        InputError: from every method: the address is none that can be reached, or the file system says no.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"
        """As it was named; relative paths are made absolute, because executors run elsewhere."""
        if "://" not in self.url:
            self.url = os.path.abspath(self.url)  # noqa: PTH100 - Path's resolves links, and refuses what fsspec takes
        self._system, self._root = _reached(self.url, lambda: fsspec.core.url_to_fs(self.url))
        self._local = "file" in (
            (self._system.protocol,) if isinstance(self._system.protocol, str) else self._system.protocol
        )

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.url,)

    def __str__(self) -> str:
        return self.url

    def folder(self, name: str) -> Folder:
        """A folder below this one."""
        return Folder(f"{self.url}/{name}")

    def names(self) -> list[str]:
        """The names of what lies directly in the folder, sorted, but for hidden ones; none where it is not there."""

        def listed() -> list[str]:
            self._system.invalidate_cache()  # fsspec keeps listings, and others write here too
            return [str(path).rstrip("/").rpartition("/")[2] for path in self._system.ls(self._root, detail=False)]

        try:
            found = listed()
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _failure(self.url, error) from error
        return sorted(name for name in found if name and not name.startswith("."))

    def files(self) -> list[str]:
        """The files below the folder at any depth, as paths from it with '/', sorted, but for hidden ones."""

        def found() -> list[str]:
            self._system.invalidate_cache()
            start = len(self._root.rstrip("/")) + 1
            return [str(path)[start:] for path in self._system.find(self._root)]

        paths = _reached(self.url, found)
        return sorted(path for path in paths if path and not path.startswith(".") and "/." not in path)

    def exists(self, name: str) -> bool:
        """Whether a file is there."""

        def looked() -> bool:
            self._system.invalidate_cache()
            return bool(self._system.exists(self._path(name)))

        return _reached(self._shown(name), looked)

    def read(self, name: str) -> bytes:
        """All of a file."""
        return bytes(_reached(self._shown(name), lambda: self._system.cat_file(self._path(name))))

    def open(self, name: str) -> BinaryIO:
        """A file to read, from any place on."""
        opened: BinaryIO = _reached(self._shown(name), lambda: self._system.open(self._path(name), "rb"))
        return opened

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, over one that is there: a reader sees all of it or none, and it stays after a crash."""

        def written() -> None:
            path = self._path(name)
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._local:
                os.replace(_write_part(path, data), path)  # noqa: PTH105 - the path is fsspec's
            else:
                self._system.pipe_file(path, data)  # object stores show a file when it is whole

        _reached(self._shown(name), written)

    def create(self, name: str, data: bytes) -> bool:
        """Write a whole file, as `write` does, unless it is there. Whether it was written: of several who try, one does.

        Sure on this machine's file system and on S3; elsewhere as sure as fsspec makes it.
        """

        def created() -> bool:
            path = self._path(name)
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                if not self._local:
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
        """Remove a file, or a folder with all that is in it; nothing where it is not there."""

        def removed() -> None:
            self._system.invalidate_cache()
            if self._system.exists(self._path(name)):
                self._system.rm(self._path(name), recursive=True)

        _reached(self._shown(name), removed)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return self._local

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self.url}/{name}"


def _write_part(path: str, data: bytes) -> str:
    """Write a file beside `path`, hidden and durable; its own path."""
    parent, _, last = path.rpartition("/")
    part = f"{parent}/.{last}.{uuid.uuid4().hex}"
    with open(part, "wb") as file:  # noqa: PTH123
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return part


def read_url(url: str) -> bytes:
    """All of a file that a URL or path names.

    Raises:
        InputError: it cannot be read; the message says why.
        FileNotFoundError: there is none.
    """
    parent, _, name = url.rpartition("/")
    return Folder(parent or ".").read(name)


def _reached(where: str, work: Callable[[], Value]) -> Value:
    try:
        return work()
    except FileNotFoundError as error:
        raise InputError(f"{where}: is not there") from error
    except Exception as error:
        raise _failure(where, error) from error


def _failure(where: str, error: Exception) -> InputError:
    """fsspec's file systems raise whatever their libraries do: anything that goes wrong there is about the address."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError(f"{where}: cannot be reached: {said}")
