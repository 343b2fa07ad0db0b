"""Photo events, which the upload pipeline sends as CloudEvents 1.0 JSON objects. Imports errors and storage only.

Source: CloudEvents specification 1.0.2, "Required Attributes" and the JSON event format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from autotag.errors import EventError
from autotag.events.checks import brief, check_scheme, text_field
from autotag.events.times import check_past, iso_time, now_us, time_us

MAX_EVENT_BYTES = 64 * 1024


class EventType(StrEnum):
    """The kinds of events: something happened to a photo."""

    UPLOADED = "photo.uploaded"
    REPLACED = "photo.replaced"
    DELETED = "photo.deleted"


@dataclass(frozen=True, kw_only=True)
class PhotoVersion:
    """One content of a photo: the facts that an event, its result and its view share."""

    photo_id: str
    content_us: int
    """The content version: the time at which the photo got this content, microseconds since 1970, UTC."""
    owner: str = ""
    uri: str = ""
    taken: str | None = None
    """The time at which the photo was taken, RFC 3339 text; None if the event does not have it."""

    @classmethod
    def of(cls, version: PhotoVersion, **others: Any) -> Self:
        """Return an object of this class about the same photo version; `others` are its own fields."""
        return cls(**{name: getattr(version, name) for name in _FACTS}, **others)


_FACTS = tuple(field.name for field in fields(PhotoVersion))


@dataclass(frozen=True, kw_only=True)
class PhotoEvent(PhotoVersion):
    """One checked event."""

    type: EventType
    source: str
    id: str

    @property
    def key(self) -> str:
        """The event's name: 32 hexadecimal digits, equal exactly when `source` and `id` are."""
        return hashlib.sha256(json.dumps([self.source, self.id]).encode()).hexdigest()[:32]

    @classmethod
    def uploaded(cls, photo_id: str, uri: str, owner: str) -> PhotoEvent:
        """Return a new event, as of now, for a photo that a person pushes by hand."""
        return cls(
            type=EventType.UPLOADED,
            source="autotag-push",
            id=uuid.uuid4().hex,
            photo_id=photo_id,
            content_us=now_us(),
            owner=owner,
            uri=uri,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> PhotoEvent:
        """Return the event in one JSON text.

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
        """Return the event in a parsed JSON object; raises EventError as `from_json` does.

        Args:
            accepted: True if the event was accepted before: its time and scheme are not checked once more.
        """
        if not isinstance(event, Mapping):
            raise EventError(f"an event is a JSON object. Given: {brief(event)}")
        version = text_field(event, "specversion")
        if version != "1.0":
            raise EventError(f"'specversion' must be '1.0' (CloudEvents). Given: {brief(version)}")
        type_ = text_field(event, "type")
        if type_ not in set(EventType):
            raise EventError(f"'type' must be one of {[t.value for t in EventType]}. Given: {brief(type_)}")
        data = _data(event)
        required = type_ != EventType.DELETED
        taken = text_field(data, "taken", "data.taken", required=False)
        if taken:
            time_us(taken, "data.taken")
        uri = text_field(data, "uri", "data.uri", required=required)
        if uri and not accepted:
            check_scheme(uri, "data.uri")
        time = text_field(event, "time")
        content_us = time_us(time, "time")
        check_past(content_us, "time", time, any_future=accepted)
        return cls(
            type=EventType(type_),
            source=text_field(event, "source"),
            id=text_field(event, "id"),
            photo_id=text_field(event, "subject"),
            content_us=content_us,
            owner=text_field(data, "owner", "data.owner", required=required),
            uri=uri,
            taken=taken or None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a CloudEvents JSON object; `from_dict` reads it back equal."""
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


_MEDIA_TYPE = re.compile(r"(?P<type>[\w!#$&^.+-]+/[\w!#$&^.+-]+)\s*(?:;.*)?", re.ASCII)


def _data(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event's data: the object in ``data``, or the one whose JSON text is in ``data_base64``."""
    data, encoded = event.get("data"), event.get("data_base64")
    if data is None and encoded is None:
        return {}
    if data is not None and encoded is not None:
        raise EventError("'data' and 'data_base64' must not both be there")
    content_type = text_field(event, "datacontenttype", required=False)
    if content_type:
        media = _MEDIA_TYPE.fullmatch(content_type.strip())
        if not media or not media["type"].lower().endswith(("/json", "+json")):
            raise EventError(
                f"'datacontenttype' must be JSON, such as 'application/json'. Given: {brief(content_type)}"
            )
    if encoded is not None:
        data = _decoded(encoded)
    if not isinstance(data, Mapping):
        name = "data" if encoded is None else "data_base64"
        raise EventError(f"{name!r} must be a JSON object. Given: {brief(data)}")
    return data


def _decoded(encoded: object) -> Any:
    """Return the JSON value whose text is encoded in base64."""
    try:
        if not isinstance(encoded, str):
            raise ValueError("not text")
        return json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, RecursionError) as error:
        raise EventError(f"'data_base64' must be JSON in base64: {error}. Given: {brief(encoded)}") from error
