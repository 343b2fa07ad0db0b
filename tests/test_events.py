"""PhotoEvent accepts exactly the CloudEvents that name a photo, and says what is wrong with the others."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from autotag.errors import EventError
from autotag.events import MAX_EVENT_BYTES, EventType, PhotoEvent
from autotag.events.batch import _array_events, read_events
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


def in_base64(data: Any) -> str:
    return base64.b64encode(json.dumps(data).encode()).decode()


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
        (changed(time="2026-01-31T12:00:60Z"), "'time' has a second 60 that is not the last of a UTC day"),
        (changed(time="2026-01-31T23:59:61Z"), "'time' must be a time"),
        (changed(datacontenttype="text/plain"), "'datacontenttype' must be JSON"),
        (changed(datacontenttype="json"), "'datacontenttype' must be JSON"),
        (changed(datacontenttype=7), "'datacontenttype' must be text"),
        (changed(data_base64=in_base64(GOOD["data"])), "'data' and 'data_base64' must not both be there"),
        (changed(data=None, data_base64="e30"), "'data_base64' must be JSON in base64: Incorrect padding"),
        (changed(data=None, data_base64="////"), "'data_base64' must be JSON in base64"),
        (changed(data=None, data_base64={}), "'data_base64' must be JSON in base64: not text"),
        (changed(data=None, data_base64="W10="), "'data_base64' must be a JSON object"),
        (changed(data=None, data_base64=in_base64({"uri": "file:///a"})), "'data.owner' is missing"),
        (changed(source=None), "'source' is missing"),
        (changed(id=None), "'id' is missing"),
    ],
)
def test_what_is_no_event_is_refused_with_the_attribute_that_is_wrong(text: str, says: str) -> None:
    with pytest.raises(EventError, match=says):
        PhotoEvent.from_json(text)


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00.9999999-01:30", "2026-01-31T13:30:00.999999Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("2016-12-31t23:59:60.25z", "2017-01-01T00:00:00.250000Z"),
        ("2017-01-01T08:59:60+09:00", "2017-01-01T00:00:00.000000Z"),
    ],
)
def test_every_time_of_rfc_3339_is_read(time: str, utc: str) -> None:
    assert iso_time(PhotoEvent.from_json(changed(time=time)).content_us) == utc


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.photos+json;v=1", "text/json"],
)
def test_data_is_json_whatever_parameters_its_type_has_and_may_be_in_base64(content_type: str) -> None:
    plain = PhotoEvent.from_json(changed(datacontenttype=content_type))
    encoded = changed(datacontenttype=content_type, data=None, data_base64=in_base64(GOOD["data"]))
    assert PhotoEvent.from_json(encoded) == plain == PhotoEvent.from_json(json.dumps(GOOD))


@pytest.mark.parametrize("data", [GOOD["data"], json.dumps(GOOD["data"]).encode()], ids=["data", "data_base64"])
def test_what_the_official_package_writes_is_read(data: Any) -> None:
    attributes = {name: value for name, value in GOOD.items() if name != "data"}
    attributes |= {"time": datetime.fromisoformat(GOOD["time"]), "datacontenttype": "application/json; charset=utf-8"}
    text = JSONFormat().write(CloudEvent(attributes, data))
    assert (b"data_base64" in text) == isinstance(data, bytes)
    assert PhotoEvent.from_json(text) == PhotoEvent.from_json(json.dumps(GOOD))


def read(file: bytes) -> list[tuple[str, str]]:
    """Each event's place, and its photo's id or the reason why it is refused."""
    return [
        (where, one.photo_id if isinstance(one, PhotoEvent) else str(one))
        for where, one in read_events(io.BytesIO(file))
    ]


def test_a_file_of_events_has_one_a_line_or_is_one_array() -> None:
    odd = changed(subject='a\\ "[{,]}" \u00fc')
    events = [changed(), odd, changed(subject="p3")]
    names = ["p1", 'a\\ "[{,]}" \u00fc', "p3"]
    lines = "\n\n".join(events).encode()
    assert read(lines) == read(b"\xef\xbb\xbf" + lines) == list(zip(["line 1", "line 3", "line 5"], names, strict=True))
    array = list(zip(["event 1", "event 2", "event 3"], names, strict=True))
    for text in (f"[{','.join(events)}]", "\n [\n" + " ,\n".join(events) + "\n]\n\n"):
        assert read(text.encode()) == array
    assert read(json.dumps([json.loads(event) for event in events], indent=4).encode()) == array
    assert read(b"") == read(b"\n \n") == read(b" [ ] ") == []


def test_one_bad_event_of_an_array_is_refused_alone() -> None:
    good, long = changed(), '"' + "x" * 3 * MAX_EVENT_BYTES + '"'
    assert read(f"[{good}, 7, {long}, , {{]}}, {good}]".encode())[:4] == [
        ("event 1", "p1"),
        ("event 2", "an event is a JSON object. Given: 7"),
        ("event 3", f"longer than {MAX_EVENT_BYTES} bytes"),
        ("event 4", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    ]
    assert read(f"[{good}, {long}, {good}]".encode())[2] == ("event 3", "p1")
    assert read(f"[{good},".encode())[1] == ("event 2", "the file ends before the array does: ']' is missing")
    assert read(f"[{good}]\n{good}".encode())[1][0] == "after the array"


@given(st.lists(st.text(min_size=1, max_size=5).filter(str.isprintable), max_size=5), st.integers(1, 40))
def test_an_array_is_read_the_same_in_whatever_pieces_it_comes(subjects: list[str], size: int) -> None:
    text = json.dumps([json.loads(changed(subject=subject)) for subject in subjects], ensure_ascii=False).encode()
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    found = [event.photo_id for _, event in _array_events(pieces) if isinstance(event, PhotoEvent)]
    assert found == subjects


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
