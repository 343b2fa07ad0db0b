"""RunTable: bulk runs and models, as they are in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autotag.errors import RunError, StoreError
from autotag.events.times import now_us
from autotag.stores import layout
from autotag.stores.layout import CLOCK, MODELS, STANDING
from autotag.stores.tables import RUNS, Cell, Columns, Tables, delete_as_read
from autotag.view.results import RUN_NAME, ModelVersion
from autotag.view.visibility import Visibility
from models.classes import ClassTable


class RunState(StrEnum):
    """What has become of a bulk run; only the published are seen."""

    LOADING = "loading"
    LOADED = "loaded"
    PUBLISHED = "published"
    RETRACTED = "retracted"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A bulk run. Times are microseconds since 1970, None for what has not happened."""

    name: str
    state: RunState
    input: str
    """What it is loaded from; a load that is begun can only be continued with the same."""
    begun_us: int
    begun_by: str
    photos: int
    """Written, repetitions of one photo included."""
    refused: int
    """Lines that were none of a photo's tags."""
    loaded_us: int | None
    published_us: int | None
    published_by: str | None
    ended_us: int | None
    """When it was retracted or dropped."""
    ended_by: str | None


class RunTable:
    """Reads and writes table ``runs``; every method raises StoreError when the store is away."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._visibility = Visibility()

    def read(self) -> Visibility:
        """As of now. One get; class tables, which never change, are fetched once."""
        columns = self._row(STANDING)
        published, ended, withdrawn = (
            layout.names_after(columns, prefix) for prefix in (b"r:published/", b"r:ended/", b"r:withdrawn/")
        )
        known = self._visibility
        models = layout.names_after(columns, b"r:model/")
        if models - {str(model) for model in known.models}:
            found = dict(layout.read_classes(stored.value) for stored in self._row(MODELS).values())
            # One that is not standing yet is not known to others, for whom everything is to be the same.
            found = {model: classes for model, classes in found.items() if str(model) in models}
            known = Visibility(published, ended, withdrawn, found)
        elif (published, ended, withdrawn) != (known.published, known.ended, known.withdrawn):
            known = Visibility(published, ended, withdrawn, known.models)
        self._visibility = known
        return known

    def _row(self, row: bytes) -> Columns:
        return self._tables.get(RUNS, [row]).get(row, {})

    # Models

    def add_model(self, model: ModelVersion, classes: ClassTable) -> None:
        """Make a model known: only known ones' tags can be loaded in bulk, and their classes have names and parents."""
        if model not in self._visibility.models:
            value = layout.write_classes(model, classes)
            self._put(MODELS, layout.model_column(model), value)
            self._put(STANDING, b"r:model/" + str(model).encode(), b"")

    def withdraw(self, model: str, by: str) -> None:
        """Let nothing that a model said count any more, from this moment and for good.

        Raises:
            StoreError: no model is called so.
        """
        known = sorted(map(str, self.read().models))
        if model not in known:
            raise StoreError(f"no model {model!r} has written here; there are {known}")
        self._tables.put_if_absent(RUNS, Cell(STANDING, b"r:withdrawn/" + model.encode(), _json(us=now_us(), by=by)))

    # Bulk runs

    def begin(self, name: str, source: str, by: str) -> Run:
        """Begin a run, or continue one that was begun with the same `source` and not ended.

        Raises:
            RunError: the name is no name, or was used before.
        """
        if not RUN_NAME.fullmatch(name):
            raise RunError(f"a run's name has 1 to 100 letters, digits, '.', '_' or '-'. Given: {name!r}")
        mine = _json(input=source, us=now_us(), by=by)
        self._tables.put_if_absent(RUNS, Cell(layout.run_row(name), b"r:begun", mine))
        run = self.run(name)
        if run.state is not RunState.LOADING:
            raise RunError(f"run {name!r} is {run.state}; a run's name is never used again: choose another")
        if run.input != source:
            raise RunError(f"run {name!r} was begun with another input: {run.input}. Given: {source}")
        return run

    def run(self, name: str) -> Run:
        """One run; raises RunError where there is none."""
        columns = self._row(layout.run_row(name)) if RUN_NAME.fullmatch(name) else {}
        if b"r:begun" not in columns:
            raise RunError(f"there is no run {name!r}; `autotag bulk list` shows all")
        return _run(name, columns, self._row(STANDING))

    def runs(self) -> list[Run]:
        """All runs ever, the latest first."""
        standing = self._row(STANDING)
        found: list[Run] = []
        start = b"run/"
        while rows := self._tables.scan(RUNS, start, b"run0", limit=1000):
            found += [_run(row[4:].decode(), columns, standing) for row, columns in rows]
            start = rows[-1][0] + b"\0"
        return sorted(found, key=lambda run: run.begun_us, reverse=True)

    def progress(self, name: str) -> dict[str, Any]:
        """How far the loading of a run has come, as `save_progress` said last; empty at the beginning."""
        found = self._row(layout.run_row(name)).get(b"r:progress")
        return dict(json.loads(found.value)) if found else {}

    def save_progress(self, name: str, progress: Mapping[str, Any]) -> None:
        """Say how far the loading has come; raises RunError once the run has ended, or where there is none."""
        if self.run(name).ended_us is not None:
            raise RunError(f"run {name!r} was dropped while it was loaded")
        self._put(layout.run_row(name), b"r:progress", _json(**progress))

    def finish(self, name: str, photos: int, refused: int) -> None:
        """Say that a run is loaded, and what came of it: from now on no `save_progress` changes that.

        Raises:
            RunError: there is no such run.
        """
        self.run(name)
        loaded = _json(us=now_us(), photos=photos, refused=refused)
        self._tables.put_if_absent(RUNS, Cell(layout.run_row(name), b"r:loaded", loaded))

    def publish(self, name: str, by: str) -> Run:
        """Show a run to readers: one cell, and so one moment for all its photos. Doing it twice changes nothing.

        Raises:
            RunError: it is not loaded, or has ended.
        """
        state = self.run(name).state
        if state not in (RunState.LOADED, RunState.PUBLISHED):
            raise RunError(f"run {name!r} is {state}; only a loaded one can be published")
        self._tables.put_if_absent(RUNS, Cell(STANDING, b"r:published/" + name.encode(), _json(us=now_us(), by=by)))
        return self.run(name)

    def retract(self, name: str, by: str) -> Run:
        """Hide a published run again, at one moment and for good.

        Raises:
            RunError: it is not published.
        """
        state = self.run(name).state
        if state not in (RunState.PUBLISHED, RunState.RETRACTED):
            raise RunError(f"run {name!r} is {state}; only a published one can be retracted")
        return self._end(name, by)

    def drop(self, name: str, by: str) -> Run:
        """Give up a run that was not published, for good.

        Raises:
            RunError: it is published.
        """
        if self.run(name).state is RunState.PUBLISHED:
            raise RunError(f"run {name!r} is published; retract it instead")
        return self._end(name, by)

    def _end(self, name: str, by: str) -> Run:
        if (run := self.run(name)).ended_us is not None:
            return run
        self._tables.put_if_absent(RUNS, Cell(STANDING, b"r:ended/" + name.encode(), _json(us=now_us(), by=by)))
        return self.run(name)

    def archive(self, name: str) -> None:
        """Keep what became of an ended run with the run alone: every reader reads the row of those that stand."""
        standing = self._row(STANDING)
        for part in (b"published", b"ended"):  # in this order, or it would be seen again for a moment
            if (found := standing.get(b"r:" + part + b"/" + name.encode())) is not None:
                self._put(layout.run_row(name), b"r:" + part, found.value)
                place = (STANDING, b"r:" + part + b"/" + name.encode())
                delete_as_read(self._tables, RUNS, {place: found.stored_us})

    def clock_us(self) -> int:
        """The time by the database's clock, microseconds since 1970."""
        self._put(CLOCK, b"r:now", b"")
        return self._row(CLOCK)[b"r:now"].stored_us

    def _put(self, row: bytes, column: bytes, value: bytes) -> None:
        self._tables.put(RUNS, [Cell(row, column, value)])


def _run(name: str, columns: Columns, standing: Columns) -> Run:
    begun, progress, loaded = (
        json.loads(columns[key].value) if key in columns else {} for key in (b"r:begun", b"r:progress", b"r:loaded")
    )
    published, ended = (
        json.loads(found.value) if (found := standing.get(part + b"/" + name.encode(), columns.get(part))) else {}
        for part in (b"r:published", b"r:ended")
    )
    if ended:
        state = RunState.RETRACTED if published else RunState.DROPPED
    elif published:
        state = RunState.PUBLISHED
    else:
        state = RunState.LOADED if loaded else RunState.LOADING
    counts = loaded or progress
    return Run(
        name=name,
        state=state,
        input=begun["input"],
        begun_us=begun["us"],
        begun_by=begun["by"],
        photos=counts.get("photos", 0),
        refused=counts.get("refused", 0),
        loaded_us=loaded.get("us"),
        published_us=published.get("us"),
        published_by=published.get("by"),
        ended_us=ended.get("us"),
        ended_by=ended.get("by"),
    )


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()
