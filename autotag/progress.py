"""Progress: the one way in which a long function reports how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the label of a step, and how much of it is done.

    A function calls it when a step starts (`done` 0) and after each part of it. `total` is None where nobody knows it;
    a step without parts is told once, as ``progress("fetching the jars")``.
    """

    def __call__(self, step: str, done: int = 0, total: int | None = None) -> None:
        """Report progress. Called from one thread."""


def silent(step: str, done: int = 0, total: int | None = None) -> None:
    """Show nothing."""
