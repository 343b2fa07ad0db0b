"""Progress on standard error: a bar for each step, one after another; nothing where that is no terminal."""

from __future__ import annotations

from typing import Any

from autotag.cli import progress_bar


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

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
