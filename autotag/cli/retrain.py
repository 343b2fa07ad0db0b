"""``autotag retrain``: runs the whole chain, from labels to the corpus tagged again, one command after another."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from autotag.cli import PROGRAM, CommandLine, main, with_settings
from autotag.cli.backfill import CorpusOptions
from autotag.cli.interrupts import interruptible
from autotag.cli.join import JoinOptions, SetOptions, needs_training
from autotag.cli.options import option
from autotag.cli.train import TrainOptions, open_current
from autotag.cli.workers import WorkersOptions
from autotag.errors import InputError
from autotag.jobs.workers import end_with
from autotag.settings import Settings
from autotag.stores import open_store

JOBS = "build/backfills"
_STEP = "import autotag_console; autotag_console.take_signals(); from {module} import run_step; run_step({parent})"


@dataclass(frozen=True, kw_only=True)
class RetagOptions(CorpusOptions):
    """The options that say which photos are tagged again."""

    corpus_list: str | None = option("--corpus", metavar="LIST", help="Tag these photos again; see `autotag backfill`.")
    jobs: str = option("--jobs", default=JOBS, show_default=True, help="Folder or URL that keeps the backfills' work.")

    def check(self) -> None:
        """Raise UsageError where the options contradict one another."""
        super().check()
        if self.corpus_list and self.from_store:
            raise click.UsageError("give --corpus LIST or --from-store, one of the two")
        if not self.corpus_list and (self.owner or self.content_time):
            raise click.UsageError("--owner and --content-time go with --corpus LIST")

    def digest(self, settings: Settings) -> str:
        """Return 12 hexadecimal digits that identify the photos; raise UsageError for a list that cannot be read."""
        with needs_training():
            photos = self.corpus(self.corpus_list, open_store(settings), settings)
        try:
            return hashlib.sha256(photos.fingerprint.encode()).hexdigest()[:12]
        except InputError as error:
            raise click.UsageError(str(error)) from error


@click.command()
@JoinOptions.given_as("options")
@TrainOptions.given_as("wanted")
@click.option(
    "--max-worse",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Stop before publishing if more than this share of the classes is worse or gone.",
)
@RetagOptions.given_as("corpus")
@with_settings
def retrain(
    line: CommandLine, options: JoinOptions, wanted: TrainOptions, max_worse: float, corpus: RetagOptions
) -> None:
    """Join, train, evaluate, publish, and tag the corpus again as an unpublished bulk run.

    Each step is a command, which is printed and can be run alone. The first step that fails ends the chain with its
    exit code; the same command then goes on, since no finished work is done again. A model that a person has rolled
    back is not published again.
    """
    settings = line.settings
    # A list that cannot be read is refused before anything is done.
    digest = corpus.digest(settings) if corpus.corpus_list or corpus.from_store else None
    if wanted.like:
        wanted.photos(settings)
    open_current(settings)
    chain = Chain(line)
    if options.joins or options.remove:
        chain.step("join", *options.arguments())
    trained = chain.answer("train", *options.arguments(SetOptions), *wanted.arguments())
    click.echo(f"{trained['kept']} classes are good enough; report {trained['report']}")
    in_use = settings.path(settings.model)
    chain.step("model", "diff", str(in_use), trained["bundle"], "--max-worse", str(max_worse))
    published = chain.answer("model", "publish", trained["bundle"], "--by", options.by)
    if digest:
        # A run's name is never used twice, so it has the model's and the corpus's in it.
        name = f"{published['model'].replace('/', '-')}-{digest}"
        for arguments in tagging_steps(in_use / published["folder"], name, options, corpus, settings):
            chain.step(*arguments)
        click.echo(f"publish it: {PROGRAM} bulk publish {name}")


def tagging_steps(
    bundle: Path, name: str, options: JoinOptions, corpus: RetagOptions, settings: Settings
) -> list[list[str]]:
    """Return the commands that tag the corpus: a backfill, after an archive of the new bundle where one is needed.

    Args:
        bundle: the folder of the published bundle.
        name: the name of the job and of the run.
    """
    jobs = corpus.jobs.rstrip("/") if "://" in corpus.jobs else str(settings.path(corpus.jobs))
    model = ["--model", str(bundle)]
    listed = [corpus.corpus_list] if corpus.corpus_list else []
    photos = [*listed, *corpus.arguments(CorpusOptions)]
    backfill = ["backfill", *photos, "--job", f"{jobs}/{name}", "--load", name, *model]
    if not options.archive:
        return [[*backfill, *options.arguments(WorkersOptions)]]
    folder = settings.path(
        JOBS if "://" in jobs else jobs
    )  # The archive is written on this machine, and Spark copies it.
    folder.mkdir(parents=True, exist_ok=True)
    archive = str(folder / f"{name}.tar.gz")
    return [["package", archive, *model], [*backfill, *replace(options, archive=archive).arguments(WorkersOptions)]]


class Chain:
    """Runs one command after another, each in a process of its own, with the options of this command line."""

    def __init__(self, line: CommandLine) -> None:
        config = ("--config", str(line.config)) if line.config else ()
        settings = [f"{key}={value}" for key, value in line.overrides.items()]
        self._options = ["-e", line.environment, *config, *(word for one in settings for word in ("-o", one))]

    def step(self, *arguments: str) -> None:
        """Run a command. If it fails, end this process with its exit code."""
        self._run(arguments, None)

    def answer(self, *arguments: str) -> dict[str, Any]:
        """Run a command and return its JSON."""
        printed = self._run((*arguments, "--json"), subprocess.PIPE)
        answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return answer

    def _run(self, arguments: tuple[str, ...], stdout: int | None) -> str:
        click.echo(f"$ {shlex.join([PROGRAM, *self._options, *arguments])}", err=True)
        program = [sys.executable, "-c", _STEP.format(module=__name__, parent=os.getpid())]
        step = " ".join(arguments[: 2 if arguments[0] == "model" else 1])
        command = [*program, *self._options, *arguments]
        with interruptible(f"the steps before {step!r} are done and kept; the same command goes on"):
            done = subprocess.Popen(command, stdout=stdout, text=True)  # noqa: S603
            try:
                printed, _ = done.communicate()
            except BaseException:
                # A Ctrl-C has reached the step already, a SIGTERM may have not; both end it with its own note.
                done.terminate()
                done.communicate()
                raise
        if done.returncode:
            click.echo(
                f"{PROGRAM}: {step} failed, and nothing after it was done; the same command tries it again", err=True
            )
            sys.exit(max(done.returncode, 1))  # A killed process has a negative code.
        return printed or ""


def run_step(parent: int) -> None:
    """Run the command line as a step, which ends when its chain ends: a chain started again must be alone."""
    threading.Thread(target=end_with, args=(parent,), name="end-with-parent", daemon=True).start()
    main()
