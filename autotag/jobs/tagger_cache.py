"""The Tagger that a worker keeps from piece to piece: a network takes seconds to load."""

from __future__ import annotations

from dataclasses import replace

from autotag.settings import PROJECT, Settings
from autotag.storage.folder import read_photo
from autotag.tagging.tagger import Tagger

PACKAGED = PROJECT / "packaged.json"
"""There in an archive of `autotag package`, whose bundle lies where the settings look for one by default."""

_kept: dict[tuple[Settings, bool], Tagger] = {}
"""Of this process, one at most."""


def kept_tagger(settings: Settings, *, any_file: bool = False) -> Tagger:
    """A Tagger of these settings, or on a machine that has nothing but the archive of the bundle in that.

    It reads photos anywhere that `read_photo` does, too, and is closed by `close_tagger` or when another is asked for.

    Args:
        settings: those of `Tagger.open`, with `model` naming one bundle, not a folder of them.
        any_file: read any file, not only those below `photo_roots`.

    Raises:
        ModelError: there is no bundle that can be loaded.
    """
    if (settings, any_file) not in _kept:
        close_tagger()
        _kept[settings, any_file] = _opened(settings, any_file)
    return _kept[settings, any_file]


def _opened(settings: Settings, any_file: bool) -> Tagger:
    if PACKAGED.exists():
        settings = replace(settings, home=str(PROJECT), model=Settings.model)

    def fetch(uri: str) -> bytes:
        return read_photo(uri, settings.photo_max_bytes, settings.photo_deadline_s)

    return Tagger.open(settings, any_file=any_file, other_schemes=fetch)


def close_tagger() -> None:
    """Let go of the network that this process keeps, and end its decoders."""
    while _kept:
        _kept.popitem()[1].close()
