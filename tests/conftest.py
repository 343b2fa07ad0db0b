"""Fixtures that more than one test file uses, and how pytest-xdist shares the tests out among its processes.

The session's servers run once: all tests that ask for them are one group, in one process. Every other file is a group
of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from PIL import Image, ImageDraw

from autotag.events import EventType, PhotoEvent
from autotag.events.times import now_us
from autotag.localcluster.cluster import Cluster
from autotag.queues import EventQueue, open_queue
from autotag.settings import PROJECT, Settings
from autotag.stores import PhotoStore, open_store
from tests.worlds import hbase_prefix, settings_of

if TYPE_CHECKING:
    from tests.zookeeper import ZooKeeper  # which has its ports from here

# The machines are shared: how long an example takes says nothing, and a failure must be the same one again.
hypothesis_settings.register_profile(
    "shared", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("shared")


SESSION_SERVERS = {"cluster_config", "hbase_settings"}
"""Fixtures of the session's cluster. All tests that ask for one, also through another fixture, are one group."""
SERVERS = {*SESSION_SERVERS, "cluster", "spark"}
"""Fixtures that start servers. A test that asks for one has the mark `servers`, which `make check` leaves out."""
SERVER_FILES = (
    "tests/bundles/test_publisher.py",
    "tests/cli/test_retrain.py",
    "tests/jobs/",
    "tests/localcluster/",
    "tests/system/",
    "tests/tagging/test_hot_swap.py",
)
"""Files whose tests have the mark too: they start a ZooKeeper, Spark or a cluster of their own."""
SLOWEST = (
    "tests/system/",
    "tests/localcluster/",
    "tests/cli/test_retrain.py",
    "tests/jobs/",
    "tests/training/dataset/",
    "tests/cli/",
    "tests/training/",
    "tests/bulk/",
)
"""Files that take longest, in the order in which the processes take them."""


def on_hbase(item: pytest.Item) -> bool:
    """True if the test's parameters name HBase as the store."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return any(one == "hbase" for one in parameters.values() if isinstance(one, str))


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name each test's group, and put the groups in order: the session's servers first, then what takes longest."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        slow = [item.nodeid.startswith(start) for start in SLOWEST]
        return item not in together, slow.index(True) if any(slow) else len(slow)

    together = set()
    for item in items:
        file = item.nodeid.partition("::")[0]
        fixtures = set(getattr(item, "fixturenames", ()))
        if SESSION_SERVERS & fixtures or on_hbase(item):
            together.add(item)
        if SERVERS & fixtures or on_hbase(item) or file.startswith(SERVER_FILES):
            item.add_marker(pytest.mark.servers)
        group = "zookeeper" if "zookeeper" in fixtures else file
        item.add_marker(pytest.mark.xdist_group("servers" if item in together else group))
    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their parameter: bytes with a time in them, as gzip writes, would differ between two processes."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Everything below a folder of the test's own, but the bundle that the set-up has built."""
    return Settings(
        home=str(tmp_path),
        queue="sqlite:queue.db",
        store="sqlite:store.db",
        model=str(PROJECT / "build/bundles/default"),
        model_registry="zookeeper:127.0.0.1:1/autotag",  # nobody's: a cluster beside the tests may have one
        photo_roots=(str(tmp_path),),
        photo_private_hosts=True,
        queue_backoff_s=0.01,
    )


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Path:
    """A config.json whose environment ``local`` says what the fixture `settings` says."""
    options = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return path


@pytest.fixture
def queue(settings: Settings) -> Iterator[EventQueue]:
    queue = open_queue(settings)
    yield queue
    queue.close()


