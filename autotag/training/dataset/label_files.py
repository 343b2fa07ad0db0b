"""Readers of the inputs of a join: lists of photos and files of labels, as streams; each bad line is a `BadLine`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from autotag.errors import EventError, InputError
from autotag.events.checks import text_field
from autotag.photos.reader import EXTENSIONS, find_photos
from autotag.storage import parquet
from autotag.storage.folder import Folder
from autotag.storage.text_format import TextFormat, detect
from autotag.storage.text_lines import (
    BadLine,
    Fault,
    FaultError,
    beginning,
    first_line,
    listed_uri,
    open_url,
    photo_lines,
    text_lines,
)
from autotag.training.dataset.labels import label_value

PARQUET = ".parquet"
TAB_ENDINGS, COMMA_ENDINGS = (".tsv", ".tab"), (".csv",)
COLUMNS = ("class", "photo_id", "label")
"""Columns of labels; a file without a header has them in this order."""
GROUP_ROWS = 10_000
"""Maximum number of photos in a row group of Parquet that holds their bytes."""
PHOTO_ID, URI, BYTES = "photo_id", "uri", "bytes"
_ROW = re.compile(r"parquet-row:(.+)#row=([1-9]\d*)", re.DOTALL)
"""An internal scheme; a list or an event that uses it is refused."""


class TrainingPhoto(NamedTuple):
    """A photo and where its pixels are: a URI, or a Parquet file and row (`row_place`)."""

    id: str
    uri: str


class Label(NamedTuple):
    """A line of labels."""

    number: int
    class_text: str
    photo_id: str
    value: int
    """`labels.TRUE`, `FALSE` or `UNKNOWN`."""


def row_uri(file: str, row: int) -> str:
    """Return the URI of a row, from 1, of a Parquet file that holds the photos' bytes; `row_place` reads it."""
    return f"parquet-row:{file}#row={row}"


def row_place(uri: str) -> tuple[str, int]:
    """Return the Parquet file and row, from 1, of a `row_uri`; "" and 0 for any other URI."""
    match = _ROW.fullmatch(uri)
    return (match[1], int(match[2])) if match else ("", 0)


# Photos


def photos_in(url: str) -> Iterator[TrainingPhoto | BadLine]:
    """Yield the photos of a folder, of a list, or of Parquet, in their order.

    - a folder: all files below it with the ending of an image; a photo's id is its relative path, with '/'
    - a text file, also ``.gz``: see `text_lines.photo_lines`; output URIs are ignored
    - ``.parquet``, or a folder with such files: columns photo_id, and bytes (the photo's file) or uri

    Raises:
        InputError: the input is missing, cannot be read to its end, or lacks these columns.
    """
    for file in _files(url, (PARQUET,)):
        yield from _parquet_photos(file)
    if is_photo_folder(url):
        yield from _folder_photos(Folder(url))
    elif not url.endswith(PARQUET) and not Folder(url).is_folder():
        yield from _listed_photos(Folder(url).url)


def is_photo_folder(url: str) -> bool:
    """Return True if `photos_in` lists the image files of a folder."""
    return Folder(url).is_folder() and not _files(url, (PARQUET,))


def _folder_photos(folder: Folder) -> Iterator[TrainingPhoto | BadLine]:
    if folder.is_local:
        start = folder.path
        for path in find_photos(start):
            yield _photo(folder.url, 0, path.relative_to(start).as_posix(), path.as_uri())
    else:
        for name in folder.files():
            if f".{name.rpartition('.')[2].lower()}" in EXTENSIONS:
                yield _photo(folder.url, 0, name, f"{folder.url}/{name}")


def _listed_photos(url: str) -> Iterator[TrainingPhoto | BadLine]:
    for number, line in photo_lines(url):
        if isinstance(line, FaultError):
            yield BadLine(url, number, line.reason, line.detail)
        else:
            yield _photo(url, number, line.photo_id, line.uri)


def _parquet_photos(url: str) -> Iterator[TrainingPhoto | BadLine]:
    names = parquet.column_names(open_url(url), url)
    if PHOTO_ID not in names or not {BYTES, URI} & set(names):
        raise InputError(f"{url}: photos need the columns {PHOTO_ID}, and {BYTES} or {URI}. It has {', '.join(names)}")
    if BYTES in names and (rows := parquet.largest_group(open_url(url), url)) > GROUP_ROWS:
        raise InputError(
            f"{url}: has a row group of {rows} photos, too many to read one photo at a time: write it again "
            f"with a row_group_size of {GROUP_ROWS} or less"
        )
    columns = [PHOTO_ID] if BYTES in names else [PHOTO_ID, URI]
    for number, values in parquet.rows(open_url(url), url, columns):
        if isinstance(values, str):
            yield BadLine(url, number, Fault.NOT_UTF8, values)
        else:
            uri = "" if BYTES in names else listed_uri(_as_text(values[1]), url)
            yield _photo(url, number, _as_text(values[0]), uri, row_uri(url, number) if BYTES in names else "")


def _photo(source: str, number: int, photo_id: str, uri: str, row: str = "") -> TrainingPhoto | BadLine:
    """Return the photo at a URI from an input, or in a row of Parquet; a `BadLine` if id or URI is invalid."""
    try:
        text_field({PHOTO_ID: photo_id}, PHOTO_ID)
    except EventError as error:
        return BadLine(source, number, Fault.PHOTO_ID, str(error))
    if row:
        return TrainingPhoto(photo_id, row)
    if uri and not row_place(uri)[0]:
        return TrainingPhoto(photo_id, uri)
    detail = "cannot be a row of Parquet: hand in that file" if uri else "has no URI"
    return BadLine(source, number, Fault.URI, f"photo {photo_id!r:.100} {detail}")


