"""Times: whole microseconds since 1970, UTC, and RFC 3339 text."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from autotag.errors import EventError
from autotag.events.checks import brief

MAX_AHEAD_US = 24 * 3600 * 1_000_000
"""The most that an event's time may lie ahead. Content versions only grow, so one wrong clock would end updates."""


def now_us() -> int:
    """Return the time by this machine's clock, in microseconds since 1970."""
    return time.time_ns() // 1000


def iso_time(time_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 text in UTC."""
    # Built of whole numbers: a float of seconds cannot hold microseconds of every year.
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def time_us(value: str, name: str) -> int:
    """Return RFC 3339 text as microseconds since 1970, negative before.

    Raises:
        EventError: the text is no such time; the message has the field's `name`.
    """
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise EventError(f"{name!r} must be a time such as '2026-01-31T12:00:00Z'. Given: {brief(value)}") from error
    if moment.tzinfo is None:
        raise EventError(f"{name!r} needs its offset from UTC, such as 'Z' or '+02:00'. Given: {brief(value)}")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def check_past(us: int, name: str, value: object, *, any_future: bool = False) -> None:
    """Refuse a time that no photo can have.

    Args:
        us: microseconds since 1970.
        name: the field's name, for the message, as is its `value`.
        any_future: accept any time after 1970, as for an event whose time was checked when it was accepted.

    Raises:
        EventError: the time is not after 1970, or more than a day ahead of this machine's clock.
    """
    if us <= 0:
        raise EventError(f"{name!r} must be after 1970. Given: {brief(value)}")
    if us > now_us() + MAX_AHEAD_US and not any_future:
        raise EventError(
            f"{name!r} lies more than a day in the future; check the clock that set it. Given: {brief(value)}"
        )
