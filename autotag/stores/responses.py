"""What a store answers its readers with."""

from __future__ import annotations

from dataclasses import dataclass

from autotag.view.merge import View, ViewTag, Write


@dataclass(frozen=True)
class StoredPhoto:
    """What a reader sees of one photo, and when its newest part was stored (microseconds since 1970)."""

    view: View
    stored_us: int


@dataclass(frozen=True)
class HistoryEntry:
    """One write about a photo, when it was stored, and whether readers see any of it now."""

    write: Write
    stored_us: int
    seen: bool


@dataclass(frozen=True)
class FoundPhoto:
    """A photo that a search found, and the tag that it was found by."""

    view: View
    tag: ViewTag


@dataclass(frozen=True)
class Page:
    """Some of a search's photos, newest content first; `cursor` continues it and is None at the end.

    A page may be short, or empty, and yet have a cursor: a call looks at so many entries of the index, and no more.
    """

    photos: tuple[FoundPhoto, ...]
    cursor: str | None


@dataclass(frozen=True)
class TagCount:
    """A tag, and how many of the photos have it."""

    id: str
    name: str
    photos: int


@dataclass(frozen=True)
class OwnerTags:
    """An owner's photos and tags, the most frequent first."""

    photos: int
    tags: tuple[TagCount, ...]
    exact: bool
    """False: estimated by a random sample (see sampling.py); tags that are on none of its photos are missing."""


@dataclass(frozen=True)
class StoreStatus:
    """Counts of photos as readers see them now."""

    tagged: int
    rejected: dict[str, int]
    """By reason."""
    exact: bool
    """False: estimated by a random sample of photos (see sampling.py)."""
