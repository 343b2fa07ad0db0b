"""What the tests of the stream share: waiting, events, the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotag.events import PhotoEvent
from autotag.queues import EventQueue
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from autotag.stores.responses import StoredPhoto
from tests.conftest import make_event


def wait(what: Callable[[], Any], why: Callable[[], object], timeout_s: float = 120) -> Any:
    """What `what` gives once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return found


def wait_until_idle(queue: EventQueue, timeout_s: float = 120) -> None:
    """Until every event is done or a dead letter."""

    def idle() -> bool:
        status = queue.status()
        return status.ready + status.waiting + status.in_flight == 0

    wait(idle, queue.status, timeout_s)


def event_for(path: Path, photo_id: str | None = None, **changes: Any) -> PhotoEvent:
    return make_event(photo_id or str(path), uri=photo_uri(str(path)), **changes)


def autotag(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, from another folder than the project's."""
    program = str(Path(sys.executable).parent / "autotag")
    return subprocess.run(
        [program, "--config", str(config), *arguments], capture_output=True, text=True, cwd="/", timeout=120
    )


def stored(store: PhotoStore, photo_id: str) -> StoredPhoto:
    photo = store.get(photo_id)
    assert photo is not None, f"{photo_id!r} is not stored"
    return photo
