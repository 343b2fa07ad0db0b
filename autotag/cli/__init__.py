"""The command line: cli/X.py prints what command X does, and ends the process; the work is done by the library.

Exit codes: 0; 1 for a failure; 2 for wrong use; 130 and 143 where Ctrl-C or SIGTERM interrupted the command.
"""

from __future__ import annotations

import getpass
import importlib
import json
import logging
import os
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autotag.cli.interrupts import Interrupted, end, ignore_signals, interruption, take_signals
from autotag.errors import AutotagError, JobError, SettingsError
from autotag.settings import Settings
from models.errors import ModelError

PROGRAM = "autotag"
SIGNAL_S = 0.3


class CommandLine:
    """The options before the command, which all commands share; the settings are read when they are first used."""

    def __init__(self, environment: str, config: Path | None, overrides: dict[str, str]) -> None:
        self.environment = environment
        self.config = config
        self.overrides = overrides
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Return the settings of the chosen environment; raises SettingsError for a wrong one."""
        if self._settings is None:
            self._settings = Settings.from_config(self.environment, self.config, self.overrides)
        return self._settings


with_settings = click.make_pass_decorator(CommandLine)
with_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(rows: list[list[str]], header: list[str]) -> None:
    """Print rows of text in aligned columns, without a limit to the width; the last column is not padded."""
    widths = [max(_width(row[column]) for row in [header, *rows]) for column in range(len(header))]
    widths[-1] = 0
    for row in [header, *rows]:
        click.echo("  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)).rstrip())


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal: Japanese and Chinese characters take two each."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 photo`` or ``2 photos``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def user_name() -> str:
    """Return the name of the user, or ``uid-N`` where N has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"


class Overrides(click.ParamType[tuple[str, str]]):
    """The type of an option's ``KEY=VALUE``."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE, such as autotag.tagger.batch.photos=8", param, ctx)
        return key, text


COMMANDS = (
    *("tag", "push", "show", "search", "owner", "status", "tags", "erase", "bulk"),
    *("join", "train", "learn", "retrain", "backfill", "package"),
    *("dead", "store", "model", "cluster", "demo"),
)
"""All commands, in the order of the help. Command X is the function X of the module X of this package."""


class AutotagGroup(click.Group):
    """The group of all commands: prints our errors in one line, and ends with their exit code.

    A command's module is imported when the command is asked for: `autotag push` needs no network runtime.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, without importing them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None where there is none of that name."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.add_command(getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name))
        return self.commands.get(cmd_name)

    def invoke(self, context: click.Context) -> Any:
        """Run a command; wrong settings are wrong use (2), everything else that we report is a failure (1)."""
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise  # The reader of our output has closed it, which click ends quietly.
        except SettingsError as error:
            click.echo(f"{PROGRAM}: {error}", err=True)
            context.exit(2)
        except (AutotagError, ModelError, OSError) as error:
            if interrupted := interruption():
                raise interrupted from error
            if isinstance(error, JobError):
                time.sleep(SIGNAL_S)  # The signal that ended the workers may be on its way to this process, too.
            click.echo(f"{PROGRAM}: {error}", err=True)
            context.exit(1)


@click.group(cls=AutotagGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("-e", "--environment", default="local", show_default=True, help="Environment of config.json.")
@click.option("--config", type=click.Path(path_type=Path), help="Another config.json than the project's own.")
@click.option(
    "-o",
    "--option",
    "overrides",
    multiple=True,
    type=Overrides(),
    help="A setting, KEY=VALUE, over the one in config.json; repeatable.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error.")
@click.version_option(package_name=PROGRAM)
@click.pass_context
def cli(
    context: click.Context,
    environment: str,
    config: Path | None,
    overrides: tuple[tuple[str, str], ...],
    verbose: bool,
) -> None:
    """Tag photos with thousands of classifiers: here and now, as a stream through Apache Storm, or a whole corpus."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # A request that is tried again is no news; one that fails for good is printed as the error.
    logging.getLogger("autotag.stores.hbase_link").setLevel(logging.NOTSET if verbose else logging.ERROR)
    context.obj = CommandLine(environment, config, dict(overrides))


def main() -> None:
    """Run the console script."""
    take_signals()
    try:
        cli.main(prog_name=PROGRAM)
    except Interrupted as interrupted:
        end(interrupted, PROGRAM)
    except Exception:
        if interrupted_before := interruption():
            end(interrupted_before, PROGRAM)
        raise
    finally:
        ignore_signals()  # Everything is done and printed.
