"""What came of an event: the photo was tagged, rejected or deleted. Made by AutotagBolt, written by WriterBolt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotag.events import PhotoEvent
from models.bundle import Tag

REALTIME = "realtime"


@dataclass(frozen=True)
class ModelVersion:
    """Which bundle gave the tags. `sequence` orders versions: the higher is the newer; a digest orders nothing."""

    name: str
    version: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.name}/{self.sequence:06d}-{self.version[:12]}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is known of one photo at one content version. Times are microseconds since 1970."""

    photo_id: str
    content_us: int
    owner: str = ""
    uri: str = ""
    taken: str | None = None
    source: str = REALTIME

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Orders the results about one photo: the highest stands, in whatever order they were written.

        First the content version; of one version a deletion stands over tags, and tags over a rejection (the pixels
        were there once); then the newer model; then the later computation.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Tagged(Result):
    """The photo's tags, best first; there may be none."""

    model: ModelVersion
    tags: tuple[Tag, ...]
    computed_us: int

    @property
    def rank(self) -> tuple[int, int, int, int]:
        return (self.content_us, 1, self.model.sequence, self.computed_us)


@dataclass(frozen=True, kw_only=True)
class Rejected(Result):
    """The photo can never be tagged; `reason` is one of `photos.Reason`."""

    reason: str
    detail: str
    computed_us: int

    @property
    def rank(self) -> tuple[int, int, int, int]:
        return (self.content_us, 0, 0, self.computed_us)


@dataclass(frozen=True, kw_only=True)
class Deleted(Result):
    """The photo is gone; only a newer content version brings it back."""

    @property
    def rank(self) -> tuple[int, int, int, int]:
        return (self.content_us, 2, 0, 0)


def of_event(event: PhotoEvent) -> dict[str, Any]:
    """The fields that a result takes over from its event."""
    return {
        "photo_id": event.photo_id,
        "content_us": event.content_us,
        "owner": event.owner,
        "uri": event.uri,
        "taken": event.taken,
    }


def to_dict(result: Result) -> dict[str, Any]:
    """The result as JSON-safe values; `from_dict` reads it back equal."""
    # Not dataclasses.asdict: it copies deeply, and would be a fifth of what a photo costs beside its pixels.
    values = {"kind": type(result).__name__, **vars(result)}
    if isinstance(result, Tagged):
        values["model"] = dict(vars(result.model))
        values["tags"] = [dict(vars(tag)) for tag in result.tags]
    return values


def from_dict(values: Mapping[str, Any]) -> Result:
    """The result in what `to_dict` gave, JSON's lists for tuples allowed."""
    fields = dict(values)
    kind = fields.pop("kind")
    if kind == "Tagged":
        fields["model"] = ModelVersion(**fields["model"])
        fields["tags"] = tuple(Tag(**tag) for tag in fields["tags"])
        return Tagged(**fields)
    return Rejected(**fields) if kind == "Rejected" else Deleted(**fields)
