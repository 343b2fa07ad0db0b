"""Runs a function over the pieces of a job, in processes of this machine or on Spark (spark.py), with equal results."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar

from autotag.errors import JobError

Task = TypeVar("Task")
Result = TypeVar("Result")

ORPHAN_POLL_S = 0.5
"""Seconds between two checks that the driver is alive."""
STOP, STOP_S = signal.SIGUSR1, 5.0
"""The signal that makes a worker give up its piece, and remove a file that is half written; and the time it has."""


class Workers(Protocol):
    """Runs a function over many pieces, several at once."""

    @property
    def count(self) -> int:
        """The number of pieces that are worked on at once."""
        ...

    def map(self, function: Callable[[Task], Result], pieces: Sequence[Task]) -> Iterator[Result]:
        """Yield the function's result for each piece, in the order in which they are done.

        A process works on many pieces: the function keeps in its process what is costly to load, such as a network.
        Function, pieces and results are pickled; large data goes through files.

        Raises:
            JobError: a process died, or the function raised an exception that is not ours.
            AutotagError, ModelError: the function raised it. Pieces that were not begun are left undone.
        """
        ...

    def close(self) -> None:
        """End the processes after the pieces that are worked on."""
        ...

    def kill(self) -> None:
        """End the processes now; the pieces that are worked on are left undone."""
        ...


class LocalWorkers:
    """`count` processes of this machine; with 1, this process itself does the work.

    The processes end with the one that opened them, however that ends.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # spawn: a forked process would have the locks of OpenVINO's and BLAS's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(),)) if count > 1 else None

    @property
    def count(self) -> int:
        return self._count

    def map(self, function: Callable[[Task], Result], pieces: Sequence[Task]) -> Iterator[Result]:
        """See `Workers.map`; with one worker, an exception that is not ours comes as it is."""
        if self._pool is None:
            yield from map(function, pieces)
            return
        waiting = iter(pieces)
        # No piece is submitted ahead: the pool works on what it holds, even if the result is no longer wanted.
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
            _kill(self._processes())  # the pool sends a SIGTERM, which they do not get, and waits for them
            raise JobError("a worker process was ended from outside; start the job again, it goes on") from error
        finally:
            for one in running:
                one.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def kill(self) -> None:
        if self._pool is None:
            return
        for process in (processes := self._processes()):
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, STOP)
        killer = threading.Timer(STOP_S, _kill, (processes,))
        killer.start()
        self._pool.shutdown(wait=True, cancel_futures=True)  # releases its semaphores, too
        killer.cancel()

    def _processes(self) -> list[BaseProcess]:
        return list((self._pool._processes or {}).values()) if self._pool else []


def _kill(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.kill()


def _submit(pool: ProcessPoolExecutor, function: Callable[[Task], Result], piece: Task) -> Future[Result]:
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
    """Open processes of this machine, by default one per core; with a Spark master, a Spark application.

    Raises:
        JobError: see `SparkWorkers`.
    """
    if spark is None:
        return LocalWorkers(count or len(os.sched_getaffinity(0)))
    from autotag.jobs.spark import SparkWorkers

    return SparkWorkers(spark, spark_options, archive)


def _begin(parent: int) -> None:
    """Prepare a worker process."""
    signal.signal(STOP, _stop)
    threading.Thread(target=end_with, args=(parent,), name="end-with-parent", daemon=True).start()


def _stop(_number: int, _frame: object) -> None:
    signal.signal(STOP, signal.SIG_IGN)
    raise SystemExit(1)


def end_with(parent: int) -> None:
    """End this process when `parent` ends: after a kill -9 of it, the pool's processes would wait for ever."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_POLL_S)
    os._exit(1)
