"""Bars on standard error, one for each step; nothing where standard error is no terminal."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import click


def progress_bar(length: int | None, label: str) -> Any:
    """Return a progress bar on standard error, hidden where that is no terminal; without a `length` it is endless."""
    endless = itertools.count() if length is None else None  # click needs a length, or something to count.
    return click.progressbar(endless, length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


class ProgressBars:
    """An `autotag.progress.Progress` that shows bars; a context manager."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown: tuple[str, int | None] = ("", None)

    def __call__(self, step: str, done: int = 0, total: int | None = None) -> None:
        """Move the bar of `step` to `done`; a new step, or another total, ends the bar before it."""
        if (step, total) != self._shown:
            self.__exit__()
            self._shown = (step, total)
            self._bar = progress_bar(total, step)
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)

    @property
    def where(self) -> str:
        """The present step, for a message: ``tagging: 3 of 10 done``; empty before the first."""
        step, total = self._shown
        if not step:
            return ""
        return f"{step}: {self._bar.pos} of {total} done" if self._bar and total else step

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
