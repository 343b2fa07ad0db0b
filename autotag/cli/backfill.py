"""``autotag backfill``: tags a whole corpus, on this machine or on Spark."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotag.bulk.load import BulkLoad
from autotag.cli import CommandLine, counted, print_json, user_name, with_json, with_settings
from autotag.cli.bulk import print_refused, run_as_dict
from autotag.cli.interrupts import interruptible
from autotag.cli.options import OptionSet, argument, option
from autotag.cli.progress import ProgressBars, progress_bar
from autotag.cli.workers import WorkersOptions
from autotag.errors import EventError, InputError, JobError
from autotag.jobs.workers import Workers
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.view.results import ModelVersion
from models.bundle import Bundle

if TYPE_CHECKING:  # Only jobs need fsspec.
    from autotag.jobs.backfill import Backfill, JobSummary
    from autotag.jobs.photo_list import Corpus

TOLD_EVERY_S = 10.0
"""Time between two lines of progress where standard error is no terminal."""


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(OptionSet):
    """The options that say which photos are tagged."""

    from_store: bool = option("--from-store", is_flag=True, help="Tag all photos of the store, instead of a list.")
    owner: str = option("--owner", default="", help="Owner of photos for which neither list nor store has one.")
    content_time: str = option(
        "--content-time", default="", help="Content time of such photos, such as 2026-01-31T12:00:00Z."
    )

    def corpus(self, photos: str | None, store: PhotoStore, settings: Settings) -> Corpus:
        """Return the photos of a list, or of the store; raise UsageError for a list that cannot be read."""
        from autotag.jobs.photo_list import ListedPhotos, StoredPhotos, check_content_time

        if photos is None:
            return StoredPhotos(store, settings.store)
        try:
            check_content_time(self.content_time)
            return ListedPhotos(photos, store, self.owner, self.content_time)
        except (InputError, EventError) as error:
            raise click.UsageError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class BackfillOptions(CorpusOptions, WorkersOptions):
    """The options of a backfill."""

    photos: str | None = argument(required=False, metavar="[LIST]")
    job: str = option("--job", required=True, metavar="FOLDER", help="Folder or URL that keeps the finished work.")
    only_failed: bool = option(
        "--only-failed", is_flag=True, help="Only try photos again that failed and may work now."
    )
    run: str | None = option(
        "--load", metavar="RUN", help="When all photos are done, load the tags as this bulk run, unpublished."
    )
    model: Path | None = option(
        "--model",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of a bundle.  [default: the current one]",
    )
    chunk_photos: int | None = option(
        "--chunk-photos", type=click.IntRange(1, 100_000), help="Photos whose tags are one file.  [default: 256]"
    )
    tries: int = option(
        "--tries",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="Failures after which a photo is given up; a higher number than before tries it again.",
    )

    def check(self) -> None:
        """Raise UsageError where the options contradict one another."""
        if bool(self.photos) == self.from_store:
            raise click.UsageError("give a list of photos, or --from-store, one of the two")
        if self.from_store and (self.owner or self.content_time):
            raise click.UsageError("--owner and --content-time are for lists: the store knows both")
        super().check()


@click.command()
@BackfillOptions.given_as("options")
@with_json
@with_settings
def backfill(line: CommandLine, options: BackfillOptions, as_json: bool) -> None:
    """Tag all photos of a list, or of the store.

    Killed or failed, the same command goes on: with the photos that are left; then with those that failed and may
    work now.

    LIST is a file or a folder of files, a path or URL: lines `photo_id uri` or `photo_id uri output_uri`, or JSON lines
    or Parquet with photo_id, uri and optionally owner, content_time, taken and output_uri; .gz is unpacked. The tags
    of each photo are kept in FOLDER/tags, in the format of `autotag bulk load`, and written to its output_uri, if any.

    A bulk run needs facts that a list may lack; they are taken from the store. Failures are listed in FOLDER/failed,
    each with its reason. Exit code 1: photos are left that may work at another try, or no photo has tags.
    """
    settings, bundle = _model(line.settings, options.model)
    store = open_store(settings)
    loaded = None
    kept = f"what is done is kept in {options.job}; the same command goes on"
    with interruptible(kept), _opened(options, store, settings, bundle) as job:
        with options.opened_workers() as workers:
            now = _run(job, workers, settings, options)
            cores = workers.count
        try:
            if options.run:
                loaded = _load(job, store, bundle, options.run, as_json)
        finally:  # The result is printed even if no run can be loaded from it.
            _print(now, cores, options.job, loaded, as_json)
    sys.exit(1 if now.left or now.transient or not now.is_useful or (loaded and loaded.run.refused) else 0)


def _model(settings: Settings, model: Path | None) -> tuple[Settings, Bundle]:
    """Return settings that name one bundle, and that bundle: one published meanwhile does not take its place."""
    bundle = Bundle.open(model.absolute() if model else settings.path(settings.model))
    return replace(settings, model=str(bundle.folder.absolute())), bundle


@contextmanager
def _opened(options: BackfillOptions, store: PhotoStore, settings: Settings, bundle: Bundle) -> Iterator[Backfill]:
    """Open the job and lock it: no other process can work on it meanwhile."""
    try:
        from autotag.jobs.backfill import Backfill
        from autotag.storage.folder import Folder
        from autotag.storage.locks import alone_in
    except ImportError as error:
        raise JobError(
            f"a backfill needs packages that are not here ({error}): pip install 'autotag[train]'"
        ) from error
    corpus, folder = options.corpus(options.photos, store, settings), Folder(options.job)
    with alone_in(folder):
        yield Backfill(folder, corpus, str(ModelVersion.of(bundle)), options.chunk_photos, options.tries)


def _run(job: Backfill, workers: Workers, settings: Settings, options: BackfillOptions) -> JobSummary:
    now = job.summary()
    now.done_before = now.done

    def note() -> str:
        return f"{now.done} of {now.photos} photos are done and kept in {options.job}; the same command goes on"

    with interruptible(note), _shown(job.to_do(only_failed=options.only_failed)) as show:
        for now in job.run(workers, settings, only_failed=options.only_failed):
            show(now)
    return now


@contextmanager
def _shown(photos: int) -> Iterator[Callable[[JobSummary], None]]:
    """Show the progress on standard error: a bar at a terminal, else a line every `TOLD_EVERY_S` seconds."""
    told_at = time.monotonic()
    with progress_bar(photos, "tagging") as bar:

        def show(now: JobSummary) -> None:
            nonlocal told_at
            bar.label = f"{now.photos_per_s:.0f} photos/s, {_failed(now)}"
            bar.update(now.tried - bar.pos)
            if bar.hidden and time.monotonic() - told_at >= TOLD_EVERY_S:
                told_at = time.monotonic()
                left_s = (photos - now.tried) / now.photos_per_s if now.photos_per_s else 0
                click.echo(f"{now.tried} of {photos}, {bar.label}; {left_s:.0f} s left", err=True)

        yield show


def _load(job: Backfill, store: PhotoStore, bundle: Bundle, name: str, as_json: bool) -> BulkLoad:
    """Load a finished job's tags as a bulk run."""
    with job.tags() as source:
        store.runs.add_model(ModelVersion.of(bundle), bundle.classes)
        load = BulkLoad(store, name, source, user_name())
        with ProgressBars() as bars:
            for refused in load.batches(bars):
                print_refused(refused, as_json)
    return load


