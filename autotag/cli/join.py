"""``autotag join``: joins photos and labels into a training set; `train` and `retrain` share its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotag.cli import CommandLine, counted, print_json, user_name, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.options import option
from autotag.cli.progress import ProgressBars
from autotag.cli.workers import WorkersOptions
from autotag.errors import InputError, JobError
from autotag.settings import Settings
from autotag.stores import open_store
from models.bundle import Bundle

if TYPE_CHECKING:  # Only training needs the packages of these modules.
    from autotag.storage.folder import Folder
    from autotag.training.dataset.join import Inputs
    from autotag.training.dataset.join_summary import JoinSummary, LabelSummary
    from autotag.training.dataset.photo_states import Removal
    from autotag.training.dataset.training_set import TrainingSet


@dataclass(frozen=True, kw_only=True)
class SetOptions(WorkersOptions):
    """Options of every command that changes a training set."""

    set: str | None = option("--set", help="Folder or URL of the training set.  [default: autotag.training]")
    by: str = option("--by", default=user_name, show_default="you", help="Person who does it.")

    def folder(self, settings: Settings) -> Folder:
        """Return the training set's folder."""
        return set_folder(settings, self.set)


@dataclass(frozen=True, kw_only=True)
class JoinOptions(SetOptions):
    """Options of a join."""

    photos: str = option("--photos", default="", help="A folder of photos, a list of 'photo_id uri' lines, or Parquet.")
    labels: tuple[str, ...] = option(
        "--labels", multiple=True, help="CSV, TSV or Parquet with class, photo_id and label; repeatable."
    )
    by_folder: bool = option("--by-folder", is_flag=True, help="The name of a photo's folder in --photos is its class.")
    exhaustive: bool = option(
        "--exhaustive", is_flag=True, help="A photo in --labels is FALSE for every class that it has no label for."
    )
    with_corrections: bool = option(
        "--with-corrections", is_flag=True, help="Tags that people added or removed are labels too."
    )
    remove: tuple[str, ...] = option(
        "--remove", multiple=True, metavar="ID|@FILE", help="Remove a photo, or those in a file of ids; repeatable."
    )
    retry_failed: bool = option("--retry-failed", is_flag=True, help="Try photos again that could not be read before.")
    restore: bool = option("--restore", is_flag=True, help="Take removed photos in again; without it they stay out.")

    @property
    def joins(self) -> bool:
        """True if there is anything to join."""
        return bool(self.photos or self.labels or self.with_corrections)

    def inputs(self) -> Inputs:
        from autotag.training.dataset.join import Inputs

        names = ("photos", "labels", "by_folder", "exhaustive", "retry_failed", "restore", "by")
        return Inputs(**{name: getattr(self, name) for name in names})

    def check(self) -> None:
        """Raise UsageError if the options contradict one another."""
        super().check()
        if self.by_folder and not self.photos:
            raise click.UsageError("--by-folder goes with --photos FOLDER")
        if self.exhaustive and not self.labels:
            raise click.UsageError("--exhaustive goes with --labels")


def set_folder(settings: Settings, named: str | None) -> Folder:
    """Return the training set's folder: the named one, or the one in the settings."""
    from autotag.storage.folder import Folder

    if named:
        return Folder(named)
    return Folder(settings.training if "://" in settings.training else str(settings.path(settings.training)))


@click.command()
@JoinOptions.given_as("options")
@with_json
@with_settings
def join(line: CommandLine, options: JoinOptions, as_json: bool) -> None:
    """Join photos and labels into a training set; photos that it has are not read again.

    A bad line or photo is counted and listed in the set's folder joins/; the others are used. After an interruption
    the same command goes on. Labels are TRUE (true, t, yes, y, 1, positive), FALSE (false, f, no, n, 0, -1,
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
    """Raise JobError with the command to install them if packages for training are missing."""
    try:
        yield
    except ImportError as error:
        raise JobError(
            f"training needs packages that are not installed ({error}): pip install 'autotag[train]'"
        ) from error


def run_join(
    settings: Settings, bundle: Bundle, options: JoinOptions
) -> tuple[TrainingSet, JoinSummary | None, Removal | None]:
    """Join and remove as the options say, with progress bars.

    Returns:
        The training set, the summary of the join, and the result of the removal; None for a part that was not wanted.
    """
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
        return f"{where}computed features are saved in {training_set.folder}; the same command goes on"

    with interruptible(note), options.opened_workers() as workers, bars:
        return training_set, join(settings, bundle, training_set, inputs, workers, store, bars), removed


def _ids(given: str) -> list[str]:
    """Return the ids in the file of ``@FILE``, one a line, or else the id itself."""
    if not given.startswith("@"):
        return [given]
    try:
        lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{given[1:]}: cannot be read: {error}") from error
    return [line for line in lines if line]


def _print(training_set: TrainingSet, summary: JoinSummary | None, removed: Removal | None) -> None:
    if removed:
        text = f"removed {counted(len(removed.photos), 'photo')}"
        text += f", {len(removed.before)} removed before" if removed.before else ""
        if removed.unknown:
            first = ", ".join(map(repr, removed.unknown[:5]))
            text += f", {len(removed.unknown)} that are not in the set ({first})"
        click.echo(text)
    if summary is None:
        return
    for one in summary.labels:
        click.echo(_label_line(one))
    for class_id, texts in summary.spellings.items():
        click.echo(f"class {class_id!r} is spelled in several ways: {', '.join(map(repr, texts))}", err=True)
    bad = summary.failed + summary.bad_photos
    reasons = f" ({_listed(bad)})" if bad else ""
    click.echo(
        f"{counted(summary.photos, 'photo')}: {summary.new} computed, {summary.reused} in the set already, "
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
        click.echo(
            f"{counted(summary.clipped, 'feature')} exceeded the range of the set's fixed-point numbers", err=True
        )
    click.echo(f"{training_set.folder}: {counted(summary.classes, 'class', 'classes')} named; see {summary.report}")


def _label_line(one: LabelSummary) -> str:
    """Return one line about an input of labels."""
    parts = [f"{counted(one.kept, 'label')} of {counted(one.lines, 'line')}"]
    if one.bad:
        parts.append(f"{one.bad.total()} bad ({_listed(one.bad)})")
    if one.unknown_photos:
        first = ", ".join(map(json.dumps, one.unknown_first))
        parts.append(f"{one.unknown_photos} of photos that are neither listed nor in the set, ignored ({first}...)")
    if one.contradictions:
        parts.append(f"{counted(one.contradictions, 'contradiction')}, now unknown")
    if one.file and not one.is_new:
        parts.append("nothing new")
    parts += [f"read as {form}" for form in one.formats]
    return f"{one.source}: {'; '.join(parts)}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
