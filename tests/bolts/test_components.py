"""Spout and bolts as Storm sees them: real processes, the real wire protocol, the real queue and store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autotag.events import EventType, PhotoEvent
from autotag.photos.reader import PhotoError
from autotag.photos.source import PhotoSource
from autotag.queues import EventQueue
from autotag.queues.retry import Verdict
from autotag.settings import PROJECT, Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from autotag.tagging.tagger import Tagger
from autotag.view import results
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from models.bundle import Bundle
from tests.conftest import make_event
from tests.multilang import Component, command

SPOUT_FIELDS = {"upload": {"default": ["key", "event"]}}
RESULT_FIELDS = {"tagger": {"tagged": ["photo_id", "key", "result"], "rejected": ["photo_id", "key", "result"]}}


def conf(settings: Settings, **more: Any) -> dict[str, Any]:
    """The settings as Storm would hand them on."""
    values = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items()}
    return json.loads(json.dumps({**values, **more}))


def spout(settings: Settings, tmp_path: Path) -> Component:
    return Component("spouts.upload.UploadSpout", conf(settings), tmp_path, {})


def autotag_bolt(settings: Settings, tmp_path: Path, **more: Any) -> Component:
    return Component("bolts.tagger.TaggerBolt", conf(settings, **more), tmp_path, SPOUT_FIELDS)


def writer_bolt(settings: Settings, tmp_path: Path) -> Component:
    return Component("bolts.writer.WriterBolt", conf(settings), tmp_path, RESULT_FIELDS)


def event_for(path: Path, **changes: Any) -> PhotoEvent:
    return make_event(path.name, uri=photo_uri(str(path)), **changes)


def send(bolt: Component, event: PhotoEvent) -> str:
    return bolt.tuple("upload", "default", [event.key, event.to_dict()])


def test_the_spout_emits_what_waits_and_an_ack_ends_it(settings: Settings, tmp_path: Path, queue: EventQueue) -> None:
    events = [make_event("a"), make_event("b", EventType.DELETED)]
    queue.enqueue(events)
    with spout(settings, tmp_path) as running:
        running.command("next")
        running.wait_for(command("sync"))
        uploaded, deleted = running.seen(command("emit"))
        assert (uploaded["id"], uploaded["tuple"]) == (events[0].key, [events[0].key, events[0].to_dict()])
        assert "stream" not in uploaded
        assert deleted["stream"] == "deleted"
        assert results.from_dict(deleted["tuple"][2]) == Deleted(
            photo_id="b", content_us=events[1].content_us, owner="ann", uri="file:///nowhere.jpg"
        )
        for event in events:
            running.command("ack", event.key)
        running.command("next")
        running.wait_for(command("sync"), count=4)
    status = queue.status()
    assert (status.ready, status.in_flight) == (0, 0)


def test_acks_that_come_after_deactivation_are_written_at_once(
    settings: Settings, tmp_path: Path, queue: EventQueue
) -> None:
    event = make_event()
    queue.enqueue([event])
    with spout(settings, tmp_path) as running:
        running.command("next")
        running.command("deactivate")
        running.command("ack", event.key)
        running.wait_for(command("sync"), count=3)
        assert queue.status().in_flight == 0


def test_a_failed_tuple_is_emitted_again_after_its_back_off(
    settings: Settings, tmp_path: Path, queue: EventQueue
) -> None:
    event = make_event()
    queue.enqueue([event])
    with spout(settings, tmp_path) as running:
        running.command("next")
        running.wait_for(command("emit"))
        queue.record_verdict(event.key, Verdict("timeout", ""))
        running.command("fail", event.key)
        for _ in range(100):
            running.command("next")
            if len(running.seen(command("emit"))) == 2:
                break
            time.sleep(0.02)
        assert running.wait_for(command("emit"), count=2)["id"] == event.key


def test_a_spout_that_died_leases_again_at_once_what_it_had(
    settings: Settings, tmp_path: Path, queue: EventQueue
) -> None:
    event = make_event()
    queue.enqueue([event])
    with spout(settings, tmp_path) as running:
        running.command("next")
        running.wait_for(command("emit"))
        running.process.kill()
        running.wait_for_end()
    with spout(settings, tmp_path) as running:
        running.command("next")
        assert running.wait_for(command("emit"))["id"] == event.key


def test_the_spout_survives_a_queue_that_is_away(settings: Settings, tmp_path: Path, queue: EventQueue) -> None:
    with spout(settings, tmp_path) as running:
        running.command("next")
        running.wait_for(command("sync"))
        with queue._database.transaction(durable=False) as db:  # type: ignore[attr-defined]
            db.execute("ALTER TABLE events RENAME TO elsewhere")
        running.command("next")
        running.wait_for(lambda m: m.get("command") == "log" and "no such table" in m["msg"])
        with queue._database.transaction(durable=False) as db:  # type: ignore[attr-defined]
            db.execute("ALTER TABLE elsewhere RENAME TO events")
        event = make_event()
        queue.enqueue([event])
        running.command("next")
        assert running.wait_for(command("emit"))["id"] == event.key


def test_the_bolt_tags_a_photo_anchored_and_acks_it_once(
    settings: Settings, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    event = event_for(draw())
    with autotag_bolt(settings, tmp_path) as bolt:
        tuple_id = send(bolt, event)
        emitted = bolt.wait_for(command("emit"))
        bolt.wait_for(command("ack", id=tuple_id))
        assert (emitted["stream"], emitted["anchors"]) == ("tagged", [tuple_id])
        assert emitted["tuple"][:2] == [event.photo_id, event.key]
        tagged = results.from_dict(emitted["tuple"][2])
        assert isinstance(tagged, Tagged)
        assert (tagged.photo_id, tagged.content_us, tagged.owner) == (event.photo_id, event.content_us, "ann")
        assert tagged.model.name == "default"
        bolt.heartbeat()
        bolt.wait_for(command("sync"))
        assert len(bolt.seen(command("ack"))) == 1


def test_the_tags_of_a_damaged_photo_say_so(settings: Settings, tmp_path: Path, draw: Callable[..., Path]) -> None:
    data = draw().read_bytes()
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(data[: len(data) * 95 // 100])
    with autotag_bolt(settings, tmp_path) as bolt:
        send(bolt, event_for(damaged))
        tagged = results.from_dict(bolt.wait_for(command("emit"))["tuple"][2])
    assert isinstance(tagged, Tagged)
    assert tagged.partial


def test_a_wide_grey_photo_has_the_tags_and_colours_of_its_pixels(
    settings: Settings, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    path = tmp_path / "wide.png"
    Image.open(draw(size=(700, 300))).convert("L").save(path)
    with autotag_bolt(settings, tmp_path) as bolt:
        send(bolt, event_for(path))
        tagged = results.from_dict(bolt.wait_for(command("emit"))["tuple"][2])
    assert isinstance(tagged, Tagged)
    tags = {tag.id: (tag.score, tag.bank) for tag in tagged.tags}
    for tag in ("black and white", "panorama", "category:monochrome"):
        assert tags[tag] == (1.0, "pixels")
    assert "grey" in [colour.name for colour in tagged.colours]
    with Tagger.open(settings, PhotoSource(any_file=True)) as tagger:
        ((_, alone),) = tagger.tag([path.as_uri()])
    assert not isinstance(alone, PhotoError)
    assert (tuple(alone), alone.colours) == (tagged.tags, tagged.colours)


def test_photos_that_wait_are_scored_together_and_each_is_answered(
    settings: Settings, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    events = [event_for(draw(f"{seed}.jpg", seed)) for seed in range(40)]
    with autotag_bolt(settings, tmp_path) as bolt:
        ids = [send(bolt, event) for event in events]
        bolt.wait_for(command("ack"), count=len(ids))
        assert sorted(m["id"] for m in bolt.seen(command("ack"))) == sorted(ids)
        assert sorted(m["tuple"][1] for m in bolt.seen(command("emit"))) == sorted(e.key for e in events)


def test_a_photo_that_can_never_work_is_a_result(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    event = event_for(tmp_path / "text.jpg")
    with autotag_bolt(settings, tmp_path) as bolt:
        tuple_id = send(bolt, event)
        emitted = bolt.wait_for(command("emit"))
        bolt.wait_for(command("ack", id=tuple_id))
        assert emitted["stream"] == "rejected"
        rejected = results.from_dict(emitted["tuple"][2])
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "not_an_image"


def test_a_photo_that_may_work_later_fails_its_tuple_and_the_queue_knows_why(
    settings: Settings, tmp_path: Path, queue: EventQueue
) -> None:
    queue_settings = replace(settings, queue_attempts=1)
    event = make_event(uri="http://127.0.0.1:1/closed.jpg")
    queue.enqueue([event])
    queue.lease(1, "h")
    with autotag_bolt(queue_settings, tmp_path) as bolt:
        tuple_id = send(bolt, event)
        bolt.wait_for(command("fail", id=tuple_id))
        assert bolt.seen(command("emit")) == []
    from autotag.queues import open_queue

    open_queue(queue_settings).fail([event.key], "h")
    (letter,) = queue.dead_letters()
    assert letter.reason == "unreachable"
    assert "127.0.0.1" in letter.detail


def test_a_private_address_is_refused_where_settings_do_not_allow_it(settings: Settings, tmp_path: Path) -> None:
    event = make_event(uri="http://127.0.0.1:1/private.jpg")
    with autotag_bolt(replace(settings, photo_private_hosts=False), tmp_path) as bolt:
        send(bolt, event)
        emitted = bolt.wait_for(command("emit"))
        assert emitted["stream"] == "rejected"
        assert emitted["tuple"][2]["reason"] == "forbidden"


def test_a_writer_whose_store_is_away_from_the_start_waits_for_it(
    settings: Settings, tmp_path: Path, queue: EventQueue
) -> None:
    (tmp_path / "disk").write_text("not mounted")
    away = replace(settings, store="sqlite:disk/store.db")
    with writer_bolt(away, tmp_path) as writer:
        tuple_id = writer.tuple("tagger", "rejected", result_values(make_rejected("p0")))
        writer.wait_for(command("fail", id=tuple_id))
        (tmp_path / "disk").unlink()
        tuple_id = writer.tuple("tagger", "rejected", result_values(make_rejected("p0")))
        writer.wait_for(command("ack", id=tuple_id))


def test_heartbeats_are_answered_while_the_bolt_works(
    settings: Settings, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    path = draw("large.png", size=(4000, 3000))
    with autotag_bolt(settings, tmp_path) as bolt:
        for _ in range(16):
            send(bolt, event_for(path))
        bolt.heartbeat()
        bolt.wait_for(command("sync"))
        assert len(bolt.seen(command("ack"))) < 16
        bolt.wait_for(command("ack"), count=16)


def test_an_error_of_ours_is_reported_and_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    with autotag_bolt(settings, tmp_path) as bolt:
        bolt.tuple("upload", "default", ["key", {"not": "an event"}])
        bolt.wait_for(lambda m: m.get("command") == "error" and "EventError" in m["msg"])
        assert bolt.wait_for_end() == 1


def test_a_model_that_is_not_there_is_reported_and_ends_the_process(settings: Settings, tmp_path: Path) -> None:
    with autotag_bolt(replace(settings, model="nowhere"), tmp_path) as bolt:
        bolt.wait_for(lambda m: m.get("command") == "error" and "nowhere" in m["msg"])
        assert bolt.wait_for_end() == 1


def test_settings_under_which_tuples_time_out_end_the_process(settings: Settings, tmp_path: Path) -> None:
    storm = {"topology.max.spout.pending": 5000, "topology.message.timeout.secs": 30}
    with autotag_bolt(settings, tmp_path, **storm) as bolt:
        bolt.wait_for(lambda m: m.get("command") == "error" and "topology.message.timeout.secs" in m["msg"])
        assert bolt.wait_for_end() == 1


ODD_BOLT = """
import os
import time

