"""The contract of the PhotoStore, over every database."""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autotag.errors import StoreError, TagError
from autotag.events.times import now_us
from autotag.settings import Settings
from autotag.stores import PhotoStore, base, layout, open_store, writing
from autotag.stores.responses import HistoryEntry, OwnerTags
from autotag.stores.sampling import SAMPLE
from autotag.stores.tables import PHOTOS, Cell
from autotag.stores.writing import MAX_FACT_BYTES
from autotag.view.decisions import Action, Decision
from autotag.view.merge import merge
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable
from tests.worlds import (
    ANIMALS,
    BEAGLE,
    CAT,
    CATEGORISED,
    CLASSES,
    DOG,
    NAMES,
    PETS,
    POODLE,
    Killed,
    Wrapped,
    check_index,
    contents,
    deleted,
    dying,
    interrupted,
    machines,
    model,
    plain,
    publish,
    rejected,
    search_all,
    tagged,
)

HOUR_US = 3600 * 1_000_000


@pytest.fixture
def store(store_settings: Settings) -> Iterator[PhotoStore]:
    """Empty, but for the model with sequence number 1."""
    store = open_store(store_settings)
    store.runs.add_model(model(), CLASSES)
    yield store
    store.close()


def names(store: PhotoStore, photo_id: str = "p") -> list[str] | None:
    found = store.get(photo_id)
    return found and [tag.name for tag in found.view.tags]


def over(tables: Any) -> PhotoStore:
    return PhotoStore(tables)


# Reading what was written


def test_tags_are_read_back_with_their_provenance(store: PhotoStore) -> None:
    written = tagged(content=7, sequence=1, computed=9, tags=(DOG, CAT))
    assert store.write([written]) == {}
    found = store.get("p")
    assert found is not None
    assert found.view.machine == written
    assert [(tag.name, tag.score, tag.source, tag.origin) for tag in found.view.tags] == [
        ("dog", 0.97, "realtime", written),
        ("domestic cat", 0.5, "realtime", written),
    ]
    assert abs(found.stored_us - now_us()) < HOUR_US
    assert store.get("q") is None
    assert store.history("q") == []


def test_a_rejection_is_read_back_with_its_reason(store: PhotoStore) -> None:
    store.write([rejected()])
    found = store.get("p")
    assert found is not None
    assert (found.view.rejected, found.view.tags) == (rejected(), ())


def test_a_deleted_photo_is_nowhere_no_late_write_brings_it_back_and_a_newer_upload_does(store: PhotoStore) -> None:
    store.write([tagged(content=10)])
    store.decide("p", "rex", Action.ADD, "bob", new=True)
    store.write([deleted(20)])
    for late in (tagged(content=10), tagged(content=20, sequence=7), rejected(content=15), deleted(5)):
        assert store.write([late]) == {}
        assert store.get("p") is None
        assert search_all(store, "dog") == search_all(store, "rex") == []
        assert store.status().tagged == 0
        assert store.owner("ann").photos == 0
    with pytest.raises(TagError, match="nothing is stored of photo 'p'"):
        store.decide("p", "dog", Action.REMOVE, "bob")
    store.write([tagged(content=21)])
    assert names(store) == ["dog"]
    check_index(store, ["p"])


def test_a_write_that_comes_after_the_deletion_leaves_nothing(store: PhotoStore) -> None:
    store.write([deleted(20)])
    before = contents(store.tables)
    store.write([tagged(content=10), tagged(content=20, owner="eve"), rejected(content=3)])
    assert contents(store.tables) == before


def test_history_tells_every_write_and_which_are_seen(store: PhotoStore) -> None:
    writes: list[Any] = [tagged(), tagged(content=2, tags=(CAT,)), tagged(content=2, run="a"), deleted(1)]
    for write in writes:
        store.write([write])
    made = store.decide("p", "beagle", Action.ADD, "bob")
    told = {HistoryEntry(entry.write, 0, entry.seen) for entry in store.history("p")}
    assert told == {
        HistoryEntry(write, 0, seen)
        for write, seen in zip([*writes, made], [False, True, False, False, True], strict=True)
    }
    times = [entry.stored_us for entry in store.history("p")]
    assert times == sorted(times, reverse=True)


def test_a_repetition_changes_nothing(store: PhotoStore) -> None:
    writes = [tagged(tags=(DOG, CAT)), rejected(content=2), tagged("q", run="a")]
    store.write(writes)
    before = contents(store.tables)
    for write in [*writes, *writes]:
        store.write([write])
    store.write(writes * 2)
    assert contents(store.tables) == before


# Bulk runs


