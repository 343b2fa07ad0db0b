"""``autotag train``: trains classifiers from a training set."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotag.bundles.publisher import use_current
from autotag.bundles.registry import ModelRegistry
from autotag.cli import CommandLine, counted, print_json, print_table, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.join import JoinOptions, needs_training, run_join
from autotag.cli.like import LikeOptions, LikePhotos, print_moved
from autotag.cli.options import option
from autotag.cli.progress import ProgressBars
from autotag.errors import InputError, RegistryError
from autotag.settings import Settings
from models.bundle import MANIFEST, Bundle

if TYPE_CHECKING:
    from autotag.storage.folder import Folder
    from autotag.training.dataset.training_set import TrainingSet
    from autotag.training.report.findings import Findings

CANDIDATES = "build/candidates"
OUT = f"Folder of the candidate.  [default: {CANDIDATES}]"
SHOWN = 10
"""Maximum number of classes of a kind that are listed by name."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LikeOptions):
    """Options of a training."""

    precision: float = option(
        "--precision",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.9,
        show_default=True,
        help="Minimum precision of each class: the share of its tags that are right.",
    )
    least_recall: float = option(
        "--least-recall",
        type=click.FloatRange(0, 1),
        default=0.1,
        show_default=True,
        help="Minimum recall of each class at that precision; a class below it is left out.",
    )
    sample: int = option(
        "--sample",
        type=click.IntRange(min=1000),
        default=200_000,
        show_default=True,
        help="Number of photos that every class is calibrated on; of the others only those with a label for it.",
    )
    bank: str = option("--bank", default="trained", show_default=True, help="Name of the new classifiers' bank.")
    out: Path | None = option("--out", type=click.Path(file_okay=False, path_type=Path), help=OUT)


@click.command()
@JoinOptions.given_as("options")
@TrainOptions.given_as("wanted")
@with_json
@with_settings
def train(line: CommandLine, options: JoinOptions, wanted: TrainOptions, as_json: bool) -> None:
    """Train classifiers for all classes of a training set, and write a bundle and a report.

    Photos and labels that are given are joined first, as `autotag join` does. The statistics are updated with what is
    new; the rest is not read again. The report has each class's quality on photos that it was not trained on. A class
    that does not reach the minimum precision and recall is left out. Exit code 1: no class is good enough.

    Calibration, thresholds and quality hold where classes are as frequent as among the training photos; with --like or
    --like-store, as frequent as they are estimated to be among those.
    """
    bundle = open_current(line.settings)
    _check(bundle, wanted.bank)
    check_out(_out(line.settings, wanted))
    like = wanted.photos(line.settings)
    if options.joins or options.remove:
        training_set, _, _ = run_join(line.settings, bundle, options)
    else:
        training_set = open_set(options.folder(line.settings), bundle)
    findings, report = run_train(line.settings, bundle, training_set, options, wanted, like)
    if as_json:
        values = {name: value for name, value in findings.to_dict().items() if name != "classes"}
        print_json({**values, "report": str(report)})
    else:
        _print(findings, report)
    sys.exit(0 if findings.kept else 1)


def open_current(settings: Settings) -> Bundle:
    """Return the bundle that is current for all hosts, and use it on this host; without a registry, this host's own."""
    root = settings.path(settings.model)
    if not (root / MANIFEST).exists():
        try:
            with ModelRegistry(settings).connect() as registry:
                use_current(settings, registry)
        except RegistryError as error:
            click.echo(
                f"using this host's own bundle; the registry did not tell which one is current for all hosts: {error}",
                err=True,
            )
    return Bundle.open(root)


def _check(bundle: Bundle, bank: str) -> None:
    """Check the name of the bank before the work starts."""
    with needs_training():
        from autotag.training.fit.candidate import LEARNED, check_bank
    try:
        check_bank(bundle, bank)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    if bank == LEARNED:
        raise click.UsageError(f"--bank {LEARNED}: is the bank of `autotag learn`; name another bank")


def _out(settings: Settings, wanted: TrainOptions) -> Path:
    """Return the folder for bundle and report."""
    return Path(wanted.out or settings.path(CANDIDATES))


def check_out(folder: Path) -> None:
    """Create the folder, or raise UsageError before hours of work are done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise click.UsageError(f"--out {folder}: cannot be written: {error.strerror}") from error


def open_set(folder: Folder, bundle: Bundle) -> TrainingSet:
    """Open the training set in a folder, and check that it has the bundle's network."""
    from autotag.training.dataset.training_set import TrainingSet

    training_set = TrainingSet.open(folder)
    training_set.check(bundle)
    return training_set


