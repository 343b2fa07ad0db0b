"""A bolt changes over to another model while photos stream; what it cannot use it refuses, and goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotag.bundles.publisher import Publisher
from autotag.bundles.registry import ModelRegistry, PublishedModel, Worker
from autotag.localcluster.processes import processes_with
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from autotag.tagging.tagger import Tagger
from autotag.view import results
from autotag.view.results import Tagged
from models.bundle import BANKS, Bundle, install
from models.bundle_folder import make_current
from tests.bolts.test_components import SPOUT_FIELDS, conf
from tests.conftest import make_event
from tests.model_files import write_colour_bundle
from tests.multilang import Component, command
from tests.stream import wait
from tests.zookeeper import ZooKeeper

TASK = 7
"""The bolt's, as tests/multilang.py gives it."""


@pytest.fixture
def settings(settings: Settings, zookeeper: ZooKeeper, tmp_path: Path) -> Settings:
    """One bundle is published in this host's folder, and nobody has told the registry."""
    write_colour_bundle(tmp_path / "built", weight=1)
    bundle = install(tmp_path / "built", tmp_path / "bundles")
    make_current(tmp_path / "bundles", bundle.folder.name)
    return replace(
        settings, model="bundles", model_registry=f"{zookeeper.url}/{tmp_path.name}", tagger_network_threads=1
    )


class World:
    """A publisher, and a bolt that photos are sent to."""

    def __init__(self, settings: Settings, store: PhotoStore, folder: Path, draw: Callable[..., Path]) -> None:
        self.settings, self.store, self.folder = settings, store, folder
        self.photo = draw("red.png", seed=6)
        self.bundles = 1

    def bolt(self) -> Component:
        return Component("bolts.tagger.TaggerBolt", conf(self.settings), self.folder, SPOUT_FIELDS)

    def publish(self, weight: float, size: int = 4) -> str:
        """Publish a bundle; returns its folder's name."""
        self.bundles += 1
        candidate = write_colour_bundle(self.folder / f"candidate{self.bundles}", weight, size).folder
        with ModelRegistry(self.settings).connect() as registry:
            change = Publisher(self.settings, self.store, registry, "ann").publish(candidate)
        return change.model.folder

    def register(self, bundle: Bundle, location: str) -> str:
        """Make a bundle current, wherever and whatever it is."""
        known = PublishedModel(
            name=bundle.name,
            version=bundle.version,
            sequence=bundle.sequence,
            classes=6,
            location=location,
            published_by="bob",
            published_us=1,
        )
        with ModelRegistry(self.settings).connect() as registry:
            assert registry.change(registry.current(), known.folder, "bob", [known])
        return known.folder

    def worker(self) -> Worker | None:
        with ModelRegistry(self.settings).connect() as registry:
            return next((worker for worker in registry.workers() if worker.task == TASK), None)

    def wait_for(self, model: str) -> Worker:
        """The bolt's node, once it has changed over."""

        def changed() -> Worker | None:
            worker = self.worker()
            return worker if worker and worker.model == model else None

        return wait(changed, self.worker, 30)

    def wait_for_refusal(self, model: str) -> Worker:
        def refused() -> Worker | None:
            worker = self.worker()
            return worker if worker and worker.refused and worker.refused.model == model else None

        return wait(refused, self.worker, 30)

    def tag(self, bolt: Component, uri: str | None = None) -> Tagged:
        """Send a photo and wait for its tags."""
        before = len(bolt.seen(command("emit")))
        send(bolt, uri or photo_uri(str(self.photo)))
        return tagged(bolt.wait_for(command("emit"), count=before + 1))

    def assert_tagged_by(self, model: str, found: Tagged) -> None:
        """The tags are those that a Tagger of that model alone gives."""
        assert str(found.model) == f"small/{model}"
        alone = replace(self.settings, model=f"bundles/{model}")
        with Tagger.open(alone, PhotoSource(any_file=True)) as tagger:
            ((_, tags),) = tagger.tag([photo_uri(str(self.photo))])
        assert found.tags == tags
        assert [tag.name for tag in found.tags] == ["animal", "dog", "Teapot"]


