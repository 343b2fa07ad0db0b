"""The console script `autotag`: it takes signals before anything else is imported.

Python ends a program that is still importing with a traceback. This module imports nothing of ours until it can answer.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; see autotag/cli."""
    take_signals()
    from autotag.cli import main as run

    run()


def take_signals() -> None:
    """End this process with a line when a signal comes, until the command line answers signals itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended_at_once)


def _ended_at_once(number: int, _frame: object) -> None:
    os.write(2, b"\nautotag: interrupted before anything was begun; start the same command again\n")
    os._exit(128 + number)
