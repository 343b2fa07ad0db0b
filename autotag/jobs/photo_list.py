"""The photos of a backfill: a list, of which each line is checked, or all photos of the store."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from autotag.bulk.source import LINES, PARQUET
from autotag.errors import EventError, InputError
from autotag.events.checks import brief, text_field
from autotag.events.times import check_past, iso_time, time_us
from autotag.storage.folder import Folder, split_url
from autotag.storage.text_lines import Fault, FaultError, ListedPhoto, listed_uri, photo_lines, text_lines
from autotag.stores import PhotoStore
from autotag.view.merge import View

FIELDS = ("photo_id", "uri", "owner", "content_time", "taken", "output_uri")
"""Fields of a JSON line or a Parquet row. The first two are required; other fields are ignored."""
ENDINGS = (".txt", ".tsv", *LINES)
"""Endings of the files of a folder that are lists, also with .gz; Parquet files are lists, too."""
LOOKED_UP = 500
"""Photos that the store is asked for in one request."""
HASHED_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class CorpusPhoto:
    """A photo to tag."""

    line: int
    """Line number in the list, from 1; several files are counted as one."""
    photo_id: str
    uri: str
    owner: str = ""
    content_time: str = ""
    """Content version as in events: RFC 3339 text."""
    taken: str = ""
    output_uri: str = ""
    """Where the photo's JSON document is written; empty for nowhere."""


@dataclass(frozen=True, kw_only=True)
class BadEntry:
    """A line of the list that names no photo that can be tagged, with the reason."""

    line: int
    detail: str


Entry = CorpusPhoto | BadEntry


class Corpus(Protocol):
    """The photos of a backfill, in order."""

    @property
    def fingerprint(self) -> str:
        """A text that differs between different lists of photos; people can read it."""

    def entries(self) -> Iterator[Entry]:
        """Yield all entries.

        Raises:
            InputError: the list cannot be read to its end.
            StoreError: the store cannot be reached.
        """


class ListedPhotos:
    """A list in a file, or in the files of a folder, at any URL that fsspec can open.

    ``.jsonl`` and the like hold an object per line, ``.parquet`` a row per photo, all other files the lines that
    `photo_lines` reads. A path may stand in place of a URI; a relative one starts at the list's folder. A bulk run
    needs owner and content time: if the list lacks them, the store is asked; if the store lacks the photo, `owner` and
    `content_time` are used. A photo with an `output_uri` may have neither.

    Raises:
        InputError: the list does not exist.
    """

    def __init__(self, url: str, store: PhotoStore, owner: str = "", content_time: str = "") -> None:
        self.urls = _files(url)
        self._store = store
        self._owner = owner
        self._content_time = content_time

    @property
    def fingerprint(self) -> str:
        """Name, size and digest of the files' content, and the defaults; reads all files."""
        digest, size = hashlib.sha256(), 0
        for url in self.urls:
            folder, name = split_url(url)
            with folder.open(name) as file:
                while data := file.read(HASHED_BYTES):
                    digest.update(data)
                    size += len(data)
        name = self.urls[0].rpartition("/")[2] if len(self.urls) == 1 else f"{len(self.urls)} files"
        defaults = "".join(f", {value}" for value in (self._owner, self._content_time) if value)
        return f"{name}, {size} bytes, {digest.hexdigest()[:16]}{defaults}"

    def entries(self) -> Iterator[Entry]:
        lines = itertools.chain.from_iterable(map(_read, self.urls))
        found = (_entry(line, fields) for line, (_, fields) in enumerate(lines, 1))
        while batch := list(itertools.islice(found, LOOKED_UP)):
            yield from self._completed(batch)

    def _completed(self, batch: list[Entry]) -> Iterator[Entry]:
        missing = {one.photo_id for one in batch if isinstance(one, CorpusPhoto) and _lacks(one)}
        views = self._store.views(missing) if missing else {}
        for entry in batch:
            if isinstance(entry, CorpusPhoto) and _lacks(entry):
                yield self._complete(entry, views.get(entry.photo_id))
            else:
                yield entry

    def _complete(self, photo: CorpusPhoto, view: View | None) -> Entry:
        known = _of_view(photo.line, view) if view else None
        photo = replace(
            photo,
            owner=photo.owner or (known.owner if known else self._owner),
            content_time=photo.content_time or (known.content_time if known else self._content_time),
            taken=photo.taken or (known.taken if known else ""),
        )
        if photo.output_uri or not _lacks(photo):
            return photo
        lacking = " and ".join(name for name in ("owner", "content_time") if not getattr(photo, name))
        detail = f"photo {brief(photo.photo_id)} has no {lacking}, and the store does not know it: say --owner and "
        return BadEntry(line=photo.line, detail=detail + "--content-time, or give it an output URI")