def test_a_bulk_run_becomes_visible_and_invisible_again_at_one_moment(
    store: PhotoStore, store_settings: Settings
) -> None:
    photos = [f"p{number}" for number in range(20)]
    store.write([tagged(photo, tags=(CAT,)) for photo in photos[:10]])
    store.write([tagged(photo, content=2, run="again", tags=(BEAGLE, DOG)) for photo in photos])
    assert [names(store, photo) for photo in photos] == [["domestic cat"]] * 10 + [None] * 10
    assert search_all(store, "dog") == []
    check_index(store, photos)
    publish(open_store(store_settings), "again")
    assert [names(store, photo) for photo in photos] == [["beagle", "dog"]] * 20
    assert sorted(search_all(store, "dog")) == sorted(photos)
    check_index(store, photos)
    store.runs.retract("again", "ann")
    assert [names(store, photo) for photo in photos] == [["domestic cat"]] * 10 + [None] * 10
    check_index(store, photos)


def test_no_reader_sees_a_part_of_a_run(store: PhotoStore, store_settings: Settings) -> None:
    """While a run is published, of two photos read one after the other the second is never behind the first."""
    rounds = 5
    for run in range(rounds):
        store.write([tagged(photo, computed=run + 2, run=f"r{run}") for photo in ("first", "second")])
    store.write([tagged("first"), tagged("second")])
    done = threading.Event()
    seen: list[tuple[int, int]] = []

    def read() -> None:
        reader = open_store(store_settings)
        while not done.is_set():
            pair = [reader.get(photo).view.machine.computed_us for photo in ("first", "second")]  # type: ignore[union-attr]
            seen.append((pair[0], pair[1]))
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    for run in range(rounds):
        publish(store, f"r{run}")
    done.set()
    thread.join()
    assert seen
    assert all(first <= second for first, second in seen)


@pytest.mark.parametrize(
    ("realtime", "bulk", "wanted"),
    [
        (tagged(content=2), None, ["dog"]),
        (None, tagged(content=2, run="bulk", tags=(CAT,)), ["domestic cat"]),
        (tagged(content=2), tagged(content=1, run="bulk", tags=(CAT,)), ["dog"]),
        (tagged(content=1), tagged(content=2, run="bulk", tags=(CAT,)), ["domestic cat"]),
        (tagged(content=2), tagged(content=2, run="bulk", tags=(CAT,), sequence=2), ["domestic cat"]),
    ],
    ids=["real time only", "bulk only", "both, bulk older", "both, bulk newer", "both, bulk of a newer model"],
)
def test_the_published_samples_cases_are_answered_in_every_order(
    store: PhotoStore, realtime: Tagged | None, bulk: Tagged | None, wanted: list[str]
) -> None:
    acts: list[Callable[[PhotoStore, str], object]] = []
    if realtime:
        acts.append(lambda store, photo: store.write([replace(realtime, photo_id=photo)]))
    if bulk:
        acts.append(lambda store, photo: store.write([replace(bulk, photo_id=photo)]))
    publish(store, "bulk")
    for number, order in enumerate(itertools.permutations(acts)):
        for act in order:
            act(store, f"p{number}")
        assert names(store, f"p{number}") == wanted
        check_index(store, [f"p{number}" for number in range(number + 1)])


def test_a_later_bulk_run_takes_the_place_of_an_earlier_one(store: PhotoStore) -> None:
    store.write([tagged(computed=0), tagged(run="one", tags=(CAT,)), tagged(run="two", computed=2, tags=(BEAGLE,))])
    for act, wanted in [
        (lambda: publish(store, "two"), ["beagle"]),
        (lambda: publish(store, "one"), ["beagle"]),
        (lambda: store.runs.retract("two", "ann"), ["domestic cat"]),
        (lambda: store.runs.retract("one", "ann"), ["dog"]),
    ]:
        act()
        assert names(store) == wanted
        check_index(store, ["p"])


def test_a_withdrawn_models_tags_are_seen_no_more_by_anyone(store: PhotoStore) -> None:
    store.runs.add_model(model(2), CLASSES)
    store.write([tagged(tags=(CAT,)), tagged(sequence=2), tagged("q", sequence=2)])
    store.runs.withdraw(str(model(2)), "ann")
    assert (names(store), names(store, "q")) == (["domestic cat"], [])
    assert search_all(store, "dog") == []
    check_index(store, ["p", "q"])
    assert store.get("q").stored_us > 0  # type: ignore[union-attr]


# People


def test_decisions_stay_through_every_model_and_replacement_with_who_and_when(store: PhotoStore) -> None:
    store.write([tagged(content=10, tags=(CAT,))])
    before = now_us()
    added = store.decide("p", "Beagle", Action.ADD, "bob")
    removed = store.decide("p", "n-cat", Action.REMOVE, "eve")
    assert (added.tag_id, added.name, added.by, removed.by) == ("n-beagle", "beagle", "bob", "eve")
    assert before <= added.decided_us < removed.decided_us
    for write in [
        tagged(content=10, sequence=9, tags=(CAT, POODLE)),
        tagged(content=11, tags=(CAT, POODLE)),
        tagged(content=11, sequence=9, tags=(CAT, DOG, POODLE), run="bulk"),
    ]:
        store.write([write])
        found = store.get("p")
        assert found is not None
        people = [tag for tag in found.view.tags if tag.source == "person"]
        assert [tag.name for tag in people] == ["animal", "beagle", "dog"]
        assert {tag.origin for tag in people} == {added}
        assert "domestic cat" not in names(store)  # type: ignore[operator]
        check_index(store, ["p"])
    publish(store, "bulk")
    assert names(store) == ["animal", "beagle", "dog", "poodle"]
    check_index(store, ["p"])
    store.write([rejected(content=12)])
    assert names(store) == ["animal", "beagle", "dog"]
    check_index(store, ["p"])
    store.write([deleted(13), tagged(content=14, tags=(CAT,))])
    assert names(store) == ["domestic cat"]
    check_index(store, ["p"])


