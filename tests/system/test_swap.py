"""The model swap on the real cluster: photos stream while models are published, and each is tagged by exactly one."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotag.bundles.registry import ModelRegistry, PublishedModel
from autotag.events import PhotoEvent
from autotag.localcluster.cluster import Cluster
from autotag.photos.source import PhotoSource
from autotag.queues import EventQueue, open_queue
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from autotag.tagging.tagger import Tagger
from autotag.view.results import ModelVersion, Tagged
from models.bundle import BANKS, Bundle, install
from models.bundle_folder import make_current
from tests.model_files import write_colour_bundle
from tests.stream import autotag, event_for, stored, wait, wait_until_idle

pytestmark = pytest.mark.timeout(300)

NAME = "tagging"


@pytest.fixture(scope="module")
def config(cluster_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster's, with queue, store, registry and bundles of this module."""
    folder = tmp_path_factory.mktemp("swap")
    first = install(write_colour_bundle(folder / "built", weight=1).folder, folder / "bundles")
    make_current(folder / "bundles", first.folder.name)
    config = json.loads(cluster_config.read_text())
    options = config["envs"]["local"]["options"]
    options |= {f"autotag.{name}": f"sqlite:{folder / name}.db" for name in ("queue", "store")}
    options |= {
        "autotag.model": str(folder / "bundles"),
        "autotag.model.registry": f"{options['autotag.model.registry']}/swap",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


@pytest.fixture(scope="module")
def settings(config: Path) -> Settings:
    return Settings.from_config("local", config)


@pytest.fixture(scope="module")
def running(cluster: Cluster, config: Path) -> Iterator[Cluster]:
    cluster.sparse("submit", "-e", "local", "-n", NAME, "--config", str(config))
    cluster.topologies.wait_for(NAME)
    yield cluster
    cluster.sparse("kill", "-e", "local", "-n", NAME, "--wait", "0", "--config", str(config))
    cluster.topologies.wait_until_gone(NAME)


class Stream:
    """Events of photos, one after the other, for as long as the block runs."""

    def __init__(self, settings: Settings, photos: list[Path]) -> None:
        self.sent: dict[str, PhotoEvent] = {}
        self._settings, self._photos = settings, photos
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        queue = open_queue(self._settings)
        numbers = itertools.count()
        while not self._end.wait(0.05):
            events = [
                event_for(self._photos[number % len(self._photos)], f"p{number}")
                for number in itertools.islice(numbers, 4)
            ]
            self.sent |= {event.photo_id: event for event in events}
            queue.enqueue(events)
        queue.close()

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def expected(settings: Settings, model: ModelVersion, photos: list[Path]) -> dict[str, Any]:
    """The tags that a Tagger of that model alone gives, by URI."""
    folder = f"{settings.model}/{str(model).rpartition('/')[2]}"
    with Tagger.open(replace(settings, model=folder), PhotoSource(any_file=True)) as tagger:
        return dict(tagger.tag([photo_uri(str(photo)) for photo in photos]))


def test_while_models_are_published_no_photo_is_lost_and_each_is_tagged_as_the_model_it_names_says(
    running: Cluster,
    config: Path,
    settings: Settings,
    queue: EventQueue,
    store: PhotoStore,
    draw: Callable[..., Path],
    tmp_path: Path,
) -> None:
    photos = [draw(f"{seed}.png", seed) for seed in range(5)]
    before = running.topologies.components(NAME)

    def published(candidate: Bundle) -> str:
        done = autotag(config, "model", "publish", str(candidate.folder), "--json")
        assert done.returncode == 0, done.stderr
        folder: str = json.loads(done.stdout)["folder"]
        return folder

    with Stream(settings, photos) as stream, ModelRegistry(settings).connect() as registry:

        def all_have(model: str) -> bool:
            return [worker.model for worker in registry.workers()] == [model] * 2

        for bundle in (
            write_colour_bundle(tmp_path / "bank", weight=2),
            write_colour_bundle(tmp_path / "network", weight=2, size=6),
        ):
            name = published(bundle)
            wait(lambda name=name: all_have(name), registry.workers, 60)
        damaged = install(write_colour_bundle(tmp_path / "bad", weight=9).folder, settings.path(settings.model))
        path = damaged.folder / BANKS / "colours" / "weights.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        known = PublishedModel(
            name="small",
            version=damaged.version,
            sequence=damaged.sequence,
            classes=6,
            location=damaged.folder.as_uri(),
            published_by="ann",
            published_us=1,
        )
        assert registry.change(registry.current(), known.folder, "ann", [known])
        wait(lambda: all(worker.refused for worker in registry.workers()), registry.workers, 60)

    wait_until_idle(queue)
    status = json.loads(autotag(config, "status", "--json").stdout)
    assert status["models"]["current"] == known.folder
    assert [worker["model"] for worker in status["models"]["workers"]] == [name] * 2
    for worker in status["models"]["workers"]:
        assert worker["refused"]["model"] == known.folder
        assert "weights.npy: is not what the manifest says" in worker["refused"]["reason"]
    assert queue.dead_letters() == []
    assert running.topologies.components(NAME) == before
    found = {photo_id: stored(store, photo_id).view.machine for photo_id in stream.sent}
    models = {result.model for result in found.values() if isinstance(result, Tagged)}
    assert [model.sequence for model in sorted(models, key=lambda model: model.sequence)] == [1, 2, 3]
    wanted = {model: expected(settings, model, photos) for model in models}
    assert len({repr(tags) for tags in wanted.values()}) == 3
    for photo_id, result in found.items():
        assert isinstance(result, Tagged), f"{photo_id}: {result}"
        assert result.tags == wanted[result.model][stream.sent[photo_id].uri], f"{photo_id}: {result}"
