"""The topology on a real HBase while its servers are killed, runs come and go, and people decide.

`AUTOTAG_OUTAGE_PHOTOS` sets how many photos are pushed meanwhile; a run with 2000 takes some ten minutes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from autotag.bundles.sample_photos import sample_photos
from autotag.errors import StoreError
from autotag.events import EventType, PhotoEvent
from autotag.events.times import iso_time, now_us
from autotag.localcluster.cluster import Cluster
from autotag.photos.source import PhotoSource
from autotag.queues import EventQueue, open_queue
from autotag.settings import PROJECT, Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore, open_store
from autotag.tagging.tagger import Tagger
from autotag.view.decisions import Action
from autotag.view.results import Tagged
from models.bundle import Bundle
from tests.conftest import make_event
from tests.stream import autotag, wait, wait_until_idle

PHOTOS = int(os.environ.get("AUTOTAG_OUTAGE_PHOTOS", "160"))
NAME = "outages"
KEPT, RETRACTED = "kept", "retracted"
PUSHING_S = 40
"""The longest time over which photos are pushed while servers are killed."""
HOUR_US = 3600 * 1_000_000

pytestmark = pytest.mark.timeout(400 + PHOTOS)

Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def config(cluster_config: Path, hbase_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's configuration, with the store on HBase and a queue of its own."""
    folder = tmp_path_factory.mktemp("outages")
    values = json.loads(cluster_config.read_text())
    values["envs"]["local"]["options"] |= {
        "autotag.store": f"{hbase_settings.store}_outages",
        "autotag.queue": f"sqlite:{folder / 'queue.db'}",
        "autotag.queue.attempts": 4,
    }
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def settings(config: Path) -> Settings:
    return Settings.from_config("local", config)


@pytest.fixture(scope="module")
def running(cluster: Cluster, config: Path, settings: Settings) -> Iterator[Cluster]:
    """The cluster with a topology that writes to HBase; afterwards it is killed."""
    assert autotag(config, "store", "init").returncode == 0
    assert "as they should be" in autotag(config, "store", "check").stdout
    cluster.sparse("submit", "-e", "local", "-n", "tagging", "--override_name", NAME, "--config", str(config))
    cluster.topologies.wait_for(NAME)
    yield cluster
    cluster.nimbus.kill(NAME)
    cluster.topologies.wait_until_gone(NAME)


@pytest.fixture
def queue(running: Cluster, settings: Settings) -> Iterator[EventQueue]:
    queue = open_queue(settings)
    yield queue
    queue.close()