def test_removing_a_class_hides_what_is_in_it_and_a_later_decision_stands_over_an_earlier(store: PhotoStore) -> None:
    store.write([tagged(tags=(BEAGLE, DOG, POODLE, CAT))])
    for action, tag, wanted in [
        (Action.REMOVE, "dog", ["domestic cat"]),
        (Action.ADD, "beagle", ["animal", "beagle", "dog", "domestic cat"]),
        (Action.REMOVE, "animal", []),
        (Action.ADD, "domestic cat", ["animal", "domestic cat"]),
        (Action.ADD, "dog", ["animal", "dog", "domestic cat"]),
    ]:
        store.decide("p", tag, action, "bob")
        assert names(store) == wanted
        check_index(store, ["p"])


@pytest.mark.parametrize("ahead_us", [-HOUR_US, HOUR_US])
def test_a_later_decision_stands_also_by_a_clock_an_hour_off(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch, ahead_us: int
) -> None:
    store.write([tagged()])
    first = store.decide("p", "dog", Action.REMOVE, "bob")
    monkeypatch.setattr(writing, "now_us", lambda: now_us() + ahead_us)
    second = store.decide("p", "dog", Action.ADD, "eve")
    assert names(store) == ["animal", "dog"]
    monkeypatch.undo()
    third = store.decide("p", "dog", Action.REMOVE, "bob")
    assert names(store) == []
    assert first.decided_us < second.decided_us < third.decided_us


