"""``autotag show``, ``search`` and ``status``: what readers and the on-call engineer ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import click

from autotag.bundles.registry import ModelRegistry
from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.errors import AutotagError
from autotag.events.times import iso_time, now_us
from autotag.localcluster.cluster import Cluster, Status
from autotag.photos.reader import photo_uri
from autotag.queues import open_queue
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.stores.responses import FoundPhoto, HistoryEntry, StoredPhoto
from autotag.view.decisions import Decision
from autotag.view.merge import ViewTag
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from models.bundle import Bundle
from models.errors import ModelError

EMPTY_PAGES = 20
"""That a search goes on after, by itself."""
SHOWN = 5
"""Ended bulk runs, and errors, that `status` tells of."""


def register(group: click.Group) -> None:
    for command in (show, search, owner, status):
        group.add_command(command)


@click.command()
@click.argument("photo_id", metavar="PHOTO")
@click.option("--history", is_flag=True, help="Every write about it, seen or not, the newest first.")
@with_json
@with_settings
def show(line: CommandLine, photo_id: str, history: bool, as_json: bool) -> None:
    """What is stored of a photo: its id, or the path it was pushed by."""
    store = open_store(line.settings)
    photo_id = stored_id(store, photo_id)
    photo = store.get(photo_id)
    if history:
        entries = store.history(photo_id)
        for entry in entries:
            if as_json:
                print_json(entry_as_dict(entry))
            else:
                click.echo(_entry_line(entry))
        if entries:
            return
    if photo is None:
        _explain_missing(line, store, photo_id)
        sys.exit(1)
    if as_json:
        print_json(photo_as_dict(photo))
    else:
        click.echo("\n".join(_photo_lines(photo)))


def _explain_missing(line: CommandLine, store: PhotoStore, photo_id: str) -> None:
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
    """The id of a photo that a person named by it, or by the path of the file that was pushed."""
    if "://" in name or len(name) >= 4096 or not Path(name).name:
        return name
    uri = photo_uri(name)
    stored = store.stored_ids([name, uri])
    if name in stored:
        return name
    return uri if uri in stored or os.path.exists(name) else name  # noqa: PTH110 - Path's raises for odd names


def photo_as_dict(photo: StoredPhoto) -> dict[str, Any]:
    """A stored photo as JSON-safe values, times as text; `autotag bulk load` reads it."""
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
    return {**values, "tags": [tag_as_dict(tag) for tag in view.tags]}


def tag_as_dict(tag: ViewTag) -> dict[str, Any]:
    """A tag that a reader sees, with its provenance."""
    values = {"id": tag.id, "name": tag.name, "score": tag.score, "source": tag.source}
    origin = tag.origin
    if isinstance(origin, Decision):
        about = {"because": origin.name} if origin.tag_id != tag.id else {}
        return {**values, "by": origin.by, "decided_time": iso_time(origin.decided_us), **about}
    run = {"run": origin.run} if origin.run else {}
    times = {"event_time": iso_time(origin.content_us), "computed_time": iso_time(origin.computed_us)}
    return {**values, "bank": tag.bank, "model": str(origin.model), **times, **run}


def entry_as_dict(entry: HistoryEntry) -> dict[str, Any]:
    """A write about a photo as JSON-safe values."""
    write = entry.write
    values: dict[str, Any] = {"kind": type(write).__name__.lower(), "seen": entry.seen}
    for name, value in vars(write).items():
        if name.endswith("_us"):
            values[f"{name.removesuffix('_us')}_time"] = iso_time(value)
        elif name == "tags":
            values["tags"] = [asdict(tag) for tag in value]
        else:
            values[name] = vars(value) if name == "model" else value
    return {**values, "stored_time": iso_time(entry.stored_us)}


def _photo_lines(photo: StoredPhoto) -> Iterator[str]:
    view = photo.view
    yield f"photo    {view.photo_id}\nowner    {view.owner}\nuri      {view.uri}"
    yield f"version  {iso_time(view.content_us)}, stored {iso_time(photo.stored_us)}"
    if view.rejected:
        yield f"rejected {view.rejected.reason}: {view.rejected.detail}"
    if isinstance(view.machine, Tagged):
        yield f"model    {view.machine.model}, by {_machine(view.machine)}"
    for tag in view.tags:
        yield f"  {tag.score:.4f}  {tag.name}  ({tag.id}, {_provenance(tag)})"
    if not view.tags:
        yield "  no tags"


def _provenance(tag: ViewTag) -> str:
    origin = tag.origin
    if not isinstance(origin, Decision):
        return f"bank {tag.bank}"
    what = "added" if origin.tag_id == tag.id else f"{origin.name} added"
    return f"{what} by {origin.by}, {iso_time(origin.decided_us)[:19]}"


def _machine(tagged: Tagged) -> str:
    return f"bulk run {tagged.run}" if tagged.run else "realtime"


def _entry_line(entry: HistoryEntry) -> str:
    write = entry.write
    if isinstance(write, Decision):
        what = f"{write.by}: {write.action} {write.name!r}, decided {iso_time(write.decided_us)}"
    elif isinstance(write, Tagged):
        tags = ", ".join(f"{tag.name} {tag.score:.2f}" for tag in write.tags) or "no tags"
        what = f"{_machine(write)}, {write.model}, computed {iso_time(write.computed_us)}: {tags}"
    elif isinstance(write, Rejected):
        what = f"rejected, {write.reason}: {write.detail}"
    else:
        what = "deleted"
    mark = "seen  " if entry.seen else "unseen"
    return f"{iso_time(entry.stored_us)}  {mark}  version {iso_time(write.content_us)}  {what}"


@click.command()
@click.argument("tag")
@click.option("--owner", help="Of this owner only; on HBase a search needs one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--page", "cursor", metavar="CURSOR", help="Continue where an earlier page ended.")
@with_json
@with_settings
def search(line: CommandLine, tag: str, owner: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """Photos that have a tag (display name or id), newest first."""
    store = open_store(line.settings)
    page = store.search(tag, owner, limit, cursor)
    for _ in range(EMPTY_PAGES):  # an index that is behind: what it names has the tag no more
        if page.photos or not page.cursor:
            break
        page = store.search(tag, owner, limit, page.cursor)
    if as_json:
        print_json({"photos": [found_as_dict(photo) for photo in page.photos], "cursor": page.cursor})
        return
    rows = [
        [f"{photo.tag.score:.2f}", iso_time(photo.view.content_us)[:19], photo.view.owner, photo.view.photo_id]
        for photo in page.photos
    ]
    if rows:
        print_table(rows, ["score", "version", "owner", "photo"])
    elif not page.cursor:
        click.echo(f"no photo has the tag {tag!r}", err=True)
    if page.cursor:
        none = "" if page.photos else "none of those looked at; "
        click.echo(f"{none}more: --page {page.cursor}", err=True)


def found_as_dict(photo: FoundPhoto) -> dict[str, Any]:
    """A photo that a search found, as JSON-safe values."""
    view = photo.view
    values = {"photo_id": view.photo_id, "owner": view.owner, "uri": view.uri}
    return {**values, "content_time": iso_time(view.content_us), "tag": tag_as_dict(photo.tag)}


@click.command()
@click.argument("owner")
@click.option("--exact", is_flag=True, help="Look at every photo, however many; else at a sample of 1,000.")
@with_json
@with_settings
def owner(line: CommandLine, owner: str, exact: bool, as_json: bool) -> None:
    """An owner's tags, and how many photos have each."""
    found = open_store(line.settings).owner(owner, exact=exact)
    if as_json:
        print_json(asdict(found))
        return
    if not found.photos:
        click.echo(f"{owner!r} has no photos", err=True)
        return
    about = "" if found.exact else "about "
    print_table([[f"{about}{tag.photos}", tag.name, tag.id] for tag in found.tags], ["photos", "tag", "id"])
    click.echo(f"{about}{found.photos} photos", err=True)


