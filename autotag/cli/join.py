"""``autotag join``, and the options that it shares with whatever trains: what to join, and who does the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotag.cli import CommandLine, counted, given_as, print_json, user_name, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.progress import ProgressBars
from autotag.cli.workers import WorkersOptions, with_workers_options
from autotag.errors import InputError, JobError
from autotag.settings import Settings
from autotag.stores import open_store
from models.bundle import Bundle

if TYPE_CHECKING:  # what training needs is loaded, and need be installed, by those who train only
    from autotag.storage.folder import Folder
    from autotag.training.dataset.join import Inputs
    from autotag.training.dataset.join_summary import JoinSummary, LabelSummary
    from autotag.training.dataset.photo_states import Removed
    from autotag.training.dataset.training_set import TrainingSet


def register(group: click.Group) -> None:
    group.add_command(join_)


@dataclass(frozen=True, kw_only=True)
class JoinOptions(WorkersOptions):
    """What the shared options say."""

    set: str | None
    photos: str
    labels: tuple[str, ...]
    by_folder: bool
    exhaustive: bool
    with_corrections: bool
    remove: tuple[str, ...]
    retry_failed: bool
    restore: bool
    by: str

    @property
    def joins(self) -> bool:
        """Whether there is anything to join."""
        return bool(self.photos or self.labels or self.with_corrections)

    def inputs(self) -> Inputs:
        from autotag.training.dataset.join import Inputs

        names = ("photos", "labels", "by_folder", "exhaustive", "retry_failed", "restore", "by")
        return Inputs(**{name: getattr(self, name) for name in names})

    def folder(self, settings: Settings) -> Folder:
        """The training set's."""
        return set_folder(settings, self.set)

    def check(self) -> None:
        """Raises UsageError where they contradict one another."""
        super().check()
        if self.by_folder and not self.photos:
            raise click.UsageError("--by-folder goes with --photos FOLDER")
        if self.exhaustive and not self.labels:
            raise click.UsageError("--exhaustive goes with --labels")


def set_folder(settings: Settings, named: str | None) -> Folder:
    """The training set's folder: the one that was named, or else the settings'."""
    from autotag.storage.folder import Folder

    if named:
        return Folder(named)
    return Folder(settings.training if "://" in settings.training else str(settings.path(settings.training)))


OPTIONS = (
    click.option("--set", help="The training set's folder or URL.  [default: autotag.training]"),
    click.option("--photos", default="", help="A folder, a list of 'photo_id uri' lines, or Parquet."),
    click.option("--labels", multiple=True, help="CSV, TSV or Parquet of class, photo_id, label; repeatable."),
    click.option("--by-folder", is_flag=True, help="Each photo's class is the name of its folder in --photos."),
    click.option("--exhaustive", is_flag=True, help="Photos in --labels are FALSE for what is not said there."),
    click.option("--with-corrections", is_flag=True, help="Tags that people added or removed are labels, too."),
    click.option("--remove", multiple=True, metavar="ID|@FILE", help="Take out photos: an id, or a file of ids."),
    click.option("--retry-failed", is_flag=True, help="Try photos again that were found to be bad."),
    click.option("--restore", is_flag=True, help="Take in removed photos again; else they stay out."),
    with_workers_options,
    click.option("--by", default=user_name, show_default="you", help="Who says so."),
)


def _checked(**values: Any) -> JoinOptions:
    options = JoinOptions(**values)
    options.check()
    return options


with_join_options = given_as("options", OPTIONS, [field.name for field in fields(JoinOptions)], _checked)
"""The options of a join, given to the command as one `JoinOptions` named ``options``."""


@click.command("join")
@with_join_options
@with_json
@with_settings
def join_(line: CommandLine, options: JoinOptions, as_json: bool) -> None:
    """Join photos and labels into a training set; nothing that it has is read again.

    A bad line or photo is counted, listed in the set under joins/, and the others are used. Interrupted, the same
    command goes on where it was. Labels are TRUE (true, t, yes, y, 1, positive), FALSE (false, f, no, n, 0, -1,
    negative) or unknown (nothing, unknown, ?, null, none, na), in any case; later files win.
    """
    if not options.joins and not options.remove:
        raise click.UsageError("nothing to join: give --photos, --labels, --with-corrections or --remove")
    bundle = Bundle.open(line.settings.path(line.settings.model))
    training_set, summary, removed = run_join(line.settings, bundle, options)
    if as_json:
        facts = {"removed": removed._asdict()} if removed else {}
        print_json({"set": str(training_set.folder), **facts, **(summary.to_dict() if summary else {})})
    else:
        _print(training_set, summary, removed)
    sys.exit(1 if summary and not summary.is_useful and (options.photos or options.labels) else 0)