@pytest.fixture
def store(settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(settings)
    yield store
    store.close()


@pytest.fixture(scope="module")
def hbase_url(hbase_settings: Settings) -> Iterator[str]:
    """A store on the session's HBase, with tables of the module's own."""
    with hbase_prefix(hbase_settings) as url:
        yield url


@pytest.fixture(params=["sqlite", "hbase"])
def store_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Of an empty store, of each kind in turn."""
    return settings_of(request, settings)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Draws a photo of coloured ellipses and returns its path; another `seed` draws another photo."""

    def drawn(name: str = "photo.jpg", seed: int = 0, size: tuple[int, int] = (320, 240)) -> Path:
        photo = Image.new("RGB", size, (seed * 37 % 256, 120, 200))
        pen = ImageDraw.Draw(photo)
        for i in range(5):
            x, y = (seed * 53 + i * 97) % size[0], (seed * 31 + i * 71) % size[1]
            pen.ellipse((x, y, x + 90, y + 60), fill=((i * 50) % 256, (seed * 91) % 256, (i * 90) % 256))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
        return path

    return drawn


_made = iter(range(10**9))


def make_event(photo_id: str = "p1", type: EventType = EventType.UPLOADED, **changes: object) -> PhotoEvent:
    """An event of its own identity."""
    event = PhotoEvent(
        type=type,
        source="tests",
        id=f"event-{next(_made)}",
        photo_id=photo_id,
        content_us=now_us(),
        owner="ann",
        uri="file:///nowhere.jpg",
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def free_ports(count: int) -> list[int]:
    """Free ports in a row, below those that the system gives to outgoing connections.

    Each process of pytest-xdist has a range of its own, or two could find the same ones free.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    for _ in range(100):
        first = 20000 + worker * 1250 + random.randrange(1200)
        with contextlib.ExitStack() as bound, contextlib.suppress(OSError):
            for port in range(first, first + count):
                bound.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """A ZooKeeper for the whole run; each test has a path of its own, and one that kills it starts it again."""
    from tests.zookeeper import ZooKeeper

    with ZooKeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config.json like the project's own, with ports and folders of this test run, and little patience.

    Its environments are ``local`` and ``hbase``; as ever, they share one cluster.
    """
    folder = tmp_path_factory.mktemp("cluster")
    config = json.loads((PROJECT / "config.json").read_text())
    zookeeper, nimbus, _after_nimbus, worker, other_worker, thrift, *hbase = free_ports(8)
    options = {
        "autotag.cluster.home": str(folder / "home"),
        "autotag.cluster.zookeeper.port": zookeeper,
        "autotag.model.registry": f"zookeeper:127.0.0.1:{zookeeper}/autotag",
        "autotag.cluster.nimbus.port": nimbus,
        "autotag.cluster.worker.ports": [worker, other_worker],
        "autotag.cluster.thrift.port": thrift,
        "autotag.cluster.hbase.ports": hbase,
        "autotag.queue": f"sqlite:{folder / 'queue.db'}",
        "autotag.store": f"sqlite:{folder / 'store.db'}",
        "autotag.photo.deadline.s": 3,
        "autotag.photo.read.timeout.s": 1,
        "autotag.photo.connect.timeout.s": 1,
        "autotag.photo.decode.timeout.s": 3,
        "autotag.queue.attempts": 2,
        "autotag.queue.backoff.s": 0.2,
    }
    config["envs"] = {name: config["envs"][name] for name in ("local", "hbase")}
    for environment in config["envs"].values():
        environment["nimbus"] = f"127.0.0.1:{nimbus}"
        environment["options"] |= options
    config["envs"]["hbase"]["options"]["autotag.store"] = f"hbase://127.0.0.1:{thrift}/autotag"
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="session")
def cluster(cluster_config: Path) -> Iterator[Cluster]:
    """The real servers, up for the whole session."""
    cluster = Cluster(Settings.from_config("local", cluster_config))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def hbase_settings(cluster: Cluster, cluster_config: Path) -> Settings:
    """The settings of the session's cluster with HBase as the store; HBase is up on it from the first use on."""
    settings = Settings.from_config("hbase", cluster_config)
    Cluster(settings).up()
    return settings
