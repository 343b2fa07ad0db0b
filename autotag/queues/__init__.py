"""EventQueue: photo events between the upload pipeline and the spout. Nothing accepted is ever dropped silently.

An event is *ready* (perhaps not before a time), *leased* by a holder (a spout), *done*, or a *dead letter*. Attempts
are counted when an event is leased, so that one whose photo ends processes runs out of them.

An event whose lease was lost without a verdict - its holder died, its tuple timed out - is a *suspect*: it may be what
killed the process. At most one suspect is leased at a time, so that a killer takes no other event with it twice, and
the innocent ones that were in flight beside it never become dead letters on its account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autotag.errors import SettingsError
from autotag.events import PhotoEvent
from autotag.settings import Settings

LOST = "lost"
"""The reason of an event whose lease ended without a verdict."""


@dataclass(frozen=True)
class Lease:
    """An event that is ours for a while."""

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


@dataclass(frozen=True)
class QueueStatus:
    """Counts of events by state; `oldest_s` is the age in seconds of the oldest unfinished one (0 when none)."""

    ready: int
    waiting: int
    """Ready, but not before a later time."""
    in_flight: int
    dead: int
    oldest_s: float
    retries: dict[str, int]
    """Of those that are ready or waiting, how many failed before, by the last reason."""


class EventQueue(Protocol):
    """What every queue does; safe for many processes, and for the threads of each.

    Every method raises QueueError when the queue is away; then nothing was changed.
    """

    def put(self, events: Sequence[PhotoEvent]) -> list[bool]:
        """Accept events, durably once this returns; False for each whose key was here already."""

    def lease(self, count: int, holder: str) -> list[Lease]:
        """At most `count` ready events, those due longest first, and one suspect; an attempt is counted for each."""

    def ack(self, keys: Sequence[str], holder: str) -> None:
        """These events are done. A key that `holder` no longer holds is left alone."""

    def note(self, key: str, reason: str, detail: str, *, counts: bool, wait_s: float = 0.0) -> None:
        """Write down why a leased event is about to fail.

        Args:
            counts: False gives the attempt back (an outage).
            wait_s: seconds that the photo's server asked to wait. The event waits as long, if that is longer than its
                back-off, but not longer than the longest back-off.
        """

    def fail(self, keys: Sequence[str], holder: str) -> None:
        """These events did not work: ready again after a back-off, or dead after the last attempt."""

    def release(self, holder: str) -> int:
        """Take back at once what an earlier life of `holder` had leased; how many there were."""

    def dead(self) -> list[DeadLetter]:
        """All dead letters, the newest first."""

    def replay(self, keys: Sequence[str] | None = None) -> int:
        """Make dead letters (all of them for None) ready again with fresh attempts; how many there were."""

    def drop(self, keys: Sequence[str] | None = None) -> int:
        """Forget dead letters (all of them for None); how many there were."""

    def forget(self, photo_id: str | None = None, owner: str | None = None) -> tuple[int, int]:
        """Remove all events of a photo, or of an owner (one of the two) but those in flight; whose lease has run out
        is not. Of a finished event what it says is removed, its key is kept: sent once more, it is still known.

        Returns:
            How many unfinished events and dead letters were removed, and how many are in flight.
        """

    def status(self) -> QueueStatus:
        """The counts now."""

    def close(self) -> None:
        """Let go of the connection."""


def open_queue(settings: Settings) -> EventQueue:
    """The queue that `autotag.queue` names.

    Raises:
        SettingsError: no queue has that scheme.
        QueueError: it cannot be opened.
    """
    scheme, _, rest = settings.queue.partition(":")
    if scheme == "sqlite" and rest:
        from autotag.queues.sqlite_queue import SqliteQueue

        return SqliteQueue(settings.path(rest), settings)
    raise SettingsError(f"autotag.queue must be 'sqlite:PATH'. Given: {settings.queue!r}")
