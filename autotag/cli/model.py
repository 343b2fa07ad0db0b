"""``autotag model``: builds, publishes, rolls back, lists, compares and evaluates bundles."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from autotag.bundles.build import BUILT_BANKS, CALIBRATION_PHOTOS, RECIPES, build_bundle
from autotag.bundles.publisher import Change, HostModels, Publisher
from autotag.bundles.registry import ModelRegistry, PublishedModel
from autotag.cli import CommandLine, print_json, print_table, user_name, with_json, with_settings
from autotag.cli.fit_thresholds import fit_thresholds
from autotag.cli.interrupts import interruptible
from autotag.cli.progress import ProgressBars
from autotag.errors import RegistryError
from autotag.events.times import iso_time
from autotag.photos.reader import PhotoError, PhotoReader, find_photos
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.stores import open_store
from autotag.tagging.evaluate import evaluate
from autotag.view.results import ModelVersion
from models.bundle import Bundle
from models.compare import compare, share_worse
from models.efficientnet import ARCHITECTURES
from models.network import FeatureNetwork
from models.preprocessing import PRECISIONS


@click.group()
def model() -> None:
    """Build, publish and compare bundles: network, preprocessing, classifier banks and classes."""


model.add_command(fit_thresholds)

with_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@model.command()
@click.option(
    "--network",
    type=click.Choice(sorted(RECIPES)),
    default="efficientnet-lite0",
    show_default=True,
    help="Network to build.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="bf16",
    show_default=True,
    help="Number format of the network.",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder of typical photos, from which int8 is calibrated; {CALIBRATION_PHOTOS} are used.",
)
@click.option("--without", multiple=True, type=click.Choice(BUILT_BANKS), help="Bank to leave out; repeatable.")
@with_json
@with_settings
def build(
    line: CommandLine,
    network: str,
    precision: str,
    calibration: Path | None,
    without: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build a bundle for this host, in under a minute; a bundle that is published for all hosts replaces it."""
    if (precision == "int8") != (calibration is not None):
        raise click.UsageError(
            "--precision int8 needs --calibration FOLDER" if not calibration else "only int8 takes --calibration"
        )
    settings = line.settings
    note = "no bundle was installed; start the same command again"
    with (
        interruptible(note),
        PhotoReader(settings, ARCHITECTURES[network].preprocessing, PhotoSource(any_file=True)) as reader,
        ProgressBars() as progress,
    ):
        bundle = build_bundle(
            network,
            precision,
            root=settings.path(settings.model),
            wheels=settings.path("build/wheels"),
            without=without,
            calibration_photos=_pixels(reader, calibration) if calibration else None,
            progress=progress,
        )
    click.echo(f"this host uses it; for all others: autotag model publish {bundle.folder}", err=True)
    _print(bundle, as_json)


@model.command()
@with_json
@with_settings
def info(line: CommandLine, as_json: bool) -> None:
    """Print the facts about the current bundle, checked against its manifest."""
    _print(Bundle.open(line.settings.path(line.settings.model)), as_json)


@model.command("evaluate")
@with_folder
@with_json
@with_settings
def evaluate_(line: CommandLine, folder: Path, as_json: bool) -> None:
    """Print top-1 and top-5 accuracy on labelled photos.

    The file names in FOLDER begin with a class's id (wnid), or its sub-folders are named after classes.
    """
    settings = line.settings
    bundle = Bundle.open(settings.path(settings.model))
    network = FeatureNetwork.open(bundle.network_path, bundle.precision, settings.tagger_network_threads)
    with (
        PhotoReader(settings, bundle.preprocessing, PhotoSource(any_file=True)) as reader,
        ProgressBars() as progress,
    ):

        def read(path: Path) -> NDArray[np.uint8]:
            return reader.read(photo_uri(str(path))).pixels

        done = evaluate(bundle, network, folder, read, progress)
    if as_json:
        print_json({"photos": done.photos, "top1": done.top1, "top5": done.top5, "unreadable": len(done.unreadable)})
    else:
        unreadable = f", {len(done.unreadable)} cannot be read" if done.unreadable else ""
        click.echo(f"{done.photos} photos: top-1 {done.top1:.1%}, top-5 {done.top5:.1%}{unreadable}")


@model.command()
@click.argument("model_version", metavar="MODEL")
@click.option("--by", default=user_name, show_default="you", help="Person who decides.")
@click.option("--in-use", is_flag=True, help="Withdraw it even if it is in use: readers will not see its new tags.")
@with_json
@with_settings
def withdraw(line: CommandLine, model_version: str, by: str, in_use: bool, as_json: bool) -> None:
    """Withdraw a model: readers see none of its tags any more, at once and for good.

    MODEL is a name as `autotag show` and `autotag model list` print it.
    """
    bundle = Bundle.open(line.settings.path(line.settings.model))
    if model_version == str(ModelVersion.of(bundle)) and not in_use:
        raise click.UsageError(
            f"{model_version} is the model in use: readers would not see its tags from now on. "
            "Roll it back, which withdraws it too (autotag model rollback), or give --in-use"
        )
    open_store(line.settings).runs.withdraw(model_version, by)
    if as_json:
        print_json({"model": model_version, "withdrawn": True})
    else:
        click.echo(f"{model_version} is withdrawn; photos show the tags of earlier models")


with_by = click.option("--by", default=user_name, show_default="you", help="Person who decides.")
with_local = click.option(
    "--local",
    is_flag=True,
    help="Only on this host, without ZooKeeper; the model that is current for all hosts replaces it.",
)


