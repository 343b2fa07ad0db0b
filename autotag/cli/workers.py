"""The options that say who does a job's work: processes of this machine, or Spark."""

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
    """What `OPTIONS` say."""

    workers: int | None
    spark: str | None
    spark_options: tuple[tuple[str, str], ...]
    archive: str | None

    @contextmanager
    def opened_workers(self) -> Iterator[Workers]:
        """Who does the work, for as long as it lasts."""
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
        """Raises UsageError where they contradict one another."""
        if self.spark is None and (self.spark_options or self.archive):
            raise click.UsageError("--spark-option and --archive go with --spark MASTER")
        if self.spark is not None and self.workers is not None:
            raise click.UsageError("--workers and --spark: give one of the two")
        if self.spark is not None and not MASTERS.fullmatch(self.spark):
            raise click.UsageError(f"--spark is local[N], spark://HOST:PORT, yarn or k8s://URL. Given: {self.spark!r}")


OPTIONS = (
    click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine.  [default: one a core]"),
    click.option("--spark", metavar="MASTER", help="Work on Spark instead: spark://HOST:PORT, yarn, local[2]."),
    click.option("--spark-option", "spark_options", multiple=True, type=Overrides(), help="Spark's own; repeatable."),
    click.option("--archive", metavar="FILE", help="Of `autotag package`, for machines that have no autotag."),
)


def with_workers_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`OPTIONS`, each given to the command by its own name."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