# Labels


def labels_in(url: str, formats: list[str] | None = None) -> Iterator[Label | BadLine]:
    """Yield the labels of text or Parquet files, or of a folder of them, in their order.

    Text is separated by commas, semicolons or tabs, in UTF-8, UTF-16 with its mark or Windows-1252, whatever the file's
    name (`text_format`). It may have a header line, and may be compressed (``.gz``). Each line is one record, even if
    quotes are open at its end. Labels in Parquet may also be booleans or numbers.

    Args:
        url: a file or folder, as a path or URL.
        formats: gets a text for each file whose format is not plain CSV.

    Raises:
        InputError: the input is missing, cannot be read to its end, lacks the columns `COLUMNS`, or has a file without
            any label.
    """
    endings = (PARQUET, *(f"{ending}{gz}" for ending in (*TAB_ENDINGS, *COMMA_ENDINGS) for gz in ("", ".gz")))
    files = _files(url, endings)
    if not files and Folder(url).is_folder():
        raise InputError(f"{url}: no file there ends in {', '.join(endings)}")
    for file in files or [Folder(url).url]:
        if file.endswith(PARQUET):
            yield from _parquet_labels(file)
        else:
            yield from _text_labels(file, [] if formats is None else formats)


def folder_labels(photos: Sequence[TrainingPhoto], source: str) -> Iterator[Label | BadLine]:
    """Yield a label for each photo of a folder: its class is the name of the folder that it lies in."""
    for photo in photos:
        parent, _, _ = photo.id.rpartition("/")
        if parent:
            yield Label(0, parent.rpartition("/")[2], photo.id, 1)
        else:
            yield BadLine(source, 0, Fault.NO_FOLDER, f"photo {photo.id!r:.100} lies in no folder of {source}")


def _text_labels(url: str, formats: list[str]) -> Iterator[Label | BadLine]:
    tabs_first = url.removesuffix(".gz").endswith(TAB_ENDINGS)
    form = detect(beginning(url), ("\t", ";", ",") if tabs_first else (",", ";", "\t"), range(len(COLUMNS), 1000))
    if str(form) != str(TextFormat()):
        formats.append(f"{url.rpartition('/')[2]}: {form}")
    places: list[int] | None = None
    first, good = "", False
    for number, line in text_lines(url, form.encoding):
        if number == 1 and form.says_so:
            continue
        first = first or first_line(line)
        try:
            if isinstance(line, FaultError):
                raise line
            fields = _fields(form, line)
            if places is None:
                places = _header(fields, url) if number <= 1 + form.says_so else []
                if places:
                    good = True
                    continue
            yield _label(number, _picked(fields, places))
            good = True
        except FaultError as error:
            yield BadLine(url, number, error.reason, error.detail)
    if first and not good:
        raise InputError(
            f"{url}: no line of it is a label: {', '.join(COLUMNS)}, such as 'tulip,p1,TRUE'. "
            f"Its first line {first} ({form})"
        )


def _fields(form: TextFormat, line: str) -> list[str]:
    try:
        return form.fields(line)
    except csv.Error as error:
        raise FaultError(Fault.QUOTES, f"its quotes are not CSV's: {error}") from error


def _header(fields: Sequence[str], url: str) -> list[int]:
    """Return the places of the columns if the first line is a header; an empty list if it is none."""
    names = [field.strip().casefold() for field in fields]
    present = [name for name in COLUMNS if name in names]
    if len(present) < 2:
        return []
    if len(present) < len(COLUMNS):
        raise InputError(
            f"{url}: labels need the columns {', '.join(COLUMNS)}. Its header is {', '.join(names)!r:.200}"
        )
    return [names.index(name) for name in COLUMNS]


def _picked(fields: Sequence[str], places: Sequence[int]) -> Sequence[str]:
    """Return the fields in the order of `COLUMNS`."""
    if not places:
        fields = list(fields)
        while len(fields) > len(COLUMNS) and not fields[-1].strip():
            fields.pop()  # a spreadsheet's empty columns
        if len(fields) != len(COLUMNS):
            raise FaultError(Fault.FIELDS, f"has {len(fields)} fields; needed are {', '.join(COLUMNS)}")
        return fields
    if len(fields) <= max(places):
        raise FaultError(Fault.FIELDS, f"has {len(fields)} fields, fewer than the header")
    return [fields[place] for place in places]


def _label(number: int, fields: Sequence[str]) -> Label:
    class_text, photo_id, label = fields
    if not (photo_id := photo_id.strip()):
        raise FaultError(Fault.PHOTO_ID, "has no photo's id")
    return Label(number, class_text.strip(), photo_id, label_value(label))


def _parquet_labels(url: str) -> Iterator[Label | BadLine]:
    names = parquet.column_names(open_url(url), url)
    if missing := [name for name in COLUMNS if name not in names]:
        raise InputError(f"{url}: labels need the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing")
    for number, values in parquet.rows(open_url(url), url, COLUMNS):
        try:
            if isinstance(values, str):
                raise FaultError(Fault.NOT_UTF8, values)
            yield _label(number, [_as_text(value) for value in values])
        except FaultError as error:
            yield BadLine(url, number, error.reason, error.detail)


def _as_text(value: Any) -> str:
    """Return a cell as text: empty for null, whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _files(url: str, endings: tuple[str, ...]) -> list[str]:
    """Return the file, or the files of a folder, with one of these endings; as in Spark, no file that begins with '_'.

    Raises:
        InputError: there is no such file or folder.
    """
    folder = Folder(url)
    if folder.is_folder():
        return [f"{folder.url}/{name}" for name in folder.names() if name.endswith(endings) and name[0] != "_"]
    open_url(url).close()
    return [folder.url] if folder.url.endswith(endings) else []
