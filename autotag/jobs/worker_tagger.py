"""The Tagger that a worker process keeps from piece to piece: a network takes seconds to load."""

from __future__ import annotations

from dataclasses import replace

from autotag.settings import PROJECT, Settings
from autotag.storage.folder import read_photo
from autotag.tagging.tagger import Tagger

PACKAGED = PROJECT / "packaged.json"
"""Exists in an archive of `autotag package`, whose bundle lies where the settings look for one by default."""

_open: dict[tuple[Settings, bool], Tagger] = {}
"""This process's Tagger by its settings; one at most."""


def worker_tagger(settings: Settings, *, any_file: bool = False) -> Tagger:
    """Return this process's Tagger with these settings, and open it if needed; it also reads what `read_photo` does.

    In an archive of `autotag package` it uses the archive's bundle. It is closed by `close_tagger`, or when a Tagger
    with other settings is asked for.

    Args:
        settings: as for `Tagger.open`; `model` names one bundle, not a folder of them.
        any_file: read any file, not only those below `photo_roots`.

    Raises:
        ModelError: no bundle can be loaded.
    """
    if (settings, any_file) not in _open:
        close_tagger()
        _open[settings, any_file] = _opened(settings, any_file)
    return _open[settings, any_file]


def _opened(settings: Settings, any_file: bool) -> Tagger:
    if PACKAGED.exists():
        settings = replace(settings, home=str(PROJECT), model=Settings.model)

    def fetch(uri: str) -> bytes:
        return read_photo(uri, settings.photo_max_bytes, settings.photo_deadline_s)

    return Tagger.open(settings, any_file=any_file, other_schemes=fetch)


def close_tagger() -> None:
    """Close this process's Tagger, if one is open, and end its decoders."""
    while _open:
        _open.popitem()[1].close()
