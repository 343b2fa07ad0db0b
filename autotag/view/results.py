"""Results of an event: the photo was tagged, rejected or deleted. Made by TaggerBolt, written by WriterBolt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotag.errors import ResultError
from autotag.events import PhotoVersion
from models.bundle import Bundle, Tag
from models.bundle_folder import folder_name, parse_folder_name
from models.pixels import COLOURS, Colour

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""The form of a bulk run's name."""


@dataclass(frozen=True)
class ModelVersion:
    """A bundle that gives tags. A higher `sequence` is newer; `version`, a digest, orders nothing."""

    name: str
    version: str
    sequence: int

    @classmethod
    def of(cls, bundle: Bundle) -> ModelVersion:
        """Return the version of an opened bundle."""
        return cls(bundle.name, bundle.version, bundle.sequence)

    @classmethod
    def parse(cls, text: str) -> ModelVersion | None:
        """Return the version whose printed form, or whose folder's name alone, is `text`; None for any other text.

        Its `version` has 12 digits only, and its `name` is empty where `text` is a folder's name.
        """
        name, _, folder = text.rpartition("/")
        parsed = parse_folder_name(folder)
        return cls(name, parsed[1], parsed[0]) if parsed else None

    @property
    def folder(self) -> str:
        """The name of the bundle's folder."""
        return folder_name(self.sequence, self.version)

    def __str__(self) -> str:
        return f"{self.name}/{self.folder}"


@dataclass(frozen=True, kw_only=True)
class Result(PhotoVersion):
    """A result of an event. Times are microseconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Tagged(Result):
    """The photo was tagged: its tags, best first, or none."""

    model: ModelVersion
    tags: tuple[Tag, ...]
    computed_us: int
    run: str | None = None
    """The bulk run that computed the tags; None for the stream."""
    partial: bool = False
    """True if the photo is damaged, and some of it may be missing."""
    colours: tuple[Colour, ...] = ()
    """The dominant colours, the largest share first; none where they were not computed."""


@dataclass(frozen=True, kw_only=True)
class Rejected(Result):
    """The photo can never be tagged; `reason` is one of `autotag.photos.errors.Reason`."""

    reason: str
    detail: str
    computed_us: int


@dataclass(frozen=True, kw_only=True)
class Deleted(Result):
    """The photo was deleted; only a newer content version brings it back."""


def to_dict(result: Result) -> dict[str, Any]:
    """Return a result as JSON-safe values; `from_dict` reads it back equal."""
    # Not dataclasses.asdict: it copies deeply, and would be a fifth of what a photo costs beside its pixels.
    values = {"kind": type(result).__name__, **vars(result)}
    if isinstance(result, Tagged):
        values["model"] = dict(vars(result.model))
        values["tags"] = [dict(vars(tag)) for tag in result.tags]
        values["colours"] = [dict(vars(colour)) for colour in result.colours]
    return values


def from_dict(values: Mapping[str, Any]) -> Tagged | Rejected | Deleted:
    """Return the result in values of `to_dict`, with lists for tuples where they went through JSON."""
    fields = dict(values)
    kind = fields.pop("kind")
    if kind == "Tagged":
        fields["model"] = ModelVersion(**fields["model"])
        fields["tags"] = tuple(Tag(**tag) for tag in fields["tags"])
        fields["colours"] = tuple(Colour(**colour) for colour in fields.get("colours", ()))  # older facts have none
        return Tagged(**fields)
    return Rejected(**fields) if kind == "Rejected" else Deleted(**fields)


def check_result(result: Result) -> None:
    """Check the values of a result before it is written.

    Raises:
        ResultError: a value is out of its bounds; the message names the field.
    """
    if not result.photo_id:
        raise ResultError("the photo's id is empty")
    if not 0 < result.content_us < 2**63:
        raise ResultError(f"the content version must be microseconds since 1970. Given: {result.content_us!r}")
    if not isinstance(result, Tagged | Rejected):
        return
    if not 0 <= result.computed_us < 2**63:
        raise ResultError(f"the time of computation must be microseconds since 1970. Given: {result.computed_us!r}")
    if isinstance(result, Rejected):
        return
    if result.run is not None and not RUN_NAME.fullmatch(result.run):
        raise ResultError(f"a run's name has 1 to 100 letters, digits, '.', '_' or '-'. Given: {result.run!r:.200}")
    seen = set()
    for tag in result.tags:
        if not tag.id or not tag.name:
            raise ResultError(f"a tag has no id or no name: {tag!r:.200}")
        if not 0 <= tag.score <= 1:  # a NaN is neither
            raise ResultError(f"tag {tag.name!r:.100}: its score must be from 0 to 1. Given: {tag.score!r}")
        if tag.id in seen:
            raise ResultError(f"tag {tag.name!r:.100} ({tag.id!r:.100}) is listed twice")
        seen.add(tag.id)
    check_colours(result.colours)


def check_colours(colours: Sequence[Colour]) -> None:
    """Check a photo's dominant colours.

    Raises:
        ResultError: a name is no basic colour or occurs twice, or a share is not from 0 to 1.
    """
    names = [colour.name for colour in colours]
    if unknown := [name for name in names if name not in COLOURS]:
        raise ResultError(f"a colour is one of {', '.join(COLOURS)}. Given: {unknown[0]!r:.100}")
    if len(set(names)) < len(names):
        raise ResultError(f"a colour is listed twice: {', '.join(names)}")
    if wrong := [colour for colour in colours if not 0 <= colour.share <= 1]:  # a NaN is neither
        raise ResultError(f"colour {wrong[0].name!r}: its share must be from 0 to 1. Given: {wrong[0].share!r}")