@click.command()
@with_json
@with_settings
def status(line: CommandLine, as_json: bool) -> None:
    """Queue, store, bulk runs, models and cluster as they are now, and the last errors in the topologies."""
    settings = line.settings
    cluster, store = Cluster(settings), open_store(settings)
    # Each is asked once: opening a bundle reads all of it, and Nimbus is a server.
    bundle, servers = cache(lambda: Bundle.open(settings.path(settings.model))), cache(cluster.status)
    answer: dict[str, Any] = {}
    questions: dict[str, Callable[[], dict[str, Any] | list[dict[str, str]]]] = {
        "queue": lambda: asdict(open_queue(settings).status()),
        "model": lambda: model_facts(bundle()),
        "models": lambda: _models(settings),
        "cluster": lambda: _cluster(cluster, servers()),
        "errors": lambda: _errors(cluster, servers()),
        "store": lambda: _store(store, bundle()),
        "runs": lambda: _runs(store),
    }
    for part, ask in questions.items():
        try:
            if part == "runs" and "error" in answer["store"]:
                break  # it would be asked for as long once more, and say the same
            answer[part] = ask()
        except (AutotagError, ModelError) as error:  # the others are still worth telling
            answer[part] = {"error": str(error)}
        if not as_json:
            _print_part(part, answer[part])
    if as_json:
        print_json(answer)
    sys.exit(1 if any("error" in answer[part] for part in ("queue", "store", "model")) else 0)


