"""Measures the topology on a cluster of its own: photos a second under load, and latency when it is idle."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from autotag.events import PhotoEvent
from autotag.events.times import now_us
from autotag.localcluster.cluster import Cluster
from autotag.queues import open_queue
from autotag.settings import PROJECT, Settings
from autotag.stores import open_store

NAME = "tagging"


@contextmanager
def topology(model: Path, folder: Path) -> Iterator[Cluster]:
    """Run the topology with two tagger bolts on a cluster in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((PROJECT / "config.json").read_text())
    local = config["envs"]["local"]
    local["nimbus"] = "127.0.0.1:26627"
    local["options"] |= {
        "autotag.cluster.home": str(folder / "home"),
        "autotag.cluster.zookeeper.port": 22181,
        "autotag.cluster.nimbus.port": 26627,
        "autotag.cluster.worker.ports": [26700],
        "autotag.queue": f"sqlite:{folder / 'queue.db'}",
        "autotag.store": f"sqlite:{folder / 'store.db'}",
        "autotag.model": str(model),
        "autotag.model.registry": "zookeeper:127.0.0.1:22181/autotag",
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    cluster = Cluster(Settings.from_config("local", path))
    try:
        cluster.up()
        cluster.sparse("submit", "-e", "local", "-n", NAME, "--config", str(path))
        cluster.topologies.wait_for(NAME)
        yield cluster
    finally:
        cluster.down()


def push_and_wait(settings: Settings, uris: Sequence[str], label: str) -> list[tuple[int, int]]:
    """Push photos at once and wait for all; return when each was pushed and when it was stored, in microseconds."""
    queue, store = open_queue(settings), open_store(settings)
    events = [PhotoEvent.uploaded(f"{label} {number} {uri}", uri, "bench") for number, uri in enumerate(uris)]
    pushed_us = now_us()
    events = [replace(event, content_us=pushed_us) for event in events]
    queue.enqueue(events)
    deadline = time.monotonic() + 600
    while True:
        status = queue.status()
        if status.ready + status.waiting + status.in_flight == 0:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all stored within 600 s: {status}")
        time.sleep(0.5)  # seldom, since questions slow the stream; the store has the times
    times = []
    for event in events:
        photo = store.get(event.photo_id)
        if photo is None:
            raise RuntimeError(f"not stored: {event.photo_id}; dead letters: {queue.dead_letters()[:3]}")
        times.append((pushed_us, photo.stored_us))
    queue.close()
    store.close()
    return times


def images_per_s(settings: Settings, uris: Sequence[str], label: str) -> float:
    """Return photos a second after the first tenth, in which the stream gets up to speed."""
    stored = sorted(stored_us for _, stored_us in push_and_wait(settings, uris, label))
    first = len(stored) // 10
    return (len(stored) - 1 - first) / ((stored[-1] - stored[first]) / 1e6)


def latencies_ms(settings: Settings, uris: Sequence[str], label: str) -> list[float]:
    """Push one photo at a time; return the milliseconds from push to stored of each, sorted."""
    queue, store = open_queue(settings), open_store(settings)
    found = []
    for number, uri in enumerate(uris):
        event = PhotoEvent.uploaded(f"{label} {number} {uri}", uri, "bench")
        queue.enqueue([event])
        deadline = time.monotonic() + 60
        while (photo := store.get(event.photo_id)) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not stored within 60 s: {event.photo_id}")
            time.sleep(0.005)
        found.append((photo.stored_us - event.content_us) / 1000)
        time.sleep(0.02)
    queue.close()
    store.close()
    return sorted(found)
