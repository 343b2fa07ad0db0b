"""``autotag demo``: starts the cluster and tags sample photos through it; `make run` calls it."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import click

from autotag.bundles.sample_photos import sample_photos
from autotag.cli import CommandLine, print_json, print_table, user_name, with_json, with_settings
from autotag.cli.cluster import print_step
from autotag.cli.progress import ProgressBars
from autotag.cli.tag_output import tags_text, view_as_dict, with_language
from autotag.errors import AutotagError, ClusterError
from autotag.events import PhotoEvent
from autotag.localcluster.cluster import Cluster
from autotag.queues import open_queue
from autotag.settings import PROJECT, Settings
from autotag.storage.uri import photo_uri
from autotag.stores import open_store
from autotag.stores.responses import StoredPhoto
from autotag.view.tag_order import view_ancestors
from autotag.view.visibility import Visibility
from models.bundle import Bundle

TOPOLOGY = "tagging"
DEADLINE_S = 180.0
"""Time for all photos together; a busy machine needs most of it."""
SHOWN_TAGS = 4


@click.command()
@click.argument("photos", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_language
@with_json
@with_settings
def demo(line: CommandLine, photos: tuple[Path, ...], language: str, as_json: bool) -> None:
    """Start the local cluster, submit the topology, push photos (samples by default) and show their tags."""
    settings = line.settings
    print_step("looking for the cluster")
    cluster = Cluster(settings)
    cluster.up(print_step)
    _create_tables(settings)
    _submit(line, cluster)
    print_step("waiting for the topology's components")
    cluster.topologies.wait_for(TOPOLOGY)
    samples = () if photos else sample_photos(settings.path("build/samples"), settings.path("build/wheels"))
    named = {str(photo): photo for photo in photos} or {photo.name: photo for photo in samples}
    stored = push_and_wait(settings, named)
    store = open_store(settings)
    visibility = store.runs.read()
    store.close()
    if as_json:
        for name, (photo, milliseconds) in stored.items():
            print_json({"photo": name, "milliseconds": round(milliseconds), **_as_dict(photo, visibility, language)})
    else:
        rows = [
            [name, f"{milliseconds:.0f}", _tags(photo, visibility, language)]
            for name, (photo, milliseconds) in stored.items()
        ]
        print_table(rows, ["photo", "ms", "tags"])
        print_step(f"\nThe cluster stays up. What next:\n{_next(line)}")


def _submit(line: CommandLine, cluster: Cluster) -> None:
    """Submit the topology unless it runs with the same code, model and settings.

    Raises:
        ClusterError: it runs, but is deactivated; or it cannot be submitted.
    """
    state = {topology.name: topology.status for topology in cluster.status().topologies}.get(TOPOLOGY)
    if state == "INACTIVE":
        raise ClusterError(f"topology {TOPOLOGY!r} is deactivated; activate it with: storm activate {TOPOLOGY}")
    if state == "KILLED":
        print_step("waiting until the killed topology is gone")
        cluster.topologies.wait_until_gone(TOPOLOGY)
        state = None
    submitted = cluster.home / f"{TOPOLOGY}.submitted"
    fingerprint = _fingerprint(line)
    if state is not None and submitted.exists() and submitted.read_text() != fingerprint:
        print_step("code, model or settings have changed since the topology was submitted: submitting it again")
        state = None
    if state is None:
        print_step("submitting the topology")
        options = ["--config", str(line.config.resolve())] if line.config else []
        for key, value in line.overrides.items():
            options += ["-o", f"{key}={value}"]
        cluster.sparse("submit", "-e", line.environment, "-n", TOPOLOGY, "--force", "--wait", "0", *options)
        submitted.write_text(fingerprint)


NEXT = {
    "push PATH|URL|FOLDER ...": "tag more photos",
    "show PATH": "one photo's tags, with where they come from",
    "search cat --owner {user}": "photos by tag",
    "status": "queue, store, model and cluster",
}


def _create_tables(settings: Settings) -> None:
    """Create the tables of a store that does not come with them."""
    store = open_store(settings)
    if created := store.tables.create():
        print_step(f"created {', '.join(created)}")
    store.close()


def _next(line: CommandLine) -> str:
    """Return the commands to go on with: the cluster stays up."""
    program, down = shlex.quote(_shown(Path(sys.argv[0]))), "make down"
    if line.environment == "hbase":
        down += " STORE=hbase"
    if line.config is not None and line.config.resolve() != (PROJECT / "config.json").resolve():
        config = shlex.quote(_shown(line.config))
        program, down = f"{program} --config {config}", f"{down} CONFIG={config}"
    if line.environment != "local":
        program += f" -e {line.environment}"
    commands = {f"{program} {command.format(user=user_name())}": does for command, does in NEXT.items()}
    commands[down] = "stop everything"
    width = max(map(len, commands)) + 3
    return "\n".join(f"  {command:{width}}{does}" for command, does in commands.items())


def _fingerprint(line: CommandLine) -> str:
    """Return a digest of everything that a submitted topology is made of: settings, model and code."""
    digest = hashlib.sha256(repr((line.environment, line.overrides)).encode())
    digest.update((line.config or PROJECT / "config.json").read_bytes())
    digest.update(Bundle.open(line.settings.path(line.settings.model)).version.encode())
    for package in ("autotag", "models", "bolts", "spouts", "topologies"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def push_and_wait(settings: Settings, photos: dict[str, Path]) -> dict[str, tuple[StoredPhoto, float]]:
    """Push photos and wait until each is stored.

    Returns:
        By name: the stored photo, and the milliseconds from its push to its storing.

    Raises:
        AutotagError: a photo was not stored in time.
    """
    queue, store = open_queue(settings), open_store(settings)
    events = {}
    for name, photo in photos.items():
        uri = photo_uri(str(photo))
        events[name] = PhotoEvent.uploaded(uri, uri, user_name())
    queue.enqueue(list(events.values()))
    stored: dict[str, tuple[StoredPhoto, float]] = {}
    deadline = time.monotonic() + DEADLINE_S
    with ProgressBars() as progress:
        while len(stored) < len(events):
            for name, event in events.items():
                answer = None if name in stored else store.get(event.photo_id)
                if answer is not None and answer.view.content_us >= event.content_us:
                    stored[name] = answer, (answer.stored_us - event.content_us) / 1000
                    progress("tagging", len(stored), len(events))
            if time.monotonic() > deadline:
                missing = sorted(set(events) - set(stored))
                raise AutotagError(f"not stored within {DEADLINE_S:.0f} s: {missing}; see `autotag status`")
            time.sleep(0.01)
    return {name: stored[name] for name in events}


def _as_dict(photo: StoredPhoto, visibility: Visibility, language: str) -> dict[str, Any]:
    if photo.view.rejected:
        return {"error": photo.view.rejected.reason, "detail": photo.view.rejected.detail}
    return view_as_dict(photo.view, visibility, language)


def _tags(photo: StoredPhoto, visibility: Visibility, language: str) -> str:
    if photo.view.rejected:
        return f"rejected, {photo.view.rejected.reason}: {photo.view.rejected.detail}"
    return tags_text(photo.view.tags, view_ancestors(photo.view, visibility), language, SHOWN_TAGS)


def _shown(program: Path) -> str:
    """Return a path as typed in the project's folder."""
    program = program.absolute()
    return str(program.relative_to(PROJECT)) if program.is_relative_to(PROJECT) else str(program)
