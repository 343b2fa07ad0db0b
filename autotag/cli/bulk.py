"""``autotag bulk``: loads tags that were computed elsewhere, publishes them to readers, and retracts them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from autotag.bulk.load import BulkLoad, RefusedRecord
from autotag.bulk.source import Source
from autotag.cli import CommandLine, counted, print_json, print_table, user_name, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.progress import ProgressBars
from autotag.errors import InputError
from autotag.events.times import iso_time
from autotag.stores import open_store
from autotag.stores.cleanup import GRACE_US
from autotag.stores.runs import Run, RunState, RunTable

Action = Callable[[RunTable, str, str], Run]
TIMES = ("begun", "loaded", "published", "ended")


@click.group()
def bulk() -> None:
    """Bulk runs: load tags from files, then publish, retract or drop them as a whole."""


with_run = click.argument("run")
with_person = click.option("--by", default=user_name, show_default="you", help="Person who does it.")


@bulk.command()
@with_run
@click.argument("path", metavar="FILE|FOLDER", type=click.Path(exists=True, path_type=Path))
@with_person
@with_json
@with_settings
def load(line: CommandLine, run: str, path: Path, by: str, as_json: bool) -> None:
    """Load tags from JSON lines (.jsonl, .json, .ndjson, also with .gz) or Parquet; readers see them when published.

    A line has photo_id, owner, content_time, model (as `autotag tag --json` prints it) and tags, each with id or name,
    score and maybe bank; also uri, taken and computed_time. What `autotag show --json` prints is such a line.

    A line that cannot be loaded is told with the reason, and the others are loaded: that ends with exit code 1, and yet
    the run is loaded. Interrupted, the same command goes on where it was; once all is loaded it changes nothing, and
    ends with 0. Files are the same as before if their names and sizes are. Of a folder its own files are read, those
    whose names begin with '.' or '_' left out.
    """
    try:
        source = Source.find(path)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    bulk_load = BulkLoad(open_store(line.settings), run, source, by)
    done = bulk_load.bookmark
    if (done.photos or done.refused) and not bulk_load.was_loaded:
        told = f"{counted(done.photos, 'photo')} loaded before, {counted(done.refused, 'line')} refused"
        click.echo(f"goes on at {bulk_load.where}: {told}", err=True)
    with interruptible(lambda: load_note(bulk_load)), ProgressBars() as bars:
        for refused in bulk_load.batches(bars):
            print_refused(refused, as_json)
    loaded, already = bulk_load.run, " already" if bulk_load.was_loaded else ""
    if as_json:
        print_json(run_as_dict(loaded))
    else:
        told = f"{counted(loaded.photos, 'photo')}, {counted(loaded.refused, 'line')} refused"
        click.echo(f"run {loaded.name} is {loaded.state}{already}: {told}")
    sys.exit(1 if loaded.refused and not already else 0)


def load_note(bulk_load: BulkLoad) -> str:
    """Return what an interrupted load keeps."""
    done = bulk_load.bookmark
    told = f"{counted(done.photos, 'photo')} loaded, {counted(done.refused, 'line')} refused"
    return f"{told}, and kept; no reader sees them yet; the same command goes on"


def print_refused(refused: Iterable[RefusedRecord], as_json: bool) -> None:
    """Print the records that were not loaded: JSON on standard output, text on standard error."""
    for record in refused:
        if as_json:
            print_json(vars(record))
        else:
            over_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
            click.echo(f"{over_bar}refused {record.file}, line {record.number}: {record.reason}", err=True)


@bulk.command()
@with_run
@with_person
@with_json
@with_settings
def publish(line: CommandLine, run: str, by: str, as_json: bool) -> None:
    """Publish a loaded run: readers see all of its tags, from one moment on."""
    _act(line, RunTable.publish, run, by, as_json)


@bulk.command()
@with_run
@with_person
@with_json
@with_settings
def retract(line: CommandLine, run: str, by: str, as_json: bool) -> None:
    """Retract a published run for good: readers see at once the tags that they would see without it."""
    _act(line, RunTable.retract, run, by, as_json)


@bulk.command()
@with_run
@with_person
@with_json
@with_settings
def drop(line: CommandLine, run: str, by: str, as_json: bool) -> None:
    """Drop a run that is not published, for good; a load in progress ends."""
    _act(line, RunTable.drop, run, by, as_json)


DONE_IN: dict[Action, set[RunState]] = {
    RunTable.publish: {RunState.PUBLISHED},
    RunTable.retract: {RunState.RETRACTED},
    RunTable.drop: {RunState.DROPPED, RunState.RETRACTED},
}
"""The states of a run in which an action has nothing left to do."""


def _act(line: CommandLine, action: Action, name: str, by: str, as_json: bool) -> None:
    runs = open_store(line.settings).runs
    run = runs.run(name)
    is_done = run.state in DONE_IN[action]
    if not is_done:
        run = action(runs, name, by)
    if as_json:
        print_json(run_as_dict(run))
    else:
        already = " already, nothing was changed" if is_done else ""
        click.echo(f"run {run.name} is {run.state}{already}: {counted(run.photos, 'photo')}")


@bulk.command("list")
@with_json
@with_settings
def list_(line: CommandLine, as_json: bool) -> None:
    """List all runs, the latest first."""
    runs = open_store(line.settings).runs.runs()
    if as_json:
        for run in runs:
            print_json(run_as_dict(run))
        return
    rows = [
        [run.name, run.state, str(run.photos), str(run.refused), *(_when(run, name) for name in TIMES), run.input]
        for run in runs
    ]
    if rows:
        print_table(rows, ["run", "state", "photos", "refused", *TIMES, "input"])
    else:
        click.echo("there are no runs", err=True)


def _when(run: Run, name: str) -> str:
    """Return the time of one of `TIMES`, and the person."""
    us, by = getattr(run, f"{name}_us"), getattr(run, f"{name}_by", None)
    return "-" if us is None else iso_time(us)[:19] + (f" {by}" if by else "")


def run_as_dict(run: Run) -> dict[str, Any]:
    """Return a run as JSON-safe values, times as text."""
    values: dict[str, Any] = {}
    for name, value in vars(run).items():
        if name.endswith("_us"):
            values[f"{name.removesuffix('_us')}_time"] = None if value is None else iso_time(value)
        else:
            values[name] = value
    return values


@bulk.command()
@with_json
@with_settings
def clean(line: CommandLine, as_json: bool) -> None:
    """Remove the tags that no reader can see any more: those of ended runs, and those superseded for good."""
    store = open_store(line.settings)
    note = "what was removed stays removed, and no view has changed; the same command cleans the rest"
    with interruptible(note), ProgressBars() as bars:
        removed = store.clean(bars)
    if as_json:
        print_json({**vars(removed), "left_younger_s": GRACE_US // 1_000_000})
    else:
        click.echo(
            f"looked at {counted(removed.photos, 'photo')}; removed {counted(removed.facts, 'fact')}, "
            f"{counted(removed.entries, 'index entry', 'index entries')}; "
            f"put back {removed.put_back} that the index lacked. "
            f"What is younger than {GRACE_US // 60_000_000} minutes is left"
        )
