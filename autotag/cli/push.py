"""``autotag push``: puts photos, or whole events, on the queue."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

import click

from autotag.cli import CommandLine, print_json, user_name, with_json, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.photos import find_named
from autotag.cli.progress import ProgressBars
from autotag.errors import EventError
from autotag.events import PhotoEvent
from autotag.events.batch import Candidate, read_events
from autotag.photos.reader import PhotoError
from autotag.progress import Progress, silent
from autotag.queues import EventQueue, open_queue
from autotag.storage.uri import photo_uri

PUT_EVENTS = 500
"""Events accepted in one transaction."""


@click.command()
@click.argument("photos", nargs=-1, metavar="PATH|URL|FOLDER...")
@click.option("--owner", default=user_name, show_default="you", help="Owner of the photos.")
@click.option(
    "--events",
    type=click.File("rb"),
    help="A file of CloudEvents instead of photos: one JSON object a line, or one JSON array; '-' is standard input.",
)
@with_json
@with_settings
def push(line: CommandLine, photos: tuple[str, ...], owner: str, events: BinaryIO | None, as_json: bool) -> None:
    """Put photos, or whole events, on the queue; the running topology tags them.

    Prints the id of each photo. An event that was accepted before is not accepted twice. Exit code 1: at least one
    photo or event was refused; each is printed with the reason, and the others are accepted.
    """
    if bool(photos) == bool(events):
        raise click.UsageError("give photos, or --events FILE, one of the two")
    queue = open_queue(line.settings)
    candidates = read_events(events) if events else photo_events(find_named(photos), owner)
    summary = PushSummary()
    again = "is known by its id" if events else "is tagged once more, which changes nothing"

    def note() -> str:
        return (
            f"{summary.accepted + summary.known} events are accepted, and will be tagged; push the same again for the "
            f"rest: what is accepted already {again}"
        )

    with interruptible(note), ProgressBars() as progress:
        push_events(queue, candidates, summary, progress)
    queue.close()
    if as_json:
        print_json(asdict(summary))
    else:
        for refused in summary.refused:
            click.echo(f"refused {refused['where']}: {refused['reason']}", err=True)
        if photos:
            for photo_id in summary.photos:
                click.echo(photo_id)
        known = f", {summary.known} accepted before" if summary.known else ""
        click.echo(f"accepted {summary.accepted}{known}, refused {len(summary.refused)}", err=bool(photos))
    sys.exit(1 if summary.refused else 0)


def photo_events(photos: Iterable[str], owner: str) -> Iterator[Candidate]:
    """Return an upload event for each photo that a person named; the photo's id is its URI."""
    for name in photos:
        try:
            uri = photo_uri(name)
            if "://" not in name and not os.path.isfile(name):  # noqa: PTH113 - Path's raises for a name too long
                raise EventError("no such file, or no regular one")
            yield name, PhotoEvent.from_dict(PhotoEvent.uploaded(uri, uri, owner).to_dict())
        except (EventError, PhotoError) as error:
            yield name, EventError(str(error))


@dataclass
class PushSummary:
    """The events of one push so far."""

    accepted: int = 0
    known: int = 0
    """Accepted before."""
    photos: list[str] = field(default_factory=list)
    """Ids of the photos of both."""
    refused: list[dict[str, str]] = field(default_factory=list)
    """Each with `where` it stands and the `reason`."""


def push_events(
    queue: EventQueue, candidates: Iterable[Candidate], summary: PushSummary, progress: Progress = silent
) -> None:
    """Put events on the queue, `PUT_EVENTS` at a time, and count them in `summary`."""
    candidates = iter(candidates)
    while chunk := list(itertools.islice(candidates, PUT_EVENTS)):
        events = [event for _, event in chunk if isinstance(event, PhotoEvent)]
        new = queue.enqueue(events)
        summary.accepted += sum(new)
        summary.known += len(new) - sum(new)
        summary.photos += [event.photo_id for event in events]
        summary.refused += [
            {"where": where, "reason": str(error)} for where, error in chunk if isinstance(error, EventError)
        ]
        progress("pushing", len(summary.photos) + len(summary.refused))