def send(bolt: Component, uri: str) -> str:
    event = make_event(uri=uri)
    return bolt.tuple("upload", "default", [event.key, event.to_dict()])


def tagged(emitted: dict[str, Any]) -> Tagged:
    result = results.from_dict(emitted["tuple"][2])
    assert isinstance(result, Tagged), result
    return result


def decoders(bolt: Component) -> set[int]:
    return {
        process.pid
        for process in processes_with("PYTHONWARNINGS", "ignore")
        if process.parent == bolt.pid and any("decode_main" in argument for argument in process.command)
    }


@pytest.fixture
def world(settings: Settings, store: PhotoStore, tmp_path: Path, draw: Callable[..., Path]) -> World:
    return World(settings, store, tmp_path, draw)


def test_a_bolt_changes_over_and_shares_what_it_has_loaded_where_the_network_is_the_same(world: World) -> None:
    with world.bolt() as bolt:
        first = Bundle.open(world.folder / "bundles").folder.name
        world.assert_tagged_by(first, world.tag(bolt))
        before = decoders(bolt)
        assert len(before) == 1
        second = world.publish(weight=2)
        assert world.wait_for(second).pid == bolt.pid
        world.assert_tagged_by(second, world.tag(bolt))
        assert decoders(bolt) == before
        third = world.publish(weight=2, size=6)
        world.wait_for(third)
        world.assert_tagged_by(third, world.tag(bolt))
        wait(lambda: len(decoders(bolt)) == 1, lambda: decoders(bolt))
        assert decoders(bolt) != before
        with ModelRegistry(world.settings).connect() as registry:
            Publisher(world.settings, world.store, registry, "ann").roll_back()
        world.wait_for(second)
        world.assert_tagged_by(second, world.tag(bolt))
        assert [message for message in bolt.messages if message.get("command") == "error"] == []


class SlowPhotos:
    """A server whose photos come when `let_go` is set; a context manager."""

    def __init__(self, photo: Path) -> None:
        self.let_go, self.asked = threading.Event(), threading.Event()
        data = photo.read_bytes()
        slow = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                slow.asked.set()
                slow.let_go.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/slow.png"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> SlowPhotos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_a_photo_that_was_begun_with_the_old_model_ends_with_it_beside_those_of_the_new(world: World) -> None:
    world.settings = replace(world.settings, photo_read_timeout_s=50, photo_deadline_s=50)
    with world.bolt() as bolt, SlowPhotos(world.photo) as slow:
        old = Bundle.open(world.folder / "bundles").folder.name
        slow_id = send(bolt, slow.url)
        assert slow.asked.wait(30)
        new = world.publish(weight=3, size=6)
        world.wait_for(new)
        world.assert_tagged_by(new, world.tag(bolt))
        assert len(decoders(bolt)) == 2
        slow.let_go.set()
        bolt.wait_for(command("ack", id=slow_id))
        (late,) = [message for message in bolt.seen(command("emit")) if message["anchors"] == [slow_id]]
        world.assert_tagged_by(old, tagged(late))
        wait(lambda: len(decoders(bolt)) == 1, lambda: decoders(bolt))
        world.assert_tagged_by(new, world.tag(bolt))


def test_a_damaged_bundle_is_refused_once_and_the_next_good_one_is_used(world: World, tmp_path: Path) -> None:
    with world.bolt() as bolt:
        second = world.publish(weight=2)
        world.wait_for(second)
        damaged = install(write_colour_bundle(tmp_path / "damaged", weight=5).folder, tmp_path / "bundles")
        path = damaged.folder / BANKS / "colours" / "weights.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        name = world.register(damaged, damaged.folder.as_uri())
        refusal = world.wait_for_refusal(name)
        assert refusal.model == second
        assert refusal.refused is not None
        assert "weights.npy: is not what the manifest says" in refusal.refused.reason
        world.assert_tagged_by(second, world.tag(bolt))
        bolt.heartbeat()
        bolt.wait_for(command("sync"))
        (told,) = bolt.seen(command("error"))
        assert f"model {name} is not used, {second} goes on: " in told["msg"]
        assert Bundle.open(tmp_path / "bundles").folder.name == second  # a restart begins with it
        next_good = world.publish(weight=3)
        assert world.wait_for(next_good).refused is None


