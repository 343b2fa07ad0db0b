"""The command line. Each command is a few lines over the library; only here is anything printed, and the process ended.

Exit codes: 0, 1 for a failure, 2 for wrong use.
"""

from __future__ import annotations

import functools
import getpass
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from autotag.errors import AutotagError, SettingsError
from autotag.settings import Settings
from models.errors import ModelError

PROGRAM = "autotag"


class CommandLine:
    """What all commands share: the settings that the options before the command name, built when first asked for."""

    def __init__(self, environment: str, config: Path | None, overrides: dict[str, str]) -> None:
        self.environment = environment
        self.config = config
        self.overrides = overrides
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = Settings.from_config(self.environment, self.config, self.overrides)
        return self._settings


with_settings = click.make_pass_decorator(CommandLine)
with_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(rows: list[list[str]], header: list[str]) -> None:
    """Rows of text, columns aligned, as wide as they need to be; the last column is not padded."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    widths[-1] = 0
    for row in [header, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things, such as ``1 photo`` or ``2 photos``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def progress_bar(length: int | None, label: str, of: Iterable[Any] | None = None) -> Any:
    """A progress bar on standard error, hidden where that is no terminal; with `of` it is iterated over."""
    if of is None and length is None:
        of = itertools.count()  # click wants one of the two; this one has no end that could be shown
    return click.progressbar(of, length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def user_name() -> str:
    """Who runs this; in a container there may be nobody of that number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"


def given_as(
    name: str, options: Sequence[Callable[[Any], Any]], names: Iterable[str], make: Callable[..., Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator by which a command gets these options as one argument `name`, made of their `names` by keyword."""
    names = tuple(names)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(*arguments: Any, **values: Any) -> None:
            made = make(**{one: values.pop(one) for one in names})
            command(*arguments, **{name: made}, **values)

        decorated: Callable[..., None] = called
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


class Overrides(click.ParamType[tuple[str, str]]):
    """``key=value`` of ``-o``."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE, such as autotag.tagger.batch.photos=8", param, ctx)
        return key, text


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("-e", "--environment", default="local", show_default=True, help="An environment of config.json.")
@click.option("--config", type=click.Path(path_type=Path), help="Another config.json than the project's.")
@click.option("-o", "--option", "overrides", multiple=True, type=Overrides(), help="A setting, KEY=VALUE; repeatable.")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, to standard error.")
@click.version_option(package_name=PROGRAM)
@click.pass_context
def cli(
    context: click.Context,
    environment: str,
    config: Path | None,
    overrides: tuple[tuple[str, str], ...],
    verbose: bool,
) -> None:
    """Tags photos with thousands of classifiers: here and now, or as a stream through Apache Storm."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # What fails in the end is said as the error; what succeeds at a later try is no news.
    logging.getLogger("autotag.stores.hbase_link").setLevel(logging.NOTSET if verbose else logging.ERROR)
    context.obj = CommandLine(environment, config, dict(overrides))


def main() -> None:
    """The console script."""
    from autotag.cli import (
        backfill,
        bulk,
        cluster,
        dead,
        demo,
        join,
        learn,
        model,
        photos,
        reading,
        retrain,
        store,
        tags,
        train,
    )

    for module in (
        photos,
        reading,
        tags,
        bulk,
        join,
        train,
        learn,
        retrain,
        backfill,
        dead,
        store,
        model,
        cluster,
        demo,
    ):
        module.register(cli)
    try:
        cli.main(prog_name=PROGRAM)
    except SettingsError as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        sys.exit(2)
    except (AutotagError, ModelError, OSError) as error:
        click.echo(f"{PROGRAM}: {error}", err=True)
        sys.exit(1)
