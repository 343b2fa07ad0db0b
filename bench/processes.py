"""Several processes that tag at once, each with a Tagger of its own, as bolts have."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil

from autotag.photos.reader import PhotoError
from autotag.settings import Settings
from autotag.tagging.tagger import Tagger

CONTEXT = multiprocessing.get_context("spawn")


def settings_for(model: Path) -> Settings:
    return Settings(model=str(model), photo_roots=("/",))


def images_per_s(model: Path, uris: Sequence[str], processes: int = 2) -> float:
    """Return photos a second from bytes on disk to tags, of all processes together, once all are warm."""
    barrier, results = CONTEXT.Barrier(processes), CONTEXT.Queue()
    shares = [list(uris[number::processes]) for number in range(processes)]
    workers = [CONTEXT.Process(target=_tag, args=(model, share, barrier, results)) for share in shares]
    for worker in workers:
        worker.start()
    spans = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return len(uris) / (max(end for _, end in spans) - min(start for start, _ in spans))


def _tag(model: Path, uris: list[str], barrier: Barrier, results: Any) -> None:
    with Tagger.open(settings_for(model)) as tagger:
        list(tagger.tag(uris[:16]))
        barrier.wait()
        start = time.monotonic()
        wrong = [answer for _, answer in tagger.tag(uris) if isinstance(answer, PhotoError)]
        results.put((start, time.monotonic()))
    if wrong:
        raise wrong[0]


@dataclass(frozen=True)
class Footprint:
    """Seconds to load, milliseconds to open the bank, and MiB of memory of a process that is ready."""

    ready_s: float
    bank_ms: float
    rss_mib: float
    pss_mib: float


def footprints(model: Path, processes: int) -> list[Footprint]:
    """Return the footprint of each of several processes while all are ready."""
    barrier, results = CONTEXT.Barrier(processes), CONTEXT.Queue()
    workers = [CONTEXT.Process(target=_measure, args=(model, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def _measure(model: Path, barrier: Barrier, results: Any) -> None:
    from models.bank import ClassifierBank
    from models.bundle import BANKS

    start = time.monotonic()
    for bank in sorted((model / BANKS).iterdir()):
        ClassifierBank.open(bank)
    bank_ms = (time.monotonic() - start) * 1000
    barrier.wait()  # all load at once, as after the start of a worker
    start = time.monotonic()
    with Tagger.open(settings_for(model)):
        ready_s = time.monotonic() - start
        barrier.wait()
        memory = psutil.Process().memory_full_info()
        barrier.wait()
        results.put(Footprint(ready_s, bank_ms, memory.rss / 2**20, memory.pss / 2**20))
