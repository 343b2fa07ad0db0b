"""``autotag owner``: prints the tags of an owner's photos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.cli.tag_output import tag_name, with_language
from autotag.stores import open_store
from autotag.stores.responses import TagCount


@click.command()
@click.argument("owner")
@click.option("--exact", is_flag=True, help="Count all photos. By default more than 1,000 are estimated by a sample.")
@with_language
@with_json
@with_settings
def owner(line: CommandLine, owner: str, exact: bool, language: str, as_json: bool) -> None:
    """List an owner's categories, then tags, each with its number of photos."""
    counts = open_store(line.settings).owner(owner, exact=exact)
    counts = replace(counts, categories=_named(counts.categories, language), tags=_named(counts.tags, language))
    if as_json:
        print_json(asdict(counts))
        return
    if not counts.photos:
        click.echo(f"{owner!r} has no photos", err=True)
        return
    about = "" if counts.exact else "about "
    if counts.categories:
        print_table(_rows(counts.categories, about), ["photos", "category", "id"])
        click.echo()
    print_table(_rows(counts.tags, about), ["photos", "tag", "id"])
    click.echo(f"{about}{counts.photos} photos", err=True)


def _rows(counted: Iterable[TagCount], about: str) -> list[list[str]]:
    return [[f"{about}{one.photos}", one.name, one.id] for one in counted]


def _named(counted: Iterable[TagCount], language: str) -> tuple[TagCount, ...]:
    return tuple(replace(one, name=tag_name(one, language)) for one in counted)
