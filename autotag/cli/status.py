"""``autotag status``: prints what the on-call engineer asks first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from typing import Any

import click

from autotag.bundles.registry import ModelRegistry
from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.cli.model import model_facts
from autotag.errors import AutotagError
from autotag.events.times import iso_time, now_us
from autotag.localcluster.cluster import Cluster
from autotag.localcluster.status import Status
from autotag.queues import open_queue
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.view.results import ModelVersion
from models.bundle import Bundle
from models.errors import ModelError

SHOWN = 5
"""At most this many ended bulk runs, and errors, are printed."""


@click.command()
@with_json
@with_settings
def status(line: CommandLine, as_json: bool) -> None:
    """Print the state of queue, models, cluster, store and bulk runs, and the last errors of the topologies.

    A part that does not answer is printed as an error, and the others follow. Exit code 1: queue, store or model has
    an error.
    """
    settings = line.settings
    cluster, store = Cluster(settings), open_store(settings)
    # Opening a bundle reads all of it, and Nimbus is a server: each is asked once.
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
                break  # The store would be waited for once more, and fail again.
            answer[part] = ask()
        except (AutotagError, ModelError) as error:  # The other parts are still worth printing.
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
        values["problem"] = "the model in use is withdrawn: readers do not see its tags"
    return values


def _models(settings: Settings) -> dict[str, Any]:
    """Return the model that is current for all hosts, and the model that each worker has loaded."""
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
    """Return the state of each run that has not ended, and of the last ones that have."""
    runs = store.runs.runs()
    ended = [run.name for run in runs if run.ended_us is not None][:SHOWN]
    return {run.name: run.state for run in runs if run.ended_us is None or run.name in ended}


def _cluster(cluster: Cluster, status: Status) -> dict[str, Any]:
    """Return the cluster's status, with a `problem` if a topology uses another queue or store than these settings."""
    values = status.as_json()
    for topology in status.topologies:
        configuration = cluster.nimbus.configuration(topology.name)
        if "autotag.home" not in configuration:
            continue  # The topology is not ours.
        theirs = Settings.from_storm(configuration)
        for name in ("queue", "store"):
            there, here = (_place(one, getattr(one, name)) for one in (theirs, cluster.settings))
            if there != here:
                values["problem"] = f"topology {topology.name!r} has the {name} {there}, and these settings say {here}"
    return values


def _place(settings: Settings, url: str) -> str:
    """Return the URL of a queue or store with an absolute path."""
    return f"sqlite:{settings.path(url.removeprefix('sqlite:'))}" if url.startswith("sqlite:") else url


def _errors(cluster: Cluster, status: Status) -> list[dict[str, str]]:
    """Return the last errors of all topologies' components, oldest first, each with the first line of its message."""
    errors = [error for topology in status.topologies for error in cluster.nimbus.errors(topology.name)]
    return [
        {
            "time": iso_time(error.time * 1_000_000),
            "component": error.component,
            "message": error.message.strip().partition("\n")[0],
        }
        for error in sorted(errors, key=lambda error: error.time)[-SHOWN:]
    ]


def _shown(value: Any) -> str:
    """Return a value as text: counts by name; servers, topologies and workers by state and uptime."""
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
