"""Tags photos with thousands of classifiers: one at a time, as a stream, or a whole corpus.

from autotag import PhotoSource, Settings, Tagger

with Tagger.open(Settings.from_config(), PhotoSource(any_file=True)) as tagger:
    for uri, tags in tagger.tag(["file:///tmp/cat.jpg"]):
        print(uri, tags)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotag.errors import AutotagError as AutotagError
    from autotag.events import EventType as EventType
    from autotag.events import PhotoEvent as PhotoEvent
    from autotag.photos.errors import PhotoError as PhotoError
    from autotag.photos.source import PhotoSource as PhotoSource
    from autotag.queues import open_queue as open_queue
    from autotag.settings import Settings as Settings
    from autotag.stores import open_store as open_store
    from autotag.tagging.tagger import Tagger as Tagger

_MODULES = {
    "errors": ("AutotagError",),
    "events": ("EventType", "PhotoEvent"),
    "photos.errors": ("PhotoError",),
    "photos.source": ("PhotoSource",),
    "queues": ("open_queue",),
    "settings": ("Settings",),
    "stores": ("open_store",),
    "tagging.tagger": ("Tagger",),
}


def __getattr__(name: str) -> Any:
    # A module is imported when one of its names is asked for: a spout needs neither numpy nor a network runtime.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
