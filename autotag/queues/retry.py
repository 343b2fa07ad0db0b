"""RetryPolicy: when an event that did not work is tried again, and when it becomes a dead letter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from autotag.settings import Settings

LOST = "lost"
"""The reason of an event whose lease ended without a verdict."""
GROWTH = 4.0
"""Each failure multiplies the back-off by this."""
JITTER = 0.2
"""A back-off is drawn from so much below to so much above its length, so that events do not come back together."""


@dataclass(frozen=True)
class Verdict:
    """The reason why a leased event failed."""

    reason: str
    detail: str
    uses_attempt: bool = True
    """False gives the attempt back: an outage, which is not the event's fault."""
    wait_s: float = 0.0
    """Seconds that the photo's server asked to wait. The event waits so long where its back-off is shorter, but never
    longer than the longest back-off."""


class NextState(NamedTuple):
    """The state of an event after a lease that did not work."""

    attempts: int
    outages: int
    """Failures that used no attempt; they lengthen the back-off."""
    is_dead: bool
    is_suspect: bool
    wait_s: float
    """Seconds until the event is due."""
    reason: str
    detail: str


class RetryPolicy:
    """Counts attempts and computes back-offs.

    Args:
        settings: the number of attempts; the first and the longest back-off in seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self._attempts = settings.queue_attempts
        self._backoff_s = settings.queue_backoff_s
        self._backoff_max_s = settings.queue_backoff_max_s

    def after(self, attempts: int, outages: int, verdict: Verdict | None) -> NextState:
        """Return an event's state after a lease that did not work.

        Args:
            attempts, outages: the event's counts, this lease included in `attempts`.
            verdict: None if the lease ended without one: its process died, or its tuple timed out.
        """
        if verdict is None:
            detail = f"attempt {attempts}: no verdict; its process died or its tuple timed out"
            # A suspect waits for its turn alone anyway; a back-off would only make that turn later.
            return NextState(attempts, outages, attempts >= self._attempts, True, 0.0, LOST, detail)
        if not verdict.uses_attempt:
            attempts, outages = attempts - 1, outages + 1
        is_dead = attempts >= self._attempts
        wait_s = 0.0 if is_dead else self._wait_s(attempts + outages, verdict.wait_s)
        return NextState(attempts, outages, is_dead, False, wait_s, verdict.reason, verdict.detail)

    def _wait_s(self, failures: int, wished_s: float) -> float:
        backoff_s = self._backoff_s * GROWTH ** min(failures - 1, 20)
        wait_s = min(max(backoff_s, wished_s / (1 - JITTER)), self._backoff_max_s)
        return wait_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter
