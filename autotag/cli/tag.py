"""``autotag tag``: tags photos here and now, and prints the tags."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.photos import find_named
from autotag.cli.progress import ProgressBars
from autotag.cli.tag_output import tag_name, tags_as_dict, tags_text, with_language
from autotag.photos.reader import PhotoError
from autotag.photos.source import PhotoSource
from autotag.storage.uri import photo_uri
from autotag.tagging.sheet import ContactSheet
from autotag.tagging.tagger import PhotoTags, Tagger


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PATH|URL|FOLDER...")
@click.option(
    "--top", type=click.IntRange(min=1), help="At most this many of the most specific tags, each with its parents."
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="Minimum score, in place of the classes' own thresholds."
)
@with_language
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="PAGE.html",
    help="Also write a page of all photos with their tags, for any browser; some 15 KB a photo, at most 5,000 photos.",
)
@with_json
@with_settings
def tag(
    line: CommandLine,
    photos: tuple[str, ...],
    top: int | None,
    min_score: float | None,
    language: str,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Tag photos here and now: no Storm, no Java, the same tags.

    The most specific tags come first, each with the tags that contain it: beagle 0.97 (hound, dog, animal). JSON has
    all tags, best score first, each with the ids of its direct parents; a "leaf" is most specific. Exit code 1: a
    photo could not be read.
    """
    names = find_named(photos)
    failed = done = 0
    with (
        interruptible(lambda: f"the tags of {done} of {len(names)} photos are printed; nothing else is kept"),
        Tagger.open(line.settings, PhotoSource(any_file=True)) as tagger,
        ProgressBars() as progress,
    ):
        classes = tagger.bundle.classes
        page = ContactSheet(sheet, len(names), classes.ancestors) if sheet else None
        answers = tagger.tag(map(photo_uri, names), top, min_score, page.reading(tagger.read) if page else None)
        for name, (uri, tags) in zip(names, answers, strict=True):
            if isinstance(tags, PhotoError):
                failed += 1
                if as_json:
                    print_json({"photo": name, "error": tags.reason, "detail": tags.detail})
                else:
                    click.echo(f"{name}: {tags}", err=True)
            elif as_json:
                partial = {"partial": True} if tags.partial else {}
                colours = [vars(colour) for colour in tags.colours]
                values = {**tags_as_dict(tags, classes, language), "colours": colours}
                print_json({"photo": name, "model": str(tagger.model), **partial, **values})
            else:
                partial_mark = " (partial: the photo is damaged)" if tags.partial else ""
                click.echo(f"{name}: {tags_text(tags, classes.ancestors, language)}{partial_mark}")
            if page:
                page.add(name, uri, tags if isinstance(tags, PhotoError) else _named(tags, language))
            done += 1
            progress("tagging", done, len(names))
        if page:
            named = ", ".join(Path(name).absolute().name for name in photos[:3])
            page.write(f"Tags of {named}{' ...' if len(photos) > 3 else ''}")
            click.echo(f"the page is {sheet}", err=True)
    sys.exit(1 if failed else 0)


def _named(tags: PhotoTags, language: str) -> PhotoTags:
    """Return the tags with their names in a language."""
    return PhotoTags((replace(tag, name=tag_name(tag, language)) for tag in tags), tags.partial, tags.colours)
