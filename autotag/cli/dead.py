"""``autotag dead``: lists the dead letters, the events that used up their attempts, and replays or drops them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.events.times import iso_time
from autotag.queues import open_queue


@click.group()
def dead() -> None:
    """List, replay or drop dead letters: events that used up their attempts."""


@dead.command("list")
@with_json
@with_settings
def list_(line: CommandLine, as_json: bool) -> None:
    """List the dead letters, newest first."""
    letters = open_queue(line.settings).dead_letters()
    if as_json:
        for letter in letters:
            print_json(
                {
                    "key": letter.key,
                    "photo_id": letter.event.photo_id,
                    "attempts": letter.attempts,
                    "reason": letter.reason,
                    "detail": letter.detail,
                    "dead_time": iso_time(letter.dead_us),
                    "event": letter.event.to_dict(),
                }
            )
        return
    rows = [
        [letter.key, iso_time(letter.dead_us)[:19], str(letter.attempts), letter.reason, letter.event.photo_id]
        for letter in letters
    ]
    print_table(rows, ["key", "since", "attempts", "reason", "photo"])


with_keys = click.argument("keys", nargs=-1, metavar="KEY...")
with_all = click.option("--all", "every", is_flag=True, help="All dead letters.")


@dead.command()
@with_keys
@with_all
@with_json
@with_settings
def replay(line: CommandLine, keys: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Put dead letters back on the queue with fresh attempts."""
    _act(open_queue(line.settings).replay, keys, every, "replayed", as_json)


@dead.command()
@with_keys
@with_all
@with_json
@with_settings
def drop(line: CommandLine, keys: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Drop dead letters for good."""
    _act(open_queue(line.settings).drop, keys, every, "dropped", as_json)


def _act(
    action: Callable[[Sequence[str] | None], int], keys: tuple[str, ...], every: bool, done: str, as_json: bool
) -> None:
    if bool(keys) == every:
        raise click.UsageError("give keys, as `autotag dead list` shows them, or --all")
    count = action(None if every else keys)
    if as_json:
        print_json({done: count})
    else:
        click.echo(f"{done} {count}")
    if keys and count < len(set(keys)):
        click.echo(f"{len(set(keys)) - count} of the keys are not those of dead letters", err=True)
        sys.exit(1)
