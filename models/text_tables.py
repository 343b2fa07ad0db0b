"""Text tables: lines of fields separated by tabs, as the class table and the names of classes are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.errors import ModelError


def read_text_table(path: Path, columns: str) -> Iterator[list[str]]:
    """Yield the three fields of each line; empty lines, and those that begin with #, are left out.

    Args:
        columns: what the fields are, for messages.

    Raises:
        ModelError: the file cannot be read, or a line has another number of fields; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line or line[0] == "#":
            continue
        fields = line.split("\t")
        if len(fields) != 3:
            raise ModelError(f"{path}, line {number}: needs {columns}. Given: {line!r}")
        yield fields
