"""Runs a job's pieces as tasks of a Spark application. The only module that imports pyspark."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from autotag.errors import AutotagError, JobError
from models.errors import ModelError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""Settings of a master on this machine: nothing listens on other addresses."""
ALWAYS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.python.worker.reuse": "true",  # a loaded network stays for the next piece
}
MASTERS = re.compile(r"local(\[.+\])?|local-cluster\[.+\]|spark://.+|k8s://.+|yarn")
UNPACKED = "environment"
"""Folder below an executor's working folder, into which Spark unpacks the archive of `autotag package`."""
LOCAL_THREADS = re.compile(r"local(\[.+\])?")
"""Masters whose executors are threads of the driver: there is none to wait for."""
EXECUTORS_TIMEOUT_S, SETTLED_S = 30.0, 4.0
"""Seconds to wait for executors, and the pause without a new one after which no more are expected."""
POLL_S = 0.1
"""Seconds between two checks for results."""
END_TIMEOUT_S = 30
"""Seconds in which Java must end by itself."""


class SparkWorkers:
    """A Spark application that lives as long as this object is open. It takes some 8 s to start. One at a time.

    On a cluster, the constructor also waits for the executors, half a minute at most: callers cut work by `count`.
    Spark's log of this machine goes to a temporary file; its last errors are shown if Spark cannot start.

    Args:
        master: ``local[2]``, ``spark://HOST:PORT``, ``yarn``, ...
        options: settings of Spark, which stand over ours.
        archive: a file made by `autotag package`, for executors that have neither Python nor autotag.

    Raises:
        JobError: pyspark or Java is not installed, or the master cannot be reached.
    """

    def __init__(self, master: str, options: Mapping[str, str] | None = None, archive: str | None = None) -> None:
        try:
            from pyspark import SparkConf
        except ImportError as error:
            raise JobError(f"Spark is not installed ({error}); run: pip install 'autotag[spark]'") from error
        if not MASTERS.fullmatch(master):
            raise JobError(f"a Spark master is local[N], spark://HOST:PORT, yarn or k8s://URL. Given: {master!r}")
        settings = {**ALWAYS, **(options or {})}
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            settings = {**LOCAL, **settings}
        os.environ["PYSPARK_PYTHON"] = sys.executable
        if archive is not None:
            settings["spark.archives"] = f"{archive}#{UNPACKED}"
            os.environ["PYSPARK_PYTHON"] = f"./{UNPACKED}/bin/python"
        conf = SparkConf().setMaster(master).setAppName("autotag").setAll(list(settings.items()))
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - for as long as Java runs, which appends
        self._java: Any = None
        try:
            self._context = self._start(conf)
        except Exception as error:  # py4j's, and Java's of any kind behind it
            said = _cause(error) if self._java is not None else _last_words(self._log)
            self._end_java()
            raise JobError(f"no Spark application could be started on {master!r}: {said}") from error
        except BaseException:
            self.kill()
            raise
        if not LOCAL_THREADS.fullmatch(master):
            self._wait_for_executors()

    @property
    def count(self) -> int:
        """The number of cores of the executors that have registered, at least 2."""
        return int(self._context.defaultParallelism)

    def _wait_for_executors(self) -> None:
        """Wait until no more executors register: a large, slow cluster would else get all work as two pieces."""
        start = settled = time.monotonic()
        before = 0
        while time.monotonic() < start + EXECUTORS_TIMEOUT_S:
            executors = self._context._jsc.sc().getExecutorMemoryStatus().size() - 1  # the driver is among them
            if executors != before or not executors:
                before, settled = executors, time.monotonic()
            elif time.monotonic() >= settled + SETTLED_S:
                return
            time.sleep(POLL_S)

    def _start(self, conf: Any) -> Any:
        from pyspark import SparkContext
        from pyspark.java_gateway import launch_gateway

        # Java prints at its start before it reads any setting, so its output goes to the log file.
        # In a process group of its own: a SIGTERM to ours is for this process, which ends Java.
        with _signals_wait():  # or nobody would know the process that is starting
            self._java = launch_gateway(conf, {"stdout": self._log, "stderr": subprocess.STDOUT, "process_group": 0})
        handler = signal.getsignal(signal.SIGINT)
        context = SparkContext(conf=conf, gateway=self._java)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # pyspark has put its own there
        if (
            context._jsc.sc().isStopped()
        ):  # a master that does not answer: Spark gives up after a minute, and says nothing
            raise JobError("the master does not answer")
        return context

    def map(self, function: Callable[[Task], Result], pieces: Sequence[Task]) -> Iterator[Result]:
        """See `Workers.map`. Each piece is a task; Spark repeats the tasks of an executor that died."""
        if not pieces:
            return
        # An accumulator hands a task's result over as soon as it is done; `collect` would wait for all of them.
        results: Any = self._context.accumulator([], _ListAccumulatorParam())

        def run(pieces: Iterable[Task]) -> None:
            for piece in pieces:
                try:
                    results.add([function(piece)])
                except (AutotagError, ModelError) as error:  # a result: Spark would repeat a task that raises
                    results.add([_Raised(error)])

        job = _Job(lambda: self._context.parallelize(pieces, len(pieces)).foreachPartition(run))
        given = 0
        try:
            while True:
                ended = job.ended.wait(POLL_S)
                found = results.value[given:]
                for result in found:
                    if isinstance(result, _Raised):
                        raise result.error
                    yield result
                given += len(found)
                if ended:
                    break
        finally:
            if not job.ended.is_set():
                self._context.cancelAllJobs()
        if job.error:
            # If the context stopped by itself (no master answers, say), only its log has the reason.
            ended_by = _last_words(self._log) if self._context._jsc.sc().isStopped() else ""
            raise JobError(f"Spark gave up: {ended_by or _cause(job.error)}") from job.error

    def close(self) -> None:
        self._context.stop()
        self._end_java()

    def kill(self) -> None:
        self._end_java()  # it ends its tasks, and removes its temporary files

    def _end_java(self) -> None:
        """End the Java process, which pyspark would keep until this process ends."""
        from pyspark import SparkContext

        if self._java is not None:
            self._java.shutdown()
            self._java.proc.stdin.close()
            try:
                self._java.proc.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._java.proc.kill()
                self._java.proc.wait()
            if SparkContext._gateway is self._java:
                SparkContext._gateway = SparkContext._jvm = None
        self._log.close()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let a signal that comes during the block take effect after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


