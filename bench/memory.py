"""Statistics and solve in a process of their own, so that their memory is theirs alone."""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from autotag.jobs.spark import SparkWorkers
from autotag.jobs.workers import LocalWorkers, Workers
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.update_sums import update
from models.ridge import Solver

CONTEXT = multiprocessing.get_context("spawn")
POLL_S = 0.2


def peak_mib(workers: str, training_set: TrainingSet) -> tuple[dict[str, float], float]:
    """Seconds of each step, and the most memory, MiB, that the process and all below it had at once (PSS)."""
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_measure, args=(workers, training_set, theirs))
    process.start()
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(POLL_S):
            peak = max(peak, sum(_pss_mib(pid) for pid in _tree(process.pid or 0)))

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
    Solver(done.kept.statistics.moments(training_set.scale, done.kept.joined.closed)).classifiers(0.1)
    result.send({"statistics": middle - start, "solve": time.perf_counter() - middle})
    workers.close()


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    others = [path.name for path in Path(f"/proc/{pid}/task").glob("*")] if Path(f"/proc/{pid}/task").exists() else []
    for thread in others:
        try:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        except OSError:
            continue
    return [pid, *(below for child in dict.fromkeys(children) for below in _tree(int(child)))]


def _pss_mib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0
