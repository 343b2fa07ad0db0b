"""Tags photos with thousands of classifiers: one at a time, as a stream, or a whole corpus.

from autotag import Settings, Tagger

with Tagger.open(Settings.from_config(), any_file=True) as tagger:
    for uri, tags in tagger.tag(["file:///tmp/cat.jpg"]):
        print(uri, tags)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotag.errors import AutotagError
    from autotag.events import EventType, PhotoEvent
    from autotag.photos.reader import PhotoError
    from autotag.queues import open_queue
    from autotag.settings import Settings
    from autotag.stores import open_store
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

_MODULES = {
    "AutotagError": "errors",
    "EventType": "events",
    "PhotoError": "photos",
    "PhotoEvent": "events",
    "Settings": "settings",
    "Tagger": "tagger",
    "open_queue": "queues",
    "open_store": "stores",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: a spout needs no network runtime.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
