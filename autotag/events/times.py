"""Times: whole microseconds since 1970, UTC, and RFC 3339 text."""

from __future__ import annotations

import re
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


_LEAP_SECOND = re.compile(r"(.*\d\d:\d\d:)60((?:[.,]\d+)?(?:Z|[+-].*))")


def time_us(value: str, name: str) -> int:
    """Return RFC 3339 text as microseconds since 1970, negative before.

    Digits below a microsecond are cut off. Second 60, which only the last minute of a UTC day can have, is the first
    second of the next day, as in POSIX time.

    Raises:
        EventError: the text is no such time; the message has the field's `name`.
    """
    text = value[:-1] + "Z" if value.endswith("z") else value
    leap = _LEAP_SECOND.fullmatch(text)
    if leap:
        text = f"{leap[1]}59{leap[2]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise EventError(f"{name!r} must be a time such as '2026-01-31T12:00:00Z'. Given: {brief(value)}") from error
    if moment.tzinfo is None:
        raise EventError(f"{name!r} needs its offset from UTC, such as 'Z' or '+02:00'. Given: {brief(value)}")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    if leap and delta.seconds != 86399:
        raise EventError(f"{name!r} has a second 60 that is not the last of a UTC day. Given: {brief(value)}")
    seconds = delta.days * 86400 + delta.seconds + (leap is not None)
    return seconds * 1_000_000 + delta.microseconds


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
