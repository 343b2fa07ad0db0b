"""RunTable: the bulk runs and models in the store."""

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
from autotag.stores.tables import RUNS, Cell, Columns, Tables, delete_as_read, scan_pages
from autotag.view.results import RUN_NAME, ModelVersion
from autotag.view.visibility import Visibility
from models.classes import ClassTable


class RunState(StrEnum):
    """The state of a bulk run; readers see published runs only."""

    LOADING = "loading"
    LOADED = "loaded"
    PUBLISHED = "published"
    RETRACTED = "retracted"
    DROPPED = "dropped"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A bulk run. Times are microseconds since 1970; None where it has not happened."""

    name: str
    state: RunState
    input: str
    """The fingerprint of the files it is loaded from; a load can only be continued with the same files."""
    begun_us: int
    begun_by: str
    photos: int
    """Photos written, repetitions included."""
    refused: int
    """Lines or rows that hold no valid tags of a photo."""
    loaded_us: int | None
    published_us: int | None
    published_by: str | None
    ended_us: int | None
    """When the run was retracted or dropped."""
    ended_by: str | None


class RunTable:
    """Reads and writes table ``runs``. Every method raises StoreError when the store cannot be reached."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._visibility = Visibility()

    def read(self) -> Visibility:
        """Return the visibility now. Costs one get; class tables, which never change, are read once."""
        columns = self._row(STANDING)
        published, ended, withdrawn = (
            layout.names_after(columns, prefix) for prefix in (b"r:published/", b"r:ended/", b"r:withdrawn/")
        )
        before = self._visibility
        standing = layout.names_after(columns, b"r:model/")
        models = before.models
        if standing - {str(model) for model in models}:
            stored = dict(layout.read_classes(cell.value) for cell in self._row(MODELS).values())
            # Skip models not yet listed in the row "standing": other readers do not see them either.
            models = {model: classes for model, classes in stored.items() if str(model) in standing}
        elif (published, ended, withdrawn) == (before.published, before.ended, before.withdrawn):
            return before  # with the classes that it has joined
        self._visibility = Visibility(published, ended, withdrawn, models)
        return self._visibility

    def _row(self, row: bytes) -> Columns:
        return self._tables.get(RUNS, [row]).get(row, {})

    # Models

    def add_model(self, model: ModelVersion, classes: ClassTable) -> None:
        """Add a model with its classes: their names and parents are looked up here, and bulk runs may hold its tags."""
        if model not in self._visibility.models:
            value = layout.write_classes(model, classes)
            self._put(MODELS, layout.model_column(model), value)
            self._put(STANDING, b"r:model/" + str(model).encode(), b"")

    def withdraw(self, model: str, by: str) -> None:
        """Withdraw a model: from this moment on, for good, none of its tags count.

        Raises:
            StoreError: the store has no model of this name.
        """
        models = sorted(map(str, self.read().models))
        if model not in models:
            raise StoreError(f"the store has no model {model!r}; it has {models}")
        self._tables.put_if_absent(RUNS, Cell(STANDING, b"r:withdrawn/" + model.encode(), _json(us=now_us(), by=by)))

    # Bulk runs

    def begin(self, name: str, source: str, by: str) -> Run:
        """Begin a run, or continue one that was begun with the same `source` and is still loading.

        Raises:
            RunError: the text can be no run's name, or the name was used before.
        """
        if not RUN_NAME.fullmatch(name):
            raise RunError(f"a run's name has 1 to 100 letters, digits, '.', '_' or '-'. Given: {name!r}")
        mine = _json(input=source, us=now_us(), by=by)
        self._tables.put_if_absent(RUNS, Cell(layout.run_row(name), b"r:begun", mine))
        run = self.run(name)
        if run.state is not RunState.LOADING:
            raise RunError(f"run {name!r} is {run.state}; a run's name is never used again: choose another")
        if run.input != source:
            raise RunError(f"run {name!r} was begun with other files: {run.input}. Given: {source}")
        return run

    def run(self, name: str) -> Run:
        """Return a run; raise RunError where there is none of this name."""
        columns = self._row(layout.run_row(name)) if RUN_NAME.fullmatch(name) else {}
        if b"r:begun" not in columns:
            raise RunError(f"there is no run {name!r}; `autotag bulk list` shows all")
        return _run(name, columns, self._row(STANDING))

    def runs(self) -> list[Run]:
        """Return all runs ever, the latest first."""
        standing = self._row(STANDING)
        pages = scan_pages(self._tables, RUNS, b"run/", b"run0", rows=1000)
        runs = [_run(row[4:].decode(), columns, standing) for page in pages for row, columns in page]
        return sorted(runs, key=lambda run: run.begun_us, reverse=True)

    def bookmark(self, name: str) -> dict[str, Any]:
        """Return the bookmark of a run's loading that `save_bookmark` wrote last; empty at the beginning."""
        cell = self._row(layout.run_row(name)).get(b"r:bookmark")
        return dict(json.loads(cell.value)) if cell else {}

    def save_bookmark(self, name: str, bookmark: Mapping[str, Any]) -> None:
        """Write the bookmark of a run's loading; raise RunError once the run has ended, or where there is none."""
        if self.run(name).ended_us is not None:
            raise RunError(f"run {name!r} was dropped while it was loaded")
        self._put(layout.run_row(name), b"r:bookmark", _json(**bookmark))

    def finish(self, name: str, photos: int, refused: int) -> None:
        """Mark a run as loaded, with its counts; no later `save_bookmark` changes them.

        Raises:
            RunError: there is no such run.
        """
        self.run(name)
        loaded = _json(us=now_us(), photos=photos, refused=refused)
        self._tables.put_if_absent(RUNS, Cell(layout.run_row(name), b"r:loaded", loaded))

    def publish(self, name: str, by: str) -> Run:
        """Make a run visible to readers, all its photos at one moment. A repeated call changes nothing.

        Raises:
            RunError: the run is not loaded, or has ended.
        """
        state = self.run(name).state
        if state not in (RunState.LOADED, RunState.PUBLISHED):
            raise RunError(f"run {name!r} is {state}; only a loaded run can be published")
        self._tables.put_if_absent(RUNS, Cell(STANDING, b"r:published/" + name.encode(), _json(us=now_us(), by=by)))
        return self.run(name)

    def retract(self, name: str, by: str) -> Run:
        """Take back a published run, at one moment and for good.

        Raises:
            RunError: the run is not published.
        """
        state = self.run(name).state
        if state not in (RunState.PUBLISHED, RunState.RETRACTED):
            raise RunError(f"run {name!r} is {state}; only a published run can be retracted")
        return self._end(name, by)

    def drop(self, name: str, by: str) -> Run:
        """Drop a run that was not published, for good.

        Raises:
            RunError: the run is published.
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
        """Move an ended run's state to its own row: every reader reads the row "standing", so it must stay short."""
        standing = self._row(STANDING)
        for part in (b"published", b"ended"):  # in this order, or it would be seen again for a moment
            column = b"r:" + part + b"/" + name.encode()
            if (cell := standing.get(column)) is not None:
                self._put(layout.run_row(name), b"r:" + part, cell.value)
                delete_as_read(self._tables, RUNS, {(STANDING, column): cell.stored_us})

    def clock_us(self) -> int:
        """Return the time by the database's clock, microseconds since 1970."""
        self._put(CLOCK, b"r:now", b"")
        return self._row(CLOCK)[b"r:now"].stored_us

    def _put(self, row: bytes, column: bytes, value: bytes) -> None:
        self._tables.put(RUNS, [Cell(row, column, value)])


def _run(name: str, columns: Columns, standing: Columns) -> Run:
    begun, progress, loaded = (
        json.loads(columns[key].value) if key in columns else {} for key in (b"r:begun", b"r:bookmark", b"r:loaded")
    )
    published, ended = (
        json.loads(cell.value) if (cell := standing.get(part + b"/" + name.encode(), columns.get(part))) else {}
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