class StoredPhotos:
    """All photos of the store, as readers see them."""

    def __init__(self, store: PhotoStore, name: str) -> None:
        self._store = store
        self.fingerprint = f"the photos of store {name}"

    def entries(self) -> Iterator[Entry]:
        """Yield all entries in the order of the store, which is as good as random."""
        views = itertools.chain.from_iterable(self._store.photos())
        for line, view in enumerate(views, 1):
            if view.uri:
                yield _of_view(line, view)
            else:
                yield BadEntry(line=line, detail=f"the store knows no URI of photo {brief(view.photo_id)}")


def entry_line(entry: Entry) -> str:
    """Return an entry as a line of JSON; `read_entry` gives an equal one back."""
    return json.dumps({name: value for name, value in asdict(entry).items() if value != ""}, ensure_ascii=False)


def read_entry(line: bytes) -> Entry:
    """Read a line written by `entry_line`."""
    fields = json.loads(line)
    return BadEntry(**fields) if "detail" in fields else CorpusPhoto(**fields)


def _files(url: str) -> list[str]:
    """Return the URL of the file, or the URLs of a folder's lists in the order of their names."""
    folder = Folder(url)
    if not folder.is_folder():
        parent, name = split_url(url)
        if not parent.exists(name):
            raise InputError(f"{url}: there is no such list of photos")
        return [url]
    endings = (*ENDINGS, *(f"{ending}.gz" for ending in ENDINGS), PARQUET)
    names = [name for name in folder.names() if name.endswith(endings) and name[0] != "_"]
    if not names:
        raise InputError(f"{url}: has no file that ends in {', '.join(endings)}")
    return [f"{folder.url}/{name}" for name in names]


def _read(url: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield number and fields of each line of a file, or the error in place of the fields."""
    if url.endswith(PARQUET):
        yield from _rows(url)
        return
    for number, line in _objects(url) if url.removesuffix(".gz").endswith(LINES) else photo_lines(url):
        if isinstance(line, FaultError):
            yield number, _where(url, number, line.detail)
        elif isinstance(line, ListedPhoto):
            yield number, {name: value for name, value in line._asdict().items() if value}
        else:
            yield number, _with_uri(line, url)


def _rows(url: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    from autotag.storage import parquet  # pyarrow is asked for only when there are such files

    folder, name = split_url(url)
    there = parquet.column_names(folder.open(name), url)
    columns = [column for column in FIELDS if column in there]
    if columns[:2] != list(FIELDS[:2]):
        raise InputError(f"{url}: needs the columns photo_id and uri; it has {', '.join(there)}")
    for number, values in parquet.rows(folder.open(name), url, columns):
        if isinstance(values, str):
            yield number, _where(url, number, values)
        else:
            fields = {name: _plain(value) for name, value in zip(columns, values, strict=True)}
            yield number, _with_uri(fields, url)


def _plain(value: Any) -> Any:
    """Return a timestamp as text. One without a time zone is UTC, as Spark writes them; other values stay."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value


def _where(url: str, number: int, detail: str) -> str:
    return f"{url.rpartition('/')[2]}, line {number}: {detail}"


def _with_uri(fields: dict[str, Any], url: str) -> dict[str, Any]:
    """Return the fields with a URI in place of a path."""
    uri = fields.get("uri")
    return {**fields, "uri": listed_uri(uri, url)} if isinstance(uri, str) else fields


def _objects(url: str) -> Iterator[tuple[int, dict[str, Any] | FaultError]]:
    for number, text in text_lines(url):
        yield number, text if isinstance(text, FaultError) else _object(text)


def _object(text: str) -> dict[str, Any] | FaultError:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        return FaultError(Fault.FIELDS, f"not JSON: {error}")
    if isinstance(fields, dict):
        return fields
    return FaultError(Fault.FIELDS, f"not a JSON object. Given: {brief(fields)}")


def _entry(line: int, fields: Mapping[str, Any] | str) -> Entry:
    if isinstance(fields, str):
        return BadEntry(line=line, detail=fields)
    try:
        texts = {name: text_field(fields, name, required=name in FIELDS[:2]) for name in FIELDS}
        check_content_time(texts["content_time"])
        if texts["taken"]:
            time_us(texts["taken"], "taken")
    except EventError as error:
        return BadEntry(line=line, detail=str(error))
    return CorpusPhoto(line=line, **texts)


def check_content_time(value: str) -> None:
    """Check a content time; empty is allowed.

    Raises:
        EventError: no photo can have this content time.
    """
    if not value:
        return
    check_past(time_us(value, "content_time"), "content_time", value)


def _lacks(photo: CorpusPhoto) -> bool:
    return not (photo.owner and photo.content_time)


def _of_view(line: int, view: View) -> CorpusPhoto:
    return CorpusPhoto(
        line=line,
        photo_id=view.photo_id,
        uri=view.uri,
        owner=view.owner,
        content_time=iso_time(view.content_us),
        taken=view.taken or "",
    )


def packed(lines: Iterable[str]) -> bytes:
    """Compress lines of text; equal lines give equal bytes."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
