"""The options of a job's workers: processes of this machine, or Spark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from autotag.cli import Overrides
from autotag.cli.interrupts import Interrupted
from autotag.cli.options import OptionSet, option
from autotag.jobs.spark import MASTERS
from autotag.jobs.workers import Workers, open_workers


@dataclass(frozen=True, kw_only=True)
class WorkersOptions(OptionSet):
    """The options that choose a job's workers."""

    workers: int | None = option(
        "--workers", type=click.IntRange(min=1), help="Worker processes on this machine.  [default: one a core]"
    )
    spark: str | None = option(
        "--spark", metavar="MASTER", help="Work on Spark instead: spark://HOST:PORT, yarn, k8s://URL, local[N]."
    )
    spark_options: tuple[tuple[str, str], ...] = option(
        "--spark-option", multiple=True, type=Overrides(), help="A setting of Spark's, KEY=VALUE; repeatable."
    )
    archive: str | None = option(
        "--archive", metavar="FILE", help="Archive made by `autotag package`, for machines without autotag."
    )

    @contextmanager
    def opened_workers(self) -> Iterator[Workers]:
        """Start the workers, and stop them at the end of the block; at once if this process is interrupted."""
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
        """Raise UsageError where the options contradict one another."""
        super().check()
        if self.spark is None and (self.spark_options or self.archive):
            raise click.UsageError("--spark-option and --archive go with --spark MASTER")
        if self.spark is not None and self.workers is not None:
            raise click.UsageError("--workers and --spark: give one of the two")
        if self.spark is not None and not MASTERS.fullmatch(self.spark):
            raise click.UsageError(f"--spark is local[N], spark://HOST:PORT, yarn or k8s://URL. Given: {self.spark!r}")
