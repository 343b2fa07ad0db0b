"""Reads the files of a bulk run, JSON lines or Parquet, record by record from any offset."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from autotag.bulk.records import FIELDS, TIMES, Micros, Record
from autotag.errors import InputError, ResultError
from autotag.storage.bounded_lines import bounded_lines

PARQUET = ".parquet"
LINES = (".jsonl", ".json", ".ndjson")
ENDINGS = (*LINES, *(f"{ending}.gz" for ending in LINES), PARQUET)
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Bytes of one line, its end included: more than `autotag show --json` prints of 10,000 tags."""
BUFFER_BYTES = 1024 * 1024


BACKFILL = "job.json"
"""The file that tells a backfill's folder, which is no folder of tags."""


@dataclass(frozen=True)
class Source:
    """A file, or the files of a folder in the order of their names, with their sizes in bytes."""

    path: Path
    files: tuple[Path, ...]
    sizes: tuple[int, ...]

    @classmethod
    def find(cls, path: Path) -> Source:
        """Return the source at `path`. In a folder it is the files that Spark would read: none that begins with . or _.

        Raises:
            InputError: the path cannot be read, or has no file of a kind that can be loaded.
        """
        if (path / BACKFILL).is_file():
            raise InputError(f"{shown(path)}: is the folder of a backfill; its tags are in {path / 'tags'}: load that")
        try:
            found = sorted(path.iterdir(), key=lambda one: os.fsencode(one.name)) if path.is_dir() else [path]
            if path.is_dir():
                found = [one for one in found if one.name.endswith(ENDINGS) and one.name[0] not in "._"]
            files = [(one, one.stat()) for one in found]
        except (OSError, ValueError) as error:
            raise InputError(f"{shown(path)}: cannot be read: {error}") from error
        files = [(one, facts) for one, facts in files if stat.S_ISREG(facts.st_mode)]
        if not files or not all(one.name.endswith(ENDINGS) for one, _ in files):
            raise InputError(f"{shown(path)}: no file, or folder of files, that ends in {', '.join(ENDINGS)}")
        if any(one.name.endswith(PARQUET) for one, _ in files):
            require_pyarrow()
        return cls(path, tuple(one for one, _ in files), tuple(facts.st_size for _, facts in files))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the files' names and sizes, after a description for people."""
        listed = [[os.fsencode(one.name).hex(), size] for one, size in zip(self.files, self.sizes, strict=True)]
        digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
        what = shown(self.files[0]) if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{what}, {self.total_bytes} bytes, {digest}"

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes)


def shown(path: Path) -> str:
    """Return a file's name for a message: printable, whatever bytes it has, and not too long."""
    name = os.fsencode(path.name or path).decode("utf-8", "replace")
    return name if name.isprintable() and len(name) <= 255 else ascii(name[:255])


def read(path: Path, offset: int = 0, number: int = 0) -> Iterator[Record]:
    """Yield the records of a file from `offset` on, before which there are `number` lines or rows.

    Nothing before `offset` is read, except in a file that is compressed as a whole.

    Raises:
        InputError: the file cannot be read, or not to its end; the records before are right.
    """
    if path.name.endswith(PARQUET):
        yield from _rows(path, offset)
        return
    with _reported(path), ExitStack() as opened:
        raw = opened.enter_context(path.open("rb", BUFFER_BYTES))
        lines: BinaryIO = raw
        if path.name.endswith(".gz"):
            plain = opened.enter_context(gzip.GzipFile(fileobj=raw))
            lines = io.BufferedReader(plain, BUFFER_BYTES)
        lines.seek(offset)
        for line_number, end, text in bounded_lines(lines, MAX_LINE_BYTES, offset, number):
            done_bytes = end if lines is raw else raw.tell()
            fields = ResultError(f"longer than {MAX_LINE_BYTES} bytes") if text is None else _parsed(text)
            yield Record(line_number, end, done_bytes, fields)


def _rows(path: Path, start: int) -> Iterator[Record]:
    """Yield the rows of a Parquet file after the first `start`."""
    from autotag.storage.parquet import rows_after

    with _reported(path):
        size, file = path.stat().st_size, path.open("rb")
    for number, share, values in rows_after(file, shown(path), start, FIELDS, dict.fromkeys(TIMES, Micros)):
        fields = ResultError(values) if isinstance(values, str) else values
        yield Record(number, number, round(size * share), fields)


def require_pyarrow() -> None:
    """Raise InputError if pyarrow, which reads Parquet files, is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Parquet files need pyarrow, which cannot be loaded ({error}): pip install pyarrow"
        ) from error


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return ResultError(f"not UTF-8: {error.reason} at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return ResultError(f"not JSON: {error.msg} at character {error.pos + 1}")
    except ValueError as error:  # an integer with more digits than Python parses
        return ResultError(f"not JSON: {error}")
    except RecursionError:
        return ResultError("not JSON: nested too deeply")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{shown(path)}: cannot be read: {error}") from error
