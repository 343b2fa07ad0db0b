"""Cleaning and erasing, over every database: what they remove, what they leave, killed and interrupted anywhere."""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autotag.errors import RunError, TagError
from autotag.events.times import now_us
from autotag.settings import Settings
from autotag.stores import PhotoStore, base, layout, open_store
from autotag.stores.cleanup import RemovalCounts
from autotag.stores.owner_index import OwnerIndex
from autotag.stores.photo_row import PhotoRow
from autotag.stores.tables import OWNERS, PHOTOS, RUNS
from autotag.view.decisions import Action
from autotag.view.results import Deleted, Rejected, Tagged
from models.classes import ClassTable
from tests.worlds import (
    BEAGLE,
    CAT,
    CLASSES,
    DOG,
    NAMES,
    POODLE,
    Killed,
    check_index,
    contents,
    deleted,
    dying,
    interrupted,
    machines,
    model,
    plain,
    publish,
    recorded,
    rejected,
    tagged,
)

SECOND_US = 1_000_000


@pytest.fixture
def store(store_settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(store_settings)
    store.runs.add_model(model(), CLASSES)
    yield store
    store.close()


def clean_now(store: PhotoStore) -> RemovalCounts:
    """Clean without grace: no other process uses the store. HBase's times are milliseconds."""
    time.sleep(0.002)
    try:
        return store.clean(grace_us=0)
    finally:
        time.sleep(0.002)


def view(store: PhotoStore, photo_id: str = "p") -> dict[str, Any] | None:
    found = store.get(photo_id)
    return plain(found and found.view)


def entry_rows(store: PhotoStore) -> int:
    return sum(len(columns) for _, columns in store.tables.scan(OWNERS, b"", None, 100_000))


def wanted_entries(store: PhotoStore) -> int:
    """Return the number of entries that all facts need."""
    index = OwnerIndex(all_owners=store.tables.embedded)
    rows = store.tables.scan(PHOTOS, b"", None, 100_000)
    return sum(len(index.entries(PhotoRow(key, columns).writes)) for key, columns in rows)


# Cleaning


def test_cleaning_removes_what_no_view_can_reach_and_its_entries(store: PhotoStore) -> None:
    store.write([tagged(content=1, tags=(DOG,)), tagged(content=1, run="old", tags=(POODLE,))])
    store.write([tagged(content=2, tags=(CAT,)), tagged(content=2, computed=2, tags=(BEAGLE,))])
    store.write([tagged("gone")])
    store.write([deleted(2, "gone"), rejected(photo_id="r"), rejected(photo_id="r", content=2)])
    made = store.decide("p", "rex", Action.ADD, "bob", new=True)
    removed = clean_now(store)
    assert (removed.photos, removed.facts) == (3, 5)
    assert [entry.write for entry in store.history("gone")] == [deleted(2, "gone")]
    assert {entry.write for entry in store.history("p")} == {tagged(content=2, computed=2, tags=(BEAGLE,)), made}
    assert entry_rows(store) == wanted_entries(store)
    check_index(store, ["p", "gone", "r"])
    again = clean_now(store)
    assert (again.facts, again.entries) == (0, 0)


def test_cleaning_keeps_what_a_retraction_can_bring_back_and_removes_an_ended_run(store: PhotoStore) -> None:
    store.write([tagged(tags=(DOG,)), tagged(computed=2, run="up", tags=(CAT,)), tagged(content=5, run="down")])
    publish(store, "up")
    publish(store, "down")
    store.runs.retract("down", "ann")
    assert clean_now(store).facts == 1
    check_index(store, ["p"])
    store.runs.retract("up", "ann")
    assert view(store)["tags"].keys() == {"n-dog"}  # type: ignore[index]
    check_index(store, ["p"])


def test_nothing_that_is_younger_than_the_grace_is_cleaned(store: PhotoStore) -> None:
    store.write([tagged(content=1), tagged(content=2)])
    assert store.clean().facts == 0
    assert store.clean(grace_us=3600 * SECOND_US).facts == 0
    assert clean_now(store).facts == 1


def test_a_run_that_ended_within_the_grace_is_not_cleaned_yet(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([tagged(run="a")])
    store.runs.begin("a", "file", "ann")
    time.sleep(0.002)
    before_us = now_us()
    store.runs.drop("a", "ann")
    monkeypatch.setattr(store.runs, "clock_us", lambda: before_us)
    assert store.clean(grace_us=0).facts == 0
    monkeypatch.undo()
    assert clean_now(store).facts == 1


def test_cleaning_goes_in_batches_and_says_how_far_it_is(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_ROWS", 3)
    store.write([tagged(f"p{number}", content=content) for number in range(10) for content in (1, 2)])
    parts: list[float] = []
    time.sleep(0.002)
    removed = store.clean(recorded(parts), grace_us=0)
    assert (removed.photos, removed.facts) == (10, 10)
    assert len(parts) >= 4
    assert parts == sorted(parts)
    assert 0 <= parts[0] <= parts[-1] <= 1


def scene(store: PhotoStore) -> list[str]:
    """Photos of every kind: their ids."""
    store.write([tagged("a", content=1), tagged("a", content=2, tags=(CAT,)), tagged("a", content=2, sequence=2)])
    store.write([tagged("b"), deleted(3, "b"), tagged("c"), tagged("c", content=3, owner="eve")])
    store.write([tagged("d", run="loaded"), tagged("d", content=0 + 5, run="dropped"), rejected(photo_id="d")])
    store.decide("a", "beagle", Action.ADD, "bob")
    store.decide("c", "dog", Action.REMOVE, "eve")
    store.runs.begin("dropped", "file", "ann")
    store.runs.drop("dropped", "ann")
    return ["a", "b", "c", "d"]


def test_a_cleaning_that_is_killed_anywhere_changes_no_view_and_the_next_one_finishes(store: PhotoStore) -> None:
    photos = scene(store)
    before = [view(store, photo) for photo in photos]
    for calls in itertools.count():
        scene_again = [tagged("a", content=1), tagged("c"), tagged("d", content=5, run="dropped"), tagged("b")]
        store.write(scene_again)
        done = False
        with contextlib.suppress(Killed):
            clean_now(PhotoStore(dying(store.tables, calls)))  # type: ignore[arg-type]
            done = True
        assert [view(store, photo) for photo in photos] == before
        check_index(store, photos)
        clean_now(store)
        assert entry_rows(store) == wanted_entries(store)
        if done:
            break
    assert calls > 4
    publish(store, "loaded")
    assert view(store, "d")["tags"].keys() == {"n-dog"}  # type: ignore[index]
    check_index(store, photos)


def test_whoever_acts_between_any_two_steps_of_a_cleaning_loses_nothing(store: PhotoStore) -> None:
    """The grace covers whatever began before it; here all begin within it."""
    acts: list[Callable[[], object]] = [
        lambda: store.write([tagged("a", content=1), tagged("c"), tagged("b"), tagged("d", content=5, run="dropped")]),
        lambda: store.write([tagged("a", content=7, tags=(POODLE,)), tagged("c", content=9), tagged("b", content=9)]),
        lambda: store.decide("a", "poodle", Action.ADD, "bob"),
        lambda: store.write([deleted(8, "a")]),
    ]
    photos = scene(store)
    for calls in range(1, 9):
        for act in acts:
            with contextlib.suppress(TagError):
                PhotoStore(interrupted(store.tables, calls, act)).clean(grace_us=0)  # type: ignore[arg-type]
            check_index(store, photos)
            before = [view(store, photo) for photo in photos]
            clean_now(store)
            assert [view(store, photo) for photo in photos] == before


def test_cleaning_while_others_write_the_same_photos_loses_nothing(store: PhotoStore, store_settings: Settings) -> None:
    photos = [f"p{number}" for number in range(20)]
    done = threading.Event()
    errors: list[BaseException] = []
    rounds = 15

    def write() -> None:
        mine = open_store(store_settings)
        try:
            for content in range(1, rounds + 1):
                mine.write([tagged(photo, content=content, tags=(CAT if content % 2 else DOG,)) for photo in photos])
                mine.decide(photos[content], f"own {content}", Action.ADD, "bob", new=True)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            errors.append(error)
        finally:
            done.set()
            mine.close()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        store.clean(grace_us=SECOND_US // 20)
        time.sleep(0.001)
    thread.join()
    assert errors == []
    check_index(store, photos)
    for photo in photos:
        found = store.get(photo)
        assert found is not None
        assert found.view.content_us == rounds
    assert len(store.owner("ann").tags) == rounds + 1
    clean_now(store)
    assert entry_rows(store) == wanted_entries(store)


# Cleaning, in any history

_acts = st.lists(
    st.one_of(
        machines,
        machines,
        st.builds(deleted, st.integers(1, 4)),
        st.tuples(st.sampled_from(Action), st.sampled_from(NAMES)),
        st.sampled_from([("publish", "a"), ("publish", "b"), ("retract", "a"), ("retract", "b"), ("drop", "a")]),
        st.just(("clean", "")),
    ),
    max_size=10,
)


def play(store: PhotoStore, acts: list[Any], number: str) -> None:
    """Do what a history says to two photos of one owner; only the first is cleaned. After each act they are alike."""
    cleaned, whole = f"cleaned-{number}", f"whole-{number}"
    owner = f"owner-{number}"
    ended: set[str] = set()
    for act in acts:
        runs = store.runs.read()
        if isinstance(act, Tagged | Rejected | Deleted):
            if not isinstance(act, Deleted):
                act = replace(act, owner=owner)
            if isinstance(act, Tagged) and act.run:
                act = replace(act, run=f"{act.run}-{number}")
            store.write([replace(act, photo_id=cleaned), replace(act, photo_id=whole)])
        elif isinstance(act[0], Action):
            with contextlib.suppress(TagError):
                first = store.decide(cleaned, act[1], act[0], "bob", new=True)
                # The same again, a moment being all that differs otherwise.
                store._put_decision(replace(first, photo_id=whole), runs)
        elif act[0] == "clean":
            _clean_one(store, cleaned)
        else:
            name = f"{act[1]}-{number}"
            if act[0] == "publish" and name not in runs.published | ended:
                publish(store, name)
            elif act[0] == "retract" and name in runs.published:
                ended.add(name)
                store.runs.retract(name, "ann")
            elif act[0] == "drop" and name not in runs.published | ended:
                ended.add(name)
                store.runs.begin(name, "file", "ann")
                store.runs.drop(name, "ann")
        assert view(store, cleaned) == view(store, whole)
        check_index(store, [cleaned, whole], [owner])


def _clean_one(store: PhotoStore, photo_id: str) -> None:
    """Clean as if no other photo were there."""
    row = layout.photo_row(photo_id)

    class One:
        def __getattr__(self, name: str) -> Any:
            return getattr(store.tables, name)

        def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> Any:
            found = store.tables.scan(table, start, stop, limit)
            return found if table == RUNS else [one for one in found if one[0] == row]

    clean_now(PhotoStore(One()))  # type: ignore[arg-type]


@pytest.mark.parametrize("store_settings", ["sqlite"], indirect=True)
@given(acts=_acts)
@hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_view_differs_for_a_cleaning_at_any_moment_of_any_history(store: PhotoStore, acts: list[Any]) -> None:
    play(store, acts, secrets.token_hex(4))


@pytest.mark.parametrize("store_settings", ["hbase"], indirect=True)
@given(acts=_acts)
@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_view_differs_for_a_cleaning_on_hbase_either(store: PhotoStore, acts: list[Any]) -> None:
    play(store, acts, secrets.token_hex(4))


# Erasing


def fill(store: PhotoStore) -> None:
    """Two owners' photos, with decisions and bulk runs."""
    for photo in ("p", "q"):
        store.write([tagged(photo), tagged(photo, content=2, tags=(CAT, DOG)), tagged(photo, content=3, run="loaded")])
        store.decide(photo, "beagle", Action.ADD, "bob")
        store.decide(photo, "rex", Action.ADD, "bob", new=True)
        store.decide(photo, "domestic cat", Action.REMOVE, "bob")
    store.write([tagged("r", owner="eve"), rejected(photo_id="s", owner="eve"), deleted(7, "s")])


def left_of_photo(store: PhotoStore, photo_id: str) -> int:
    """Cells, in any table, whose row names the photo; but for one mark."""
    digest = layout.photo_row(photo_id)
    count = 0
    for table in (PHOTOS, OWNERS):
        for row, columns in store.tables.scan(table, b"", None, 100_000):
            if row.endswith(digest):
                count += len([column for column in columns if not column.startswith(b"o:d.")])
                assert sum(column.startswith(b"o:d.") for column in columns) <= 1
    return count


def test_an_erased_photo_is_nowhere_and_no_other_is_touched(store: PhotoStore) -> None:
    fill(store)
    before = [view(store, photo) for photo in ("q", "r", "s")]
    assert store.count_traces("p") > 10
    assert store.count_traces("p") == left_of_photo(store, "p")
    removed = store.erase_photo("p")
    assert (removed.photos, removed.facts) == (1, 6)
    assert store.count_traces("p") == left_of_photo(store, "p") == 0
    assert store.get("p") is None
    assert [view(store, photo) for photo in ("q", "r", "s")] == before
    check_index(store, ["p", "q", "r", "s"])
    again = store.erase_photo("p")
    assert (again.photos, again.facts, again.entries) == (0, 0, 0)
    assert store.count_traces("p") == left_of_photo(store, "p") == 0


def test_what_is_late_does_not_bring_an_erased_photo_back_and_a_new_upload_does(store: PhotoStore) -> None:
    fill(store)
    store.erase_photo("p")
    store.write([tagged(), tagged(content=now_us() - SECOND_US, tags=(BEAGLE,)), tagged(content=3, run="loaded")])
    assert store.get("p") is None
    assert store.count_traces("p") == left_of_photo(store, "p") == 0
    store.write([tagged(content=now_us() + SECOND_US, tags=(POODLE,))])
    assert view(store)["tags"].keys() == {"n-poodle"}  # type: ignore[index]
    check_index(store, ["p", "q", "r"])


def test_a_photo_erased_before_its_first_event_was_worked_on_does_not_appear(store: PhotoStore) -> None:
    uploaded_us = now_us() - 1
    assert store.erase_photo("p").photos == 0
    store.write([tagged(content=uploaded_us)])
    assert store.get("p") is None
    assert store.count_traces("p") == 0


def test_a_photo_of_a_clock_ahead_is_erased_too(store: PhotoStore) -> None:
    ahead_us = now_us() + 3600 * SECOND_US
    store.write([tagged(content=ahead_us)])
    store.erase_photo("p")
    store.write([tagged(content=ahead_us)])
    assert store.get("p") is None
    assert store.count_traces("p") == 0


def test_an_erased_owner_is_nowhere_and_no_other_is_touched(store: PhotoStore) -> None:
    fill(store)
    before = view(store, "r")
    counted: list[float] = []
    removed = store.erase_owner("ann", recorded(counted))
    assert (removed.photos, removed.facts) == (2, 12)
    assert counted[-1] >= 2
    assert store.count_traces(owner="ann") == 0
    assert left_of_photo(store, "p") == left_of_photo(store, "q") == 0
    assert view(store, "r") == before
    assert store.owner("ann").photos == 0
    check_index(store, ["p", "q", "r"])
    assert store.erase_owner("ann") == RemovalCounts()
    store.write([tagged("p"), tagged("q", content=2)])
    assert store.count_traces(owner="ann") == 0


def test_more_photos_than_a_batch_are_erased(store: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_ROWS", 3)
    store.write([tagged(f"p{number}", owner="ann" if number % 2 else "eve") for number in range(20)])
    assert store.erase_owner("ann").photos == 10
    assert store.count_traces(owner="ann") == 0
    assert store.owner("eve").photos == 10
    check_index(store, [f"p{number}" for number in range(20)])


def test_of_a_photo_in_other_hands_now_only_what_was_the_owners_is_erased(store: PhotoStore) -> None:
    store.write([tagged(content=1, owner="ann"), tagged(content=2, owner="eve", tags=(CAT,))])
    store.decide("p", "rex", Action.ADD, "bob", new=True)
    before = view(store)
    store.erase_owner("ann")
    assert view(store) == before
    assert store.count_traces(owner="ann") == 0
    check_index(store, ["p"])


@pytest.mark.parametrize("cleaned", [False, True])
def test_erasing_the_owner_of_today_does_not_show_yesterdays_version_again(store: PhotoStore, cleaned: bool) -> None:
    store.write([tagged(content=1, owner="ann"), tagged(content=2, owner="eve", tags=(CAT,))])
    if cleaned:
        clean_now(store)
    store.erase_owner("eve")
    assert store.get("p") is None
    assert store.count_traces(owner="eve") == left_of_photo(store, "p") == 0
    store.write([tagged(content=2, owner="eve"), tagged(content=1, owner="ann")])
    assert store.get("p") is None
    check_index(store, ["p"])


def test_a_run_that_wrongly_gave_photos_to_an_owner_costs_nobody_a_photo(store: PhotoStore) -> None:
    store.write([tagged(owner="ann"), tagged(content=5, owner="eve", run="wrong")])
    store.erase_owner("eve")
    assert view(store)["owner"] == "ann"  # type: ignore[index]
    assert store.count_traces(owner="eve") == 0
    check_index(store, ["p"])


def test_an_entry_whose_photo_is_gone_is_erased_with_its_owner(store: PhotoStore) -> None:
    cells = OwnerIndex(all_owners=False).cells(tagged())
    store.tables.put(OWNERS, cells)
    store.erase_owner("ann")
    assert store.count_traces(owner="ann") == store.count_traces("p") == 0


def test_a_changed_hierarchy_of_classes_hides_no_entry_from_an_erasure(store: PhotoStore) -> None:
    fill(store)
    flat = ClassTable([(id_, name, []) for id_, name in zip(CLASSES.ids, CLASSES.names, strict=True)])
    store.runs.add_model(model(2), flat)
    store.erase_photo("p")
    assert store.count_traces("p") == left_of_photo(store, "p") == 0


@pytest.mark.parametrize(
    "erase", [lambda store: store.erase_photo("p"), lambda store: store.erase_owner("ann")], ids=["photo", "owner"]
)
def test_an_erasure_that_is_killed_anywhere_is_finished_by_asking_again(
    store: PhotoStore, erase: Callable[[PhotoStore], object]
) -> None:
    for calls in itertools.count():
        base_us = now_us()
        store.write([tagged(content=base_us), tagged(content=base_us + 1, run="loaded", tags=(CAT,))])
        store.decide("p", "beagle", Action.ADD, "bob")
        killed = True
        with contextlib.suppress(Killed):
            erase(PhotoStore(dying(store.tables, calls)))  # type: ignore[arg-type]
            killed = False
        if killed:
            erase(store)
        assert store.get("p") is None
        assert store.count_traces("p") == store.count_traces(owner="ann") == left_of_photo(store, "p") == 0
        assert contents(store.tables)[OWNERS] == {}
        if not killed:
            break
    assert calls > 5


@pytest.mark.parametrize(
    "erase", [lambda store: store.erase_photo("p"), lambda store: store.erase_owner("ann")], ids=["photo", "owner"]
)
def test_an_erasure_between_any_two_steps_of_a_write_or_decision_leaves_nothing(
    store: PhotoStore, erase: Callable[[PhotoStore], object]
) -> None:
    acts: list[Callable[[PhotoStore], object]] = [
        lambda store: store.write([tagged(content=2, tags=(DOG, CAT)), tagged(content=3, run="loaded")]),
        lambda store: store.write([tagged(content=now_us(), tags=(DOG, CAT))]),
        lambda store: store.decide("p", "beagle", Action.ADD, "bob"),
    ]
    for act in acts:
        for calls in range(1, 9):
            store.write([tagged(content=now_us())])
            store.decide("p", "rex", Action.ADD, "bob", new=True)
            with contextlib.suppress(TagError):
                act(PhotoStore(interrupted(store.tables, calls, lambda: erase(store))))  # type: ignore[arg-type]
            if store.get("p"):
                erase(store)  # it was not called, so many steps the act does not have
            assert store.count_traces("p") == left_of_photo(store, "p") == 0
            assert contents(store.tables)[OWNERS] == {}


def test_a_write_or_decision_between_any_two_steps_of_an_erasure_is_erased_or_stays_whole(store: PhotoStore) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.write([tagged(content=2, tags=(DOG, CAT))]),
        lambda: store.write([tagged(content=now_us() + SECOND_US, tags=(CAT,))]),
        lambda: store.decide("p", "poodle", Action.ADD, "bob"),
    ]
    for number, act in enumerate(acts):
        for calls in range(1, 8):
            store.write([tagged(content=now_us()), tagged(content=now_us(), sequence=2, tags=(BEAGLE, CAT))])

            def late(act: Callable[[], object] = act) -> None:
                with contextlib.suppress(TagError):
                    act()

            PhotoStore(interrupted(store.tables, calls, late)).erase_photo("p")  # type: ignore[arg-type]
            check_index(store, ["p"])
            if number != 1:
                assert store.get("p") is None
                assert left_of_photo(store, "p") == 0
            store.erase_photo("p")
            assert left_of_photo(store, "p") == 0


def test_erasing_while_others_write_leaves_nothing(store: PhotoStore, store_settings: Settings) -> None:
    done = threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        mine = open_store(store_settings)
        chance = random.Random(1)
        try:
            while not done.is_set():
                mine.write([tagged(content=now_us(), tags=(chance.choice([DOG, CAT]),))])
                with contextlib.suppress(TagError):
                    mine.decide("p", "beagle", Action.ADD, "bob")
                time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            errors.append(error)
        finally:
            mine.close()

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(30):
        store.erase_photo("p")
    done.set()
    thread.join()
    assert errors == []
    check_index(store, ["p"])
    store.erase_photo("p")
    assert store.count_traces("p") == left_of_photo(store, "p") == 0


def test_traces_says_how_far_it_is(store: PhotoStore) -> None:
    fill(store)
    parts: list[float] = []
    assert store.count_traces(owner="nobody", progress=recorded(parts)) == 0
    halfway = parts.index(1) + 1  # the index, and then the photos
    for half in (parts[:halfway], parts[halfway:]):
        assert half == sorted(half)
        assert (half[0], half[-1]) == (0, 1)


# Clocks, crashes and long lives


def test_a_cleaner_whose_clock_is_hours_ahead_hides_nothing_that_is_written_later(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_us = now_us() + 7200 * SECOND_US
    store.write([tagged(content=1, owner="ann"), tagged(content=2, owner="eve")])
    with monkeypatch.context() as clock:
        clock.setattr("autotag.stores.cleanup.now_us", lambda: ahead_us)
        clock.setattr("autotag.events.times.now_us", lambda: ahead_us)
        assert store.clean().facts == 0  # too young, by the database's clock
        assert clean_now(store).facts == 1
    store.write([tagged(content=3, owner="ann")])
    assert store.owner("ann").photos == 1
    check_index(store, ["p"])


@pytest.mark.parametrize("calls", range(1, 8))
def test_what_somebody_who_was_killed_did_not_index_is_put_back_by_cleaning(store: PhotoStore, calls: int) -> None:
    with contextlib.suppress(Killed):
        dying_store = PhotoStore(dying(store.tables, calls))  # type: ignore[arg-type]
        dying_store.write([tagged("new", tags=(DOG, CAT))])
    store.write([tagged()])
    with contextlib.suppress(Killed):
        dying_store = PhotoStore(dying(store.tables, calls))  # type: ignore[arg-type]
        dying_store.decide("p", "beagle", Action.ADD, "bob")
    clean_now(store)
    check_index(store, ["p", "new"])
    assert clean_now(store).put_back == 0


def test_readers_need_not_know_of_an_ended_run_once_it_is_cleaned_and_its_name_stays_taken(store: PhotoStore) -> None:
    store.write([tagged(), tagged(run="up", computed=2, tags=(CAT,))])
    publish(store, "up")
    store.runs.retract("up", "ann")
    assert store.runs.read().ended == {"up"}
    clean_now(store)
    assert store.runs.read().ended == store.runs.read().published == set()
    run = store.runs.run("up")
    assert (run.state, run.ended_by) == ("retracted", "ann")
    with pytest.raises(RunError, match="never used again"):
        store.runs.begin("up", "file", "ann")
    store.write([tagged(run="up", computed=3, tags=(CAT,))])  # a straggler
    assert store.search("cat", "ann").photos == ()
    assert clean_now(store).facts == 1


def test_a_decision_is_erased_with_the_photo_also_if_a_run_said_that_its_content_was_newer(store: PhotoStore) -> None:
    store.write([tagged(content=10), tagged(content=100, run="up")])
    publish(store, "up")
    store.decide("p", "beagle", Action.ADD, "bob")
    store.runs.retract("up", "ann")
    store.write([deleted(50), tagged(content=60, tags=(CAT,))])
    assert view(store)["tags"].keys() == {"n-cat"}  # type: ignore[index]


def test_what_was_under_way_for_an_erased_owner_of_before_does_not_come_back(store: PhotoStore) -> None:
    store.write([tagged(content=1, owner="ann"), tagged(content=5, owner="eve", tags=(CAT,))])
    store.erase_owner("ann")
    store.write([tagged(content=1, owner="ann", computed=9)])
    assert store.count_traces(owner="ann") == 0
    assert view(store)["tags"].keys() == {"n-cat"}  # type: ignore[index]
