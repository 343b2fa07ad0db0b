"""Files of events: one JSON object a line, or the CloudEvents batch format, which is one JSON array."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from autotag.errors import EventError
from autotag.events import MAX_EVENT_BYTES, PhotoEvent
from autotag.storage.bounded_lines import BOM, bounded_lines

TOO_LONG = f"longer than {MAX_EVENT_BYTES} bytes"

Candidate = tuple[str, PhotoEvent | EventError]
"""The place of an event in its input, and the event, or the reason why it is refused."""


def read_events(file: BinaryIO) -> Iterator[Candidate]:
    """Read the events of a file, one at a time: of each line that is not blank, or of each item of an array.

    A refused event does not end the reading. Memory is bounded by `MAX_EVENT_BYTES`, however long a line or item is.
    """
    number = offset = 0
    while start := file.readline(MAX_EVENT_BYTES + 1):
        text = start if offset else start.removeprefix(BOM)
        if text.lstrip().startswith(b"["):
            yield from _array_events(itertools.chain([text], iter(lambda: file.read(MAX_EVENT_BYTES), b"")))
            return
        if text.strip() or len(text) > MAX_EVENT_BYTES or not start.endswith(b"\n"):
            break
        number, offset = number + 1, offset + len(start)
    for place, _, line in bounded_lines(file, MAX_EVENT_BYTES, offset, number, start):
        yield f"line {place}", EventError(TOO_LONG) if line is None else _event(line.strip())


def _event(text: bytes) -> PhotoEvent | EventError:
    try:
        return PhotoEvent.from_json(text)
    except EventError as error:
        return error


_TOKEN = re.compile(rb'[\\"\[\]{},]')


def _array_events(chunks: Iterable[bytes]) -> Iterator[Candidate]:
    """Return the events of a JSON array, whose text comes in chunks.

    The text is only split here, at the commas of the array itself. Thus an item that is not JSON, or too long, is
    refused alone.
    """
    number, depth, in_string, skip = 1, 0, False, 0
    item = bytearray()
    chunks = iter(chunks)
    for chunk in chunks:
        start = 0
        for token in _TOKEN.finditer(chunk):
            at, mark = token.start(), token[0]
            if at < skip:
                continue  # The character is escaped.
            if in_string:
                in_string = mark != b'"'
                if mark == b"\\":
                    skip = at + 2
            elif mark == b'"':
                in_string = True
            elif mark in b"[{":
                depth += 1
                start = at + 1 if depth == 1 else start
            elif mark in b"]}":
                depth -= 1
            if not in_string and ((mark == b"," and depth == 1) or depth == 0):
                item += chunk[start:at][: MAX_EVENT_BYTES + 1 - len(item)]
                if depth or number > 1 or item.strip():
                    yield _item_event(number, item)
                number, start = number + 1, at + 1
                item.clear()
                if depth == 0:
                    yield from _after_array(itertools.chain([chunk[start:]], chunks))
                    return
        item += chunk[start:][: max(0, MAX_EVENT_BYTES + 1 - len(item))]
        skip = max(0, skip - len(chunk))
    yield f"event {number}", EventError("the file ends before the array does: ']' is missing")


def _item_event(number: int, item: bytearray) -> Candidate:
    text = bytes(item)
    return f"event {number}", EventError(TOO_LONG) if len(text) > MAX_EVENT_BYTES else _event(text.strip())


def _after_array(chunks: Iterable[bytes]) -> Iterator[Candidate]:
    for chunk in chunks:
        if text := chunk.strip():
            yield "after the array", EventError(f"nothing may follow the array. Given: {text[:40]!r}")
            return
