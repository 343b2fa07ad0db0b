"""Lines of text that people hand in: checked one at a time, so that a bad one is listed and the others are used."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple, cast

from autotag.errors import InputError
from autotag.photos.reader import photo_uri
from autotag.storage.folder import Folder

MAX_LINE_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"
HEADER = ("photo_id", "uri", "output_uri")
"""Of a list of photos, where it has one; the last is not in all lists."""


class Fault(StrEnum):
    """Why a line, or row, was not used; listed and counted."""

    NOT_UTF8 = "not_utf8"
    NUL = "nul"
    """A byte that no text has: perhaps the file is UTF-16."""
    TOO_LONG = "too_long"
    QUOTES = "quotes"
    """Not closed, or followed by something."""
    FIELDS = "fields"
    """Too few or too many."""
    LABEL = "label"
    """None of the words for TRUE, FALSE and unknown."""
    CLASS = "class"
    """Cannot be a class's name."""
    PHOTO_ID = "photo_id"
    """Cannot be a photo's id."""
    URI = "uri"
    """There is none."""
    TWICE = "twice"
    """The photo was listed before, at another place."""
    NO_FOLDER = "no_folder"
    """The photo lies in no folder that could name its class."""


class BadLine(NamedTuple):
    """A line, or row, that was not used."""

    source: str
    number: int
    """From 1; 0 where there are no lines."""
    reason: Fault
    detail: str


class FaultError(Exception):
    """What is wrong with the line at hand; its reader makes a `BadLine` of it."""

    def __init__(self, reason: Fault, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def text_lines(url: str) -> Iterator[tuple[int, str | FaultError]]:
    """The lines of a file that are not blank, each with its number from 1 and without its end; ``.gz`` is unpacked.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    try:
        with ExitStack() as opened:
            file: BinaryIO = opened.enter_context(open_url(url))
            if url.endswith(".gz"):
                file = cast(BinaryIO, opened.enter_context(gzip.GzipFile(fileobj=file)))
            # Neither fsspec's files nor gzip's are quick at single lines.
            yield from _lines(opened.enter_context(io.BufferedReader(cast(Any, file), BUFFER_BYTES)))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{url}: cannot be read: {error}") from error


class ListedPhoto(NamedTuple):
    """What a line of a list of photos says."""

    photo_id: str
    uri: str
    """Empty where it says nothing."""
    output_uri: str = ""


def photo_lines(url: str) -> Iterator[tuple[int, ListedPhoto | FaultError]]:
    """The lines of a list of photos, each with its number from 1; a header, `HEADER`, is passed over.

    A line is photo_id, URI or path, and maybe output URI, with tabs between them, or else blanks.

    Raises:
        InputError: as `text_lines` does.
    """
    for number, line in text_lines(url):
        if isinstance(line, FaultError):
            yield number, line
            continue
        fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
        if len(fields) not in (2, 3):
            detail = "should be: photo_id uri, and maybe output_uri; with tabs between where one of them has blanks"
            yield number, FaultError(Fault.FIELDS, f"{detail}. Given: {line!r:.200}")
        elif number > 1 or tuple(fields) != HEADER[: len(fields)]:
            yield number, ListedPhoto(fields[0], listed_uri(fields[1], url), *fields[2:])


def listed_uri(place: str, list_url: str) -> str:
    """A URI or path in a list, as a URI: a path that is not absolute starts where the list is; nothing for nothing."""
    if place and "://" not in place and not place.startswith(("/", "file:")):
        place = f"{Folder(list_url).url.rpartition('/')[0]}/{place}"
    return photo_uri(place) if place else ""


def open_url(url: str) -> BinaryIO:
    """A file that a path or URL names, to read; raises InputError where it cannot be."""
    parent, _, name = Folder(url).url.rpartition("/")
    return Folder(parent or "/").open(name)


def _lines(file: io.BufferedReader[Any]) -> Iterator[tuple[int, str | FaultError]]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):  # the rest of it, a piece at a time
                line = file.readline(MAX_LINE_BYTES)
            yield number, FaultError(Fault.TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes")
        elif not line.isspace():
            yield number, _text(line.rstrip(b"\r\n"))


def _text(line: bytes) -> str | FaultError:
    if b"\0" in line:
        return FaultError(Fault.NUL, "has a NUL: is the file UTF-16? UTF-8 is read")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return FaultError(Fault.NOT_UTF8, f"not UTF-8: {error.reason} at byte {error.start + 1}")
