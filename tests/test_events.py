"""PhotoEvent accepts exactly the CloudEvents that name a photo, and says what is wrong with the others."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotag.errors import EventError
from autotag.events import EventType, PhotoEvent
from autotag.events.times import iso_time, now_us

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "photo.uploaded",
    "source": "/uploads",
    "id": "1",
    "subject": "p1",
    "time": "2026-01-31T12:00:00.25+02:00",
    "data": {"uri": "file:///a.jpg", "owner": "ann", "taken": "2025-12-24T18:00:00Z"},
}


def changed(**changes: Any) -> str:
    event = {**GOOD, **changes}
    return json.dumps({name: value for name, value in event.items() if value is not None})


def test_a_good_event_is_read_with_its_time_in_microseconds_of_utc() -> None:
    event = PhotoEvent.from_json(json.dumps(GOOD))
    assert (event.type, event.photo_id, event.owner, event.uri) == (
        EventType.UPLOADED,
        "p1",
        "ann",
        "file:///a.jpg",
    )
    assert iso_time(event.content_us) == "2026-01-31T10:00:00.250000Z"


def test_an_event_reads_back_equal_from_its_own_json() -> None:
    event = PhotoEvent.from_json(json.dumps(GOOD))
    assert PhotoEvent.from_json(json.dumps(event.to_dict())) == event


def test_a_deletion_needs_neither_uri_nor_owner() -> None:
    event = PhotoEvent.from_json(changed(type="photo.deleted", data=None))
    assert (event.type, event.uri, event.owner) == (EventType.DELETED, "", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON object"),
        ("[" * 100_000, "not JSON|has 100000 bytes"),
        (" " * 70_000, "at most 65536"),
        (changed(subject=None), "'subject' is missing"),
        (changed(subject=""), "'subject' is missing"),
        (changed(subject=7), "'subject' must be text"),
        (changed(subject="a\x00b"), "'subject' has control characters"),
        (changed(subject="\ud800"), "'subject' has control characters or half a surrogate"),
        (changed(subject="x" * 5000), "'subject' has 5000 characters"),
        (changed(specversion="0.3"), "'specversion' must be '1.0'"),
        (changed(type="photo.liked"), "'type' must be one of"),
        (changed(time=None), "'time' is missing"),
        (changed(time="yesterday"), "'time' must be a time"),
        (changed(time="2026-01-31T12:00:00"), "offset from UTC"),
        (changed(time="1969-01-31T12:00:00Z"), "after 1970"),
        (changed(time="2999-01-31T12:00:00Z"), "a day in the future"),
        (changed(data=None), "'data.owner' is missing|'data.uri' is missing"),
        (changed(data={"owner": "ann"}), "'data.uri' is missing"),
        (changed(data={"uri": "file:///a"}), "'data.owner' is missing"),
        (changed(data={"uri": "file:///a", "owner": "ann", "taken": "x"}), "'data.taken' must be a time"),
        (changed(data={"owner": "ann", "uri": "ftp://a/b.jpg"}), "'data.uri' must begin with one of"),
        (changed(data={"owner": "ann", "uri": "b.jpg"}), "'data.uri' must begin with one of"),
        (changed(data=[]), "'data' must be a JSON object"),
        (changed(source=None), "'source' is missing"),
        (changed(id=None), "'id' is missing"),
    ],
)
def test_what_is_no_event_is_refused_with_the_attribute_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(EventError, match=says):
        PhotoEvent.from_json(text)


def test_a_photo_id_may_have_slashes_spaces_emoji_and_a_thousand_characters() -> None:
    photo_id = ("a/b c 🐈 ü\u200d" * 200)[:1000]
    event = PhotoEvent.from_json(changed(subject=photo_id))
    assert event.photo_id == photo_id


def test_events_have_the_same_key_exactly_when_source_and_id_are_the_same() -> None:
    one = PhotoEvent.from_json(changed(source="a", id="bc"))
    assert one.key == PhotoEvent.from_json(changed(source="a", id="bc", subject="other")).key
    assert one.key != PhotoEvent.from_json(changed(source="ab", id="c")).key


@given(st.integers(1, now_us()))
def test_every_microsecond_survives_being_written_as_text(time_us: int) -> None:
    assert PhotoEvent.from_json(changed(time=iso_time(time_us))).content_us == time_us


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_nothing_but_an_event_error_comes_of_any_json(values: dict[str, Any]) -> None:
    with contextlib.suppress(EventError):
        assert PhotoEvent.from_dict({**GOOD, **values}).photo_id