@model.command()
@with_folder
@with_by
@with_local
@click.option("--again", is_flag=True, help="Publish it even if it was withdrawn; it gets a new number.")
@click.option("--force", is_flag=True, help="Publish it even if it was made from another bundle than the current one.")
@with_json
@with_settings
def publish(line: CommandLine, folder: Path, by: str, local: bool, again: bool, force: bool, as_json: bool) -> None:
    """Check a bundle and make it the current one; running topologies change over to it without a pause."""
    with _publisher(line.settings, by, local) as publisher:
        _print_change(publisher.publish(folder, again=again, force=force), as_json)


@model.command()
@click.argument("name", metavar="[MODEL]", required=False)
@with_by
@with_local
@with_json
@with_settings
def rollback(line: CommandLine, name: str | None, by: str, local: bool, as_json: bool) -> None:
    """Make an earlier model the current one, by default the one before, and withdraw the present one."""
    with _publisher(line.settings, by, local) as publisher:
        change = publisher.roll_back(name)
    _print_change(change, as_json)
    if change.changed and not as_json:
        click.echo(
            "photos that only the withdrawn model has tagged show no classifier's tags until they are tagged again",
            err=True,
        )


@contextmanager
def _publisher(settings: Settings, by: str, local: bool) -> Iterator[Publisher]:
    if local:
        yield Publisher(settings, open_store(settings), HostModels(settings), by)
        return
    with ModelRegistry(settings).connect() as registry:
        yield Publisher(settings, open_store(settings), registry, by)


def _print_change(change: Change, as_json: bool) -> None:
    if as_json:
        facts = {"before": change.before, "changed": change.changed, "restored": change.restored}
        print_json({"model": str(change.model), "folder": change.model.folder, **facts})
    elif change.changed:
        click.echo(f"{change.model} is current now; before it: {change.before or 'none'}")
    elif change.restored:
        click.echo(f"{change.model} is current already; its copy on this host was damaged or gone, and is good again")
    else:
        click.echo(f"{change.model} is current already; nothing was changed")


@model.command("list")
@with_json
@with_settings
def list_(line: CommandLine, as_json: bool) -> None:
    """List the models that were published, for all hosts or on this one, the newest last."""
    settings = line.settings
    withdrawn = open_store(settings).runs.read().withdrawn
    listed = [
        {
            "model": str(published.model),
            "state": "withdrawn" if str(published.model) in withdrawn else "current" if current else "",
            "classes": published.classes,
            "published_time": iso_time(published.published_us),
            "published_by": published.published_by,
            "here": here,
            "location": published.location,
        }
        for published, current, here in _listed(settings)
    ]
    if as_json:
        for values in listed:
            print_json(values)
        return
    names = ["model", "state", "classes", "published_time", "published_by"]
    print_table([[str(values[name])[:80] or "-" for name in names] for values in listed], names)


def _listed(settings: Settings) -> list[tuple[PublishedModel, bool, bool]]:
    """Return each model with two truths: it is current; it is in this host's folder."""
    folder = HostModels(settings)
    here = {published.folder: published for published in folder.published()}
    current, published = folder.current().model, dict(here)
    try:
        with ModelRegistry(settings).connect() as registry:
            current = registry.current().model or current
            published |= {one.folder: one for one in registry.published()}
    except RegistryError as error:
        click.echo(f"this host's folder only: {error}", err=True)
    in_order = sorted(published.values(), key=lambda one: (one.sequence, one.version))
    return [(one, one.folder == current, one.folder in here) for one in in_order]


@model.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--max-worse",
    type=click.FloatRange(0, 1),
    help="Exit with 1 if more than this share of A's measured classes is worse in B, or gone.",
)
@with_json
@with_settings
def diff(line: CommandLine, before: str, after: str, max_worse: float | None, as_json: bool) -> None:
    """Compare bundle B with bundle A: classes, thresholds, banks, network, and measured quality.

    A and B are folders, or models as `autotag model list` shows them.
    """
    bundles = [Bundle.open(_folder(line.settings, name)) for name in (before, after)]
    difference, worse = compare(*bundles), share_worse(*bundles)
    if as_json:
        print_json({**asdict(difference), "share_worse": round(worse, 4)})
    else:
        click.echo("\n".join(difference.lines()) or "no difference")
    if max_worse is not None and worse > max_worse:
        click.echo(f"{worse:.0%} of the measured classes are worse or gone, more than {max_worse:.0%}", err=True)
        sys.exit(1)


def _folder(settings: Settings, name: str) -> Path:
    """Return the folder of a bundle that a person named by its folder or its model."""
    model = ModelVersion.parse(name)
    return settings.path(settings.model) / model.folder if model and not Path(name).is_dir() else Path(name)


def spread(photos: list[Path], count: int) -> list[Path]:
    """Return `count` of the photos, evenly spread over the list: a sorted folder begins with one class only."""
    return [photos[at * len(photos) // count] for at in range(count)] if len(photos) > count else photos


def _pixels(reader: PhotoReader, folder: Path) -> Iterator[NDArray[np.uint8]]:
    """Return the pixels of a folder's photos that can be read; print the others as left out."""
    for path in spread(list(find_photos(folder)), CALIBRATION_PHOTOS):
        try:
            yield reader.read(photo_uri(str(path))).pixels
        except PhotoError as error:
            click.echo(f"left out: {path}: {error}", err=True)


def _print(bundle: Bundle, as_json: bool) -> None:
    facts: dict[str, Any] = {**model_facts(bundle), "made": bundle.made, "folder": str(bundle.folder)}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name:<10} {shown}")


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """Return the facts about a bundle that `status` and `model info` print."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "precision": bundle.precision,
        "banks": {bank.name: len(bank.classifiers) for bank in bundle.banks},
    }
