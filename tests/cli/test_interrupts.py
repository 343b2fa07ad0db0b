"""A command that gets SIGINT or SIGTERM says what is kept and how to go on, and leaves no process.

Each signal comes at a moment that the test can see; bench/interrupts.py sends them at random ones.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotag.localcluster.processes import processes_with
from autotag.settings import PROJECT, Settings
from autotag.stores import PhotoStore
from tests.worlds import CLASSES, model

PROGRAM = str(Path(sys.executable).parent / "autotag")
TIME = "2026-01-31T12:00:00Z"
INT, TERM = signal.SIGINT, signal.SIGTERM
Draw = Callable[..., Path]
Send = Callable[[int, int], None]


class Command:
    """A running command in a process group of its own."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self.mark = secrets.token_hex(8)
        home = Path(settings.home)
        options = {
            "autotag.home": home,
            "autotag.model": settings.model,
            "autotag.model.registry": settings.model_registry,
            "autotag.store": settings.store,
            "autotag.queue": settings.queue,
        }
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        self.process = subprocess.Popen(
            [PROGRAM, *given, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AUTOTAG_TEST_MARK": self.mark, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            cwd="/",
        )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it did not come"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def interrupt(self, number: int = INT, send: Send = os.killpg) -> str:
        """Send a signal, by default as a terminal does, to all processes; return the note.

        The exit code is a shell's, and no process is left.
        """
        send(self.process.pid, number)
        _, err = self.process.communicate(timeout=60)
        said = err.decode()
        assert self.process.returncode == 128 + number, said
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        deadline = time.monotonic() + 20
        while processes_with("AUTOTAG_TEST_MARK", self.mark):
            assert time.monotonic() < deadline, "a process is left"
            time.sleep(0.05)
        return said.splitlines()[-1].removeprefix("autotag: interrupted")

    def finish(self) -> str:
        out, err = self.process.communicate(timeout=100)
        assert self.process.returncode == 0, err.decode()
        return out.decode()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []

    def started(*arguments: str) -> Command:
        commands.append(Command(settings, *arguments))
        return commands[-1]

    yield started
    for one in commands:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.communicate()


def photo_list(draw: Draw, tmp_path: Path, count: int) -> str:
    photos = [draw(f"drawn/{seed}.jpg", seed).as_uri() for seed in range(3)]
    path = tmp_path / "list.txt"
    path.write_text("".join(f"p{number} {photos[number % 3]}\n" for number in range(count)))
    return str(path)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_backfill_goes_on_with_what_is_left(
    start: Callable[..., Command], draw: Draw, tmp_path: Path, number: int
) -> None:
    job = tmp_path / "job"
    options = ("--workers", "2", "--chunk-photos", "4", "--owner", "ann", "--content-time", TIME)
    command = ("backfill", photo_list(draw, tmp_path, 120), "--job", str(job), *options)
    run = start(*command)
    run.wait_until(lambda: len(names(job / "tags")) > 2)
    note = run.interrupt(number)
    done = int(note.removeprefix(": ").split()[0])
    assert note == f": {done} of 120 photos are done and kept in {job}; the same command goes on"
    assert 0 < done <= 4 * len(names(job / "tags"))
    hidden = [name for folder in ("tags", "failed", "photos") for name in names(job / folder) if name[0] == "."]
    assert hidden == []
    summary = json.loads(start(*command, "--json").finish())
    assert (summary["tagged"], summary["left"]) == (120, 0)
    assert summary["done_before"] >= done


def test_a_join_goes_on_with_what_is_left(start: Callable[..., Command], draw: Draw, tmp_path: Path) -> None:
    command = ("join", "--photos", photo_list(draw, tmp_path, 400), "--set", str(tmp_path / "set"), "--workers", "2")
    run = start(*command)
    run.wait_until(lambda: bool(list(tmp_path.glob("set/features/*.parquet"))))
    assert "the same command goes on" in run.interrupt(TERM, os.kill)
    assert list(tmp_path.glob("set/features/.*")) == []
    assert json.loads(start(*command, "--json").finish())["photos"] == 400


def test_printed_tags_are_counted(start: Callable[..., Command], draw: Draw, tmp_path: Path) -> None:
    for number in range(100):
        draw(f"photos/{number}.jpg", number)
    run = start("tag", str(tmp_path / "photos"))
    assert run.process.stdout is not None
    run.process.stdout.readline()
    note = run.interrupt(TERM, os.kill)
    assert "of 100 photos are printed" in note


def test_events_that_are_on_the_queue_stay(start: Callable[..., Command], settings: Settings) -> None:
    event = {"specversion": "1.0", "type": "photo.uploaded", "source": "tests", "time": TIME}
    data = {"uri": "file:///nowhere.jpg", "owner": "ann"}
    lines = [json.dumps({**event, "id": str(n), "subject": f"p{n}", "data": data}) + "\n" for n in range(600)]
    run = start("push", "--events", "-")
    assert run.process.stdin is not None
    run.process.stdin.write("".join(lines).encode())
    run.process.stdin.flush()
    queue = Path(settings.home) / "queue.db"
    run.wait_until(lambda: queue.exists() and queue.stat().st_size > 0)
    assert "push the same again for the rest" in run.interrupt()
    run = start("push", "--events", "-", "--json")
    assert run.process.stdin is not None
    out, _ = run.process.communicate("".join(lines).encode(), timeout=60)
    summary = json.loads(out)
    assert summary["accepted"] + summary["known"] == 600


def test_a_bulk_load_goes_on_behind_its_bookmark(
    start: Callable[..., Command], store: PhotoStore, tmp_path: Path
) -> None:
    store.runs.add_model(model(1), CLASSES)
    line = {"owner": "ann", "content_time": TIME, "model": str(model(1)), "tags": [{"id": "n-dog", "score": 0.9}]}
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps({**line, "photo_id": f"p{number}"}) + "\n" for number in range(6_000)))
    run = start("bulk", "load", "run", str(path))
    run.wait_until(lambda: store.runs.bookmark("run").get("photos", 0) > 0)
    assert "the same command goes on" in run.interrupt()
    loaded = json.loads(start("bulk", "load", "run", str(path), "--json").finish())
    assert (loaded["state"], loaded["photos"]) == ("loaded", 6_000)


def test_a_bundle_that_is_half_built_is_removed(start: Callable[..., Command], settings: Settings) -> None:
    home = Path(settings.home)
    (home / "build").mkdir()
    (home / "build/wheels").symlink_to(PROJECT / "build/wheels")
    run = start("-o", f"autotag.model={home / 'bundles'}", "model", "build")
    run.wait_until(lambda: bool(names(home / "bundles")))
    assert run.interrupt() == ": no bundle was installed; start the same command again"
    assert names(home / "bundles") == []


def test_a_signal_before_anything_is_loaded_is_answered(start: Callable[..., Command]) -> None:
    run = start("status")
    # The console script's own module is loaded once the process has Python's and its handlers.
    caught = f"{1 << (INT - 1) | 1 << (TERM - 1):x}"
    status = Path(f"/proc/{run.process.pid}/status")

    def handled() -> bool:
        mask = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:")).split()[1]
        return int(mask, 16) & int(caught, 16) == int(caught, 16)

    run.wait_until(handled)
    assert "start the same command again" in run.interrupt()