def test_a_bundle_whose_network_computes_something_else_here_is_refused(world: World, tmp_path: Path) -> None:
    other = write_colour_bundle(tmp_path / "other", weight=5)
    np.save(other.folder / "probe.npy", other.probe[::-1])
    Bundle.seal(other.folder, "small", other.network_key, other.precision, other.preprocessing, {})
    bundle = install(other.folder, tmp_path / "bundles")
    with world.bolt() as bolt:
        refusal = world.wait_for_refusal(world.register(bundle, bundle.folder.as_uri()))
        assert refusal.refused is not None
        assert "the network here gives other features" in refusal.refused.reason
        world.assert_tagged_by(refusal.model, world.tag(bolt))


def test_a_bundle_that_cannot_be_had_now_is_fetched_when_it_can(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "not mounted"
    bundle = install(write_colour_bundle(tmp_path / "b", weight=4).folder, tmp_path / "there", at_least=1)
    with world.bolt() as bolt:
        name = world.register(bundle, (elsewhere / bundle.folder.name).as_uri())
        refused = world.wait_for_refusal(name).refused
        assert refused is not None
        assert refused.reason.endswith("it is tried again")
        (tmp_path / "there").rename(elsewhere)
        assert world.wait_for(name).refused is None
        world.assert_tagged_by(name, world.tag(bolt))
        assert len(bolt.seen(command("error"))) == 1
    assert Bundle.open(tmp_path / "bundles").folder == tmp_path / "bundles" / name


def test_without_zookeeper_photos_are_tagged_and_once_it_is_back_the_current_model_is_used(
    world: World, zookeeper: ZooKeeper
) -> None:
    first = Bundle.open(world.folder / "bundles").folder.name
    zookeeper.kill()
    with world.bolt() as bolt:
        world.assert_tagged_by(first, world.tag(bolt))
        zookeeper.start()
        world.wait_for(first)
        second = world.publish(weight=2)
        world.wait_for(second)
        zookeeper.kill()
        world.assert_tagged_by(second, world.tag(bolt))
        zookeeper.start()
        third = world.publish(weight=3)
        world.wait_for(third)
        world.assert_tagged_by(third, world.tag(bolt))


def test_a_bolt_that_is_killed_begins_with_the_last_model_that_could_be_opened(world: World, tmp_path: Path) -> None:
    with world.bolt() as bolt:
        second = world.publish(weight=2)
        world.wait_for(second)
        third = world.publish(weight=3)
        world.wait_for(third)
        bolt.process.kill()
        bolt.wait_for_end()
    path = tmp_path / "bundles" / third / "classes.tsv"
    path.write_bytes(path.read_bytes()[:-1])
    with world.bolt() as bolt:
        refusal = world.wait_for_refusal(third)
        assert (refusal.model, refusal.pid) == (second, bolt.pid)
        world.assert_tagged_by(second, world.tag(bolt))
        told = bolt.seen(command("error"))[0]["msg"]
        assert "classes.tsv: is not what the manifest says" in told
        assert f"starting with an earlier model, {second}" in told


def test_a_host_that_has_no_model_fetches_the_current_one_before_it_begins(world: World, tmp_path: Path) -> None:
    second = world.publish(weight=2)
    world.settings = replace(world.settings, model="fresh")
    with world.bolt() as bolt:
        found = world.tag(bolt)
    shutil.copytree(tmp_path / "fresh", tmp_path / "bundles", dirs_exist_ok=True)
    world.assert_tagged_by(second, found)
    world.settings = replace(world.settings, model="fresher", model_registry="zookeeper:127.0.0.1:1/autotag")
    with world.bolt() as bolt:
        bolt.wait_for(lambda m: m.get("command") == "error" and "there is no bundle here" in m["msg"])
        assert bolt.wait_for_end() == 1


def test_a_folder_that_is_one_bundle_is_used_for_good(world: World) -> None:
    first = Bundle.open(world.folder / "bundles").folder.name
    world.publish(weight=2)
    world.settings = replace(world.settings, model=f"bundles/{first}")
    with world.bolt() as bolt:
        world.assert_tagged_by(first, world.tag(bolt))
        assert world.worker() is None