def _failed(now: JobSummary) -> str:
    """Return the number of failures by reason, the most frequent first."""
    by_reason = ", ".join(
        f"{failure.reason} {count}{'' if failure.permanent else ' (may work later)'}"
        for failure, count in now.failures.most_common()
        if count
    )
    return f"{now.failures.total()} failed" + (f": {by_reason}" if by_reason else "")


def _print(now: JobSummary, cores: int, job: str, loaded: BulkLoad | None, as_json: bool) -> None:
    if as_json:
        print_json(_as_dict(now, cores, loaded))
        return
    click.echo(f"{counted(now.photos, 'photo')}: {now.tagged} tagged, {_failed(now)}")
    if now.done_before:
        click.echo(f"{now.done_before} photos were done before")
    if now.tried:
        rate = f"{now.photos_per_s:.1f} photos/s, {now.photos_per_s / cores:.1f} per core"
        click.echo(f"{counted(now.tried, 'photo')} in {now.seconds:.0f} s: {rate}")
    if loaded:
        click.echo(f"run {loaded.run.name} is {loaded.run.state}: {counted(loaded.run.photos, 'photo')}")
    if now.left:
        click.echo(f"{now.left} photos are left; the same command without --only-failed goes on", err=True)
    if now.transient:
        click.echo(f"{now.transient} photos failed and may work later; the same command tries them again", err=True)
    if now.failures.total():
        click.echo(f"each failure and its reason: {job.rstrip('/')}/failed", err=True)


def _as_dict(now: JobSummary, cores: int, loaded: BulkLoad | None) -> dict[str, Any]:
    """Return the summary as JSON-safe values."""
    failures = [{**failure._asdict(), "photos": count} for failure, count in now.failures.most_common() if count]
    return {
        "photos": now.photos,
        "tagged": now.tagged,
        "failures": failures,
        "left": now.left,
        "done_before": now.done_before,
        "tried": now.tried,
        "seconds": round(now.seconds, 3),
        "photos_per_s": round(now.photos_per_s, 2),
        "photos_per_s_per_core": round(now.photos_per_s / cores, 2),
        "run": run_as_dict(loaded.run) if loaded else None,
    }
