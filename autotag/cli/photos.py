"""``autotag tag`` and ``autotag push``: what takes photos."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import click

from autotag.cli import CommandLine, print_json, progress_bar, user_name, with_json, with_settings
from autotag.errors import EventError
from autotag.events import MAX_EVENT_BYTES, PhotoEvent
from autotag.photos.reader import PhotoError, find_photos, photo_uri
from autotag.queues import EventQueue, open_queue
from autotag.tagging.tagger import Tagger

PUT_EVENTS = 500
"""Events accepted in one transaction."""


def register(group: click.Group) -> None:
    group.add_command(tag)
    group.add_command(push)


def expand(names: Iterable[str]) -> Iterator[str]:
    """Each name as a person gave it, a folder as the photos below it."""
    for name in names:
        if not name.strip():
            raise click.UsageError("an empty name: is a shell variable unset?")
        if "://" not in name and os.path.isdir(name):  # noqa: PTH112 - Path's raises for a name that is too long
            yield from map(str, find_photos(Path(name)))
        else:
            yield name


def found_photos(names: Iterable[str]) -> list[str]:
    """All that `expand` gives; no photo at all is wrong use."""
    photos = list(expand(names))
    if not photos:
        raise click.UsageError(f"no photos in {', '.join(names)}")
    return photos


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PATH|URL|FOLDER...")
@click.option("--top", type=click.IntRange(min=1), help="The best so many tags only.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Instead of the classes' own thresholds.")
@with_json
@with_settings
def tag(line: CommandLine, photos: tuple[str, ...], top: int | None, min_score: float | None, as_json: bool) -> None:
    """Tag photos here and now: no Storm, no Java, the same answers."""
    names = found_photos(photos)
    failed = 0
    with Tagger.open(line.settings, any_file=True) as tagger, progress_bar(len(names), "tagging") as bar:
        answers = tagger.tag(map(photo_uri, names), top, min_score)
        for name, (_, tags) in zip(names, answers, strict=True):
            bar.update(1)
            if isinstance(tags, PhotoError):
                failed += 1
                if as_json:
                    print_json({"photo": name, "error": tags.reason, "detail": tags.detail})
                else:
                    click.echo(f"{name}: {tags}", err=True)
            elif as_json:
                print_json({"photo": name, "model": str(tagger.model), "tags": [asdict(tag) for tag in tags]})
            else:
                click.echo(f"{name}: " + (", ".join(f"{tag.name} {tag.score:.2f}" for tag in tags) or "no tags"))
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("photos", nargs=-1, metavar="PATH|URL|FOLDER...")
@click.option("--owner", default=user_name, show_default="you", help="Whose photos they are.")
@click.option("--events", type=click.File("rb"), help="CloudEvents, one JSON object a line; '-' reads standard input.")
@with_json
@with_settings
def push(line: CommandLine, photos: tuple[str, ...], owner: str, events: BinaryIO | None, as_json: bool) -> None:
    """Put photos, or whole events, on the queue; the running topology tags them."""
    if bool(photos) == bool(events):
        raise click.UsageError("give photos, or --events FILE, one of the two")
    queue = open_queue(line.settings)
    candidates = events_of_lines(events) if events else events_of_photos(found_photos(photos), owner)
    with progress_bar(None, "pushing", candidates) as bar:
        summary = push_events(queue, bar)
    queue.close()
    if as_json:
        print_json(summary)
    else:
        for refused in summary["refused"]:
            click.echo(f"refused {refused['where']}: {refused['reason']}", err=True)
        if photos:
            for photo_id in summary["photos"]:
                click.echo(photo_id)
        known = f", {summary['known']} known already" if summary["known"] else ""
        click.echo(f"accepted {summary['accepted']}{known}, refused {len(summary['refused'])}", err=bool(photos))
    sys.exit(1 if summary["refused"] else 0)


Candidate = tuple[str, PhotoEvent | EventError]
"""Where an event came from, and the event, or why it is none."""


def events_of_photos(photos: Iterable[str], owner: str) -> Iterator[Candidate]:
    """An event for each photo that a person named; its URI is the photo's id."""
    for name in photos:
        try:
            uri = photo_uri(name)
            if "://" not in name and not os.path.isfile(name):  # noqa: PTH113 - as above
                raise EventError("no such file, or no regular one")
            yield name, PhotoEvent.from_dict(PhotoEvent.uploaded(uri, uri, owner).to_dict())
        except (EventError, PhotoError) as error:
            yield name, EventError(str(error))


def events_of_lines(lines: BinaryIO) -> Iterator[Candidate]:
    """An event for each line of a JSONL file that is not blank."""
    for number in itertools.count(1):
        line = lines.readline(MAX_EVENT_BYTES + 1)
        if not line:
            return
        where = f"line {number}"
        if len(line) > MAX_EVENT_BYTES:
            while line and not line.endswith(b"\n"):  # the rest of it, a piece at a time
                line = lines.readline(MAX_EVENT_BYTES)
            yield where, EventError(f"longer than {MAX_EVENT_BYTES} bytes")
        elif line.strip():
            try:
                yield where, PhotoEvent.from_json(line.strip())
            except EventError as error:
                yield where, error


def push_events(queue: EventQueue, candidates: Iterable[Candidate]) -> dict[str, Any]:
    """Accept what can be: counts `accepted` and `known`, lists `photos` (ids) and `refused` (where, reason)."""
    accepted = known = 0
    photos: list[str] = []
    refused: list[dict[str, str]] = []
    candidates = iter(candidates)
    while chunk := list(itertools.islice(candidates, PUT_EVENTS)):
        events = [event for _, event in chunk if isinstance(event, PhotoEvent)]
        refused += [{"where": where, "reason": str(error)} for where, error in chunk if isinstance(error, EventError)]
        new = queue.enqueue(events)
        accepted += sum(new)
        known += len(new) - sum(new)
        photos += [event.photo_id for event in events]
    return {"accepted": accepted, "known": known, "photos": photos, "refused": refused}
