"""A table of figures, each beside its alternative from the same run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

LEGEND = """How to read it:

- **figure**: the result. A ratio is the median of the rounds, with the lowest and the highest in parentheses. The other
  figures of its row are of the round with that median, so they give the ratio.
- **target**: the least that the figure has to reach, or the most where it says "under"; "-" where there is none.
- **alternative**: the same work done in another way, on the same machine in the same run, or the parts of the figure. A
  busy machine slows both, so compare figures within a row and not with those of another day."""

Round = TypeVar("Round")


def median_round(rounds: Sequence[Round], ratio: Callable[[Round], float]) -> tuple[Round, str]:
    """Return the round with the median `ratio` (the lower of two), and its ratio with the spread, as text."""
    in_order = sorted(rounds, key=ratio)
    median = in_order[(len(in_order) - 1) // 2]
    return median, f"{ratio(median):.2f} ({ratio(in_order[0]):.2f} to {ratio(in_order[-1]):.2f})"


class Table:
    """Rows of a subject, its figure, its target and its alternative; each is printed when it is added."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def add(self, subject: str, figure: str, target: str, alternative: str) -> None:
        """Add a row."""
        self.rows.append((subject, figure, target, alternative))
        print(f"{subject}: {figure}  [{target}]  {alternative}", flush=True)

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = ["| subject | figure | target | alternative, same run |", "|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])

    def write(self, path: Path, command: str, about: str) -> None:
        """Write the table to `path` as the last figures of `command`."""
        made = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores; {about}"
        text = f"# Figures of the last `{command}`\n\n{made}.\n\n{self.markdown()}\n\n{LEGEND}\n"
        path.write_text(text, encoding="utf-8")
