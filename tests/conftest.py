"""Fixtures that more than one test file uses: settings, photos drawn for the test, an empty queue and store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from PIL import Image, ImageDraw

from autotag.events import EventType, PhotoEvent, now_us
from autotag.queues import EventQueue, open_queue
from autotag.settings import PROJECT, Settings
from autotag.stores import PhotoStore, open_store

# The machines are shared: how long an example takes says nothing, and a failure must be the same one again.
hypothesis_settings.register_profile(
    "shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("shared")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Everything below a folder of the test's own, but the bundle that the set-up has built."""
    return Settings(
        home=str(tmp_path),
        queue="sqlite:queue.db",
        store="sqlite:store.db",
        model=str(PROJECT / "build/bundles/default"),
        photo_roots=(str(tmp_path),),
        photo_private_hosts=True,
        queue_backoff_s=0.01,
    )


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
    event = PhotoEvent(type, "tests", f"event-{next(_made)}", photo_id, now_us(), "ann", "file:///nowhere.jpg")
    return replace(event, **changes)  # type: ignore[arg-type]
