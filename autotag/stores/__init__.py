"""PhotoStore: what is known of every photo. One answer each: the result of the highest rank (see results.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autotag.errors import SettingsError
from autotag.results import Rejected, Result, Tagged
from autotag.settings import Settings
from models.bundle import Tag


@dataclass(frozen=True)
class StoredPhoto:
    """What a reader sees of one photo, and when that was stored (microseconds since 1970)."""

    result: Tagged | Rejected
    stored_us: int


@dataclass(frozen=True)
class FoundPhoto:
    """A photo that a search found, and the tag that it was found by."""

    photo_id: str
    owner: str
    uri: str
    content_us: int
    tag: Tag


@dataclass(frozen=True)
class Page:
    """Some of a search's photos, newest content first; `cursor` continues it and is None at the end."""

    photos: tuple[FoundPhoto, ...]
    cursor: str | None


@dataclass(frozen=True)
class StoreStatus:
    """Counts of photos as readers see them now."""

    tagged: int
    rejected: dict[str, int]
    """By reason."""


class PhotoStore(Protocol):
    """What every store does; safe for many processes, and for the threads of each.

    Every method raises StoreError when the store is away.
    """

    def write(self, results: Sequence[Result]) -> None:
        """Write results, durably once this returns: all of them or, after a StoreError, none.

        Any order, repetition or delay of the same writes ends in the same answers.
        """

    def get(self, photo_id: str) -> StoredPhoto | None:
        """What is known of a photo; None when nothing is, or it was deleted."""

    def search(self, tag: str, owner: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Photos that have a tag, named by its display name (in any case) or its id.

        Raises:
            StoreError: also for a cursor that no search gave.
        """

    def status(self) -> StoreStatus:
        """The counts now."""

    def close(self) -> None:
        """Let go of the connection."""


def open_store(settings: Settings) -> PhotoStore:
    """The store that `autotag.store` names.

    Raises:
        SettingsError: no store has that scheme.
        StoreError: it cannot be opened.
    """
    scheme, _, rest = settings.store.partition(":")
    if scheme == "sqlite" and rest:
        from autotag.stores.sqlite import SqliteStore

        return SqliteStore(settings.path(rest))
    raise SettingsError(f"autotag.store must be 'sqlite:PATH'. Given: {settings.store!r}")
