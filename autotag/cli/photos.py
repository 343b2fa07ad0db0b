"""The photos that a person names on the command line: paths, URLs and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from autotag.photos.reader import find_photos


def find_named(names: Iterable[str]) -> list[str]:
    """Return the photos that a person named, a folder as the photos below it.

    Raises:
        UsageError: a name is empty, or there is no photo at all.
    """
    names = tuple(names)
    photos = list(_photos(names))
    if not photos:
        raise click.UsageError(f"no photos in {', '.join(names)}")
    return photos


def _photos(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not name.strip():
            raise click.UsageError("an empty name: is a shell variable unset?")
        if "://" not in name and os.path.isdir(name):  # noqa: PTH112 - Path's raises for a name that is too long
            yield from map(str, find_photos(Path(name)))
        else:
            yield name
