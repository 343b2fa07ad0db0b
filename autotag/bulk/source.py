"""The files of a bulk run: JSON lines or Parquet, read a record at a time from any place on."""

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
from typing import Any, BinaryIO, NamedTuple

from autotag.bulk.parquet import PARQUET, require_pyarrow, rows
from autotag.errors import InputError, ResultError

LINES = (".jsonl", ".json", ".ndjson")
ENDINGS = (*LINES, *(f"{ending}.gz" for ending in LINES), PARQUET)
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Of one line, its end included: what `autotag show --json` prints of 10,000 tags, and more."""
BUFFER_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"


class Record(NamedTuple):
    """One line or row of a file."""

    number: int
    """Of the line or row, from 1."""
    offset: int
    """Where the next one is: bytes of text, of Parquet rows."""
    done_bytes: int
    """How much of the file has been read."""
    values: Any
    """What it says: parsed JSON, or a row's fields; a ResultError where it is not even that."""


@dataclass(frozen=True)
class Source:
    """A file, or the files of a folder in the order of their names, and how many bytes each has."""

    path: Path
    files: tuple[Path, ...]
    sizes: tuple[int, ...]

    @classmethod
    def find(cls, path: Path) -> Source:
        """The source at `path`. Of a folder: what Spark would read, so no name that begins with '.' or '_'.

        Raises:
            InputError: there is none, or none of a kind that can be read here.
        """
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
        """What tells this source from others: names and sizes. People can read it, too."""
        listed = [[os.fsencode(one.name).hex(), size] for one, size in zip(self.files, self.sizes, strict=True)]
        digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
        what = shown(self.files[0]) if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{what}, {self.total_bytes} bytes, {digest}"

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes)


def shown(path: Path) -> str:
    """A file's name for a message: printable, whatever bytes it has, and not too long."""
    name = os.fsencode(path.name or path).decode("utf-8", "replace")
    return name if name.isprintable() and len(name) <= 255 else ascii(name[:255])


def read(path: Path, offset: int = 0, number: int = 0) -> Iterator[Record]:
    """The records of a file from `offset` on, before which there are `number` lines or rows.

    Nothing before `offset` is read, but of a file that is compressed as a whole.

    Raises:
        InputError: the file cannot be read, or not to its end; what came before is right.
    """
    if path.name.endswith(PARQUET):
        for row in rows(path, shown(path), offset):
            yield Record(*row)
        return
    with _reported(path), ExitStack() as opened:
        raw = opened.enter_context(path.open("rb", BUFFER_BYTES))
        lines: BinaryIO = raw
        if path.name.endswith(".gz"):
            plain = opened.enter_context(gzip.GzipFile(fileobj=raw))
            lines = io.BufferedReader(plain, BUFFER_BYTES)
        lines.seek(offset)
        for at, number_, line in _lines(lines, offset, number):
            done_bytes = at if lines is raw else raw.tell()
            yield Record(number_, at, done_bytes, line if isinstance(line, ResultError) else _parsed(line))


def _lines(file: BinaryIO, offset: int, number: int) -> Iterator[tuple[int, int, bytes | ResultError]]:
    """Each line that is not blank: where it ends, its number, and its text, or that it is too long to be held."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if offset == 0:
            offset = len(BOM) if line.startswith(BOM) else 0
            line = line.removeprefix(BOM)
        offset += len(line)
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):  # the rest of it, a piece at a time
                line = file.readline(MAX_LINE_BYTES)
                offset += len(line)
            yield offset, number, ResultError(f"longer than {MAX_LINE_BYTES} bytes")
        elif not line.isspace():
            yield offset, number, line


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        return ResultError(f"not UTF-8: {error.reason} at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return ResultError(f"not JSON: {error.msg} at character {error.pos + 1}")
    except ValueError as error:  # a whole number of more digits than Python reads
        return ResultError(f"not JSON: {error}")
    except RecursionError:
        return ResultError("not JSON: nested too deeply")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{shown(path)}: cannot be read: {error}") from error
