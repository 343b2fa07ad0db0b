"""Table: what was measured, each figure beside its alternative of the same run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


class Table:
    """Rows of what was measured, the figure, what it is to reach, and the alternative beside it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def add(self, what: str, figure: str, mark: str, alternative: str) -> None:
        self.rows.append((what, figure, mark, alternative))
        print(f"{what}: {figure}  [{mark}]  {alternative}", flush=True)

    def markdown(self) -> str:
        lines = ["| what | figure | to reach | beside it, same run |", "|---|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])

    def write(self, path: Path, command: str, about: str) -> None:
        """Keep the table as the last figures of `command`."""
        made = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores; {about}"
        path.write_text(f"# Figures of the last `{command}`\n\n{made}.\n\n{self.markdown()}\n", encoding="utf-8")
