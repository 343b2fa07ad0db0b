"""SparkWorkers: a job's pieces as tasks of a Spark application. The only file that knows pyspark."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from autotag.errors import JobError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""Of a master on this machine: nothing listens elsewhere."""
ALWAYS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.python.worker.reuse": "true",  # a loaded network stays for the next piece
}
POLL_S = 0.1
"""Between looks at what has been done."""


class SparkWorkers:
    """A Spark application of our own, for as long as this object is open; some 8 s to start.

    Args:
        master: ``local[2]``, ``spark://HOST:PORT``, ``yarn``, ...
        options: Spark's own settings, over ours.

    Raises:
        JobError: pyspark or Java is not here, or the master cannot be reached.
    """

    def __init__(self, master: str, options: Mapping[str, str] | None = None) -> None:
        try:
            from pyspark import SparkConf, SparkContext
        except ImportError as error:
            raise JobError(f"Spark is not installed ({error}); run: pip install 'autotag[spark]'") from error
        local = master.startswith("local")
        if local:
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings = {**ALWAYS, **(LOCAL if local else {}), **(options or {})}
        conf = SparkConf().setMaster(master).setAppName("autotag").setAll(list(settings.items()))
        try:
            self._context = SparkContext(conf=conf)
        except Exception as error:  # py4j's, and Java's of any kind behind it
            raise JobError(f"no Spark application could be started on {master!r}: {_first_line(error)}") from error
        self._context.setLogLevel("ERROR")
        self.count = self._context.defaultParallelism

    def map(self, function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Result]:
        """See `Workers.map`; each piece is a task, and Spark tries a task of an executor that died again."""
        if not pieces:
            return
        # An accumulator hands a task's result over as soon as it is done; `collect` would wait for all of them.
        results: Any = self._context.accumulator([], _Lists())  # type: ignore[arg-type]  # has what it needs of one

        def run(pieces: Iterable[Piece]) -> None:
            for piece in pieces:
                results.add([function(piece)])

        job = _Job(lambda: self._context.parallelize(pieces, len(pieces)).foreachPartition(run))
        given = 0
        while True:
            ended = job.ended.wait(POLL_S)
            found = results.value[given:]
            yield from found
            given += len(found)
            if ended:
                break
        if job.error:
            raise JobError(f"Spark gave up: {_cause(job.error)}") from job.error

    def close(self) -> None:
        self._context.stop()


class _Job:
    """Runs work in a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None
        threading.Thread(target=self._run, args=(work,), name="spark-job", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - py4j's; raised again by who waits
            self.error = error
        finally:
            self.ended.set()


class _Lists:
    """How Spark adds up lists: an `AccumulatorParam` in all but its base class, which only pyspark has."""

    def zero(self, value: list[Any]) -> list[Any]:  # noqa: ARG002 - Spark's signature
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:
        value1 += value2
        return value1


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]


def _cause(error: Exception) -> str:
    """What a task raised: the last line of Python's traceback in Java's message, else its first line."""
    lines = [line.strip() for line in str(error).splitlines()]
    raised = [line for line in lines if line and not line.startswith(("at ", "...", "File ", "Caused by"))]
    python = [line for line in raised if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (python or raised or [type(error).__name__])[0][:500]
