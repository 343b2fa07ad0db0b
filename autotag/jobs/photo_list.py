"""The photos of a backfill: a list that somebody wrote, each line checked, or all that the store knows."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from autotag.bulk.parquet import PARQUET
from autotag.bulk.source import LINES
from autotag.errors import EventError, InputError
from autotag.events.checks import brief, text_field
from autotag.events.times import check_past, iso_time, time_us
from autotag.storage.folder import Folder, located
from autotag.storage.text_lines import Fault, FaultError, ListedPhoto, listed_uri, photo_lines, text_lines
from autotag.stores import PhotoStore
from autotag.view.merge import View

FIELDS = ("photo_id", "uri", "owner", "content_time", "taken", "output_uri")
"""Of a line of JSON or a row of Parquet; the first two are required, and all others are ignored."""
ENDINGS = (".txt", ".tsv", *LINES)
"""Of the files of a folder that are lists, also with .gz; and Parquet."""
LOOKED_UP = 500
"""Photos asked the store for at once."""
HASHED_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo to tag."""

    line: int
    """Its place in the list, from 1: with several files they are counted through."""
    photo_id: str
    uri: str
    owner: str = ""
    content_time: str = ""
    """The content version, as events have it: RFC 3339 text."""
    taken: str = ""
    output_uri: str = ""
    """Where its JSON document is written, if anywhere."""


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line of the list that names no photo that can be tagged, and why."""

    line: int
    detail: str


Entry = Photo | BadLine


class Corpus(Protocol):
    """The photos of a backfill, in order."""

    @property
    def fingerprint(self) -> str:
        """What tells it from others. People can read it, too."""

    def entries(self) -> Iterator[Entry]:
        """All of them; raises InputError where the list cannot be read to its end, and StoreError."""


class ListedPhotos:
    """A list in a file, or in the files of a folder, anywhere that fsspec reaches.

    ``.jsonl`` and the like hold an object a line, ``.parquet`` a row a photo, and all others what `photo_lines` reads.
    Instead of a URI there may be a path; one that is not absolute starts where the list is. Owner and content time,
    which a bulk run needs, are looked up in the store where the list does not say them; `owner` and `content_time` are
    for photos that it does not know. A photo with an `output_uri` may have neither.

    Raises:
        InputError: there is no such list.
    """

    def __init__(self, url: str, store: PhotoStore, owner: str = "", content_time: str = "") -> None:
        self.urls = _files(url)
        self._store = store
        self._owner = owner
        self._content_time = content_time

    @property
    def fingerprint(self) -> str:
        """Of what is in the files, wherever they are; reads all of them."""
        digest, size = hashlib.sha256(), 0
        for url in self.urls:
            folder, name = located(url)
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
        missing = {one.photo_id for one in batch if isinstance(one, Photo) and _lacks(one)}
        views = self._store.views(missing) if missing else {}
        for entry in batch:
            if isinstance(entry, Photo) and _lacks(entry):
                yield self._complete(entry, views.get(entry.photo_id))
            else:
                yield entry

    def _complete(self, photo: Photo, view: View | None) -> Entry:
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
        return BadLine(line=photo.line, detail=detail + "--content-time, or give it an output URI")


class StoredPhotos:
    """All photos that the store knows, as readers see them."""

    def __init__(self, store: PhotoStore, name: str) -> None:
        self._store = store
        self.fingerprint = f"the photos of store {name}"

    def entries(self) -> Iterator[Entry]:
        """In the order of the store, which is as good as random."""
        views = itertools.chain.from_iterable(self._store.photos())
        for line, view in enumerate(views, 1):
            if view.uri:
                yield _of_view(line, view)
            else:
                yield BadLine(line=line, detail=f"the store knows no URI of photo {brief(view.photo_id)}")


def entry_line(entry: Entry) -> str:
    """An entry as a line of JSON; `read_entry` reads it back equal."""
    return json.dumps({name: value for name, value in asdict(entry).items() if value != ""}, ensure_ascii=False)


def read_entry(line: bytes) -> Entry:
    """What `entry_line` wrote."""
    fields = json.loads(line)
    return BadLine(**fields) if "detail" in fields else Photo(**fields)


def _files(url: str) -> list[str]:
    """The file, or of a folder those that are lists, in the order of their names."""
    folder = Folder(url)
    if not folder.is_folder():
        parent, name = located(url)
        if not parent.exists(name):
            raise InputError(f"{url}: there is no such list of photos")
        return [url]
    endings = (*ENDINGS, *(f"{ending}.gz" for ending in ENDINGS), PARQUET)
    names = [name for name in folder.names() if name.endswith(endings) and name[0] != "_"]
    if not names:
        raise InputError(f"{url}: has no file that ends in {', '.join(endings)}")
    return [f"{folder.url}/{name}" for name in names]


def _read(url: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """The lines of a file: number, and its fields, or what is wrong with it."""
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

    folder, name = located(url)
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
    """A timestamp as text; those without a time zone are UTC, as Spark's are."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value


def _where(url: str, number: int, detail: str) -> str:
    return f"{url.rpartition('/')[2]}, line {number}: {detail}"


def _with_uri(fields: dict[str, Any], url: str) -> dict[str, Any]:
    """Fields whose uri may be a path, with it as a URI."""
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
        return BadLine(line=line, detail=fields)
    try:
        texts = {name: text_field(fields, name, required=name in FIELDS[:2]) for name in FIELDS}
        check_content_time(texts["content_time"])
        if texts["taken"]:
            time_us(texts["taken"], "taken")
    except EventError as error:
        return BadLine(line=line, detail=str(error))
    return Photo(line=line, **texts)


def check_content_time(value: str) -> None:
    """Raises EventError where a content time is given that no photo can have."""
    if not value:
        return
    check_past(time_us(value, "content_time"), "content_time", value)


def _lacks(photo: Photo) -> bool:
    return not (photo.owner and photo.content_time)


def _of_view(line: int, view: View) -> Photo:
    return Photo(
        line=line,
        photo_id=view.photo_id,
        uri=view.uri,
        owner=view.owner,
        content_time=iso_time(view.content_us),
        taken=view.taken or "",
    )


def packed(lines: Iterable[str]) -> bytes:
    """Lines of text, compressed; the same lines give the same bytes."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