@pytest.fixture
def store(running: Cluster, settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(settings)
    yield store
    store.close()


def persistently(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives, asked again while the store is away, as a person or a script would."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return ask()
        except StoreError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


class World:
    """All that was done to the photos, and what a reader must see of each by the rule: an oracle of its own."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.bundle = Bundle.open(settings.path(settings.model))
        files = sample_photos(PROJECT / "build/samples", PROJECT / "build/wheels")
        with Tagger.open(settings, PhotoSource(any_file=True)) as tagger:
            self.model = tagger.model
            answers = tagger.tag(photo_uri(str(file)) for file in files)
            self.tags = {uri: {tag.id: tag.score for tag in tags} for uri, tags in answers if isinstance(tags, tuple)}
        self.uris = sorted(self.tags)
        self.uploads: dict[str, PhotoEvent] = {}
        self.last: dict[str, PhotoEvent] = {}
        self.added: dict[str, set[str]] = {}
        self.removed: dict[str, set[str]] = {}
        self.run_tags = {
            KEPT: self.with_parents("coffee mug"),
            RETRACTED: self.with_parents("volcano"),
        }
        self.in_runs: set[str] = set()
        self.folder = folder

    def id(self, name: str) -> str:
        found = self.bundle.classes.find(name)
        assert found, name
        return found

    def with_parents(self, name: str) -> dict[str, float]:
        return dict.fromkeys((self.id(name), *self.bundle.classes.ancestors(self.id(name))), 0.99)

    def below(self, name: str) -> set[str]:
        classes = self.bundle.classes
        return {id_ for id_ in classes.ids if self.id(name) in classes.ancestors(id_)} | {self.id(name)}

    def upload(self, number: int) -> PhotoEvent:
        event = make_event(f"photo/{number}", uri=self.uris[number % len(self.uris)], owner=f"owner {number % 3}")
        self.uploads[event.photo_id] = self.last[event.photo_id] = event
        return event

    def replaced(self, number: int) -> PhotoEvent:
        event = self.uploads[f"photo/{number}"]
        other = self.uris[(number + 5) % len(self.uris)]
        newer = replace(event, type=EventType.REPLACED, id=f"{event.id}-2", uri=other, content_us=event.content_us + 1)
        self.last[event.photo_id] = newer
        return newer

    def deleted(self, number: int) -> PhotoEvent:
        event = self.uploads[f"photo/{number}"]
        gone = replace(event, type=EventType.DELETED, id=f"{event.id}-3", content_us=event.content_us + 2, uri="")
        self.last[event.photo_id] = gone
        return gone

    def run_file(self, run: str) -> Path:
        """What a run says, of the photos as they were first uploaded, computed later than any of the stream's."""
        self.in_runs = set(self.uploads)
        lines = [
            {
                "photo_id": event.photo_id,
                "owner": event.owner,
                "uri": event.uri,
                "content_time": iso_time(event.content_us),
                "computed_time": iso_time(now_us() + HOUR_US),
                "model": str(self.model),
                "tags": [{"id": id_, "score": score} for id_, score in self.run_tags[run].items()],
            }
            for number, event in enumerate(self.uploads.values())
            if run == RETRACTED or number % 3 == 0
        ]
        path = self.folder / f"{run}.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    def machine(self, photo_id: str) -> dict[str, float]:
        """The machines' tags in the end."""
        number, last = int(photo_id.split("/")[1]), self.last[photo_id]
        untouched = photo_id in self.in_runs and last is self.uploads[photo_id]
        return self.run_tags[KEPT] if untouched and number % 3 == 0 else self.tags[last.uri]

    def expected(self, photo_id: str) -> dict[str, float] | None:
        """What a reader sees in the end: scores by tag; None for no photo."""
        if self.last[photo_id].type is EventType.DELETED:
            return None
        hidden: set[str] = set().union(*(self.below(name) for name in self.removed.get(photo_id, ())))
        shown = {id_: score for id_, score in self.machine(photo_id).items() if id_ not in hidden}
        for name in self.added.get(photo_id, ()):
            shown |= dict.fromkeys(self.with_parents(name), 1.0)
        return shown


class Reader:
    """Reads all the time. A photo's machine tags are always those of one computation, whole; nothing else is raised
    than that the store is away."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.views = self.outages = 0
        self.wrong: list[str] = []
        self._settings, self._world = settings, world
        self._done = threading.Event()
        self._possible = [set(tags) for tags in (*world.tags.values(), *world.run_tags.values())]

    def read(self) -> None:
        store = open_store(self._settings)
        picked = random.Random(1)
        while not self._done.is_set():
            ids = list(self._world.uploads)
            try:
                photo = store.get(picked.choice(ids))
                page = store.search("coffee mug", f"owner {picked.randrange(3)}", 20)
            except StoreError:
                self.outages += 1
                time.sleep(0.1)
                continue
            for view in [*([photo.view] if photo else []), *(found.view for found in page.photos)]:
                machine = {tag.id for tag in view.machine.tags} if isinstance(view.machine, Tagged) else set()
                if machine not in self._possible:
                    self.wrong.append(f"{view}")
            self.views += 1
        store.close()

    def stop(self) -> None:
        self._done.set()


def test_every_photo_has_the_tags_that_the_rule_says_whatever_was_killed_meanwhile(
    running: Cluster,
    config: Path,
    settings: Settings,
    queue: EventQueue,
    store: PhotoStore,
    tmp_path: Path,
) -> None:
    world = World(tmp_path, settings)
    first = PHOTOS // 4
    queue.enqueue([world.upload(number) for number in range(first)])
    wait_until_idle(queue)
    kept, retracted = world.run_file(KEPT), world.run_file(RETRACTED)  # of the photos that are there
    reader = Reader(settings, world)
    survived = threading.Event()  # the last kill

    def push() -> None:
        for number in range(first, PHOTOS):
            queue.enqueue([world.upload(number)])
            survived.wait(PUSHING_S / PHOTOS)

    def load() -> None:
        for run, path in ((RETRACTED, retracted), (KEPT, kept)):
            wait(lambda run=run, path=path: bulk("load", run, str(path)), lambda: "not loaded", 240)
            wait(lambda run=run: bulk("publish", run), lambda: "not published", 240)
        wait(lambda: bulk("retract", RETRACTED), lambda: "not retracted", 240)

    def bulk(*arguments: str) -> bool:
        done = autotag(config, "bulk", *arguments)
        assert done.returncode == 0 or "HBase" in done.stderr, done.stderr
        return done.returncode == 0

    def decide() -> None:
        for number in range(first):
            photo_id = f"photo/{number}"
            if number % 5 == 1:
                persistently(lambda id_=photo_id: store.decide(id_, "beagle", Action.ADD, "bob"))
                world.added[photo_id] = {"beagle"}
            elif number % 5 == 2:
                persistently(lambda id_=photo_id: store.decide(id_, "container", Action.REMOVE, "bob"))
                world.removed[photo_id] = {"container"}
            elif number % 5 == 3:
                persistently(lambda id_=photo_id: store.decide(id_, "beagle", Action.ADD, "bob"))
                persistently(lambda id_=photo_id: store.decide(id_, "dog", Action.REMOVE, "eve"))
                world.removed[photo_id] = {"dog"}
            elif number % 5 == 4:
                queue.enqueue([world.replaced(number)])
            elif number % 15 == 10:
                queue.enqueue([world.deleted(number)])
            time.sleep(0.2)

    def kill() -> None:
        for names in (("bolts.writer.WriterBolt",), ("thrift",), ("hbase-master", "hbase-regionserver")):
            time.sleep(2)
            servers = Cluster(settings).status().daemons
            pids = [
                one.pid for one in (*servers, *running.topologies.components(NAME)) if one.name in names and one.pid
            ]
            assert len(pids) == len(names), servers
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            time.sleep(3)
            persistently(lambda: store.get("photo/0"))
        survived.set()

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(reader.read)
        acts: list[Future[None]] = [pool.submit(act) for act in (push, load, decide, kill)]
        try:
            for act in acts:
                act.result()
            wait_until_idle(queue, timeout_s=240 + PHOTOS / 10)
        finally:
            reader.stop()
        reading.result()

    assert queue.dead_letters() == []
    assert reader.views > 0
    assert not reader.wrong, reader.wrong[:3]
    for photo_id in world.uploads:
        expected = world.expected(photo_id)
        photo = store.get(photo_id)
        if expected is None:
            assert photo is None, photo_id
            continue
        assert photo is not None, photo_id
        shown = {tag.id: tag.score for tag in photo.view.tags}
        assert shown == pytest.approx(expected, abs=0.01), photo_id
    the_index_is_complete(world, store)

    status = json.loads(autotag(config, "status", "--json").stdout)
    assert status["runs"] == {KEPT: "published", RETRACTED: "retracted"}
    uptimes = {server["name"]: server["uptime_s"] for server in status["cluster"]["daemons"]}
    assert uptimes["thrift"] < uptimes["zookeeper"]
    assert uptimes["hbase-regionserver"] < uptimes["zookeeper"]


def the_index_is_complete(world: World, store: PhotoStore) -> None:
    """Each owner's photos by tag are exactly those whose view has it, newest first."""
    for owner in ("owner 0", "owner 1", "owner 2"):
        for name in ("coffee mug", "beagle", "dog", "container", "volcano"):
            found, cursor = [], None
            while True:
                page = store.search(name, owner, 25, cursor)
                found += [(photo.view.content_us, photo.view.photo_id) for photo in page.photos]
                if (cursor := page.cursor) is None:
                    break
            wanted = {
                photo_id
                for photo_id, event in world.uploads.items()
                if event.owner == owner and world.id(name) in (world.expected(photo_id) or {})
            }
            assert {photo_id for _, photo_id in found} == wanted, (owner, name)
            assert len(found) == len(wanted)
            assert [content_us for content_us, _ in found] == sorted((us for us, _ in found), reverse=True)
