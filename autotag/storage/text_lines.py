"""Reads text files of users line by line: a bad line is reported, and the others are used."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple, cast

from autotag.errors import InputError
from autotag.storage.bounded_lines import bounded_lines
from autotag.storage.folder import Folder
from autotag.storage.text_format import (
    BLANKS,
    ENCODING_NAMES,
    REPLACEMENT,
    SAMPLE_BYTES,
    UTF8,
    Recoded,
    TextFormat,
    detect,
    detect_encoding,
)
from autotag.storage.uri import photo_uri

MAX_LINE_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
LIST_LINE = "photo_id uri, and maybe output_uri; separated by tabs if one of them has blanks"
HEADER = ("photo_id", "uri", "output_uri")
"""Header of a list of photos, which is optional, as is its last column."""


class Fault(StrEnum):
    """The reason why a line or row was not used."""

    NOT_UTF8 = "not_utf8"
    NUL = "nul"
    """A NUL byte: perhaps the file is UTF-16."""
    TOO_LONG = "too_long"
    QUOTES = "quotes"
    """A quote is not closed, or text follows it."""
    FIELDS = "fields"
    """Too few fields, or too many."""
    LABEL = "label"
    """The label is none of the words for TRUE, FALSE and unknown."""
    CLASS = "class"
    """The text cannot be a class's name."""
    PHOTO_ID = "photo_id"
    """The text cannot be a photo's id."""
    URI = "uri"
    """The URI is missing."""
    TWICE = "twice"
    """The photo was listed before, with another URI."""
    NO_FOLDER = "no_folder"
    """The photo is in no folder that could name its class."""


class BadLine(NamedTuple):
    """A line or row that was not used."""

    source: str
    number: int
    """From 1; 0 for an input without lines."""
    reason: Fault
    detail: str


class FaultError(Exception):
    """A fault of the present line; the reader makes a `BadLine` of it."""

    def __init__(self, reason: Fault, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def text_lines(url: str, encoding: str | None = None) -> Iterator[tuple[int, str | FaultError]]:
    """Yield the lines of a file that are not blank, with their numbers from 1 and without their ends.

    Args:
        url: the file's path or URL; ``.gz`` is unpacked.
        encoding: the file's encoding, as `text_format` detects it; by default it is detected here.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    encoding = encoding or detect_encoding(beginning(url))[0]
    with _opened(url) as file:
        if encoding != UTF8:
            file = cast(BinaryIO, Recoded(file, encoding))
        # fsspec's files and gzip's are slow at single lines.
        with io.BufferedReader(cast(Any, file), BUFFER_BYTES) as lines:
            for number, line in _lines(lines):
                if encoding != UTF8 and isinstance(line, str) and REPLACEMENT in line:
                    yield number, FaultError(Fault.NOT_UTF8, f"has bytes that are not {ENCODING_NAMES[encoding]}")
                else:
                    yield number, line


def beginning(url: str) -> bytes:
    """Return the first `SAMPLE_BYTES` of a file, unpacked; raise InputError if it cannot be read."""
    with _opened(url) as file:
        return file.read(SAMPLE_BYTES)


@contextmanager
def _opened(url: str) -> Iterator[BinaryIO]:
    try:
        with ExitStack() as opened:
            file: BinaryIO = opened.enter_context(open_url(url))
            if url.endswith(".gz"):
                file = cast(BinaryIO, opened.enter_context(gzip.GzipFile(fileobj=file)))
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{url}: cannot be read: {error}") from error


class ListedPhoto(NamedTuple):
    """A line of a list of photos."""

    photo_id: str
    uri: str
    """Empty if the line has none."""
    output_uri: str = ""


def photo_lines(url: str) -> Iterator[tuple[int, ListedPhoto | FaultError]]:
    """Yield the lines of a list of photos with their numbers from 1; a header, `HEADER`, is skipped.

    A line is photo_id, URI or path, and maybe output URI, separated by tabs, blanks, ``;`` or ``,``: the same in all
    lines of a file.

    Raises:
        InputError: as `text_lines` does; or no line is one of a list of photos.
    """
    form = detect(beginning(url), (BLANKS, ";", ","), range(2, 4))
    first, good = "", False
    for number, line in text_lines(url, form.encoding):
        if number == 1 and form.says_so:
            continue
        first = first or first_line(line)
        photo = line if isinstance(line, FaultError) else _listed_photo(line, number, form, url)
        if photo is not None:
            good = good or (isinstance(photo, ListedPhoto) and bool(photo.uri))
            yield number, photo
        else:
            good = True  # a header
    if first and not good:
        raise InputError(f"{url}: no line of it lists a photo: {LIST_LINE}. Its first line {first} ({form})")


def _listed_photo(line: str, number: int, form: TextFormat, url: str) -> ListedPhoto | FaultError | None:
    """Return the photo of a line, or its fault; None for a header."""
    try:
        fields = [field.strip() for field in form.fields(line)]
    except csv.Error as error:
        return FaultError(Fault.QUOTES, f"its quotes are not CSV's: {error}")
    while len(fields) > 2 and not fields[-1]:
        fields.pop()
    if len(fields) not in (2, 3):
        return FaultError(Fault.FIELDS, f"should be: {LIST_LINE}. Given: {line!r:.200}")
    if tuple(field.casefold() for field in fields) == HEADER[: len(fields)] and number <= 2:
        return None
    return ListedPhoto(fields[0], listed_uri(fields[1], url), *fields[2:])


def first_line(line: str | FaultError) -> str:
    """Return what an error says about the first line of a file that cannot be read."""
    return f"is {line!r:.200}" if isinstance(line, str) else f"cannot be read: {line.detail}"


def listed_uri(place: str, list_url: str) -> str:
    """Return a URI or path in a list as a URI; a relative path starts at the list's folder. "" stays ""."""
    if place and "://" not in place and not place.startswith(("/", "file:")):
        place = f"{Folder(list_url).url.rpartition('/')[0]}/{place}"
    return photo_uri(place) if place else ""


def open_url(url: str) -> BinaryIO:
    """Open the file at a path or URL for reading; raise InputError if that fails."""
    parent, _, name = Folder(url).url.rpartition("/")
    return Folder(parent or "/").open(name)


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | FaultError]]:
    for number, _, text in bounded_lines(file, MAX_LINE_BYTES):
        if text is None:
            yield number, FaultError(Fault.TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes")
        else:
            yield number, _text(text.rstrip(b"\r\n"))


def _text(line: bytes) -> str | FaultError:
    if b"\0" in line:
        return FaultError(Fault.NUL, "has a NUL: the file is not text, or is UTF-16 without its mark")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return FaultError(Fault.NOT_UTF8, f"not UTF-8: {error.reason} at byte {error.start + 1}")
