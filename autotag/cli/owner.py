"""``autotag owner``: prints the tags of an owner's photos."""

from __future__ import annotations

from dataclasses import asdict, replace

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.cli.tag_output import tag_name, with_language
from autotag.stores import open_store


@click.command()
@click.argument("owner")
@click.option("--exact", is_flag=True, help="Count all photos. By default more than 1,000 are estimated by a sample.")
@with_language
@with_json
@with_settings
def owner(line: CommandLine, owner: str, exact: bool, language: str, as_json: bool) -> None:
    """List an owner's tags, each with its number of photos."""
    tags = open_store(line.settings).owner(owner, exact=exact)
    tags = replace(tags, tags=tuple(replace(tag, name=tag_name(tag, language)) for tag in tags.tags))
    if as_json:
        print_json(asdict(tags))
        return
    if not tags.photos:
        click.echo(f"{owner!r} has no photos", err=True)
        return
    about = "" if tags.exact else "about "
    print_table([[f"{about}{tag.photos}", tag.name, tag.id] for tag in tags.tags], ["photos", "tag", "id"])
    click.echo(f"{about}{tags.photos} photos", err=True)
