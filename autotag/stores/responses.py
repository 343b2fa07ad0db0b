"""Responses: the values that a store returns to its readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from autotag.view.decisions import Decision
from autotag.view.merge import View, ViewTag, Write


@dataclass(frozen=True)
class StoredPhoto:
    """A photo as readers see it, and when the newest write that they see was stored (microseconds since 1970)."""

    view: View
    stored_us: int


@dataclass(frozen=True)
class HistoryEntry:
    """One write about a photo, when it was stored, and True if readers see any of it now."""

    write: Write
    stored_us: int
    seen: bool


class DecidedPhoto(NamedTuple):
    """A photo as readers see it, and people's decisions about it since its last deletion."""

    view: View
    decisions: list[Decision]


@dataclass(frozen=True)
class FoundPhoto:
    """A photo that a search found, and the tag that it was found by."""

    view: View
    tag: ViewTag


@dataclass(frozen=True)
class Page:
    """Photos that a search found, newest content first; `cursor` continues the search and is None at its end.

    A page may be short, or empty, and yet have a cursor: a call reads a bounded number of entries of the index.
    """

    photos: tuple[FoundPhoto, ...]
    cursor: str | None


@dataclass(frozen=True)
class TagCount:
    """A tag or category, and the number of photos that have it."""

    id: str
    name: str
    photos: int


@dataclass(frozen=True)
class OwnerTags:
    """An owner's number of photos, and categories and tags, the most frequent first."""

    photos: int
    categories: tuple[TagCount, ...]
    tags: tuple[TagCount, ...]
    exact: bool
    """False: estimated from a random sample (see sampling.py); what no photo of the sample has is missing."""


@dataclass(frozen=True)
class StoreStatus:
    """Numbers of photos as readers see them now."""

    tagged: int
    rejected: dict[str, int]
    """By reason."""
    exact: bool
    """False: estimated from a random sample of photos (see sampling.py)."""
