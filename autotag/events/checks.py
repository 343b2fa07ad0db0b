"""Checks of one field of a JSON object: of an event, of a bulk run's record, of a list of photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotag.errors import EventError

MAX_TEXT = 4096
"""Characters in any one field."""
SCHEMES = ("file:", "http:", "https:")
"""Beginnings of the URIs that the stream can fetch."""


def text_field(mapping: Mapping[str, Any], name: str, shown: str | None = None, *, required: bool = True) -> str:
    """Return the text in one field of a JSON object; empty where it is not required and missing.

    Args:
        shown: the field's name in messages, where it is not `name`.

    Raises:
        EventError: the field is missing, no text, or too long, or it has control characters or half a surrogate pair.
    """
    shown = shown or name
    value = mapping.get(name)
    if value is None and not required:
        return ""
    if value is None or value == "":
        raise EventError(f"{shown!r} is missing")
    if not isinstance(value, str):
        raise EventError(f"{shown!r} must be text. Given: {brief(value)}")
    if len(value) > MAX_TEXT:
        raise EventError(f"{shown!r} has {len(value)} characters; at most {MAX_TEXT} are accepted")
    if not value.isprintable() and any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise EventError(f"{shown!r} has control characters or half a surrogate pair. Given: {brief(value)}")
    return value


def check_scheme(uri: str, shown: str) -> None:
    """Raise EventError, which names the field `shown`, where the stream could not fetch a URI."""
    if not uri.lower().startswith(SCHEMES):
        raise EventError(f"{shown!r} must begin with one of {', '.join(SCHEMES)}. Given: {brief(uri)}")


def brief(value: Any) -> str:
    """Return a value for a message: printable, 80 characters at most."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