def _print_part(part: str, values: dict[str, Any] | list[dict[str, str]]) -> None:
    click.echo(part if values else f"{part}: none")
    if isinstance(values, list):
        for one in values:
            click.echo(f"  {one['time'][:19]}  {one['component']}: {one['message']}")
        return
    about = "about " if values.get("exact") is False else ""
    for name, value in values.items():
        click.echo(f"  {name:<10} {about if name == 'tagged' else ''}{_shown(value)}")


def _store(store: PhotoStore, bundle: Bundle) -> dict[str, Any]:
    values = asdict(store.status())
    if str(ModelVersion.of(bundle)) in store.runs.read().withdrawn:
        values["problem"] = "the model in use is withdrawn: nobody sees the tags that it gives"
    return values


def _models(settings: Settings) -> dict[str, Any]:
    """Which model is current for all hosts, and which each worker has."""
    now = now_us()
    with ModelRegistry(settings).connect() as registry:
        current, workers = registry.current(), registry.workers()
    since = iso_time(current.since_us) if current.model else None
    values = {"current": current.model, "by": current.by or None, "since_time": since, "before": current.before}
    return {
        **values,
        "workers": [
            {
                "name": f"{worker.topology}/{worker.task}",
                **vars(worker),
                "uptime_s": (now - worker.since_us) // 1_000_000,
            }
            | {"refused": vars(worker.refused) if worker.refused else None}
            for worker in workers
        ],
    }


def _runs(store: PhotoStore) -> dict[str, Any]:
    """The runs that have not ended, and the last that have."""
    runs = store.runs.runs()
    ended = [run.name for run in runs if run.ended_us is not None][:SHOWN]
    return {run.name: run.state for run in runs if run.ended_us is None or run.name in ended}


def _cluster(cluster: Cluster, status: Status) -> dict[str, Any]:
    """The cluster's status, and whether its topologies write to where these settings look."""
    values = status.as_json()
    for topology in status.topologies:
        configuration = cluster.nimbus.configuration(topology.name)
        if "autotag.home" not in configuration:
            continue  # somebody else's
        theirs = Settings.from_storm(configuration)
        for name in ("queue", "store"):
            there, here = (_place(one, getattr(one, name)) for one in (theirs, cluster.settings))
            if there != here:
                values["problem"] = f"topology {topology.name!r} has the {name} {there}, and these settings say {here}"
    return values


def _place(settings: Settings, url: str) -> str:
    """A queue's or store's URL with its path in full."""
    return f"sqlite:{settings.path(url.removeprefix('sqlite:'))}" if url.startswith("sqlite:") else url


def _errors(cluster: Cluster, status: Status) -> list[dict[str, str]]:
    """The last errors of the components of all topologies, oldest first, each with the first line of what it says."""
    found = [error for topology in status.topologies for error in cluster.errors(topology.name)]
    return [
        {
            "time": iso_time(error.time * 1_000_000),
            "component": error.component,
            "message": error.message.strip().partition("\n")[0],
        }
        for error in sorted(found, key=lambda error: error.time)[-SHOWN:]
    ]


def _shown(value: Any) -> str:
    """A value of `status` for people: counts by name; servers, topologies, workers by their state and for how long."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_state, value)) or "none"
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None else str(value)


def _state(server: dict[str, Any]) -> str:
    uptime_s = server.get("uptime_s")
    since = f" for {timedelta(seconds=uptime_s)}" if uptime_s is not None else ""
    refused = server.get("refused")
    instead = f" instead of {refused['model']} ({refused['reason']})" if refused else ""
    state = server.get("state") or server.get("status") or server.get("model")
    return f"{server['name']} {state}{since}{instead}"


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """What `status` and `model info` tell of a bundle."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sequence": bundle.sequence,
        "precision": bundle.precision,
        "banks": {bank.name: len(bank.classifiers) for bank in bundle.banks},
    }
