"""``autotag tags``: people's decisions. ``autotag erase``: a photo or an owner, gone for good."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, counted, print_json, user_name, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.progress import ProgressBars
from autotag.cli.show import stored_id
from autotag.errors import TagError
from autotag.events.times import iso_time
from autotag.queues import open_queue
from autotag.stores import open_store
from autotag.stores.tag_names import UnknownTagError
from autotag.view.decisions import Action


def register(group: click.Group) -> None:
    group.add_command(tags)
    group.add_command(erase)


@click.group()
def tags() -> None:
    """Add or remove a tag of a photo, by a person; it stays so through every model."""


with_photo = click.argument("photo")
with_tag = click.argument("tag")
with_person = click.option("--by", default=user_name, show_default="you", help="Person who decides.")


@tags.command()
@with_photo
@with_tag
@with_person
@click.option("--new", is_flag=True, help="Add a tag of your own, which no model has.")
@with_json
@with_settings
def add(line: CommandLine, photo: str, tag: str, by: str, new: bool, as_json: bool) -> None:
    """Add a tag to a photo, and with it the tags that contain it. TAG is a display name or an id."""
    try:
        _decide(line, photo, tag, Action.ADD, by, new=new, as_json=as_json)
    except UnknownTagError as error:
        raise TagError(f"{error}; add a tag of your own as a new one (--new)") from error


@tags.command()
@with_photo
@with_tag
@with_person
@with_json
@with_settings
def remove(line: CommandLine, photo: str, tag: str, by: str, as_json: bool) -> None:
    """Remove a tag from a photo, and with it the tags in it. TAG is a display name or an id."""
    _decide(line, photo, tag, Action.REMOVE, by, new=False, as_json=as_json)


def _decide(line: CommandLine, photo: str, tag: str, action: Action, by: str, *, new: bool, as_json: bool) -> None:
    store = open_store(line.settings)
    made = store.decide(stored_id(store, photo), tag, action, by, new=new)
    if as_json:
        values = {**vars(made), "decided_time": iso_time(made.decided_us), "content_time": iso_time(made.content_us)}
        print_json({name: value for name, value in values.items() if not name.endswith("_us")})
    else:
        done = "added to" if action is Action.ADD else "removed from"
        click.echo(f"{made.name!r} ({made.tag_id}) {done} {made.photo_id} by {made.by}, {iso_time(made.decided_us)}")


@click.command()
@click.argument("photo", required=False)
@click.option("--owner", help="Erase everything about this owner, instead of one photo.")
@with_json
@with_settings
def erase(line: CommandLine, photo: str | None, owner: str | None, as_json: bool) -> None:
    """Erase everything about a photo or an owner, queued events too, then read all tables to prove it.

    Exit code 1: something is left, or an event is in flight.
    """
    if (photo is None) == (owner is None):
        raise click.UsageError("give a photo, or --owner, one of the two")
    store = open_store(line.settings)
    photo_id = None if photo is None else stored_id(store, photo)
    events, in_flight = open_queue(line.settings).erase(photo_id, owner)  # First, so that no event of it starts now.
    with interruptible("what was erased stays erased, but there may be more; start the same command again"):
        if photo_id is not None:
            removed = store.erase_photo(photo_id)
        else:
            with ProgressBars() as bars:
                removed = store.erase_owner(str(owner), bars)
    note = "all that was found is erased, but not all tables are read to prove it; start the same command again"
    with interruptible(note), ProgressBars() as bars:
        left = store.count_traces(photo_id, owner, bars)
    if as_json:
        print_json({**vars(removed), "events": events, "in_flight": in_flight, "left": left})
    else:
        click.echo(
            f"erased {counted(removed.photos, 'photo')}: {counted(removed.facts, 'fact')}, "
            f"{counted(removed.entries, 'index entry', 'index entries')}, {counted(events, 'event')}; "
            f"read all tables: {counted(left, 'trace')} left"
        )
    if in_flight:
        click.echo(f"{counted(in_flight, 'event')} in flight; ask again in a moment", err=True)
    sys.exit(1 if left or in_flight else 0)