class _Raised:
    """An error of ours that a piece raised, sent to the driver as its result."""

    def __init__(self, error: AutotagError | ModelError) -> None:
        self.error = error


class _Job:
    """Runs a function in a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None
        threading.Thread(target=self._run, args=(work,), name="spark-job", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - py4j's; `map` raises it again
            self.error = error
        finally:
            self.ended.set()


class _ListAccumulatorParam:
    """Tells Spark how to add up lists: an `AccumulatorParam` without its base class, which needs pyspark."""

    def zero(self, value: list[Any]) -> list[Any]:  # noqa: ARG002 - Spark's signature
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:
        value1 += value2
        return value1


_PYTHONS = re.compile(r"(?!org\.|java\.|py4j\.)(?:\w+\.)*(\w+(?:Error|Exception): .*)")


def _cause(error: Exception) -> str:
    """Return one line of Java's message, which has pages: the Python exception in it, else Java's innermost one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    for line in lines:
        if raised := _PYTHONS.match(line):
            return raised[1][:500]
    first = next((line for line in lines if "Exception: " in line), lines[0])
    return first.rpartition("Exception: ")[2][:500]


def _last_words(log: IO[bytes]) -> str:
    """Return the last errors in Java's log, or its last lines."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\bERROR\b|^Exception in|[Ee]rror: ", line)]
    return " / ".join((errors or lines)[-2:])[:500]
