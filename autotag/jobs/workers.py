"""Workers: who does the pieces of a job. `LocalWorkers` here, `SparkWorkers` in spark.py; the results are the same."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from autotag.errors import JobError

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Workers(Protocol):
    """Does a function's work on many pieces, several at once."""

    count: int
    """How many pieces are worked on at once."""

    def map(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """The function's result for each piece, in the order in which they are done.

        What a piece costs to begin with (a network, say) is kept by the function in its process: a process does many
        pieces. Function, pieces and results are pickled; what is large goes by way of a file.

        Raises:
            JobError: a process ended; and whatever the function raises, as it is. Pieces not begun are left undone.
        """
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class LocalWorkers:
    """As many processes of this machine as wanted; with one, this process itself does the work."""

    def __init__(self, count: int) -> None:
        self.count = count
        # spawn: a forked process would have the locks of OpenVINO's and BLAS's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _end_with, (os.getpid(),)) if count > 1 else None

    def map(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        if self._pool is None:
            yield from map(function, pieces)
            return
        waiting = iter(pieces)
        running: set[Future[Result]] = set()
        try:
            while True:
                # Few ahead, so that what is left can be left undone after a failure.
                for piece in itertools.islice(waiting, 2 * self.count - len(running)):
                    running.add(self._pool.submit(function, piece))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
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


def _end_with(parent: int) -> None:
    """End this process when `parent` does: the pool's own would wait for work for ever after a kill -9 of it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
