"""``autotag show``: prints what the store holds of one photo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.cli.tag_output import decided_name, tag_name, tags_text, view_as_dict, with_language
from autotag.events.times import iso_time
from autotag.queues import open_queue
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore, open_store
from autotag.stores.responses import HistoryEntry, StoredPhoto
from autotag.view.decisions import Decision
from autotag.view.merge import ViewTag
from autotag.view.results import Deleted, Rejected, Tagged
from autotag.view.tag_order import specific_first, split_categories, view_ancestors
from autotag.view.visibility import Visibility


@click.command()
@click.argument("photo_id", metavar="PHOTO")
@click.option(
    "--history", is_flag=True, help="Print every write about the photo, newest first, seen by readers or not."
)
@with_language
@with_json
@with_settings
def show(line: CommandLine, photo_id: str, history: bool, language: str, as_json: bool) -> None:
    """Print the tags of a photo and where each comes from.

    PHOTO is the photo's id, or the path of the file that was pushed. Exit code 1: the store has no such photo.
    """
    store = open_store(line.settings)
    photo_id = stored_id(store, photo_id)
    visibility = store.runs.read()
    photo = store.get(photo_id)
    if history:
        entries = store.history(photo_id)
        for entry in entries:
            if as_json:
                print_json(entry_as_dict(entry, language))
            else:
                click.echo(_entry_line(entry, visibility, language))
        if entries:
            return
    if photo is None:
        _explain_missing(line, store, photo_id)
        sys.exit(1)
    if as_json:
        print_json(photo_as_dict(photo, visibility, language))
    else:
        click.echo("\n".join(_photo_lines(photo, visibility, language)))


def _explain_missing(line: CommandLine, store: PhotoStore, photo_id: str) -> None:
    """Print why readers see nothing of a photo: no published tags, deleted, a dead letter, or still in the queue."""
    queue = open_queue(line.settings)
    letters = [letter for letter in queue.dead_letters() if letter.event.photo_id == photo_id]
    waiting = queue.status()
    writes = store.history(photo_id)
    if writes:
        deleted = max((one.write.content_us for one in writes if isinstance(one.write, Deleted)), default=None)
        why = "it has no published tags" if deleted is None else f"it was deleted, as of {iso_time(deleted)}"
        click.echo(f"readers see nothing of {photo_id!r}: {why}; --history shows all that is stored", err=True)
        return
    click.echo(f"nothing is stored of {photo_id!r}", err=True)
    for letter in letters:
        click.echo(f"its event {letter.key} is a dead letter: {letter.reason}: {letter.detail}", err=True)
    if not letters:
        click.echo(f"in the queue: {waiting.ready + waiting.waiting} waiting, {waiting.in_flight} in flight", err=True)


def stored_id(store: PhotoStore, name: str) -> str:
    """Return the id of the photo that a person named by its id, or by the path of the file that was pushed."""
    if "://" in name or len(name) >= 4096 or not Path(name).name:
        return name
    uri = photo_uri(name)
    stored = store.stored_ids([name, uri])
    if name in stored:
        return name
    return uri if uri in stored or os.path.exists(name) else name  # noqa: PTH110 - Path's raises for odd names


def photo_as_dict(photo: StoredPhoto, visibility: Visibility, language: str) -> dict[str, Any]:
    """Return a stored photo as JSON-safe values, times as text; `autotag bulk load` reads them."""
    view, machine = photo.view, photo.view.machine
    values: dict[str, Any] = {
        "photo_id": view.photo_id,
        "owner": view.owner,
        "uri": view.uri,
        "taken": view.taken,
        "content_time": iso_time(view.content_us),
        "stored_time": iso_time(photo.stored_us),
    }
    if view.rejected:
        values |= {"reason": view.rejected.reason, "detail": view.rejected.detail}
    if machine:
        values["computed_time"] = iso_time(machine.computed_us)
    if isinstance(machine, Tagged):
        values["model"] = vars(machine.model)
        if machine.partial:
            values["partial"] = True
    return {**values, **view_as_dict(view, visibility, language)}


def entry_as_dict(entry: HistoryEntry, language: str) -> dict[str, Any]:
    """Return a write about a photo as JSON-safe values."""
    write = entry.write
    values: dict[str, Any] = {"kind": type(write).__name__.lower(), "seen": entry.seen}
    for name, value in vars(write).items():
        if name.endswith("_us"):
            values[f"{name.removesuffix('_us')}_time"] = iso_time(value)
        elif name == "tags":
            values["tags"] = [{**asdict(tag), "name": tag_name(tag, language)} for tag in value]
        elif name == "colours":
            values[name] = [asdict(colour) for colour in value]
        else:
            values[name] = vars(value) if name == "model" else value
    return {**values, "stored_time": iso_time(entry.stored_us)}


def _photo_lines(photo: StoredPhoto, visibility: Visibility, language: str) -> Iterator[str]:
    view = photo.view
    yield f"photo    {view.photo_id}\nowner    {view.owner}\nuri      {view.uri}"
    yield f"version  {iso_time(view.content_us)}, stored {iso_time(photo.stored_us)}"
    if view.rejected:
        yield f"rejected {view.rejected.reason}: {view.rejected.detail}"
    if isinstance(view.machine, Tagged):
        yield f"model    {view.machine.model}, by {_machine(view.machine)}"
    if view.colours:
        yield f"colours  {', '.join(f'{colour.name} {colour.share * 100:.0f} %' for colour in view.colours)}"
    tags, categories = split_categories(view.tags)
    if categories:
        yield "category " + ", ".join(f"{tag_name(category, language)} {category.score:.2f}" for category in categories)
    for one in specific_first(view.tags, view_ancestors(view, visibility)):
        yield _tag_line(one.leaf, "  ", language)
        yield from (_tag_line(parent, "    ", language) for parent in one.parents)
    if not tags:
        yield "  no tags"


def _tag_line(tag: ViewTag, indent: str, language: str) -> str:
    return f"{indent}{tag.score:.4f}  {tag_name(tag, language)}  ({tag.id}, {_provenance(tag, language)})"


def _provenance(tag: ViewTag, language: str) -> str:
    origin = tag.origin
    if not isinstance(origin, Decision):
        return f"bank {tag.bank}"
    what = "added" if origin.tag_id == tag.id else f"{decided_name(origin, language)} added"
    return f"{what} by {origin.by}, {iso_time(origin.decided_us)[:19]}"


def _machine(tagged: Tagged) -> str:
    source = f"bulk run {tagged.run}" if tagged.run else "realtime"
    return f"{source}, partial: the photo is damaged" if tagged.partial else source


def _entry_line(entry: HistoryEntry, visibility: Visibility, language: str) -> str:
    write = entry.write
    if isinstance(write, Decision):
        what = f"{write.by}: {write.action} {decided_name(write, language)!r}, decided {iso_time(write.decided_us)}"
    elif isinstance(write, Tagged):
        tags = tags_text(write.tags, visibility.ancestors, language)
        what = f"{_machine(write)}, {write.model}, computed {iso_time(write.computed_us)}: {tags}"
    elif isinstance(write, Rejected):
        what = f"rejected, {write.reason}: {write.detail}"
    else:
        what = "deleted"
    mark = "seen  " if entry.seen else "unseen"
    return f"{iso_time(entry.stored_us)}  {mark}  version {iso_time(write.content_us)}  {what}"
