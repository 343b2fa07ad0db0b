"""The retry policy: attempts, outages, back-offs and suspects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotag.queues.retry import LOST, RetryPolicy, Verdict
from autotag.settings import Settings

POLICY = RetryPolicy(replace(Settings(), queue_attempts=3, queue_backoff_s=2.0, queue_backoff_max_s=100.0))


@pytest.mark.parametrize(("failures", "backoff_s"), [(1, 2.0), (2, 8.0)])
def test_a_failure_waits_four_times_as_long_as_the_one_before(failures: int, backoff_s: float) -> None:
    waits_s = [POLICY.after(failures, 0, Verdict("timeout", "")).wait_s for _ in range(200)]
    assert 0.8 * backoff_s <= min(waits_s) < 0.9 * backoff_s
    assert 1.1 * backoff_s < max(waits_s) <= 1.2 * backoff_s


def test_the_last_attempt_ends_as_a_dead_letter_at_once() -> None:
    after = POLICY.after(3, 5, Verdict("timeout", "the host said nothing"))
    assert after == (3, 5, True, False, 0.0, "timeout", "the host said nothing")


def test_an_outage_gives_the_attempt_back_and_lengthens_the_back_off() -> None:
    after = POLICY.after(3, 1, Verdict("store_unavailable", "", uses_attempt=False))
    assert (after.attempts, after.outages, after.is_dead) == (2, 2, False)
    assert 0.8 * 100 <= after.wait_s <= 1.2 * 100  # 2 * 4^3 seconds, but at most 100


def test_a_lease_without_a_verdict_makes_a_suspect_that_is_due_at_once_or_a_dead_letter() -> None:
    after = POLICY.after(1, 0, None)
    assert (after.is_suspect, after.is_dead, after.wait_s, after.reason) == (True, False, 0.0, LOST)
    assert POLICY.after(3, 0, None).is_dead


@pytest.mark.parametrize(("wished_s", "least_s", "most_s"), [(1.0, 1.6, 2.4), (30.0, 30.0, 45.0), (1e9, 80.0, 120.0)])
def test_a_servers_wish_is_kept_between_the_back_off_and_the_longest(
    wished_s: float, least_s: float, most_s: float
) -> None:
    for _ in range(100):
        assert least_s <= POLICY.after(1, 0, Verdict("too_many_requests", "", wait_s=wished_s)).wait_s <= most_s
