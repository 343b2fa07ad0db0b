"""Options for the workers of a job: processes of this machine, or Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from autotag.cli import Overrides
from autotag.cli.interrupts import Interrupted
from autotag.jobs.spark import MASTERS
from autotag.jobs.workers import Workers, open_workers


@dataclass(frozen=True, kw_only=True)
class WorkersOptions:
    """The values of `OPTIONS`."""

    workers: int | None
    spark: str | None
    spark_options: tuple[tuple[str, str], ...]
    archive: str | None

    @contextmanager
    def opened_workers(self) -> Iterator[Workers]:
        """Open the workers; close them at the end, or end them at once if this process is interrupted."""
        workers = open_workers(self.workers, self.spark, dict(self.spark_options), self.archive)
        try:
            yield workers
        except Interrupted:
            workers.kill()
            raise
        except BaseException:
            workers.close()
            raise
        workers.close()

    def check(self) -> None:
        """Check that no option contradicts another.

        Raises:
            UsageError: two do, or the master is none.
        """
        if self.spark is None and (self.spark_options or self.archive):
            raise click.UsageError("--spark-option and --archive go with --spark MASTER")
        if self.spark is not None and self.workers is not None:
            raise click.UsageError("--workers and --spark: give one of the two")
        if self.spark is not None and not MASTERS.fullmatch(self.spark):
            raise click.UsageError(f"--spark is local[N], spark://HOST:PORT, yarn or k8s://URL. Given: {self.spark!r}")


OPTIONS = (
    click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine.  [default: one a core]"),
    click.option("--spark", metavar="MASTER", help="Run on Spark instead: spark://HOST:PORT, yarn, local[2]."),
    click.option(
        "--spark-option",
        "spark_options",
        multiple=True,
        type=Overrides(),
        help="A setting of Spark, KEY=VALUE; repeatable.",
    ),
    click.option("--archive", metavar="FILE", help="Archive by `autotag package`, for executors that have no autotag."),
)


def with_workers_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `OPTIONS` to a command, each as an argument of its own name."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
