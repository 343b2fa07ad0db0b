"""Tags photos with thousands of classifiers: one at a time, as a stream, or a whole corpus.

from autotag import Settings, Tagger

with Tagger.open(Settings.from_config(), any_file=True) as tagger:
    for uri, tags in tagger.tag(["file:///tmp/cat.jpg"]):
        print(uri, tags)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotag.errors import AutotagError
from autotag.events import EventType, PhotoEvent
from autotag.photos.errors import PhotoError
from autotag.queues import open_queue
from autotag.settings import Settings
from autotag.stores import open_store

if TYPE_CHECKING:
    from autotag.tagging.tagger import Tagger

__all__ = [
    "AutotagError",
    "EventType",
    "PhotoError",
    "PhotoEvent",
    "Settings",
    "Tagger",
    "open_queue",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # The network runtime is loaded only when asked for: a spout needs none.
    if name != "Tagger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autotag.tagging.tagger import Tagger

    return Tagger
