"""``autotag show``, ``search`` and ``status``: what readers and the on-call engineer ask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.cluster import Cluster
from autotag.errors import AutotagError
from autotag.events import iso_time
from autotag.photos import photo_uri
from autotag.queues import open_queue
from autotag.results import Rejected
from autotag.stores import PhotoStore, StoredPhoto, open_store
from models.bundle import Bundle
from models.errors import ModelError


def register(group: click.Group) -> None:
    for command in (show, search, status):
        group.add_command(command)


@click.command()
@click.argument("photo_id")
@with_json
@with_settings
def show(line: CommandLine, photo_id: str, as_json: bool) -> None:
    """What is stored of a photo: its id, or the path it was pushed by."""
    photo = find_photo(open_store(line.settings), photo_id)
    if photo is None:
        queue = open_queue(line.settings)
        names = (photo_id, photo_uri(photo_id))
        letters = [letter for letter in queue.dead() if letter.event.photo_id in names]
        waiting = queue.status()
        click.echo(f"nothing is stored of {photo_id!r}", err=True)
        for letter in letters:
            click.echo(f"its event {letter.key} is a dead letter: {letter.reason}: {letter.detail}", err=True)
        if not letters:
            click.echo(
                f"in the queue: {waiting.ready + waiting.waiting} waiting, {waiting.in_flight} in flight", err=True
            )
        sys.exit(1)
    if as_json:
        print_json(as_dict(photo))
        return
    result = photo.result
    click.echo(f"photo    {result.photo_id}\nowner    {result.owner}\nuri      {result.uri}")
    click.echo(f"version  {iso_time(result.content_us)}, stored {iso_time(photo.stored_us)} by {result.source}")
    if isinstance(result, Rejected):
        click.echo(f"rejected {result.reason}: {result.detail}")
        return
    click.echo(f"model    {result.model}")
    for tag in result.tags:
        click.echo(f"  {tag.score:.4f}  {tag.name}  ({tag.id}, bank {tag.bank})")
    if not result.tags:
        click.echo("  no tags")


def find_photo(store: PhotoStore, name: str) -> StoredPhoto | None:
    """A stored photo by its id, else by the path of the file that was pushed."""
    photo = store.get(name)
    if photo is None and "://" not in name and len(name) < 4096 and Path(name).name:
        photo = store.get(photo_uri(name))
    return photo


def as_dict(photo: StoredPhoto) -> dict[str, Any]:
    """A stored photo as JSON-safe values, times as text."""
    values = asdict(photo.result)
    for name in ("content", "computed"):
        values[f"{name}_time"] = iso_time(values.pop(f"{name}_us"))
    return {**values, "stored_time": iso_time(photo.stored_us)}


@click.command()
@click.argument("tag")
@click.option("--owner", help="Of this owner only.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", help="Continue where an earlier page ended.")
@with_json
@with_settings
def search(line: CommandLine, tag: str, owner: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """Photos that have a tag (display name or id), newest first."""
    page = open_store(line.settings).search(tag, owner, limit, cursor)
    if as_json:
        print_json({"photos": [asdict(photo) for photo in page.photos], "cursor": page.cursor})
        return
    rows = [
        [f"{photo.tag.score:.2f}", iso_time(photo.content_us)[:19], photo.owner, photo.photo_id]
        for photo in page.photos
    ]
    if rows:
        print_table(rows, ["score", "version", "owner", "photo"])
    if not rows:
        click.echo(f"no photo has the tag {tag!r}", err=True)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor!r}", err=True)


@click.command()
@with_json
@with_settings
def status(line: CommandLine, as_json: bool) -> None:
    """Queue, store, model and cluster, as they are now."""
    settings = line.settings
    answer: dict[str, Any] = {}
    questions: dict[str, Callable[[], dict[str, Any]]] = {
        "queue": lambda: asdict(open_queue(settings).status()),
        "store": lambda: asdict(open_store(settings).status()),
        "model": lambda: model_facts(Bundle.open(settings.path(settings.model))),
        "cluster": lambda: Cluster(settings).status().as_json(),
    }
    for part, ask in questions.items():
        try:
            answer[part] = ask()
        except (AutotagError, ModelError) as error:  # the others are still worth telling
            answer[part] = {"error": str(error)}
    if as_json:
        print_json(answer)
    else:
        for part, values in answer.items():
            click.echo(part)
            for name, value in values.items():
                click.echo(f"  {name:<10} {_shown(value)}")
    sys.exit(1 if any("error" in answer[part] for part in ("queue", "store", "model")) else 0)


def _shown(value: Any) -> str:
    """A value of `status` for people: counts by name, servers and topologies by their state."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{one['name']} {one.get('state') or one.get('status')}" for one in value) or "none"
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None else str(value)


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """What `status` and `model info` tell of a bundle."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "precision": bundle.precision,
        "banks": {bank.name: len(bank.classifiers) for bank in bundle.banks},
    }
