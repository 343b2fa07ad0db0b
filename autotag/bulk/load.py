"""Bulk runs: tags that were computed elsewhere, by Spark say, loaded into the store from files.

A run is loaded batch by batch, and unseen until it is published; see stores/runs.py for what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from autotag.bulk.records import Records
from autotag.bulk.source import Record, Source, read, shown
from autotag.errors import EventError, InputError, ResultError, RunError
from autotag.stores import PhotoStore
from autotag.stores.runs import Run, RunState, RunTable
from autotag.view.results import Tagged

BATCH_PHOTOS = 500
"""Written at once."""
BATCH_TAGS = 50_000
"""A batch is written when it has so many, however few photos they are of: it bounds the memory."""


@dataclass(frozen=True)
class Refused:
    """A line or row that was not loaded, and why, each text short and printable."""

    file: str
    number: int
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a load has come: where the next record is, and what came of those before it."""

    file: int = 0
    """Index in `Source.files`."""
    offset: int = 0
    """In that file: bytes of text, of Parquet rows."""
    number: int = 0
    """Lines or rows before it."""
    photos: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Step:
    """What came of one batch, which is in the store."""

    refused: tuple[Refused, ...]
    done_bytes: int
    """Of all files, how much is done."""


@dataclass
class _Batch:
    place: Progress
    """Where the record after the batch is; the counts are those before the batch."""
    done_bytes: int
    photos: list[Tagged] = field(default_factory=list)
    wheres: list[tuple[str, int]] = field(default_factory=list)
    """File and number of each photo."""
    refused: list[Refused] = field(default_factory=list)

    tags: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.photos) + len(self.refused) >= BATCH_PHOTOS or self.tags >= BATCH_TAGS


class BulkLoad:
    """The loading of a run, from where an earlier one was interrupted; there is nothing to do where none was.

    Several may load the same run at the same time: all write the same.

    Raises:
        RunError: the name was used before, or the store knows no model.
        StoreError: the store is away; the same from `steps`.
    """

    def __init__(self, store: PhotoStore, name: str, source: Source, by: str) -> None:
        visibility = store.runs.read()
        if not visibility.models:
            raise RunError("the store knows no model whose tags could be loaded; run: autotag store init")
        self.source = source
        loaded = _loaded(store.runs, name, source)
        self.was_loaded = loaded is not None
        """Before, from the same input: `steps` has none, and nothing is written."""
        self.run = loaded or store.runs.begin(name, source.fingerprint, by)
        self.progress = Progress(**store.runs.progress(name))
        """As of the last batch."""
        self._store = store
        self._records = Records(visibility, name, self.run.begun_us)

    @property
    def where(self) -> str:
        """The file and line that come next, for people."""
        if self.progress.file == len(self.source.files):
            return "the end"
        return f"{shown(self.source.files[self.progress.file])}, line {self.progress.number + 1}"

    def steps(self) -> Iterator[Step]:
        """Load the rest, batch by batch; `run` says at the end what came of it.

        A batch is given when it is in the store, and noted as done when the next is asked for: after an interruption
        what was given may be given again, but nothing is left out, or counted twice.

        Raises:
            InputError: a file cannot be read to its end; what was given is loaded.
            RunError: the run was dropped meanwhile, or the files were changed.
        """
        if self.was_loaded:
            return
        try:
            yield from self._steps()
        except InputError as error:
            raise InputError(
                f"{error}; load it again once it can be read, or, where it has to be repaired: "
                f"`autotag bulk drop {self.run.name}`, then load the repaired input under another name"
            ) from error

    def _steps(self) -> Iterator[Step]:
        runs = self._store.runs
        for batch in self._batches():
            refused = tuple(self._write(batch))
            self.progress = replace(
                batch.place,
                photos=self.progress.photos + len(batch.photos) + len(batch.refused) - len(refused),
                refused=self.progress.refused + len(refused),
            )
            yield Step(refused, batch.done_bytes)
            runs.save_progress(self.run.name, vars(self.progress))
        if Source.find(self.source.path).fingerprint != self.source.fingerprint:
            raise RunError(
                f"the files of run {self.run.name!r} changed while it was loaded; drop it, and load under another name"
            )
        runs.finish(self.run.name, self.progress.photos, self.progress.refused)
        self.run = runs.run(self.run.name)
        if self.run.state is RunState.DROPPED:
            raise RunError(f"run {self.run.name!r} was dropped while it was loaded")

    def _write(self, batch: _Batch) -> list[Refused]:
        """Write a batch durably; all that was refused of it."""
        turned_down = self._store.write(batch.photos) if batch.photos else {}
        found = [Refused(*batch.wheres[index], _line(reason)) for index, reason in turned_down.items()]
        return [*batch.refused, *found]

    def _batches(self) -> Iterator[_Batch]:
        """What is left to load; the last one, which may be empty, ends behind the last file."""
        files, sizes = self.source.files, self.source.sizes
        before = sum(sizes[: self.progress.file])
        batch = _Batch(self.progress, before)
        offset, number = self.progress.offset, self.progress.number
        for index in range(self.progress.file, len(files)):
            name = shown(files[index])
            for record in read(files[index], offset, number):
                self._add(batch, name, record)
                batch.done_bytes = before + record.done_bytes
                if batch.is_full:
                    batch.place = Progress(index, record.offset, record.number)
                    yield batch
                    batch = _Batch(batch.place, batch.done_bytes)
            before += sizes[index]
            offset = number = 0
        yield replace(batch, place=Progress(len(files)), done_bytes=before)

    def _add(self, batch: _Batch, name: str, record: Record) -> None:
        try:
            if isinstance(record.values, ResultError):
                raise record.values
            photo = self._records.tagged(record.values)
        except (ResultError, EventError) as error:
            batch.refused.append(Refused(name, record.number, _line(str(error))))
        else:
            batch.photos.append(photo)
            batch.wheres.append((name, record.number))
            batch.tags += len(photo.tags)


def _loaded(runs: RunTable, name: str, source: Source) -> Run | None:
    """The run, if all of `source` is loaded and it has not ended."""
    try:
        run = runs.run(name)
    except RunError:
        return None
    is_loaded = run.state in (RunState.LOADED, RunState.PUBLISHED) and run.input == source.fingerprint
    return run if is_loaded else None


def _line(reason: str) -> str:
    """A reason that may quote anything, as one short printable line."""
    text = reason if reason.isprintable() else ascii(reason)[1:-1]
    return text if len(text) <= 500 else text[:497] + "..."