from bolts.batching import NaturalBatchingBolt


class OddBolt(NaturalBatchingBolt):
    def load(self, settings):
        time.sleep(6)
        os.write(1, b"what a native library prints\\n")
        return 4

    def process_batch(self, batch):
        for tup in batch:
            self.emit([tup.values.number], anchors=[tup])
            self.ack(tup)
"""


def test_a_long_load_shows_signs_of_life_and_prints_nothing_into_the_protocol(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(ODD_BOLT)
    with Component("odd.OddBolt", conf(settings), tmp_path, {"s": {"default": ["number"]}}) as bolt:
        first = bolt.tuple("s", "default", [1])
        bolt.wait_for(command("sync"))  # nothing else was asked of it
        bolt.wait_for(command("ack", id=first))
        assert [m["tuple"] for m in bolt.seen(command("emit"))] == [[1]]


def test_what_cannot_be_sent_ends_the_process_before_its_ack(settings: Settings, tmp_path: Path) -> None:
    """pystorm would log it, go on and ack: the photo would be lost."""
    (tmp_path / "odd.py").write_text(ODD_BOLT.replace("time.sleep(6)", "").replace("tup.values.number", "float('nan')"))
    with Component("odd.OddBolt", conf(settings), tmp_path, {"s": {"default": ["number"]}}) as bolt:
        bolt.tuple("s", "default", [1])
        bolt.wait_for(lambda m: m.get("command") == "error" and "not JSON compliant" in m["msg"])
        assert bolt.wait_for_end() == 1
        assert bolt.seen(command("ack")) == []


def result_values(result: results.Result) -> list[Any]:
    return [result.photo_id, f"key of {result.photo_id}", results.to_dict(result)]


def make_rejected(photo_id: str) -> Rejected:
    return Rejected(photo_id=photo_id, content_us=1, reason="truncated", detail="half", computed_us=1)


def test_the_writer_acks_what_the_store_has(settings: Settings, tmp_path: Path, store: PhotoStore) -> None:
    with writer_bolt(settings, tmp_path) as writer:
        ids = [writer.tuple("tagger", "rejected", result_values(make_rejected(f"p{i}"))) for i in range(100)]
        writer.wait_for(command("ack"), count=100)
        assert sorted(m["id"] for m in writer.seen(command("ack"))) == sorted(ids)
    assert store.status().rejected == {"truncated": 100}


def make_tagged(photo_id: str, model: ModelVersion) -> Tagged:
    return Tagged(photo_id=photo_id, content_us=1, model=model, tags=(), computed_us=1)


def test_the_writer_lets_the_store_know_a_models_classes_before_its_tags(
    settings: Settings, tmp_path: Path, store: PhotoStore
) -> None:
    model = ModelVersion.of(Bundle.open(Path(settings.model)))
    with writer_bolt(settings, tmp_path) as writer:
        writer.tuple("tagger", "rejected", result_values(make_rejected("p0")))
        writer.wait_for(command("ack"))
        assert store.runs.read().models == {}
        writer.tuple("tagger", "tagged", result_values(make_tagged("p1", model)))
        writer.wait_for(command("ack"), count=2)
    assert list(store.runs.read().models) == [model]
    assert store.runs.read().classes.find("beagle") is not None


def test_tags_of_a_model_that_is_nowhere_wait_until_it_is_known_and_hold_up_nothing_else(
    settings: Settings, tmp_path: Path, store: PhotoStore, queue: EventQueue
) -> None:
    event = make_event("p1")
    queue.enqueue([event])
    queue.lease(1, "h")
    elsewhere = ModelVersion("default", "f" * 64, 42)
    values = ["p1", event.key, results.to_dict(make_tagged("p1", elsewhere))]
    with writer_bolt(settings, tmp_path) as writer:
        waiting = writer.tuple("tagger", "tagged", values)
        other = writer.tuple("tagger", "rejected", result_values(make_rejected("p0")))
        writer.wait_for(command("fail", id=waiting))
        writer.wait_for(command("ack", id=other))
        writer.wait_for(lambda m: m.get("command") == "error" and "000042-ffffffffffff" in m["msg"])
        queue.fail([event.key], "h")
        assert queue.status().waiting + queue.status().ready == 1  # and no attempt is used up
        store.runs.add_model(elsewhere, Bundle.open(Path(settings.model)).classes)
        writer.tuple("tagger", "tagged", values)
        writer.wait_for(command("ack"), count=2)
    assert store.get("p1") is not None


def test_a_result_that_the_store_refuses_fails_alone_and_uses_up_its_attempts(
    settings: Settings, tmp_path: Path, store: PhotoStore, queue: EventQueue
) -> None:
    event = make_event("poisoned")
    queue.enqueue([event])
    queue.lease(1, "h")
    refused = replace(make_rejected("poisoned"), content_us=0)
    with writer_bolt(settings, tmp_path) as writer:
        first = writer.tuple("tagger", "rejected", result_values(make_rejected("p0")))
        second = writer.tuple("tagger", "rejected", ["poisoned", event.key, results.to_dict(refused)])
        third = writer.tuple("tagger", "rejected", result_values(make_rejected("p1")))
        writer.wait_for(command("fail", id=second))
        writer.wait_for(command("ack"), count=2)
        assert sorted(m["id"] for m in writer.seen(command("ack"))) == sorted([first, third])
    assert store.status().rejected == {"truncated": 2}
    from autotag.queues import open_queue

    open_queue(replace(settings, queue_attempts=1)).fail([event.key], "h")
    (letter,) = queue.dead_letters()
    assert (letter.reason, letter.event.photo_id) == ("store_refused", "poisoned")


def test_a_store_that_is_away_fails_the_tuples_uses_up_no_attempt_and_is_written_once_back(
    settings: Settings, tmp_path: Path, store: PhotoStore, queue: EventQueue
) -> None:
    event = make_event("p0")
    queue.enqueue([event])
    queue.lease(1, "h")
    values = ["p0", event.key, results.to_dict(make_rejected("p0"))]
    with writer_bolt(settings, tmp_path) as writer:
        writer.tuple("tagger", "rejected", result_values(make_rejected("first")))
        writer.wait_for(command("ack"))
        with store.tables._database.transaction(durable=False) as db:  # type: ignore[attr-defined]
            db.execute("ALTER TABLE photos RENAME TO elsewhere")
        tuple_id = writer.tuple("tagger", "rejected", values)
        writer.wait_for(command("fail", id=tuple_id))
        queue.fail([event.key], "h")
        assert queue.status().waiting + queue.status().ready == 1
        with store.tables._database.transaction(durable=False) as db:  # type: ignore[attr-defined]
            db.execute("ALTER TABLE elsewhere RENAME TO photos")
        tuple_id = writer.tuple("tagger", "rejected", values)
        writer.wait_for(command("ack", id=tuple_id))
    assert store.get("p0") is not None


@pytest.mark.parametrize("target", ["spouts.upload.UploadSpout", "bolts.writer.WriterBolt"])
def test_a_component_ends_when_storm_goes_away(settings: Settings, tmp_path: Path, target: str) -> None:
    with Component(target, conf(settings), tmp_path, {}) as component:
        assert component.process.stdin is not None
        component.process.stdin.close()
        assert component.wait_for_end() == 2


def test_the_worker_environment_has_no_package_of_ours() -> None:
    """The jar's folder comes last on a worker's path: an installed copy would silently run instead."""
    import subprocess

    python = PROJECT / "build/virtualenvs/tagging/bin/python"
    for package in ("autotag", "models", "bolts", "spouts"):
        done = subprocess.run([str(python), "-c", f"import {package}"], capture_output=True, text=True, cwd="/")
        assert done.returncode == 1, f"{package} is importable"
        assert "ModuleNotFoundError" in done.stderr
