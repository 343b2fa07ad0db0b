"""PhotoEvent: what the upload pipeline sends, a CloudEvents 1.0 JSON object.

Source: CloudEvents specification 1.0.2, "Required Attributes" and the JSON event format.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from autotag.errors import EventError

MAX_EVENT_BYTES = 64 * 1024
MAX_TEXT = 4096
"""Characters in any one attribute."""
SCHEMES = ("file:", "http:", "https:")
MAX_AHEAD_US = 24 * 3600 * 1_000_000
"""How far in the future an event's time may lie: content versions only grow, so one wrong clock would end updates."""


class EventType(StrEnum):
    """What happened to a photo."""

    UPLOADED = "photo.uploaded"
    REPLACED = "photo.replaced"
    DELETED = "photo.deleted"


@dataclass(frozen=True)
class PhotoEvent:
    """One checked event. Times are microseconds since 1970, UTC; `content_us` is the photo's content version."""

    type: EventType
    source: str
    id: str
    photo_id: str
    content_us: int
    owner: str = ""
    uri: str = ""
    taken: str | None = None

    @property
    def key(self) -> str:
        """32 hexadecimal digits that name the event: equal exactly when `source` and `id` are."""
        return hashlib.sha256(json.dumps([self.source, self.id]).encode()).hexdigest()[:32]

    @classmethod
    def uploaded(cls, photo_id: str, uri: str, owner: str) -> PhotoEvent:
        """A new event, as of now, for a photo that a person pushes by hand."""
        return cls(EventType.UPLOADED, "autotag-push", uuid.uuid4().hex, photo_id, now_us(), owner, uri)

    @classmethod
    def from_json(cls, text: str | bytes) -> PhotoEvent:
        """The event in one JSON text.

        Raises:
            EventError: it is not JSON, too large, or not a photo event; the message names the attribute.
        """
        if len(text) > MAX_EVENT_BYTES:
            raise EventError(f"the event has {len(text)} bytes; at most {MAX_EVENT_BYTES} are accepted")
        try:
            event = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EventError(f"not JSON: {error}") from error
        return cls.from_dict(event)

    @classmethod
    def from_dict(cls, event: Any, *, accepted: bool = False) -> PhotoEvent:
        """The event in a parsed JSON object; raises EventError as `from_json` does.

        Args:
            accepted: it is one that we accepted before: its time is not held against our clock once more.
        """
        if not isinstance(event, Mapping):
            raise EventError(f"an event is a JSON object. Given: {brief(event)}")
        version = text_field(event, "specversion")
        if version != "1.0":
            raise EventError(f"'specversion' must be '1.0' (CloudEvents). Given: {brief(version)}")
        type_ = text_field(event, "type")
        if type_ not in set(EventType):
            raise EventError(f"'type' must be one of {[t.value for t in EventType]}. Given: {brief(type_)}")
        data = event.get("data", {})
        if not isinstance(data, Mapping):
            raise EventError(f"'data' must be a JSON object. Given: {brief(data)}")
        required = type_ != EventType.DELETED
        taken = text_field(data, "taken", "data.taken", required=False)
        if taken:
            time_us(taken, "data.taken")
        uri = text_field(data, "uri", "data.uri", required=required)
        if uri and not accepted and not uri.lower().startswith(SCHEMES):
            raise EventError(f"'data.uri' must begin with one of {', '.join(SCHEMES)}. Given: {brief(uri)}")
        return cls(
            type=EventType(type_),
            source=text_field(event, "source"),
            id=text_field(event, "id"),
            photo_id=text_field(event, "subject"),
            content_us=_content_us(text_field(event, "time"), 2**63 - 1 if accepted else now_us() + MAX_AHEAD_US),
            owner=text_field(data, "owner", "data.owner", required=required),
            uri=uri,
            taken=taken or None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The event as a CloudEvents JSON object; `from_dict` reads it back equal."""
        data = {"owner": self.owner, "uri": self.uri, "taken": self.taken}
        return {
            "specversion": "1.0",
            "type": self.type.value,
            "source": self.source,
            "id": self.id,
            "subject": self.photo_id,
            "time": iso_time(self.content_us),
            "data": {name: value for name, value in data.items() if value},
        }


def now_us() -> int:
    """The clock, in microseconds since 1970."""
    return time.time_ns() // 1000


def iso_time(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 text in UTC."""
    # Built of whole numbers: a float of seconds cannot hold microseconds of every year.
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def text_field(mapping: Mapping[str, Any], name: str, shown: str | None = None, *, required: bool = True) -> str:
    """The text in one field of a JSON object; empty where it may be missing and is.

    Raises:
        EventError: it is missing, no text, too long, or has characters that are none; `shown` is its name there.
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


def time_us(value: str, name: str) -> int:
    """RFC 3339 text in microseconds since 1970, negative before; EventError, with the field's `name`, if it is none."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise EventError(f"{name!r} must be a time such as '2026-01-31T12:00:00Z'. Given: {brief(value)}") from error
    if moment.tzinfo is None:
        raise EventError(f"{name!r} needs its offset from UTC, such as 'Z' or '+02:00'. Given: {brief(value)}")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _content_us(value: str, latest_us: int) -> int:
    content_us = time_us(value, "time")
    if content_us <= 0:
        raise EventError(f"'time' must be after 1970. Given: {brief(value)}")
    if content_us > latest_us:
        raise EventError(f"'time' lies more than a day in the future: is the sender's clock right? Given: {value!r}")
    return content_us


def brief(value: Any) -> str:
    """A value for a message: printable, 80 characters at most."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
