"""``autotag retrain``: the whole chain, from labels to the corpus tagged again; each step is a command of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from autotag.cli import PROGRAM, CommandLine, given_as, main, with_settings
from autotag.cli.interrupts import interruptible
from autotag.cli.join import JoinOptions, needs_training, with_join_options
from autotag.cli.train import open_current, with_train_options
from autotag.errors import EventError, InputError
from autotag.jobs.workers import end_with
from autotag.settings import Settings
from autotag.stores import open_store

JOBS = "build/backfills"
_STEP = "import autotag_console; autotag_console.take_signals(); from {module} import run_step; run_step({parent})"


def register(group: click.Group) -> None:
    group.add_command(retrain)


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What the options say of the photos that are tagged again."""

    corpus: str | None
    from_store: bool
    owner: str
    content_time: str
    jobs: str

    def check(self) -> None:
        """Raises UsageError where they contradict one another."""
        if self.corpus and self.from_store:
            raise click.UsageError("give --corpus LIST or --from-store, one of the two")
        if not self.corpus and (self.owner or self.content_time):
            raise click.UsageError("--owner and --content-time go with --corpus LIST")

    def arguments(self) -> list[str]:
        """For `autotag backfill`."""
        given = (("--owner", self.owner), ("--content-time", self.content_time))
        return [self.corpus or "--from-store", *(word for name, value in given if value for word in (name, value))]

    def digest(self, settings: Settings) -> str:
        """12 hexadecimal digits that say which photos these are; raises UsageError for a list that cannot be read."""
        with needs_training():
            from autotag.jobs.photo_list import ListedPhotos, StoredPhotos, check_content_time
        store = open_store(settings)
        try:
            check_content_time(self.content_time)
            photos = (
                ListedPhotos(self.corpus, store, self.owner, self.content_time)
                if self.corpus
                else StoredPhotos(store, settings.store)
            )
            return hashlib.sha256(photos.fingerprint.encode()).hexdigest()[:12]
        except (InputError, EventError) as error:
            raise click.UsageError(str(error)) from error


OPTIONS = (
    click.option("--corpus", metavar="LIST", help="Tag these photos again; see `autotag backfill`."),
    click.option("--from-store", is_flag=True, help="Tag all photos again that the store knows."),
    click.option("--owner", default="", help="Of photos for which neither list nor store has one."),
    click.option("--content-time", default="", help="The same, such as 2026-01-31T12:00:00Z."),
    click.option(
        "--jobs", default=JOBS, show_default=True, help="Folder or URL that backfills keep their work in."
    ),
)  # fmt: skip


def _checked(**values: Any) -> CorpusOptions:
    corpus = CorpusOptions(**values)
    corpus.check()
    return corpus


with_corpus_options = given_as("corpus", OPTIONS, [field.name for field in fields(CorpusOptions)], _checked)
"""The options of the corpus, given to the command as one `CorpusOptions` named ``corpus``."""


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
@with_corpus_options
@with_settings
def retrain(
    line: CommandLine, options: JoinOptions, wanted: dict[str, Any], max_worse: float, corpus: CorpusOptions
) -> None:
    """Join, train, evaluate, publish, and tag the corpus again as an unpublished bulk run.

    Each step is the command that is shown, and may be run alone. The first that fails ends the chain, with its exit
    code; the same command then goes on, as what is done is not done again. What a person has taken back with `autotag
    model rollback` is not published again.
    """
    settings = line.settings
    # Before anything is done: the list may not be there.
    digest = corpus.digest(settings) if corpus.corpus or corpus.from_store else None
    open_current(settings)
    chain = Chain(line)
    if options.joins or options.remove:
        chain.step("join", *_join_arguments(options))
    trained = chain.answer("train", *_where(options), *_train_arguments(wanted))
    click.echo(f"{trained['kept']} classes are good enough; report {trained['report']}")
    in_use = settings.path(settings.model)
    chain.step("model", "diff", str(in_use), trained["bundle"], "--max-worse", str(max_worse))
    model = chain.answer("model", "publish", trained["bundle"], "--by", options.by)["model"]
    if digest:
        # A run's name is never used twice: it is that of the model and of the corpus.
        name = f"{model.replace('/', '-')}-{digest}"
        for arguments in tagging_steps(in_use / model.rpartition("/")[2], name, options, corpus, settings):
            chain.step(*arguments)
        click.echo(f"let readers see it: {PROGRAM} bulk publish {name}")


def tagging_steps(
    bundle: Path, name: str, options: JoinOptions, corpus: CorpusOptions, settings: Settings
) -> list[list[str]]:
    """The commands that tag the corpus: a backfill; before it, where machines need one, an archive with the new bundle.

    Args:
        bundle: the folder of the published one.
        name: of the job and the run.
    """
    jobs = corpus.jobs.rstrip("/") if "://" in corpus.jobs else str(settings.path(corpus.jobs))
    model = ["--model", str(bundle)]
    backfill = ["backfill", *corpus.arguments(), "--job", f"{jobs}/{name}", "--load", name, *model]
    if not options.archive:
        return [[*backfill, *_workers(options)]]
    folder = settings.path(JOBS if "://" in jobs else jobs)  # it is written here, and Spark takes it along
    folder.mkdir(parents=True, exist_ok=True)
    archive = str(folder / f"{name}.tar.gz")
    return [["package", archive, *model], [*backfill, *_workers(replace(options, archive=archive))]]


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
            sys.exit(max(done.returncode, 1))  # one that was killed has a negative one
        return printed or ""


def run_step(parent: int) -> None:
    """The console script as a step: it ends with the chain, or two would be at the same work when that begins again."""
    threading.Thread(target=end_with, args=(parent,), name="end-with-parent", daemon=True).start()
    main()


def _where(options: JoinOptions) -> list[str]:
    return [*(("--set", options.set) if options.set else ()), *_workers(options), "--by", options.by]


def _workers(options: JoinOptions) -> list[str]:
    given = (("--workers", options.workers), ("--spark", options.spark), ("--archive", options.archive))
    return [
        *(word for name, value in given if value for word in (name, str(value))),
        *(word for key, value in options.spark_options for word in ("--spark-option", f"{key}={value}")),
    ]


def _join_arguments(options: JoinOptions) -> list[str]:
    flags = ("by_folder", "exhaustive", "with_corrections", "retry_failed", "restore")
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
