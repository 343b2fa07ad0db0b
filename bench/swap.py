"""Measures a swap of models on the topology: time until all bolts use the new one, lost photos and latency."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autotag.bundles.build import build_bundle
from autotag.bundles.publisher import Publisher
from autotag.bundles.registry import ModelRegistry
from autotag.events import PhotoEvent
from autotag.events.times import now_us
from autotag.queues import EventQueue, open_queue
from autotag.settings import PROJECT, Settings
from autotag.storage.uri import photo_uri
from autotag.stores import open_store
from bench.corpus import with_classifiers
from bench.stream import images_per_s, topology
from bench.table import Table
from models.bundle import Bundle, install
from models.bundle_folder import make_current

BOLTS = 2
PHOTOS_PER_S = 100
AROUND_S = 6.0
"""Seconds for which photos stream before and after the swap."""


def measure(table: Table, bundle: Bundle, photos: list[Path], root: Path) -> None:
    """Publish a bundle of the same network, and then a bundle of another, while photos stream."""
    shutil.copytree(bundle.folder, root / "first")
    bundles = root / "bundles"
    make_current(bundles, install(root / "first", bundles).folder.name)
    candidates = {
        "the same network with 5,000 classifiers": with_classifiers(bundle, 5000, root),
        "another network (f32)": build_bundle(
            precision="f32", root=root / "f32", wheels=PROJECT / "build/wheels"
        ).folder,
    }
    uris = [photo_uri(str(photo)) for photo in photos[:500]]
    with topology(bundles, root / "swap") as cluster:
        images_per_s(cluster.settings, uris, "warm")
        for name, candidate in candidates.items():
            row = swap(cluster.settings, candidate, uris)
            table.add(f"swap while {PHOTOS_PER_S} photos/s stream, to {name}: until every bolt uses it", *row)


def swap(settings: Settings, candidate: Path, uris: Sequence[str]) -> tuple[str, str, str]:
    """Return figure, target and alternative of a row."""
    stream = Stream(settings, uris, candidate.name)
    with stream, ModelRegistry(settings).connect() as registry:
        time.sleep(AROUND_S)
        begin = now_us()
        model = Publisher(settings, open_store(settings), registry, "bench").publish(candidate).model
        published = time.monotonic()
        name = model.folder
        while [worker.model for worker in registry.workers()] != [name] * BOLTS:
            time.sleep(0.01)
        seconds, end = time.monotonic() - published, now_us()
        time.sleep(AROUND_S)
    latencies, lost, models = stream.results()
    during = [ms for pushed_us, ms in latencies if begin <= pushed_us <= end]
    else_ms = sorted(ms for pushed_us, ms in latencies if not begin <= pushed_us <= end)
    return (
        f"{seconds:.2f} s; {lost} photos lost; highest latency {max(during, default=0):.0f} ms",
        "0 lost",
        f"{len(latencies)} photos, by {models} models; outside the swap p50 {else_ms[len(else_ms) // 2]:.0f}, "
        f"highest {else_ms[-1]:.0f} ms; publishing itself, with its check, {(end - begin) / 1e6 - seconds:.1f} s",
    )


class Stream:
    """Pushes photos at a steady rate; a context manager."""

    def __init__(self, settings: Settings, uris: Sequence[str], label: str) -> None:
        self._settings, self._uris, self._label = settings, uris, label
        self._pushed: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        queue = open_queue(self._settings)
        numbers = itertools.count()
        while not self._ended.wait(0.1):
            at_us = now_us()
            some = list(itertools.islice(numbers, PHOTOS_PER_S // 10))
            ids = {number: f"{self._label} {number}" for number in some}
            events = [
                PhotoEvent.uploaded(ids[number], self._uris[number % len(self._uris)], "bench") for number in some
            ]
            self._pushed |= dict.fromkeys(ids.values(), at_us)
            queue.enqueue([replace(event, content_us=at_us) for event in events])
        _wait_until_empty(queue)
        queue.close()

    def results(self) -> tuple[list[tuple[int, float]], int, int]:
        """Return push time and latency in ms of each stored photo; the number of lost ones; the number of models."""
        store = open_store(self._settings)
        found, models = [], set()
        for photo_id, pushed_us in self._pushed.items():
            if (photo := store.get(photo_id)) is not None:
                found.append((pushed_us, (photo.stored_us - pushed_us) / 1000))
                models.add(str(getattr(photo.view.machine, "model", None)))
        store.close()
        return found, len(self._pushed) - len(found), len(models)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _wait_until_empty(queue: EventQueue) -> None:
    deadline = time.monotonic() + 120
    while (status := queue.status()).ready + status.waiting + status.in_flight:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all stored within 120 s: {status}")
        time.sleep(0.2)
