"""The topology on the real cluster: what is pushed is tagged, whatever is pushed beside it and whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autotag.events import EventType, PhotoEvent
from autotag.localcluster.cluster import Cluster
from autotag.queues import EventQueue, open_queue
from autotag.settings import PROJECT, Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore, open_store
from autotag.view.results import Rejected, Tagged
from tests.bad_photos import slow_jpeg
from tests.conftest import make_event
from tests.photo_server import PhotoServer
from tests.stream import autotag, event_for, stored, wait, wait_until_idle

pytestmark = pytest.mark.timeout(600)

NAME = "tagging"


@pytest.fixture(scope="module")
def running(cluster: Cluster, cluster_config: Path) -> Iterator[Cluster]:
    """The cluster with the topology on it, submitted as the platform team does."""
    cluster.sparse("submit", "-e", "local", "-n", NAME, "--config", str(cluster_config))
    cluster.topologies.wait_for(NAME)
    yield cluster
    cluster.sparse("kill", "-e", "local", "-n", NAME, "--wait", "0", "--config", str(cluster_config))
    cluster.topologies.wait_until_gone(NAME)


@pytest.fixture
def queue(running: Cluster) -> Iterator[EventQueue]:
    queue = open_queue(running.settings)
    queue.drop()
    yield queue
    queue.close()


@pytest.fixture
def store(running: Cluster) -> Iterator[PhotoStore]:
    store = open_store(running.settings)
    yield store
    store.close()


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        yield server


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then has nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_a_pushed_photo_is_a_tagged_photo_with_the_command_lines_own_answer(
    running: Cluster, cluster_config: Path, draw: Callable[..., Path]
) -> None:
    path = draw("dir with space/photo é.jpg", seed=3)
    pushed = autotag(cluster_config, "push", str(path), "--owner", "ann", "--json")
    assert pushed.returncode == 0, pushed.stderr
    (photo_id,) = json.loads(pushed.stdout)["photos"]

    def shown() -> dict[str, Any] | None:
        done = autotag(cluster_config, "show", str(path), "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    photo = wait(shown, lambda: running.logs.tail(lines=20))
    assert (photo["photo_id"], photo["owner"]) == (photo_id, "ann")
    tagged = autotag(cluster_config, "tag", str(path), "--json")
    names = ("id", "name", "score", "bank", "parents", "leaf")
    assert json.loads(tagged.stdout)["tags"] == [{name: tag[name] for name in names} for tag in photo["tags"]]
    assert {tag["source"] for tag in photo["tags"]} <= {"realtime"}
    if photo["tags"]:
        name = photo["tags"][0]["name"]
        found = json.loads(autotag(cluster_config, "search", name, "--owner", "ann", "--json").stdout)
        assert photo_id in [one["photo_id"] for one in found["photos"]]


def bad_photos(folder: Path, server: PhotoServer, image: Path) -> dict[str, tuple[str, str]]:
    """Of each bad input, its URI and the reason that its photo is rejected for."""
    files: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "not_an_image"),
        "text.jpg": (b"hello, I am no photo", "not_an_image"),
        "truncated.jpg": (image.read_bytes()[: image.stat().st_size // 2], "truncated"),
        "bomb.png": (png_header(30_000, 30_000), "too_many_pixels"),
    }
    bad = {}
    for name, (data, reason) in files.items():
        (folder / name).write_bytes(data)
        bad[name] = (photo_uri(str(folder / name)), reason)
    bad |= {
        "missing": (photo_uri(str(folder / "missing.jpg")), "not_found"),
        "folder": (photo_uri(str(folder)), "not_a_file"),
        "404": (f"{server.url}/nowhere.jpg", "not_found"),
        "loop": (f"{server.url}/loop", "too_many_redirects"),
        "100 MiB": (f"{server.url}/big", "too_large"),
        "scheme": ("ftp://127.0.0.1/a.jpg", "bad_uri"),
    }
    return bad


def odd_photos(folder: Path) -> list[Path]:
    """Photos that are unusual, and still photos."""
    base = Image.radial_gradient("L").resize((300, 200))
    odd = {
        "one.png": Image.new("RGB", (1, 1), "red"),
        "cmyk.jpg": base.convert("RGB").convert("CMYK"),
        "16-bit.png": base.convert("I;16"),
        "grey.jpg": base,
        "palette.png": base.convert("P"),
    }
    paths = []
    for name, photo in odd.items():
        photo.save(folder / name)
        paths.append(folder / name)
    base.save(folder / "animated.gif", save_all=True, append_images=[base.rotate(90), base.rotate(180)])
    exif = Image.Exif()
    exif[0x0112] = 6
    base.convert("RGB").save(folder / "rotated.jpg", exif=exif)
    return [*paths, folder / "animated.gif", folder / "rotated.jpg"]


def test_whatever_is_pushed_every_good_photo_is_tagged_and_the_same_processes_run_on(
    running: Cluster,
    queue: EventQueue,
    store: PhotoStore,
    server: PhotoServer,
    tmp_path: Path,
    draw: Callable[..., Path],
    cluster_config: Path,
) -> None:
    before = running.topologies.components(NAME)
    assert len(before) == 4  # upload, two taggers, writer
    good = [event_for(draw(f"good {seed}.jpg", seed)) for seed in range(24)]
    good += [event_for(path) for path in odd_photos(tmp_path)]
    good.append(event_for(draw("strange.jpg"), ("a/b c 🐈 '\"%_\\ ü" * 100)[:1000]))
    image = draw("whole.jpg", size=(900, 700))
    bad = bad_photos(tmp_path, server, image)
    rejected = {name: make_event(f"bad {name}", uri=uri) for name, (uri, _) in bad.items()}
    failing = {
        "500": (f"{server.url}/status/500", "server_error"),
        "silent": (f"{server.url}/silent", "timeout"),
        "slow body": (f"{server.url}/slow-body", "timeout"),
        "slow headers": (f"{server.url}/slow-headers", "timeout"),
        "closed": ("http://127.0.0.1:1/a.jpg", "unreachable"),
        "hangs in the decoder": (server.add("/slow.jpg", slow_jpeg()), "timeout"),
    }
    dead = {name: make_event(f"dead {name}", uri=uri) for name, (uri, _) in failing.items()}
    events = [*dead.values(), *rejected.values(), *good]
    events.sort(key=lambda event: event.key)  # mixed, and the same order every time
    assert queue.enqueue([*events, good[0]]) == [True] * len(events) + [False]
    lines = tmp_path / "events.jsonl"
    incomplete = [json.dumps({**good[0].to_dict(), name: None}) for name in ("subject", "time")]
    lines.write_text("\n".join(["{", *incomplete]))
    pushed = autotag(cluster_config, "push", "--events", str(lines))
    assert pushed.returncode == 1
    assert "refused line 1: not JSON" in pushed.stderr
    assert "refused line 2: 'subject' is missing" in pushed.stderr
    assert "refused line 3: 'time' is missing" in pushed.stderr

    wait_until_idle(queue)
    for event in good:
        assert isinstance(stored(store, event.photo_id).view.machine, Tagged)
    for name, event in rejected.items():
        result = stored(store, event.photo_id).view.machine
        assert isinstance(result, Rejected)
        assert result.reason == bad[name][1], f"{name}: {result}"
    letters = {letter.event.photo_id: letter for letter in queue.dead_letters()}
    for name, event in dead.items():
        assert letters[event.photo_id].reason == failing[name][1], f"{name}: {letters[event.photo_id]}"
        assert letters[event.photo_id].attempts == 2
        assert store.get(event.photo_id) is None
    assert running.topologies.components(NAME) == before
    assert queue.drop() == len(dead)


def test_a_photo_that_kills_its_process_in_native_code_ends_in_the_dead_letters_and_harms_no_other(
    running: Cluster, queue: EventQueue, store: PhotoStore, server: PhotoServer, draw: Callable[..., Path]
) -> None:
    """The stand-in: a photo that keeps the native decoder busy, and a signal that ends it there, at every attempt."""
    before = running.topologies.components(NAME)
    bolts = {component.pid for component in before if component.name.endswith("TaggerBolt")}
    killer = make_event("killer", uri=server.add("/killer.jpg", slow_jpeg()))
    queue.enqueue([killer])
    killed = set()

    def dead() -> bool:
        for decoder, cpu_s in decoders_of(bolts).items():
            if cpu_s > 0.5 and decoder not in killed:
                os.kill(decoder, signal.SIGSEGV)
                killed.add(decoder)
        return bool(queue.dead_letters())

    # Other photos have used their decoders too: new ones, whose time is the killer's alone.
    for decoder in decoders_of(bolts):
        os.kill(decoder, signal.SIGKILL)
    good = [event_for(draw(f"beside {seed}.jpg", seed)) for seed in range(12)]
    queue.enqueue(good)
    wait(dead, queue.status)
    (letter,) = queue.dead_letters()
    assert (letter.event, letter.attempts, letter.reason) == (killer, 2, "decoder_died")
    assert "SIGSEGV" in letter.detail
    wait_until_idle(queue)
    for event in good:
        assert isinstance(stored(store, event.photo_id).view.machine, Tagged)
    assert running.topologies.components(NAME) == before


def decoders_of(bolts: set[int]) -> dict[int, float]:
    """The decoding processes of these bolts, each with the seconds of processor time that it has used."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) in bolts:
            found[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def test_a_replaced_photo_is_tagged_again_and_a_deleted_one_is_gone(
    queue: EventQueue, store: PhotoStore, draw: Callable[..., Path]
) -> None:
    path = draw("changing.jpg", seed=1)
    uploaded = event_for(path, "changing")
    queue.enqueue([uploaded])
    wait_until_idle(queue)
    assert stored(store, "changing").view.content_us == uploaded.content_us
    draw("changing.jpg", seed=2)
    replaced = event_for(path, "changing", type=EventType.REPLACED)
    queue.enqueue([replaced])
    wait_until_idle(queue)
    assert stored(store, "changing").view.content_us == replaced.content_us
    queue.enqueue([make_event("changing", EventType.DELETED)])
    wait_until_idle(queue)
    assert store.get("changing") is None
    queue.enqueue([replace(uploaded, id="late")])  # an upload of before the deletion
    wait_until_idle(queue)
    assert store.get("changing") is None


@pytest.mark.parametrize("target", ["TaggerBolt", "UploadSpout", "WriterBolt"])
def test_a_killed_component_comes_back_and_nothing_is_lost(
    running: Cluster, queue: EventQueue, store: PhotoStore, draw: Callable[..., Path], target: str
) -> None:
    events = [event_for(draw(f"{target} {seed}.jpg", seed)) for seed in range(60)]
    queue.enqueue(events)
    wait(lambda: queue.status().in_flight, queue.status)
    victim = next(component for component in running.topologies.components(NAME) if component.name.endswith(target))
    os.kill(victim.pid, signal.SIGKILL)
    wait_until_idle(queue, timeout_s=240)
    assert queue.dead_letters() == []
    for event in events:
        assert isinstance(stored(store, event.photo_id).view.machine, Tagged)


@pytest.mark.parametrize("daemon", ["nimbus", "supervisor", "zookeeper"])
def test_the_stream_goes_on_while_a_daemon_is_killed_and_the_daemon_comes_back(
    running: Cluster, queue: EventQueue, store: PhotoStore, draw: Callable[..., Path], daemon: str
) -> None:
    def pid() -> int | None:
        return next(found.pid for found in running.status().daemons if found.name == daemon)

    before = pid()
    assert before is not None
    os.kill(before, signal.SIGKILL)
    event = event_for(draw(f"{daemon}.jpg"))
    queue.enqueue([event])
    wait_until_idle(queue)
    assert isinstance(stored(store, event.photo_id).view.machine, Tagged)
    wait(lambda: running.status().ready and pid() not in (None, before), lambda: running.logs.tail(daemon))


@pytest.fixture
def storm(running: Cluster) -> Callable[..., str]:
    """Runs the platform team's `storm` on the tests' cluster."""

    def storm(*arguments: str) -> str:
        done = subprocess.run(
            [str(PROJECT / "cluster/storm"), *arguments],
            env={**os.environ, "STORM_CONF_DIR": str(running.home / "conf")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return storm


def test_a_topology_that_is_rebalanced_goes_on(
    running: Cluster,
    queue: EventQueue,
    store: PhotoStore,
    draw: Callable[..., Path],
    storm: Callable[..., str],
) -> None:
    storm("set_log_level", NAME, "-l", "ROOT=WARN:60")
    storm("rebalance", NAME, "-w", "1", "-e", "tagger=1")
    wait(lambda: len(running.topologies.components(NAME)) == 4 and running.topologies.is_active(NAME), running.status)
    event = event_for(draw("rebalanced.jpg"))
    queue.enqueue([event])
    wait_until_idle(queue)
    assert isinstance(stored(store, event.photo_id).view.machine, Tagged)


def test_a_deactivated_topology_takes_nothing_and_loses_nothing(
    queue: EventQueue, store: PhotoStore, draw: Callable[..., Path], storm: Callable[..., str]
) -> None:
    assert NAME in storm("list")
    storm("deactivate", NAME)
    events: list[PhotoEvent] = []

    def left_alone() -> bool:  # the worker hears of it a little later than the command returns
        events.append(event_for(draw(f"waiting {len(events)}.jpg")))
        queue.enqueue([events[-1]])
        time.sleep(1)
        return queue.status().ready == 1

    wait(left_alone, queue.status)
    storm("activate", NAME)
    wait_until_idle(queue)
    for event in events:
        assert isinstance(stored(store, event.photo_id).view.machine, Tagged)


def test_make_run_tags_the_sample_photos_and_leaves_the_cluster_up(running: Cluster, cluster_config: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "run", f"CONFIG={cluster_config}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()[0].endswith((".png", ".jpg"))}
    assert set(rows) == {"chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "china.jpg", "flower.jpg"}
    assert "cat" in rows["chelsea.png"]
    assert "espresso" in rows["coffee.png"]
    assert "make down" in done.stderr
    assert running.topologies.is_active(NAME)


def test_the_status_tells_of_queue_store_model_and_cluster(
    running: Cluster, cluster_config: Path, settings: Settings
) -> None:
    done = autotag(cluster_config, "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["queue"]["in_flight"] == 0
    assert status["store"]["tagged"] > 0
    assert status["model"]["name"] == "default"
    assert status["cluster"]["ready"] is True
    assert [topology["name"] for topology in status["cluster"]["topologies"]] == [NAME]


def test_sparse_run_tags_in_a_cluster_of_its_own_and_deploys_nothing(
    running: Cluster, cluster_config: Path, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    before = running.status().topologies
    config = json.loads(cluster_config.read_text())
    options = config["envs"]["local"]["options"]
    options |= {"autotag.queue": f"sqlite:{tmp_path / 'queue.db'}", "autotag.store": f"sqlite:{tmp_path / 'store.db'}"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = Settings.from_config("local", tmp_path / "config.json")
    event = event_for(draw("local.jpg"))
    open_queue(settings).enqueue([event])
    running.sparse("run", "-e", "local", "-n", NAME, "-t", "30", "--config", str(tmp_path / "config.json"))
    assert isinstance(stored(open_store(settings), event.photo_id).view.machine, Tagged)
    assert [topology.name for topology in running.status().topologies] == [topology.name for topology in before]
