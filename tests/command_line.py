"""The command line, run in this process: for all tests but those about a process's signals or its end."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from click.testing import CliRunner

from autotag.cli import PROGRAM, cli


def run_command(
    config: Path, *arguments: str | Path, stdin: str | bytes = "", cwd: str | Path = "/"
) -> subprocess.CompletedProcess[str]:
    """Run a command and return its exit code, standard output and standard error.

    It runs in another folder than the project's. An exception that the command line does not print as an error is
    raised here. Not for several threads at once.
    """
    given = ["--config", str(config), *map(str, arguments)]
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(cli, given, input=stdin, prog_name=PROGRAM, catch_exceptions=False)
    return subprocess.CompletedProcess(given, done.exit_code, done.stdout, done.stderr)
