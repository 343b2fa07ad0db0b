"""The contract of every EventQueue; a production queue joins by one line in `settings_of`."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from autotag.errors import AutotagError, QueueError, SettingsError
from autotag.events import PhotoEvent
from autotag.events.times import MAX_AHEAD_US, now_us
from autotag.queues import EventQueue, open_queue
from autotag.queues.retry import LOST, Verdict
from autotag.settings import Settings
from autotag.stores import open_store
from tests.conftest import make_event


def put(queue: EventQueue, count: int) -> list[PhotoEvent]:
    events = [make_event(f"p{i}") for i in range(count)]
    assert queue.enqueue(events) == [True] * count
    return events


def lease_all(queue: EventQueue, wait_s: float = 0.0) -> list[str]:
    """Lease until an event comes, at most for `wait_s`; return the keys."""
    deadline = time.monotonic() + wait_s
    while not (leases := queue.lease(100, "h")) and time.monotonic() < deadline:
        time.sleep(0.005)
    return [lease.key for lease in leases]


def test_events_are_leased_in_the_order_they_came_and_an_attempt_is_counted(queue: EventQueue) -> None:
    events = put(queue, 3)
    leases = queue.lease(2, "h")
    assert [lease.event for lease in leases] == events[:2]
    assert [lease.attempt for lease in leases] == [1, 1]
    assert lease_all(queue) == [events[2].key]
    assert lease_all(queue) == []


def test_the_same_event_twice_changes_nothing_in_any_state(queue: EventQueue) -> None:
    event = make_event()
    assert queue.enqueue([event, event]) == [True, False]
    queue.lease(1, "h")
    assert queue.enqueue([event]) == [False]
    queue.ack([event.key], "h")
    assert queue.enqueue([event]) == [False]
    assert lease_all(queue) == []


def test_an_acked_event_is_never_seen_again_and_the_status_is_empty(queue: EventQueue) -> None:
    put(queue, 1)
    queue.ack(lease_all(queue), "h")
    status = queue.status()
    assert (status.ready, status.waiting, status.in_flight, status.dead, status.oldest_s) == (0, 0, 0, 0, 0.0)


def test_an_ack_or_fail_of_a_lease_that_another_holds_is_left_alone(queue: EventQueue) -> None:
    put(queue, 1)
    keys = lease_all(queue)
    queue.ack(keys, "other")
    queue.fail(keys, "other")
    assert queue.status().in_flight == 1


def test_a_failure_with_a_reason_comes_back_after_its_back_off_and_dies_after_the_last_attempt(
    settings: Settings,
) -> None:
    queue = open_queue(replace(settings, queue_attempts=3))
    (event,) = put(queue, 1)
    for _ in range(3):
        keys = lease_all(queue, wait_s=5)
        assert keys == [event.key]
        queue.record_verdict(event.key, Verdict("timeout", "the host said nothing"))
        queue.fail(keys, "h")
    (letter,) = queue.dead_letters()
    assert (letter.event, letter.attempts, letter.reason) == (event, 3, "timeout")
    assert letter.detail == "the host said nothing"
    assert queue.status().dead == 1


def test_the_back_off_grows(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_backoff_s=30.0))
    put(queue, 1)
    keys = lease_all(queue)
    queue.record_verdict(keys[0], Verdict("timeout", ""))
    queue.fail(keys, "h")
    assert lease_all(queue) == []
    assert queue.status().waiting == 1


@pytest.mark.parametrize(("wished_s", "waits"), [(0.0, False), (30.0, True)])
def test_an_event_waits_as_long_as_its_server_asked_for(settings: Settings, wished_s: float, waits: bool) -> None:
    queue = open_queue(replace(settings, queue_backoff_s=0.001))
    put(queue, 1)
    keys = lease_all(queue)
    queue.record_verdict(keys[0], Verdict("too_many_requests", "", wait_s=wished_s))
    queue.fail(keys, "h")
    assert (lease_all(queue, wait_s=0.2 if waits else 5) == []) is waits


def test_a_server_cannot_ask_for_more_than_the_longest_back_off(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_backoff_s=0.001, queue_backoff_max_s=0.01))
    put(queue, 1)
    keys = lease_all(queue)
    queue.record_verdict(keys[0], Verdict("too_many_requests", "", wait_s=1e9))
    queue.fail(keys, "h")
    assert lease_all(queue, wait_s=5) == keys


def test_an_outage_uses_up_no_attempts(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_attempts=2, queue_backoff_max_s=0.01))
    (event,) = put(queue, 1)
    for _ in range(6):
        keys = lease_all(queue, wait_s=5)
        assert keys == [event.key]
        queue.record_verdict(event.key, Verdict("store_unavailable", "", uses_attempt=False))
        queue.fail(keys, "h")
    assert queue.dead_letters() == []
    assert queue.status().waiting + queue.status().ready == 1


def test_a_lease_that_expires_comes_back_as_lost_and_counts(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_lease_s=0.05, queue_attempts=2))
    (event,) = put(queue, 1)
    assert lease_all(queue) == [event.key]
    assert lease_all(queue, wait_s=5) == [event.key]
    time.sleep(0.1)
    assert lease_all(queue) == []
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.attempts) == (LOST, 2)


def test_a_holder_that_comes_back_takes_its_leases_back_at_once_and_only_its_own(queue: EventQueue) -> None:
    put(queue, 2)
    queue.lease(1, "a")
    queue.lease(1, "b")
    assert queue.release("a") == 1
    assert queue.status().in_flight == 1
    assert queue.status().ready == 1


def test_a_killer_dies_and_takes_no_innocent_event_with_it(settings: Settings) -> None:
    """A process that dies takes all its leases along; the queue must find the event that killed it."""
    queue = open_queue(replace(settings, queue_attempts=3))
    events = put(queue, 20)
    killer = events[7].key
    done: set[str] = set()
    for _ in range(200):
        leases = queue.lease(8, "h")
        if not leases:
            break
        if killer in (lease.key for lease in leases):
            queue.release("h")  # everything in flight is lost with the process
        else:
            queue.ack([lease.key for lease in leases], "h")
            done.update(lease.key for lease in leases)
    assert [letter.key for letter in queue.dead_letters()] == [killer]
    assert done == {event.key for event in events} - {killer}


def test_dead_letters_are_replayed_with_fresh_attempts_or_dropped(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_attempts=1))
    events = put(queue, 3)
    keys = lease_all(queue)
    for key in keys:
        queue.record_verdict(key, Verdict("timeout", ""))
    queue.fail(keys, "h")
    assert queue.replay([events[0].key, "no such key"]) == 1
    assert [lease.attempt for lease in queue.lease(9, "h")] == [1]
    assert queue.drop([events[1].key]) == 1
    assert [letter.key for letter in queue.dead_letters()] == [events[2].key]
    assert queue.replay() == 1
    assert queue.dead_letters() == []


@pytest.mark.parametrize("name", [{"photo_id": "p"}, {"owner": "bob"}], ids=str)
def test_all_events_of_a_photo_or_an_owner_are_forgotten_but_those_in_flight(
    settings: Settings, name: dict[str, str]
) -> None:
    queue = open_queue(replace(settings, queue_attempts=1))
    dead, done, waiting, in_flight, ready = events = [make_event("p", owner="bob") for _ in range(5)]
    queue.enqueue(events[:4])
    queue.lease(4, "h")
    queue.ack([done.key], "h")
    queue.record_verdict(dead.key, Verdict("timeout", ""))
    queue.record_verdict(waiting.key, Verdict("store_unavailable", "", uses_attempt=False))
    queue.fail([dead.key, waiting.key], "h")
    other = make_event("q", owner="eve")
    queue.enqueue([other, ready])
    assert queue.erase(**name) == (3, 1)
    assert queue.erase(**name) == (0, 1)
    assert queue.dead_letters() == []
    assert [lease.event for lease in queue.lease(9, "h")] == [other]
    assert queue.enqueue([done, dead]) == [False, True]
    queue.ack([in_flight.key], "h")
    assert queue.erase(**name) == (1, 0)
    assert queue.enqueue([in_flight]) == [False]


def test_a_finished_event_that_is_forgotten_says_nothing_in_the_file_any_more(settings: Settings) -> None:
    queue = open_queue(settings)
    queue.enqueue([make_event("p", owner="bob", uri="file:///of-bob.jpg")])
    queue.ack(lease_all(queue), "h")
    assert queue.erase(owner="bob") == (0, 0)
    queue.close()
    with contextlib.closing(sqlite3.connect(settings.path("queue.db"))) as db:
        assert "bob" not in "".join(db.iterdump())


def test_an_event_whose_holder_is_gone_is_forgotten_once_its_lease_has_run_out(settings: Settings) -> None:
    queue = open_queue(replace(settings, queue_lease_s=0.3))
    put(queue, 1)
    lease_all(queue)
    assert queue.erase("p0") == (0, 1)
    time.sleep(0.4)
    assert queue.erase("p0") == (1, 0)


def test_forgetting_wants_a_photo_or_an_owner_and_finds_nothing_by_a_name_that_is_no_text(queue: EventQueue) -> None:
    put(queue, 1)
    assert queue.erase("\udcff") == (0, 0)
    with pytest.raises(ValueError, match="give a photo or an owner"):
        queue.erase()
    with pytest.raises(ValueError, match="give a photo or an owner"):
        queue.erase("p0", "ann")


def test_finished_keys_are_forgotten_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotag.queues.sqlite_queue._PURGE_EVERY_US", 0)
    queue = open_queue(replace(settings, queue_keep_done_s=0.01))
    (event,) = put(queue, 1)
    queue.ack(lease_all(queue), "h")
    time.sleep(0.05)
    put(queue, 1)
    lease_all(queue)
    assert queue.enqueue([event]) == [True]


def test_what_was_put_is_there_after_opening_again(settings: Settings) -> None:
    queue = open_queue(settings)
    (event,) = put(queue, 1)
    queue.close()
    assert [lease.event for lease in open_queue(settings).lease(1, "h")] == [event]


def work(settings: Settings, holder: str, leased: multiprocessing.Queue[str]) -> None:
    queue = open_queue(settings)
    while leases := queue.lease(3, holder):
        for lease in leases:
            leased.put(lease.key)
        queue.ack([lease.key for lease in leases], holder)


def test_many_processes_lease_each_event_once(settings: Settings) -> None:
    queue = open_queue(settings)
    events = put(queue, 200)
    context = multiprocessing.get_context("spawn")
    leased: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=work, args=(settings, f"h{i}", leased)) for i in range(4)]
    for worker in workers:
        worker.start()
    counts = Counter(leased.get(timeout=60) for _ in events)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert counts == Counter(event.key for event in events)


def open_first(settings: Settings, start: Barrier, answers: multiprocessing.Queue[str]) -> None:
    start.wait()
    try:
        open_queue(settings).status()
        open_store(settings).status()
        answers.put("")
    except AutotagError as error:
        answers.put(str(error))


def test_processes_that_open_a_new_file_at_once_all_get_it(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(6), context.Queue()
    processes = [context.Process(target=open_first, args=(settings, start, answers)) for _ in range(6)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == [""] * 6
    for process in processes:
        process.join(60)


def test_an_event_from_a_clock_ahead_of_ours_is_still_read_when_ours_steps_back(queue: EventQueue) -> None:
    event = make_event(content_us=now_us() + MAX_AHEAD_US + 10_000_000)
    queue.enqueue([event])
    assert [lease.event for lease in queue.lease(1, "h")] == [event]


def test_a_queue_whose_disk_comes_back_is_used_again(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("not mounted")
    queue = open_queue(replace(settings, queue="sqlite:disk/queue.db"))
    with pytest.raises(QueueError, match="disk"):
        put(queue, 1)
    (tmp_path / "disk").unlink()
    put(queue, 1)


def test_a_file_that_is_no_queue_is_refused_with_its_path(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database" * 100)
    with pytest.raises(QueueError, match=r"queue\.db"):
        open_queue(settings).status()


def test_an_unknown_scheme_is_refused(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="sqlite:PATH"):
        open_queue(replace(settings, queue="redis:x"))
