"""``autotag erase``: erases everything about a photo or an owner, and proves it."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, counted, print_json, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.progress import ProgressBars
from autotag.cli.show import stored_id
from autotag.queues import open_queue
from autotag.stores import open_store


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
