"""``autotag learn``: learns one new class from a handful of photos."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.join import needs_training, set_folder
from autotag.cli.photos import find_named
from autotag.cli.train import CANDIDATES, OUT, open_current, open_set
from autotag.photos.reader import PhotoError
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.tagging.tagger import Tagger
from autotag.view.results import ModelVersion


@click.command()
@click.argument("tag")
@click.argument("photos", nargs=-1, required=True, metavar="PATH|URL|FOLDER...")
@click.option(
    "--set",
    "folder",
    help="Folder or URL of the training set, whose photos are the negatives.  [default: autotag.training]",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help=OUT)
@with_json
@with_settings
def learn(
    line: CommandLine, tag: str, photos: tuple[str, ...], folder: str | None, out: Path | None, as_json: bool
) -> None:
    """Learn a new class from a handful of photos that show it, in seconds, and write a bundle with it.

    The class is provisional and its threshold cautious until `autotag train` trains it with labels.
    """
    with needs_training():
        from autotag.storage.text_lines import FaultError
        from autotag.training.dataset.labels import ClassNames
        from autotag.training.fit.candidate import LEARNED, write_candidate
        from autotag.training.fit.learn import learn as learn_class

    settings = line.settings
    bundle = open_current(settings)
    training_set = open_set(set_folder(settings, folder), bundle)
    try:
        class_names = ClassNames(bundle.classes, {})
        class_id = class_names.id(tag)
    except FaultError as error:
        raise click.UsageError(str(error)) from error
    with interruptible("no bundle was written; start the same command again"):
        features = _features(settings, find_named(photos))
    learned = learn_class(training_set, bundle, class_id, class_names.names[class_id], features)
    made = {
        "command": "autotag learn",
        "base": str(ModelVersion.of(bundle)),
        "class": class_id,
        "examples": learned.examples,
        "training_set": training_set.folder.url,
    }
    candidate = write_candidate(bundle, LEARNED, learned.content, made, out or settings.path(CANDIDATES))
    values = {
        "class": class_id,
        "name": class_names.names[class_id],
        "provisional": True,
        **{name: getattr(learned, name) for name in ("examples", "found", "background", "above")},
        "bundle": str(candidate.folder),
        "version": candidate.version,
    }
    if as_json:
        print_json(values)
        return
    click.echo(
        f"learned {values['name']!r} from {learned.examples} photos, provisionally: it finds {learned.found} of them "
        f"when each is left out in turn, and {learned.above} of {learned.background} other photos get its tag"
    )
    if not learned.found:
        click.echo(
            "do not publish it: other photos of the training set score higher than its examples. Label the photos that "
            "show it, or give more examples",
            err=True,
        )
    click.echo(f"bundle  {candidate.folder}\npublish it: autotag model publish {candidate.folder}")


def _features(settings: Settings, names: list[str]) -> NDArray[np.float32]:
    """Return the features of the readable photos; print the others as left out."""
    readable: list[NDArray[np.float32]] = []
    with Tagger.open(settings, PhotoSource(any_file=True)) as tagger:
        for name, (_, features) in zip(names, tagger.features(map(photo_uri, names)), strict=True):
            if isinstance(features, PhotoError):
                click.echo(f"left out: {name}: {features}", err=True)
            else:
                readable.append(features)
    return np.stack(readable) if readable else np.zeros((0, 0), np.float32)
