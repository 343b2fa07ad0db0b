"""Measures the moments and the solve in a process of their own, so that its memory is theirs alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection

import psutil

from autotag.jobs.spark import SparkWorkers
from autotag.jobs.workers import LocalWorkers, Workers
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.update_sums import update
from models.ridge import Solver

CONTEXT = multiprocessing.get_context("spawn")
POLL_S = 0.2


def peak_mib(workers: str, training_set: TrainingSet) -> tuple[dict[str, float], float]:
    """Return the seconds of each step, and the peak memory, MiB, of the process and its descendants (PSS)."""
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_measure, args=(workers, training_set, theirs))
    process.start()
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(POLL_S):
            peak = max(peak, _pss_mib(process.pid or 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds: dict[str, float] = mine.recv()
    ended.set()
    watcher.join()
    process.join()
    return seconds, peak


def _measure(name: str, training_set: TrainingSet, result: Connection) -> None:
    workers: Workers = LocalWorkers(1) if name == "1 process" else SparkWorkers("local[2]")
    start = time.perf_counter()
    done = update(training_set, lambda _: frozenset(), workers)
    middle = time.perf_counter()
    Solver(done.sums.statistics.moments(training_set.scale, done.sums.snapshot.closed)).classifiers(0.1)
    result.send({"statistics": middle - start, "solve": time.perf_counter() - middle})
    workers.close()


def _pss_mib(pid: int) -> float:
    """Return the memory of a process and its descendants, MiB, shared pages counted in parts (PSS)."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0
    for one in tree:
        with contextlib.suppress(psutil.Error):  # it has ended
            total += one.memory_full_info().pss
    return total / 2**20
