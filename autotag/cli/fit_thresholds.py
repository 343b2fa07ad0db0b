"""``autotag model fit-thresholds``: thresholds of the bundle in use for the photos that it is used on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from autotag.cli import CommandLine, counted, print_json, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.join import needs_training
from autotag.cli.like import NEWEST, LikeOptions, print_moved
from autotag.cli.train import CANDIDATES, OUT, SHOWN, check_out, open_current
from autotag.errors import JobError
from autotag.events.times import iso_time, now_us
from autotag.view.results import ModelVersion


@click.command("fit-thresholds")
@LikeOptions.given_as("options")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help=OUT)
@with_json
@with_settings
def fit_thresholds(line: CommandLine, options: LikeOptions, out: Path | None, as_json: bool) -> None:
    """Fit the thresholds of the bundle in use to the photos it is used on, and write a bundle to publish.

    The photos are the store's newest 1000, or those that are named; they need no labels. How often each class occurs
    among them is estimated, and calibration and thresholds are moved to it; classifiers and classes stay. Seconds, and
    the time to read the photos. Exit code 1: there are too few photos, or no bank can be fitted.
    """
    with needs_training():
        from autotag.training.fit.candidate import read_histogram, write_thresholds
        from autotag.training.fit.thresholds import fit_bank

    settings = line.settings
    bundle = open_current(settings)
    found = {bank.name: (bank, read_histogram(bundle, bank)) for bank in bundle.banks}
    stay = [name for name, (_, histogram) in found.items() if histogram is None]
    if len(stay) == len(found):
        raise JobError(
            f"{bundle.folder}: none of its banks ({', '.join(stay)}) has the scores that thresholds are chosen from; "
            "`autotag train` keeps them"
        )
    root = out or settings.path(CANDIDATES)
    check_out(root)
    photos = (options if options.source else replace(options, like_store=NEWEST)).photos(settings)
    assert photos is not None  # noqa: S101 - they are the store's where none are named
    with interruptible("no bundle was written; start the same command again"):
        features = photos.features(settings, bundle)
        fitted = [fit_bank(bundle, bank, histogram, features) for bank, histogram in found.values() if histogram]
        made = {
            "command": "autotag model fit-thresholds",
            "at": iso_time(now_us()),
            "base": str(ModelVersion.of(bundle)),
            "like": photos.name,
            "photos": len(features),
        }
        candidate = write_thresholds(bundle, {one.bank: one.thresholds for one in fitted}, made, root)
    if as_json:
        banks = {one.bank: [moved.to_dict() for moved in one.moved] for one in fitted}
        facts = {"like": photos.name, "photos": len(features), "banks": banks, "without_counts": stay}
        print_json({**facts, "bundle": str(candidate.folder), "version": candidate.version})
        return
    click.echo(f"thresholds for photos like {counted(len(features), 'photo')} of {photos.name}")
    for one in fitted:
        click.echo(f"bank {one.bank}: {counted(len(one.moved), 'class', 'classes')}; those that moved most:")
        print_moved(one.moved[:SHOWN])
        ended = [moved.name for moved in one.moved if moved.after.threshold is None and moved.before.threshold]
        if ended:
            named = ", ".join(ended[:SHOWN]) + (", ..." if len(ended) > SHOWN else "")
            click.echo(f"too rare here for their classifiers, and without tags from now on: {len(ended)} ({named})")
    for name in stay:
        click.echo(f"bank {name}: stays as it is; the scores that its thresholds are chosen from were not kept")
    click.echo(f"bundle  {candidate.folder}\npublish it: autotag model publish {candidate.folder}")
