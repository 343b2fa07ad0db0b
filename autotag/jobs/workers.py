"""Workers: who does the pieces of a job. `LocalWorkers` here, `SparkWorkers` in spark.py; the results are the same."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from autotag.errors import JobError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

ORPHAN_POLL_S = 0.5
"""Between looks at whether the process that began the work still lives."""


class Workers(Protocol):
    """Does a function's work on many pieces, several at once."""

    @property
    def count(self) -> int:
        """How many pieces are worked on at once."""
        ...

    def map(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """The function's result for each piece, in the order in which they are done.

        What a piece costs to begin with (a network, say) is kept by the function in its process: a process does many
        pieces. Function, pieces and results are pickled; what is large goes by way of a file.

        Raises:
            JobError: a process ended, or raised what is no error of ours.
            AutotagError, ModelError: of the function, as they are. Pieces not begun are left undone.
        """
        ...

    def close(self) -> None:
        """End what was started, after the pieces that are worked on."""
        ...

    def kill(self) -> None:
        """End what was started at once; the pieces that are worked on are left undone."""
        ...


class LocalWorkers:
    """As many processes of this machine as wanted; with one, this process itself does the work."""

    def __init__(self, count: int) -> None:
        self._count = count
        # spawn: a forked process would have the locks of OpenVINO's and BLAS's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(),)) if count > 1 else None

    @property
    def count(self) -> int:
        return self._count

    def map(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """See `Workers.map`; with one worker what the function raises comes as it is, whatever it is."""
        if self._pool is None:
            yield from map(function, pieces)
            return
        waiting = iter(pieces)
        # None ahead: what the pool holds it does, though nobody waits for it any more.
        running: set[Future[Result]] = set()
        try:
            running = {_submit(self._pool, function, piece) for piece in itertools.islice(waiting, self._count)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                free = self._count - len(running)
                running |= {_submit(self._pool, function, piece) for piece in itertools.islice(waiting, free)}
                for one in done:
                    yield one.result()
        except BrokenProcessPool as error:
            raise JobError("a worker process was ended from outside; start the job again, it goes on") from error
        finally:
            for one in running:
                one.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def kill(self) -> None:
        if self._pool is not None:
            for process in multiprocessing.active_children():
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Piece], Result], piece: Piece) -> Future[Result]:
    """Submit a piece. The pool may start a process here, which inherits that both signals are blocked.

    A Ctrl-C reaches all processes of a terminal. It is for the driver alone, which ends its workers.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return pool.submit(function, piece)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def open_workers(
    count: int | None = None,
    spark: str | None = None,
    spark_options: Mapping[str, str] | None = None,
    archive: str | None = None,
) -> Workers:
    """Processes of this machine, by default one a core, or where a Spark master is named a Spark application.

    Raises:
        JobError: as `SparkWorkers` does.
    """
    if spark is None:
        return LocalWorkers(count or len(os.sched_getaffinity(0)))
    from autotag.jobs.spark import SparkWorkers

    return SparkWorkers(spark, spark_options, archive)


def _begin(parent: int) -> None:
    """Prepare a worker process."""
    threading.Thread(target=end_with, args=(parent,), name="end-with-parent", daemon=True).start()


def end_with(parent: int) -> None:
    """End this process when `parent` does: the pool's own would wait for work for ever after a kill -9 of it."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_POLL_S)
    os._exit(1)
