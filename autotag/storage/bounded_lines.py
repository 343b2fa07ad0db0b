"""Lines of a file, read with a bound on their length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark; it is no part of a file's first line."""

BoundedLine = tuple[int, int, bytes | None]
"""A line's number, from 1; the offset of the next line, in bytes; and the line with its end, None if it is too long."""


def bounded_lines(
    file: BinaryIO, max_bytes: int, offset: int = 0, number: int = 0, start: bytes = b""
) -> Iterator[BoundedLine]:
    """Yield the lines that are not blank; blank ones count. At most `max_bytes` of a line, and one more, are in memory.

    Args:
        max_bytes: the bound, with the line's end; a longer line is skipped to its end.
        offset: bytes of the file before the first line that is read here; a byte order mark is removed only at 0.
        number: lines of the file before it.
        start: the beginning of that line, where the caller has already read it with ``readline(max_bytes + 1)``.
    """
    while line := start or file.readline(max_bytes + 1):
        start = b""
        number += 1
        text = line
        if offset == 0 and line.startswith(BOM):
            line += b"" if line.endswith(b"\n") else file.readline(len(BOM))  # The mark does not count for the bound.
            text = line.removeprefix(BOM)
        offset += len(line)
        if len(text) > max_bytes:
            while line and not line.endswith(b"\n"):
                line = file.readline(max_bytes)
                offset += len(line)
            yield number, offset, None
        elif text and not text.isspace():
            yield number, offset, text