def run_train(
    settings: Settings,
    bundle: Bundle,
    training_set: TrainingSet,
    options: JoinOptions,
    wanted: TrainOptions,
    like: LikePhotos | None = None,
) -> tuple[Findings, Path]:
    """Train, with progress bars, and write the candidate bundle and the report; return findings and report."""
    from autotag.training.dataset.photo_states import compact
    from autotag.training.fit.candidate import write_candidate
    from autotag.training.fit.fit import Wanted, train
    from autotag.training.report.findings import bank_content, make_findings
    from autotag.training.report.page import thumbnailer, write_report

    needed = Wanted(precision=wanted.precision, least_recall=wanted.least_recall, sample=wanted.sample)
    bars = ProgressBars()

    def keeps() -> str:
        where = f"{bars.where}; " if bars.where else ""
        return f"{where}no bundle was written; sums are saved in {training_set.folder}; start the same command again"

    with interruptible("nothing was trained yet; start the same command again"):
        features = like.features(settings, bundle) if like else None
    with interruptible(keeps), options.opened_workers() as workers, bars:
        done = train(training_set, _ancestors(bundle), needed, workers, bars, features)
    # An earlier training may have been interrupted before this step; without removals there is nothing to compact.
    if done.update.taken_away or any(facts["kind"] == "removal" for facts in training_set.log()):
        compact(training_set)
    findings = make_findings(done, bundle, wanted.bank, like.name if like else None)
    root = _out(settings, wanted)
    report = root / f"{wanted.bank}-nothing-report"
    if findings.kept:
        values = findings.to_dict()
        made = {
            "command": "autotag train",
            "at": findings.made,
            "by": options.by,
            "base": findings.base,
            **{name: values[name] for name in ("training_set", "photos", "labels", "wanted", "strength", "mean")},
        }
        candidate = write_candidate(bundle, wanted.bank, bank_content(done, findings), made, root)
        findings = replace(findings, bundle=str(candidate.folder), version=candidate.version)
        report = root / f"{candidate.folder.name}-report"
    note = f"bundle {findings.bundle} is written, its report is not; start the same command again"
    with (
        interruptible(note if findings.bundle else "no class is good enough, and no report is written"),
        thumbnailer(settings, bundle.preprocessing) as thumbnail,
        ProgressBars() as bars,
    ):
        return findings, write_report(findings, report, thumbnail, bars)


def _ancestors(bundle: Bundle) -> Callable[[str], frozenset[str]]:
    classes = bundle.classes
    return lambda id_: classes.ancestors(id_) if id_ in classes else frozenset()


def _print(findings: Findings, report: Path) -> None:
    click.echo(
        f"{counted(findings.photos, 'photo')}, of which {findings.changed.added} were added and "
        f"{findings.changed.taken_away} taken away; {counted(len(findings.classes), 'class', 'classes')}, "
        f"{findings.kept} good enough"
    )
    left_out = [one for one in findings.classes if one.left_out]
    for one in left_out[:SHOWN]:
        click.echo(f"left out: {one.name}: {one.left_out}", err=True)
    if len(left_out) > SHOWN:
        click.echo(f"left out: {len(left_out) - SHOWN} more; see the report", err=True)
    rows = [
        [one.name, _figure(one.before.average_precision), _figure(one.average_precision)]
        for one in findings.classes
        if one.worse and one.before
    ]
    if rows:
        print_table(rows[:SHOWN], ["worse", "before", "now"])
    if findings.kept:
        mean, error = findings.mean, findings.calibration_error
        click.echo(
            f"mean average precision {_figure(mean.average_precision)}, precision {_figure(mean.precision)} and "
            f"recall {_figure(mean.recall)} at the thresholds; calibration error {_figure(error.before, 4)} -> "
            f"{_figure(error.after, 4)}"
        )
    if findings.like:
        photos = counted(findings.like.photos, "photo")
        click.echo(f"thresholds and figures hold for photos like {photos} of {findings.like.source}")
        print_moved(findings.like.moved[:SHOWN])
    click.echo(", ".join(f"{name} {seconds:.1f} s" for name, seconds in findings.seconds.items()))
    click.echo(f"report  {report}")
    if findings.bundle:
        click.echo(f"bundle  {findings.bundle}\npublish it: autotag model publish {findings.bundle}")


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
