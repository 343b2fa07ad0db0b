"""Interrupts every long command at random moments: each ends in order, with a note, and leaves no process.

    .venv/bin/python -m bench.interrupts --times 50 [COMMAND ...]

Half of the signals are a Ctrl-C (SIGINT to all processes of the command, as a terminal sends it), a quarter a SIGTERM
to the command alone, a quarter a SIGTERM to all of its processes. After the last interruption the command runs to its
end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image, ImageDraw

from autotag.settings import PROJECT
from tests.zookeeper import ZooKeeper

PROGRAM = PROJECT / ".venv/bin/autotag"
MARK = "AUTOTAG_INTERRUPTED"
PHOTOS = 120
END_S = 60.0


class Trial:
    """One command, interrupted again and again in folders of its own."""

    def __init__(
        self, home: Path, name: str, arguments: list[str], reset: Callable[[], None], settings: dict[str, str]
    ):
        self.home, self.name, self.arguments, self.reset = home, name, arguments, reset
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self.seen: Counter[str] = Counter()

    def start(self) -> tuple[subprocess.Popen[str], str]:
        mark = secrets.token_hex(8)
        process = subprocess.Popen(
            [str(PROGRAM), *self.options, *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {MARK: mark},
            cwd=self.home,
        )
        return process, mark

    def run(self, times: int) -> None:
        self.reset()
        began = time.monotonic()
        process, _ = self.start()
        out, err = process.communicate()
        whole_s = time.monotonic() - began
        if process.returncode:
            raise SystemExit(f"{self.name} fails by itself ({process.returncode}):\n{out}\n{err}")
        for _ in range(times):
            self.reset()
            self.interrupt(random.uniform(0.03, whole_s))
        process, _ = self.start()
        out, err = process.communicate()
        self.seen["then done" if process.returncode == 0 else f"then FAILED: {err[-300:]}"] += 1
        print(
            f"| {self.name} | {whole_s:.1f} s | {', '.join(f'{count} {what}' for what, count in self.seen.items())} |"
        )
        sys.stdout.flush()

    def interrupt(self, after_s: float) -> None:
        number, to_all = random.choice(
            [(signal.SIGINT, True), (signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGTERM, True)]
        )
        process, mark = self.start()
        time.sleep(after_s)
        with_group = os.killpg if to_all else os.kill
        with suppress(ProcessLookupError):
            with_group(process.pid, number)
        try:
            _, err = process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, err = process.communicate()
            self.tell(f"HANGS after {after_s:.2f} s", err)
            return
        left = [pid for pid in gone_soon(mark) if pid != process.pid]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if "Traceback" in err or "Exception ignored" in err:
            self.tell(f"TRACEBACK {number.name} after {after_s:.2f} s", err)
        elif left:
            self.tell(f"LEFT {len(left)} processes", err)
        elif process.returncode == 0:
            self.seen["ended before"] += 1
        elif process.returncode == -number and not err.strip() and after_s < 0.15:
            self.seen["before Python ran our code"] += 1
        elif process.returncode != 128 + number or "autotag: interrupted" not in err:
            self.tell(f"CODE {process.returncode} {number.name} after {after_s:.2f} s", err)
        else:
            self.seen["interrupted in order"] += 1

    def tell(self, what: str, err: str) -> None:
        self.seen[what.split()[0]] += 1
        print(f"{self.name}: {what}\n{err[-3000:]}\n", file=sys.stderr)


def marked(mark: str) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    yield int(folder.name)
        except OSError:
            continue


def gone_soon(mark: str) -> list[int]:
    """The processes that are still there after 3 s; those that notice their parent's end need a moment."""
    deadline = time.monotonic() + 3
    while (left := list(marked(mark))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def draw(folder: Path) -> None:
    for number in range(PHOTOS):
        kind = ("meadow", "brick")[number % 2]
        colour = [(40, 160, 60), (170, 70, 50)][number % 2]
        image = Image.new("RGB", (640, 480), tuple(value + number % 40 for value in colour))
        pen = ImageDraw.Draw(image)
        for i in range(8):
            x, y = (number * 53 + i * 97) % 640, (number * 31 + i * 71) % 480
            pen.ellipse((x, y, x + 90, y + 60), fill=((i * 50) % 256, (number * 91) % 256, (i * 90) % 256))
        path = folder / kind / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


@contextmanager
def trials(home: Path) -> Iterator[dict[str, Trial]]:
    photos = home / "photos"
    draw(photos)
    (home / "list.txt").write_text(
        "".join(f"p{i} {path.as_uri()}\n" for i, path in enumerate(sorted(photos.rglob("*.jpg"))))
    )
    event = {"specversion": "1.0", "type": "photo.uploaded", "source": "bench", "time": "2026-01-31T12:00:00Z"}
    data = {"uri": "file:///nowhere.jpg", "owner": "ann"}
    with (home / "events.jsonl").open("w") as file:
        file.writelines(
            json.dumps({**event, "id": str(i), "subject": f"p{i}", "data": data}) + "\n" for i in range(20_000)
        )
    with ZooKeeper(home) as zookeeper:
        settings = {
            "autotag.home": str(home),
            "autotag.store": "sqlite:store.db",
            "autotag.queue": "sqlite:queue.db",
            "autotag.model": str(home / "bundles"),
            "autotag.model.registry": f"{zookeeper.url}/interrupts",
            "autotag.photo.roots": "/",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

        def autotag(*arguments: str) -> str:
            return subprocess.run(
                [str(PROGRAM), *options, *arguments], check=True, capture_output=True, text=True
            ).stdout

        shutil.copytree(PROJECT / "build/wheels", home / "build/wheels")
        autotag("model", "build")
        autotag("store", "init")
        model = json.loads(autotag("tag", str(next(photos.rglob("*.jpg"))), "--json"))["model"]
        line = {
            "owner": "ann",
            "content_time": "2026-01-31T12:00:00Z",
            "model": model,
            "tags": [{"id": "n02084071", "score": 0.97}],
        }
        with (home / "run.jsonl").open("w") as file:
            file.writelines(json.dumps({**line, "photo_id": f"p{i}"}) + "\n" for i in range(20_000))
        joined = ["--photos", str(photos), "--by-folder", "--workers", "2"]
        autotag("join", *joined, "--set", str(home / "ready"))
        runs = iter(range(10**6))

        def trial(name: str, *arguments: str, remove: tuple[str, ...] = ()) -> Trial:
            def reset() -> None:
                if random.random() < 0.5:  # else it goes on where the interrupted one was
                    for one in remove:
                        shutil.rmtree(home / one, ignore_errors=True)
                        (home / one).unlink(missing_ok=True) if not (home / one).is_dir() else None

            return Trial(home, name, list(arguments), reset, settings)

        load = trial("bulk load", "bulk", "load", "RUN", str(home / "run.jsonl"))

        def another_run() -> None:
            if random.random() < 0.5 or "RUN" in load.arguments:
                load.arguments[2] = f"run{next(runs)}"

        load.reset = another_run
        retrain = trial(
            "retrain",
            "retrain",
            *joined,
            "--set",
            str(home / "again"),
            "--out",
            str(home / "candidates2"),
            "--max-worse",
            "1",
            "--corpus",
            str(home / "list.txt"),
            "--owner",
            "ann",
            "--content-time",
            "2026-01-31T12:00:00Z",
            "--jobs",
            str(home / "jobs"),
        )

        def another_corpus() -> None:
            if random.random() < 0.5:  # the run of the corpus before may be loaded, and its name is taken
                shutil.rmtree(home / "again", ignore_errors=True)
                place = retrain.arguments.index("--content-time") + 1
                retrain.arguments[place] = f"2026-01-31T12:00:00.{next(runs):06d}Z"

        retrain.reset = another_corpus
        yield {
            one.name: one
            for one in (
                trial("tag", "tag", str(photos)),
                trial(
                    "push",
                    "push",
                    "--events",
                    str(home / "events.jsonl"),
                    remove=("queue.db", "queue.db-wal", "queue.db-shm"),
                ),
                trial("join", "join", *joined, "--set", str(home / "set"), remove=("set",)),
                trial(
                    "train",
                    "train",
                    "--set",
                    str(home / "ready"),
                    "--workers",
                    "2",
                    "--out",
                    str(home / "candidates"),
                    remove=("candidates", "ready/statistics"),
                ),
                trial(
                    "learn",
                    "learn",
                    "our mascot",
                    str(photos / "brick"),
                    "--set",
                    str(home / "ready"),
                    "--out",
                    str(home / "learned"),
                    remove=("learned",),
                ),
                trial(
                    "backfill",
                    "backfill",
                    str(home / "list.txt"),
                    "--job",
                    str(home / "job"),
                    "--owner",
                    "ann",
                    "--content-time",
                    "2026-01-31T12:00:00Z",
                    "--workers",
                    "2",
                    "--chunk-photos",
                    "16",
                    remove=("job",),
                ),
                load,
                trial("model build", "model", "build", remove=("bundles/.none",)),
                trial("model evaluate", "model", "evaluate", str(photos)),
                retrain,
            )
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print("| command | whole | interruptions |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, trials(Path(folder)) as known:
        for name in arguments.commands or known:
            known[name].run(arguments.times)


if __name__ == "__main__":
    main()