@contextmanager
def needs_training() -> Iterator[None]:
    """Says what to install where what training needs is not there."""
    try:
        yield
    except ImportError as error:
        raise JobError(f"training needs packages that are not here ({error}): pip install 'autotag[train]'") from error


def run_join(
    settings: Settings, bundle: Bundle, options: JoinOptions
) -> tuple[TrainingSet, JoinSummary | None, Removed | None]:
    """Do what the options say, with progress: the set, and what came of the join and of the removal, if any."""
    with needs_training():
        from autotag.training.dataset.join import check_inputs, join
        from autotag.training.dataset.photo_states import remove
        from autotag.training.dataset.training_set import TrainingSet
    inputs = options.inputs()
    try:
        check_inputs(inputs)
        ids = [id_ for given in options.remove for id_ in _ids(given)]
    except InputError as error:
        raise click.UsageError(str(error)) from error
    training_set = TrainingSet.open_or_create(options.folder(settings), bundle)
    removed = remove(training_set, ids, options.by) if ids else None
    if not options.joins:
        return training_set, None, removed
    store = open_store(settings) if options.with_corrections else None
    bars = ProgressBars()

    def note() -> str:
        where = f"{bars.where}; " if bars.where else ""
        return f"{where}computed features are kept in {training_set.folder}; the same command goes on"

    with interruptible(note), options.opened_workers() as workers, bars as watch:
        return training_set, join(settings, bundle, training_set, inputs, workers, store, watch), removed


def _ids(given: str) -> list[str]:
    """The ids in a file, a line each, or one as it is."""
    if not given.startswith("@"):
        return [given]
    try:
        lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{given[1:]}: cannot be read: {error}") from error
    return [line for line in lines if line]


def _print(training_set: TrainingSet, summary: JoinSummary | None, removed: Removed | None) -> None:
    if removed:
        told = f"removed {counted(len(removed.photos), 'photo')}"
        told += f", {len(removed.before)} removed before" if removed.before else ""
        if removed.unknown:
            first = ", ".join(map(repr, removed.unknown[:5]))
            told += f", {len(removed.unknown)} of which nothing was known ({first})"
        click.echo(told)
    if summary is None:
        return
    for one in summary.labels:
        click.echo(_told(one))
    for class_id, texts in summary.spellings.items():
        click.echo(f"one class, {class_id}: {', '.join(map(repr, texts))}", err=True)
    bad = summary.failed + summary.bad_photos
    reasons = f" ({_listed(bad)})" if bad else ""
    click.echo(
        f"{counted(summary.photos, 'photo')}: {summary.new} computed, {summary.reused} there before, "
        f"{bad.total()} not usable{reasons}"
    )
    if summary.replaced:
        click.echo(
            f"{counted(summary.replaced, 'photo')} replaced: another address under the same id. In a folder a "
            "photo's id is its path below that folder: join a second folder by a list, or from a folder above both",
            err=True,
        )
    if summary.left_out:
        click.echo(f"{counted(summary.left_out, 'photo')} stayed out: removed before; --restore takes them in again")
    if summary.clipped:
        click.echo(f"{counted(summary.clipped, 'feature')} did not fit into the set's scale", err=True)
    click.echo(f"{training_set.folder}: {counted(summary.classes, 'class', 'classes')} named; see {summary.report}")


def _told(one: LabelSummary) -> str:
    """One input of labels in a line."""
    told = [f"{counted(one.kept, 'label')} of {counted(one.lines, 'line')}"]
    if one.bad:
        told.append(f"{one.bad.total()} bad ({_listed(one.bad)})")
    if one.unknown_photos:
        first = ", ".join(map(json.dumps, one.unknown_first))
        told.append(f"{one.unknown_photos} of photos that are nowhere, not kept ({first}...)")
    if one.contradictions:
        told.append(f"{counted(one.contradictions, 'contradiction')}, now unknown")
    if one.file and not one.is_new:
        told.append("nothing new")
    return f"{one.source}: {'; '.join(told)}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
