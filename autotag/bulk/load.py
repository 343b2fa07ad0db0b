"""Bulk runs: tags that were computed elsewhere, say by Spark, and are loaded into the store from files.

A run is loaded batch by batch; readers see none of it until it is published. stores/runs.py has the states of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from autotag.bulk.records import Record, TaggedMaker
from autotag.bulk.source import Source, read, shown
from autotag.errors import EventError, InputError, ResultError, RunError
from autotag.progress import Progress, silent
from autotag.stores import PhotoStore
from autotag.stores.runs import Run, RunState, RunTable
from autotag.view.results import Tagged

BATCH_PHOTOS = 500
"""Records of one batch."""
BATCH_TAGS = 50_000
"""A batch is written once it has this many tags, even of few photos. This bounds the memory."""


@dataclass(frozen=True)
class RefusedRecord:
    """A line or row that was not loaded, and the reason; each text is short and printable."""

    file: str
    number: int
    reason: str


@dataclass(frozen=True)
class Bookmark:
    """The place of the next record to load, and the counts of the records before it."""

    file: int = 0
    """Index in `Source.files`."""
    offset: int = 0
    """Place in that file: bytes of text, rows of Parquet."""
    number: int = 0
    """Lines or rows before the record."""
    photos: int = 0
    refused: int = 0


@dataclass
class _Batch:
    bookmark: Bookmark
    """The place behind the batch; its counts are those before the batch."""
    done_bytes: int
    photos: list[Tagged] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)
    """File and number of each photo."""
    refused: list[RefusedRecord] = field(default_factory=list)
    tags: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.photos) + len(self.refused) >= BATCH_PHOTOS or self.tags >= BATCH_TAGS


class BulkLoad:
    """The loading of a run, from its bookmark on.

    Several processes may load the same run at the same time: all write the same.

    Raises:
        RunError: the run's name was used before, or the store has no model.
        StoreError: the store cannot be reached; `batches` raises it too.
    """

    def __init__(self, store: PhotoStore, name: str, source: Source, by: str) -> None:
        visibility = store.runs.read()
        if not visibility.models:
            raise RunError("the store has no model whose tags could be loaded; run: autotag store init")
        self.source = source
        loaded = _loaded(store.runs, name, source)
        self.was_loaded = loaded is not None
        """True if the run was loaded before from the same files: `batches` yields none, and nothing is written."""
        self.run = loaded or store.runs.begin(name, source.fingerprint, by)
        self.bookmark = Bookmark(**store.runs.bookmark(name))
        """The place behind the last batch."""
        self._store = store
        self._maker = TaggedMaker(visibility, name, self.run.begun_us)

    @property
    def where(self) -> str:
        """The file and line of the next record, for people."""
        if self.bookmark.file == len(self.source.files):
            return "the end"
        return f"{shown(self.source.files[self.bookmark.file])}, line {self.bookmark.number + 1}"

    def batches(self, progress: Progress = silent) -> Iterator[tuple[RefusedRecord, ...]]:
        """Load the rest batch by batch; yield the refused records of each. `run` has the final counts at the end.

        A batch is yielded once it is in the store, and the bookmark moves behind it when the next one is asked for.
        After an interruption the last batch may be yielded again, but no record is left out or counted twice.

        Args:
            progress: told the bytes of all files that are done.

        Raises:
            InputError: a file cannot be read to its end; the batches before are loaded.
            RunError: the run was dropped meanwhile, or the files were changed.
        """
        if self.was_loaded:
            return
        try:
            yield from self._load(progress)
        except InputError as error:
            raise InputError(
                f"{error}; load it again once it can be read. If it must be repaired: `autotag bulk drop "
                f"{self.run.name}`, then load the repaired files under another name"
            ) from error

    def _load(self, progress: Progress) -> Iterator[tuple[RefusedRecord, ...]]:
        runs = self._store.runs
        for batch in self._read():
            refused = tuple(self._write(batch))
            self.bookmark = replace(
                batch.bookmark,
                photos=self.bookmark.photos + len(batch.photos) + len(batch.refused) - len(refused),
                refused=self.bookmark.refused + len(refused),
            )
            yield refused
            progress("loading", batch.done_bytes, self.source.total_bytes)
            runs.save_bookmark(self.run.name, vars(self.bookmark))
        if Source.find(self.source.path).fingerprint != self.source.fingerprint:
            raise RunError(
                f"the files of run {self.run.name!r} changed while it was loaded; drop it, and load under another name"
            )
        runs.finish(self.run.name, self.bookmark.photos, self.bookmark.refused)
        self.run = runs.run(self.run.name)
        if self.run.state is RunState.DROPPED:
            raise RunError(f"run {self.run.name!r} was dropped while it was loaded")

    def _write(self, batch: _Batch) -> list[RefusedRecord]:
        """Write a batch durably; return all its refused records."""
        reasons = self._store.write(batch.photos) if batch.photos else {}
        refused = [RefusedRecord(*batch.places[index], _line(reason)) for index, reason in reasons.items()]
        return [*batch.refused, *refused]

    def _read(self) -> Iterator[_Batch]:
        """Yield the rest of the files in batches; the last one, which may be empty, ends behind the last file."""
        files, sizes = self.source.files, self.source.sizes
        before = sum(sizes[: self.bookmark.file])
        batch = _Batch(self.bookmark, before)
        offset, number = self.bookmark.offset, self.bookmark.number
        for index in range(self.bookmark.file, len(files)):
            name = shown(files[index])
            for record in read(files[index], offset, number):
                self._add(batch, name, record)
                batch.done_bytes = before + record.done_bytes
                if batch.is_full:
                    batch.bookmark = Bookmark(index, record.end, record.number)
                    yield batch
                    batch = _Batch(batch.bookmark, batch.done_bytes)
            before += sizes[index]
            offset = number = 0
        yield replace(batch, bookmark=Bookmark(len(files)), done_bytes=before)

    def _add(self, batch: _Batch, name: str, record: Record) -> None:
        try:
            photo = self._maker.tagged(record)
        except (ResultError, EventError) as error:
            batch.refused.append(RefusedRecord(name, record.number, _line(str(error))))
        else:
            batch.photos.append(photo)
            batch.places.append((name, record.number))
            batch.tags += len(photo.tags)


def _loaded(runs: RunTable, name: str, source: Source) -> Run | None:
    """Return the run if it is loaded from `source`, and not retracted or dropped."""
    try:
        run = runs.run(name)
    except RunError:
        return None
    is_loaded = run.state in (RunState.LOADED, RunState.PUBLISHED) and run.input == source.fingerprint
    return run if is_loaded else None


def _line(reason: str) -> str:
    """Return a reason, which may quote anything, as one short printable line."""
    text = reason if reason.isprintable() else ascii(reason)[1:-1]
    return text if len(text) <= 500 else text[:497] + "..."
