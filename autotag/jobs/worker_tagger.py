"""The Tagger that a worker process keeps from piece to piece: a network takes seconds to load."""

from __future__ import annotations

from dataclasses import replace

from autotag.photos.source import PhotoSource
from autotag.settings import PROJECT, Settings
from autotag.tagging.tagger import Tagger

PACKAGED = PROJECT / "packaged.json"
"""Exists in an archive of `autotag package`, whose bundle lies where the settings look for one by default."""

_open: dict[tuple[Settings, PhotoSource], Tagger] = {}
"""This process's Tagger by its settings; one at most."""


def worker_tagger(settings: Settings, source: PhotoSource) -> Tagger:
    """Return this process's Tagger with these settings, and open it if needed.

    In an archive of `autotag package` it uses the archive's bundle. It is closed by `close_tagger`, or when a Tagger
    with other settings is asked for.

    Args:
        settings: as for `Tagger.open`; `model` names one bundle, not a folder of them.
        source: the places that photos may be read from.

    Raises:
        ModelError: no bundle can be loaded.
    """
    if (settings, source) not in _open:
        close_tagger()
        _open[settings, source] = _opened(settings, source)
    return _open[settings, source]


def _opened(settings: Settings, source: PhotoSource) -> Tagger:
    if PACKAGED.exists():
        settings = replace(settings, home=str(PROJECT), model=Settings.model)
    return Tagger.open(settings, source)


def close_tagger() -> None:
    """Close this process's Tagger, if one is open, and end its decoders."""
    while _open:
        _open.popitem()[1].close()
