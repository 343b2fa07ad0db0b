"""``autotag retrain``: the whole chain, from labels to the corpus tagged again; each step is a command of its own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from autotag.cli import PROGRAM, CommandLine, with_settings
from autotag.cli.join import JoinOptions, with_join_options
from autotag.cli.train import with_train_options


def register(group: click.Group) -> None:
    group.add_command(retrain)


@click.command()
@with_join_options
@with_train_options
@click.option(
    "--max-worse",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Go no further if more than this share of the classes got worse.",
)
@click.option("--corpus", metavar="LIST", help="Tag these photos again; see `autotag backfill`.")
@click.option("--from-store", is_flag=True, help="Tag all photos again that the store knows.")
@click.option(
    "--jobs", default="build/backfills", show_default=True, help="Folder or URL that backfills keep their work in."
)
@with_settings
def retrain(
    line: CommandLine,
    options: JoinOptions,
    wanted: dict[str, Any],
    max_worse: float,
    corpus: str | None,
    from_store: bool,
    jobs: str,
) -> None:
    """Join, train, evaluate, publish, and tag the corpus again as an unpublished bulk run.

    Each step is the command that is shown, and may be run alone. The first that fails ends the chain, with its exit
    code; the same command then goes on, as what is done is not done again.
    """
    if corpus and from_store:
        raise click.UsageError("give --corpus LIST or --from-store, one of the two")
    chain = Chain(line)
    if options.joins or options.remove:
        chain.step("join", *_join_arguments(options))
    trained = chain.answer("train", *_where(options), *_train_arguments(wanted))
    click.echo(f"{trained['kept']} classes are good enough; report {trained['report']}")
    in_use = str(line.settings.path(line.settings.model))
    chain.step("model", "diff", in_use, trained["bundle"], "--max-worse", str(max_worse))
    published = chain.answer("model", "publish", trained["bundle"], "--by", options.by)
    if corpus or from_store:
        # A run's name is never used twice, and a model's is its own.
        name = published["model"].replace("/", "-")
        photos = ("--from-store",) if from_store else (str(corpus),)
        job = f"{jobs.rstrip('/')}/{name}"
        chain.step("backfill", *photos, "--job", job, "--load", name, *_workers(options))
        click.echo(f"let readers see it: {PROGRAM} bulk publish {name}")


class Chain:
    """Runs one command after another, each in a process of its own, with the options of this command line."""

    def __init__(self, line: CommandLine) -> None:
        config = ("--config", str(line.config)) if line.config else ()
        settings = [f"{key}={value}" for key, value in line.overrides.items()]
        self._options = ["-e", line.environment, *config, *(word for one in settings for word in ("-o", one))]

    def step(self, *arguments: str) -> None:
        """Run a command; where it fails this process ends with its exit code."""
        self._run(arguments, None)

    def answer(self, *arguments: str) -> dict[str, Any]:
        """Run a command, and give what it answers."""
        printed = self._run((*arguments, "--json"), subprocess.PIPE)
        answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return answer

    def _run(self, arguments: tuple[str, ...], stdout: int | None) -> str:
        click.echo(f"$ {shlex.join([PROGRAM, *self._options, *arguments])}", err=True)
        program = [sys.executable, "-c", "from autotag.cli import main; main()"]
        done = subprocess.run([*program, *self._options, *arguments], stdout=stdout, text=True, check=False)  # noqa: S603
        if done.returncode:
            click.echo(f"{PROGRAM}: {arguments[0]} failed; the same command goes on from here", err=True)
            sys.exit(done.returncode)
        return done.stdout or ""


def _where(options: JoinOptions) -> list[str]:
    return [*(("--set", options.set) if options.set else ()), *_workers(options), "--by", options.by]


def _workers(options: JoinOptions) -> list[str]:
    given = (("--workers", options.workers), ("--spark", options.spark), ("--archive", options.archive))
    return [
        *(word for name, value in given if value for word in (name, str(value))),
        *(word for key, value in options.spark_options for word in ("--spark-option", f"{key}={value}")),
    ]


def _join_arguments(options: JoinOptions) -> list[str]:
    flags = ("by_folder", "exhaustive", "with_corrections", "retry_failed")
    return [
        *_where(options),
        *(("--photos", options.photos) if options.photos else ()),
        *(word for one in options.labels for word in ("--labels", one)),
        *(word for one in options.remove for word in ("--remove", one)),
        *(f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)),
    ]


def _train_arguments(wanted: dict[str, Any]) -> list[str]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return [
        word
        for name, value in given.items()
        for word in (f"--{name.replace('_', '-')}", str(Path(value).absolute() if name == "out" else value))
    ]
