"""EventQueue: photo events between the upload pipeline and the spout. No accepted event is ever dropped silently.

An event is *ready* (perhaps not before a time), *leased* by a holder (a spout), *done*, or a *dead letter*. An attempt
is counted when an event is leased, so that an event whose photo kills processes runs out of attempts.

An event whose lease ended without a verdict, because its holder died or its tuple timed out, is a *suspect*: it may
have killed the process. At most one suspect is leased at a time. So a killer takes no other event with it twice, and
the innocent events that were in flight beside it do not become dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from autotag.errors import SettingsError
from autotag.events import PhotoEvent
from autotag.queues.retry import Verdict
from autotag.settings import Settings


@dataclass(frozen=True)
class Lease:
    """An event that a holder may work on for a while."""

    key: str
    event: PhotoEvent
    attempt: int
    """1 for the first."""


@dataclass(frozen=True)
class DeadLetter:
    """An event that used up its attempts. Times are microseconds since 1970."""

    key: str
    event: PhotoEvent
    attempts: int
    reason: str
    detail: str
    dead_us: int


class ErasedEvents(NamedTuple):
    """Numbers of the events that an erasure met."""

    removed: int
    """Unfinished events and dead letters."""
    in_flight: int
    """Leased events, which stay until their lease ends."""


@dataclass(frozen=True)
class QueueStatus:
    """Numbers of events by state; `oldest_s` is the age in seconds of the oldest unfinished event, 0 without one."""

    ready: int
    waiting: int
    """Ready, but not before a later time."""
    in_flight: int
    dead: int
    oldest_s: float
    retries: dict[str, int]
    """Ready or waiting events that failed before, by the last reason."""


class EventQueue(Protocol):
    """A queue; safe for many processes, and for the threads of each.

    Every method raises QueueError when the queue cannot be reached; then nothing was changed.
    """

    def enqueue(self, events: Sequence[PhotoEvent]) -> list[bool]:
        """Accept events, durably once this returns; return False for each whose key the queue already had."""

    def lease(self, count: int, holder: str) -> list[Lease]:
        """Lease at most `count` ready events, those due longest first, and one suspect; count an attempt for each."""

    def ack(self, keys: Sequence[str], holder: str) -> None:
        """Mark leased events as done; a key that `holder` does not hold any more is skipped."""

    def record_verdict(self, key: str, verdict: Verdict) -> None:
        """Record why a leased event is about to fail; `fail` follows."""

    def fail(self, keys: Sequence[str], holder: str) -> None:
        """End the leases of events that did not work; `RetryPolicy` says when they are ready again, if ever."""

    def release(self, holder: str) -> int:
        """End all leases of `holder`, as `fail` does, and return their number; call it after a restart."""

    def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters, the newest first."""

    def replay(self, keys: Sequence[str] | None = None) -> int:
        """Make dead letters (None: all) ready again with fresh attempts; return their number."""

    def drop(self, keys: Sequence[str] | None = None) -> int:
        """Remove dead letters (None: all); return their number."""

    def erase(self, photo_id: str | None = None, owner: str | None = None) -> ErasedEvents:
        """Remove all events of a photo or of an owner, one of the two, but those in flight.

        An event whose lease has run out is not in flight. A finished event keeps its key, and loses its content: sent
        once more, it is still refused as known.
        """

    def status(self) -> QueueStatus:
        """Return the numbers of events now."""

    def close(self) -> None:
        """Close the connection."""


def open_queue(settings: Settings) -> EventQueue:
    """Return the queue that `autotag.queue` names.

    Raises:
        SettingsError: no queue has that scheme.
        QueueError: it cannot be opened.
    """
    scheme, _, rest = settings.queue.partition(":")
    if scheme == "sqlite" and rest:
        from autotag.queues.sqlite_queue import SqliteQueue

        return SqliteQueue(settings.path(rest), settings)
    raise SettingsError(f"autotag.queue must be 'sqlite:PATH'. Given: {settings.queue!r}")
