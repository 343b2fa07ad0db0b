"""Option sets: what they take from a command line, they give back as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from autotag.cli.backfill import BackfillOptions, CorpusOptions
from autotag.cli.join import JoinOptions, SetOptions
from autotag.cli.options import OptionSet
from autotag.cli.train import TrainOptions
from autotag.cli.workers import WorkersOptions


def parse(options: type[OptionSet], *words: str) -> Any:
    """Return the option set of a command line."""
    taken = []

    @click.command()
    @options.given_as("given")
    def command(given: OptionSet) -> None:
        taken.append(given)

    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return taken[0]


EVERY_WORD = {
    JoinOptions: [
        *("--photos", "album", "--labels", "a.csv", "--labels", "b c.tsv", "--by-folder", "--exhaustive"),
        *("--with-corrections", "--remove", "p1", "--remove", "@gone", "--retry-failed", "--restore"),
        *("--set", "s3://bucket/set", "--by", "ann"),
        *("--spark", "yarn", "--spark-option", "a.b=c=d", "--spark-option", "e=", "--archive", "here.tar.gz"),
    ],
    TrainOptions: [
        *("--precision", "0.8", "--least-recall", "0.0", "--sample", "1000", "--bank", "ours", "--out", "candidates"),
        *("--like", "photos"),
    ],
    BackfillOptions: [
        *("list.txt", "--job", "job", "--only-failed", "--load", "run", "--model", "/", "--chunk-photos", "7"),
        *("--tries", "2", "--owner", "bob", "--content-time", "2026-01-31T12:00:00Z", "--workers", "3"),
    ],
}


@pytest.mark.parametrize("options", EVERY_WORD)
def test_the_words_of_a_command_line_come_back(options: type[OptionSet]) -> None:
    words = EVERY_WORD[options]
    given = parse(options, *words)
    assert given.arguments() == words
    assert parse(options, *given.arguments()) == given


def test_what_is_not_given_is_left_out_and_part_of_a_set_can_be_asked_for() -> None:
    given = parse(JoinOptions, "--photos", "album", "--workers", "2", "--by", "ann")
    assert given.arguments(WorkersOptions) == ["--workers", "2"]
    assert given.arguments(SetOptions) == ["--by", "ann", "--workers", "2"]
    assert parse(BackfillOptions, "--from-store", "--job", "j").arguments(CorpusOptions) == ["--from-store"]


def test_options_that_contradict_one_another_are_wrong_use() -> None:
    @click.command()
    @WorkersOptions.given_as("given")
    def command(given: WorkersOptions) -> None:
        raise AssertionError(given)

    done = CliRunner().invoke(command, ["--archive", str(Path("x"))])
    assert done.exit_code == 2
    assert "--spark-option and --archive go with --spark MASTER" in done.stderr
