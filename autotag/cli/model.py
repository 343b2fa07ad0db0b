"""``autotag model``: build a bundle, tell what it is, and how right it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from autotag.building import CALIBRATION_PHOTOS, RECIPES, build_bundle
from autotag.cli import CommandLine, print_json, progress, user_name, with_json, with_settings
from autotag.cli.reading import model_facts
from autotag.evaluation import evaluate
from autotag.photos import PhotoError, PhotoReader, find_photos, photo_uri
from autotag.results import ModelVersion
from autotag.stores import open_store
from models.bundle import Bundle
from models.efficientnet import ARCHITECTURES
from models.network import FeatureNetwork
from models.preprocessing import PRECISIONS


def register(group: click.Group) -> None:
    group.add_command(model)


@click.group()
def model() -> None:
    """The bundle: network, preprocessing, classifier banks and classes."""


with_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@model.command()
@click.option("--network", type=click.Choice(sorted(RECIPES)), default="efficientnet-lite0", show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), default="bf16", show_default=True)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"A folder of photos such as will be tagged, of which int8 uses {CALIBRATION_PHOTOS}.",
)
@with_json
@with_settings
def build(line: CommandLine, network: str, precision: str, calibration: Path | None, as_json: bool) -> None:
    """Build a bundle here, in under a minute, and publish it; topologies started from now on use it."""
    if (precision == "int8") != (calibration is not None):
        raise click.UsageError(
            "--precision int8 needs --calibration FOLDER" if not calibration else "only int8 takes --calibration"
        )
    settings = line.settings
    with PhotoReader(settings, ARCHITECTURES[network].preprocessing, any_file=True) as reader:
        bundle = build_bundle(
            network,
            precision,
            root=settings.path(settings.model),
            wheels=settings.path("build/wheels"),
            calibration_photos=_pixels(reader, calibration) if calibration else None,
            progress=lambda what: click.echo(what, err=True),
        )
    _print(bundle, as_json)


@model.command()
@with_json
@with_settings
def info(line: CommandLine, as_json: bool) -> None:
    """What the bundle is that would be loaded now, checked against its manifest."""
    _print(Bundle.open(line.settings.path(line.settings.model)), as_json)


@model.command("evaluate")
@with_folder
@with_json
@with_settings
def evaluate_(line: CommandLine, folder: Path, as_json: bool) -> None:
    """Top-1 and top-5 on photos whose file names begin with a wnid, or whose sub-folders are classes."""
    settings = line.settings
    bundle = Bundle.open(settings.path(settings.model))
    network = FeatureNetwork.open(bundle.network_path, bundle.precision, settings.network_threads)
    with (
        PhotoReader(settings, bundle.preprocessing, any_file=True) as reader,
        progress(len(list(find_photos(folder))), "evaluating") as bar,
    ):

        def read(path: Path) -> NDArray[np.uint8]:
            return reader.read(photo_uri(str(path)))

        done = evaluate(bundle, network, folder, read, lambda so_far, _: bar.update(so_far - bar.pos))
    if as_json:
        print_json({"photos": done.photos, "top1": done.top1, "top5": done.top5, "unreadable": len(done.unreadable)})
    else:
        unreadable = f", {len(done.unreadable)} cannot be read" if done.unreadable else ""
        click.echo(f"{done.photos} photos: top-1 {done.top1:.1%}, top-5 {done.top5:.1%}{unreadable}")


@model.command()
@click.argument("model_version", metavar="MODEL")
@click.option("--by", default=user_name, show_default="you", help="Who decides.")
@click.option("--in-use", is_flag=True, help="Also the model in use, whose new tags nobody will see.")
@with_json
@with_settings
def withdraw(line: CommandLine, model_version: str, by: str, in_use: bool, as_json: bool) -> None:
    """Let no tag of a model (as `autotag show` names it) count any more, at once and for good."""
    bundle = Bundle.open(line.settings.path(line.settings.model))
    if model_version == str(ModelVersion.of(bundle)) and not in_use:
        raise click.UsageError(
            f"{model_version} is the model in use: nobody would see the tags of photos from now on. "
            "Build another first, or say --in-use"
        )
    open_store(line.settings).registry.withdraw(model_version, by)
    if as_json:
        print_json({"model": model_version, "withdrawn": True})
    else:
        click.echo(f"{model_version} is withdrawn; photos show what earlier models said of them")


def spread(photos: list[Path], count: int) -> list[Path]:
    """`count` of the photos, evenly spread over the list: a sorted folder begins with one class only."""
    return [photos[at * len(photos) // count] for at in range(count)] if len(photos) > count else photos


def _pixels(reader: PhotoReader, folder: Path) -> Iterator[NDArray[np.uint8]]:
    """The photos of a folder that can be read."""
    for path in spread(list(find_photos(folder)), CALIBRATION_PHOTOS):
        try:
            yield reader.read(photo_uri(str(path)))
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