def test_photos_are_ordered_by_their_events_clocks_alone(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer's clock decides nothing: a replacement written by one an hour behind stands all the same."""
    store.write([tagged(content=HOUR_US * 2)])
    monkeypatch.setattr(writing, "now_us", lambda: 1)
    store.write([tagged(content=HOUR_US * 2 + 1, tags=(CAT,))])
    store.decide("p", "dog", Action.ADD, "bob")
    assert names(store) == ["animal", "dog", "domestic cat"]
    store.write([deleted(HOUR_US * 3)])
    assert store.get("p") is None


def test_a_tag_of_peoples_own_has_to_be_said_to_be_new_and_is_found_in_any_case(store: PhotoStore) -> None:
    store.write([tagged()])
    with pytest.raises(TagError, match=r"no class is called 'beegle' \(did you mean 'beagle'\?\)"):
        store.decide("p", "beegle", Action.ADD, "bob")
    with pytest.raises(TagError, match=r"no class is called 'zzzz'$"):
        store.decide("p", "zzzz", Action.ADD, "bob")
    made = store.decide("p", "  Mein Hund ", Action.ADD, "bob", new=True)
    assert (made.tag_id, made.name) == ("mein hund", "Mein Hund")
    assert search_all(store, "MEIN HUND") == ["p"]
    assert names(store) == ["Mein Hund", "dog"]
    store.decide("p", "mein hund", Action.REMOVE, "eve")
    assert names(store) == ["dog"]
    check_index(store, ["p"])


@pytest.mark.parametrize("tag", ["", " ", "a\nb", "\x00", "\ud800", "x" * 101, "\u200b\u202e", "Category:mine"])
def test_a_name_that_nobody_could_read_is_no_tag(store: PhotoStore, tag: str) -> None:
    store.write([tagged()])
    with pytest.raises(TagError):
        store.decide("p", tag, Action.ADD, "bob", new=True)


@pytest.mark.parametrize("by", ["", "x" * 1001])
def test_a_decision_needs_to_know_by_whom(store: PhotoStore, by: str) -> None:
    store.write([tagged()])
    with pytest.raises(TagError, match="needs the name of a person"):
        store.decide("p", "dog", Action.ADD, by)


def test_a_later_models_classes_neither_add_to_what_a_person_added_nor_hide_it_from_a_search(store: PhotoStore) -> None:
    store.write([tagged(tags=(POODLE,))])
    store.decide("p", "beagle", Action.ADD, "bob")
    rows = [("n-beagle", "beagle", ["n-pet"]), ("n-pet", "pet", []), ("n-poodle", "poodle", [])]
    store.runs.add_model(model(2), ClassTable(rows))
    assert names(store) == ["animal", "beagle", "dog", "poodle"]
    check_index(store, ["p"])
    store.write([tagged(sequence=2, tags=(CAT,))])
    assert names(store) == ["animal", "beagle", "dog", "domestic cat"]
    check_index(store, ["p"])


# Searching


def test_a_search_is_by_name_in_any_case_or_by_id_newest_first(store: PhotoStore) -> None:
    store.write(
        [tagged("a", content=1), tagged("b", content=2, tags=(CAT,)), tagged("c", content=3), tagged("d", owner="eve")]
    )
    assert search_all(store, "Dog") == search_all(store, "n-dog") == ["c", "a"]
    assert search_all(store, "dog", "eve") == ["d"]
    assert search_all(store, "dog", "bob") == search_all(store, "unicorn") == []
    (found,) = store.search("domestic cat", "ann").photos
    assert (found.tag.id, found.view.owner, found.view.uri) == ("n-cat", "ann", "file:///b")


def test_a_search_of_all_owners_is_for_an_embedded_store_only(store: PhotoStore) -> None:
    store.write([tagged("a", content=1), tagged("b", content=2, owner="eve"), tagged("c", content=3, tags=(CAT,))])
    if store.tables.embedded:
        assert [found.view.photo_id for found in store.search("dog").photos] == ["b", "a"]
    else:
        with pytest.raises(StoreError, match="owner"):
            store.search("dog")


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 11])
def test_pages_follow_each_other_without_gap_or_repetition(store: PhotoStore, limit: int) -> None:
    contents_us = {f"p{number}": 1 + number // 3 for number in range(10)}
    store.write([tagged(photo, content=content) for photo, content in contents_us.items()])
    found = search_all(store, "dog", limit=limit)
    assert sorted(found) == sorted(contents_us)
    assert [contents_us[photo] for photo in found] == sorted(contents_us.values(), reverse=True)


def test_a_photo_that_changed_hands_is_its_new_owners_only(store: PhotoStore) -> None:
    store.write([tagged(content=1, owner="ann")])
    store.decide("p", "beagle", Action.ADD, "bob")
    store.write([tagged(content=2, owner="eve")])
    assert search_all(store, "dog", "ann") == search_all(store, "beagle", "ann") == []
    assert search_all(store, "beagle", "eve") == ["p"]
    check_index(store, ["p"])


@pytest.mark.parametrize("cursor", ["x", "", "00", "ä", "00" * 25, "\ud800"])
def test_a_cursor_that_no_search_gave_is_refused(store: PhotoStore, cursor: str) -> None:
    with pytest.raises(StoreError, match="cursor"):
        store.search("dog", "ann", cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_no_photos_is_refused(store: PhotoStore, limit: int) -> None:
    store.write([tagged()])
    with pytest.raises(StoreError, match="limit"):
        store.search("dog", "ann", limit=limit)


def test_a_call_reads_no_more_than_its_share_however_stale_the_index_is(store: PhotoStore) -> None:
    photos = [f"p{number:03}" for number in range(300)]
    store.write([tagged(photo, content=content) for photo in photos for content in (1, 2)])
    store.write([tagged(photo, content=3, tags=(CAT,)) for photo in photos])
    store.write([tagged("old", content=1, tags=(DOG,))])
    found, cursor, calls = [], None, 0
    while True:
        counted = Wrapped(store.tables)
        reader = over(counted)
        reader.runs.read()
        counted.calls = counted.rows = 0
        page = reader.search("dog", "ann", 10, cursor)
        calls += 1
        assert counted.calls <= 1 + 4 * (3 + 1)  # the entries of up to three ids, then the photos
        assert counted.rows <= 1 + 4 * 10 * (3 + 1)
        found += [photo.view.photo_id for photo in page.photos]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == ["old"]
    assert calls >= 600 // 40


# Counting


def test_an_owners_tags_are_counted_as_readers_see_them(store: PhotoStore) -> None:
    store.write([tagged("a"), tagged("b", tags=(DOG, CAT)), tagged("c", content=5), tagged("d", owner="eve")])
    store.write([rejected(photo_id="e"), deleted(9, "c"), tagged("f", run="loaded")])
    store.decide("a", "rex", Action.ADD, "bob", new=True)
    told = store.owner("ann")
    assert (told.photos, told.exact) == (3, True)
    assert [(tag.name, tag.photos) for tag in told.tags] == [("dog", 2), ("domestic cat", 1), ("rex", 1)]
    publish(store, "loaded")
    assert store.owner("ann").tags[0].photos == 3
    assert store.owner("nobody") == OwnerTags(0, (), (), True)


def test_the_status_counts_photos_as_readers_see_them(store: PhotoStore) -> None:
    store.write([tagged("a"), tagged("b"), rejected(photo_id="c"), rejected(photo_id="d", reason="truncated")])
    store.write([deleted(5, "a"), tagged("e", run="loaded")])
    status = store.status()
    assert (status.tagged, status.rejected, status.exact) == (1, {"not_found": 1, "truncated": 1}, True)


def test_counts_are_exact_up_to_a_thousand_photos_and_a_good_guess_beyond(store: PhotoStore) -> None:
    results = [tagged(f"photo {number}", tags=(DOG, CAT) if number % 4 == 0 else (DOG,)) for number in range(3500)]
    store.write(results[:SAMPLE])
    told = store.owner("ann")
    assert (told.photos, [tag.photos for tag in told.tags], told.exact) == (1000, [1000, 250], True)
    assert (store.status().tagged, store.status().exact) == (1000, True)
    for start in range(SAMPLE, len(results), 500):
        store.write(results[start : start + 500])
    told = store.owner("ann")
    assert not told.exact
    assert told.photos == told.tags[0].photos == pytest.approx(3500, rel=0.15)
    assert told.tags[1].photos == pytest.approx(875, rel=0.3)
    assert store.status().tagged == pytest.approx(3500, rel=0.15)
    counted = Wrapped(store.tables)
    over(counted).owner("ann")
    over(counted).status()
    assert counted.rows <= 3 * (SAMPLE + 1) + 4
    told = store.owner("ann", exact=True)
    assert (told.photos, [tag.photos for tag in told.tags], told.exact) == (3500, [3500, 875], True)


# Categories


def test_an_owners_photos_are_counted_and_found_by_category_whatever_people_decide(store: PhotoStore) -> None:
    store.runs.add_model(model(2), CATEGORISED)
    results = [tagged("a", tags=(DOG, ANIMALS, PETS)), tagged("b", tags=(DOG, CAT, PETS)), tagged("c", tags=())]
    store.write([replace(result, model=model(2)) for result in results])

    def counted() -> dict[str, int]:
        check_index(store, "abc")
        return {one.name: one.photos for one in store.owner("ann").categories}

    assert counted() == {"Cats and dogs": 2, "Animals": 1}
    store.decide("c", "beagle", Action.ADD, "bob")
    assert counted() == {"Cats and dogs": 3, "Animals": 2}
    store.decide("a", "cats and dogs", Action.REMOVE, "bob")
    assert names(store, "a") == ["dog", "Animals"]
    assert counted() == {"Animals": 2, "Cats and dogs": 2}
    store.decide("b", "dog", Action.REMOVE, "bob")
    assert names(store, "b") == ["domestic cat", "Cats and dogs"]
    store.decide("b", "domestic cat", Action.REMOVE, "bob")
    assert (names(store, "b"), counted()) == ([], {"Animals": 2, "Cats and dogs": 1})
    store.decide("b", "Cats and dogs", Action.ADD, "bob")
    assert (names(store, "b"), counted()) == (["Cats and dogs"], {"Animals": 2, "Cats and dogs": 2})
    store.clean(grace_us=-HOUR_US)
    assert sorted(search_all(store, "category:pets")) == ["b", "c"]
    assert counted() == {"Animals": 2, "Cats and dogs": 2}


# All photos, and some of them


def test_photos_are_listed_as_readers_see_them(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_ROWS", 3)
    store.write([tagged(f"p{number}") for number in range(7)] + [tagged("hidden", run="up"), rejected(photo_id="bad")])
    store.write([deleted(photo_id="p0")])
    pages = list(store.photos())
    assert max(map(len, pages)) <= 3
    assert sorted(view.photo_id for page in pages for view in page) == [
        "bad",
        *(f"p{number}" for number in range(1, 7)),
    ]


def test_the_newest_photos_that_can_be_read_are_found(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_ROWS", 3)
    store.write([tagged(f"p{number}", content=number) for number in range(1, 8)] + [tagged("p2", content=20)])
    store.write([rejected(30, photo_id="bad"), replace(tagged("nowhere", content=31), uri=""), deleted(8, "p7")])
    assert [view.photo_id for view in store.newest_photos(3)] == ["p2", "p6", "p5"]
    assert len(store.newest_photos(100)) == 6


def test_views_and_stored_ids_of_some_photos(store: PhotoStore) -> None:
    store.write([tagged("p"), tagged("q", tags=(CAT,)), tagged("gone"), tagged("hidden", run="up")])
    store.write([deleted(photo_id="gone")])
    ids = ["p", "q", "gone", "hidden", "never"]
    views = store.views(ids)
    assert {id_: [tag.name for tag in view.tags] for id_, view in views.items()} == {
        "p": ["dog"],
        "q": ["domestic cat"],
    }
    assert store.stored_ids(ids) == {"p", "q", "gone", "hidden"}
    assert store.stored_ids([]) == set()


def test_decided_photos_are_those_with_a_decision_since_their_last_deletion(store: PhotoStore) -> None:
    store.write([tagged(photo_id) for photo_id in ("undecided", "decided", "gone", "back")])
    made = {id_: store.decide(id_, "beagle", Action.ADD, "bob") for id_ in ("decided", "gone", "back")}
    store.write([deleted(photo_id="gone"), deleted(photo_id="back"), tagged("back", content=2)])
    (photo,) = store.decided_photos()
    assert (photo.view.photo_id, photo.decisions) == ("decided", [made["decided"]])


# What is odd, and what is wrong

ODD = {
    "slashes": "a/b//c/../",
    "spaces": "  a  b ",
    "controls": "".join(map(chr, range(128))),
    "quotes": "'\"%_;--\\",
    "long": "x" * 1000,
    "emoji": "🐈" * 250,
    "an end of text": "\x00",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_ids_owners_and_names_are_only_names(store: PhotoStore, text: str) -> None:
    other = text + "!"
    tag = Tag(text, text, 0.5, text)
    store.write([tagged(text, tags=(tag,), owner=text), tagged(other, tags=(DOG,), owner=other)])
    found = store.get(text)
    assert found is not None
    assert (found.view.photo_id, found.view.owner, found.view.tags[0].name) == (text, text, text)
    assert search_all(store, "dog", other) == [other]
    assert store.owner(text).photos == 1
    store.decide(text, "beagle", Action.ADD, text if text.isprintable() else "bob")
    assert search_all(store, "beagle", text) == [text]
    store.write([deleted(5, text)])
    assert store.get(text) is None
    assert names(store, other) == ["dog"]


@pytest.mark.parametrize("length", [1, 4000])
def test_a_tags_name_may_be_long_and_of_any_character(store: PhotoStore, length: int) -> None:
    tags = tuple(Tag(f"t{code}", chr(code) * length, 0.5, "b") for code in (0, 9, 10, 31, 34, 92, 127, 0xFFFF, 0x1F600))
    assert store.write([tagged(tags=tags)]) == {}
    assert names(store) == [tag.name for tag in tags]


POISON: dict[str, Any] = {
    "no id": tagged(""),
    "no time": tagged(content=0),
    "a time before 1970": tagged(content=-1),
    "a time that no database holds": tagged(content=2**63),
    "a far deletion": deleted(2**64),
    "a computation before 1970": tagged(computed=-1),
    "a rejection's": rejected(computed=-1),
    "a tag without an id": tagged(tags=(Tag("", "dog", 0.5, "b"),)),
    "a tag without a name": tagged(tags=(Tag("n-dog", "", 0.5, "b"),)),
    "a tag twice": tagged(tags=(DOG, CAT, DOG)),
    "too large": tagged(tags=tuple(Tag(f"t{number}", "x" * 4000, 0.5, "b") for number in range(300))),
    "a run without a name": tagged(run=""),
    "a run of no name": tagged(run="a/b"),
    "a run of half a pair": tagged(run="\ud800"),
    "half a pair": tagged("a\ud800b"),
    "halves the wrong way": tagged(owner="\udc00\ud800"),
    "two halves of a pair": tagged(tags=(Tag("n-dog", "\ud83d\udc08", 0.5, "b"),)),
    **{
        f"a score of {score}": tagged(tags=(Tag("n-dog", "dog", score, "b"),))
        for score in (float("nan"), float("inf"), float("-inf"), -1.0, 2.0, 1.0000001)
    },
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_a_poisoned_result_is_refused_with_its_reason_and_holds_up_no_other(store: PhotoStore, poison: Any) -> None:
    refused = store.write([tagged("before"), poison, tagged("after"), poison])
    assert set(refused) == {1, 3}
    assert 0 < len(refused[1]) < 500
    assert (names(store, "before"), names(store, "after")) == (["dog"], ["dog"])
    assert store.get(poison.photo_id) is None
    assert store.write([poison]) == {0: refused[1]}
    assert store.write([]) == {}


def test_the_largest_result_is_written_and_one_byte_more_is_refused(store: PhotoStore) -> None:
    def sized(length: int) -> Tagged:
        return tagged("p", tags=(Tag("t", "x" * length, 0.5, "b"),))

    room = MAX_FACT_BYTES - len(layout.fact_cell(sized(0)).value)
    assert list(store.write([sized(room + 1)])) == [0]
    assert store.write([sized(room)]) == {}
    assert names(store) == ["x" * room]


# Any order of anything


_histories = st.lists(
    st.one_of(
        machines,
        machines,
        st.builds(deleted, st.integers(1, 4)),
        st.tuples(st.sampled_from(Action), st.sampled_from(NAMES)),
        st.sampled_from([("publish", "a"), ("publish", "b"), ("retract", "a")]),
    ),
    max_size=8,
)


def play(store: PhotoStore, acts: list[Any], photo: str, suffix: str) -> None:
    """Play a history on one photo, in runs of its own; skip acts that are refused."""
    for act in acts:
        if isinstance(act, Tagged | Rejected | Deleted):
            act = replace(act, photo_id=photo)
            if isinstance(act, Tagged) and act.run:
                act = replace(act, run=act.run + suffix)
            assert store.write([act]) == {}
        elif isinstance(act[0], Action):
            with contextlib.suppress(TagError):
                store.decide(photo, act[1], act[0], "bob", new=True)
        elif act[0] == "publish":
            publish(store, act[1] + suffix)
        elif act[0] == "retract" and act[1] + suffix in store.runs.read().published:
            store.runs.retract(act[1] + suffix, "ann")


def playable(acts: list[Any]) -> list[Any]:
    """Return the history without acts that are refused: publishing twice, or after a retraction."""
    found: list[Any] = []
    for act in acts:
        once = isinstance(act, tuple) and act[0] in ("publish", "retract")
        if not (once and (act in found or ("retract", act[1]) in found)):
            found.append(act)
    return found


def histories(store: PhotoStore, acts: list[Any]) -> None:
    """Check that the index follows the view, and the view the merge of all writes, in any order and batches."""
    number = secrets.token_hex(4)
    photo, owner = f"photo-{number}", f"owner-{number}"
    acts = [replace(act, owner=owner) if isinstance(act, Tagged | Rejected) else act for act in playable(acts)]
    play(store, acts, photo, f"-{number}")
    check_index(store, [photo], [owner])
    writes = [entry.write for entry in store.history(photo)]
    now = store.runs.read()
    view = merge(writes, now)
    found = store.get(photo)
    assert plain(found and found.view) == plain(view)
    # The same writes in other orders and batches, as other photos; decisions are put as they are.
    chance = random.Random(number)
    for copy in ("x", "y"):
        order = [replace(write, photo_id=photo + copy) for write in writes]
        order += chance.choices(order, k=2) if order else []
        chance.shuffle(order)
        while order:
            batch = order[: chance.randint(1, 3)]
            order = order[len(batch) :]
            store.write([write for write in batch if not isinstance(write, Decision)])
            for write in batch:
                if isinstance(write, Decision):
                    with contextlib.suppress(TagError):
                        store._put_decision(write, now)
        found = store.get(photo + copy)
        assert plain(found and found.view) == plain(view)
        check_index(store, [photo, photo + copy], [owner])
        store.write([Deleted(photo_id=photo + copy, content_us=100)])


@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
@given(acts=_histories)
@hypothesis_settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_history_in_any_order_ends_in_one_view_which_the_index_follows(store: PhotoStore, acts: list[Any]) -> None:
    histories(store, acts)


@pytest.mark.parametrize("store_settings", ["hbase"], indirect=True)
@given(acts=_histories)
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_history_in_any_order_ends_in_one_view_on_hbase_too(store: PhotoStore, acts: list[Any]) -> None:
    histories(store, acts)


# At the same moment


def test_whoever_acts_between_any_two_steps_of_a_write_the_index_misses_nothing(store: PhotoStore) -> None:
    acts: list[Callable[[str], object]] = [
        lambda photo: store.decide(photo, "beagle", Action.ADD, "bob"),
        lambda photo: store.decide(photo, "dog", Action.REMOVE, "bob"),
        lambda photo: store.write([tagged(photo, content=3, tags=(POODLE, DOG))]),
        lambda photo: store.write([deleted(2, photo)]),
    ]
    photos = []
    for number, act in enumerate(acts):
        for calls in range(1, 6):
            photos.append(photo := f"p{number}{calls}")
            store.write([tagged(photo)])
            middle = interrupted(store.tables, calls, lambda act=act, photo=photo: act(photo))  # type: ignore[misc]
            over(middle).write([tagged(photo, content=2, tags=(CAT,))])
    check_index(store, photos)


def test_whoever_acts_between_any_two_steps_of_a_decision_the_index_misses_nothing(store: PhotoStore) -> None:
    acts: list[Callable[[str], object]] = [
        lambda photo: store.decide(photo, "poodle", Action.ADD, "bob"),
        lambda photo: store.write([tagged(photo, content=2, tags=(CAT,))]),
        lambda photo: store.write([tagged(photo, content=2, tags=(CAT,), owner="eve")]),
        lambda photo: store.write([deleted(1, photo)]),
        lambda photo: store.write([deleted(1, photo), tagged(photo, content=5)]),
    ]
    photos = []
    for number, act in enumerate(acts):
        for calls in range(1, 7):
            photos.append(photo := f"p{number}{calls}")
            store.write([tagged(photo)])
            middle = interrupted(store.tables, calls, lambda act=act, photo=photo: act(photo))  # type: ignore[misc]
            with contextlib.suppress(TagError):
                over(middle).decide(photo, "beagle", Action.ADD, "eve")
    check_index(store, photos)


def test_a_writer_killed_anywhere_writes_it_again_and_all_is_well(store: PhotoStore) -> None:
    batch = [tagged("a"), tagged("b", tags=(CAT,)), deleted(3, "c"), tagged("c")]
    for calls in itertools.count():
        try:
            over(dying(store.tables, calls)).write(batch)
        except Killed:
            store.write(batch)
            check_index(store, ["a", "b", "c"])
            continue
        break
    assert calls > 3
    assert (names(store, "a"), names(store, "b"), names(store, "c")) == (["dog"], ["domestic cat"], None)


def test_people_and_writers_at_the_same_moment_never_leave_the_index_without_an_entry(
    store: PhotoStore, store_settings: Settings
) -> None:
    photos = [f"p{number}" for number in range(6)]
    store.write([tagged(photo, content=1) for photo in photos])
    rounds = 12 if store.tables.embedded else 25
    start = threading.Barrier(3)
    errors: list[BaseException] = []

    def act(step: Callable[[PhotoStore, int, str], object]) -> None:
        mine = open_store(store_settings)
        try:
            for number in range(rounds):
                start.wait(60)
                for photo in photos:
                    step(mine, number, photo)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            errors.append(error)
            start.abort()
        finally:
            mine.close()

    def replace_photo(mine: PhotoStore, number: int, photo: str) -> None:
        mine.write([tagged(photo, content=10 + number, tags=(CAT,), owner="ann" if number % 3 else "eve")])

    def add(mine: PhotoStore, number: int, photo: str) -> None:
        mine.decide(photo, f"own {number}", Action.ADD, "bob", new=True)

    def add_or_remove(mine: PhotoStore, number: int, photo: str) -> None:
        mine.decide(photo, "beagle", Action.REMOVE if number % 2 else Action.ADD, "eve")

    threads = [threading.Thread(target=act, args=(step,)) for step in (replace_photo, add, add_or_remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check_index(store, photos)
    owns = [name for name in names(store, "p0") or [] if name.startswith("own")]
    assert len(owns) == rounds


def test_a_fact_whose_writer_died_before_the_index_is_still_read_and_removed_by_its_photo(store: PhotoStore) -> None:
    cell = layout.fact_cell(tagged())
    store.tables.put(PHOTOS, [Cell(*cell)])
    assert names(store) == ["dog"]
    store.write([tagged()])
    check_index(store, ["p"])


# The embedded store's file


def test_what_was_written_is_there_after_opening_again(settings: Settings) -> None:
    store = open_store(settings)
    store.write([tagged()])
    store.close()
    assert names(open_store(settings)) == ["dog"]


def test_a_file_of_another_schema_is_refused(settings: Settings, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="has schema 99"):
        open_store(settings).status()


@pytest.mark.parametrize("act", ["write", "decide", "get", "search", "owner", "status", "history"])
def test_a_store_that_is_away_is_said_to_be(settings: Settings, tmp_path: Path, act: str) -> None:
    (tmp_path / "disk").write_text("not mounted")
    store = open_store(replace(settings, store="sqlite:disk/store.db"))
    ask: dict[str, Callable[[], object]] = {
        "write": lambda: store.write([tagged()]),
        "decide": lambda: store.decide("p", "dog", Action.ADD, "bob"),
        "get": lambda: store.get("p"),
        "search": lambda: store.search("dog", "ann"),
        "owner": lambda: store.owner("ann"),
        "status": store.status,
        "history": lambda: store.history("p"),
    }
    with pytest.raises(StoreError):
        ask[act]()
    (tmp_path / "disk").unlink()
    if act != "decide":
        ask[act]()


def test_a_batch_is_written_as_a_whole_or_not_at_all_where_the_database_can(settings: Settings) -> None:
    store = open_store(settings)

    def fail(name: str) -> None:
        if name == "get":
            raise Killed

    store.tables = _Atomic(store.tables, fail)  # type: ignore[assignment]
    with pytest.raises(Killed):
        store.write([tagged()])
    assert open_store(settings).get("p") is None


class _Atomic(Wrapped):
    def atomically(self) -> Any:
        return self._tables.atomically()


def test_a_write_needs_no_runs_and_no_models(settings: Settings) -> None:
    store = open_store(settings)
    assert store.runs.read() == Visibility()
    store.write([tagged()])
    assert names(store) == ["dog"]
    check_index(store, ["p"])


def test_a_run_that_does_not_say_where_a_photo_is_does_not_hide_it(store: PhotoStore) -> None:
    store.write([replace(tagged(), taken="2020-01-01T00:00:00Z")])
    store.write([replace(tagged(run="up", computed=2, tags=(CAT,)), uri="")])
    publish(store, "up")
    photo = store.get("p")
    assert photo is not None
    assert (photo.view.uri, photo.view.taken) == ("file:///p", "2020-01-01T00:00:00Z")
    assert [tag.name for tag in photo.view.tags] == [CAT.name]


def test_a_tag_of_peoples_own_is_found_and_removed_also_when_a_model_has_a_class_of_its_name(store: PhotoStore) -> None:
    store.write([tagged()])
    store.decide("p", "Sky Diving", Action.ADD, "bob", new=True)
    store.runs.add_model(ModelVersion("later", "f" * 64, 9), ClassTable([("n-sky", "sky diving", [])]))
    store.write([tagged("q", content=2, sequence=9, tags=(Tag("n-sky", "sky diving", 0.9, "bank"),))])
    assert [photo.view.photo_id for photo in store.search("sky diving", "ann").photos] == ["q", "p"]
    store.decide("p", "sky diving", Action.REMOVE, "bob")
    assert [photo.view.photo_id for photo in store.search("Sky diving", "ann").photos] == ["q"]


def test_a_tag_of_an_unknown_model_is_found_by_its_id_as_it_is_written(store: PhotoStore) -> None:
    store.write([tagged(tags=(Tag("Rex-1", "Rex", 0.9, "bank"),))])
    assert len(store.search("Rex-1", "ann").photos) == 1


def test_a_person_has_a_printable_name(store: PhotoStore) -> None:
    store.write([tagged()])
    with pytest.raises(TagError, match="printable"):
        store.decide("p", "dog", Action.ADD, "a\nmodel  fake\x1b[31m")
