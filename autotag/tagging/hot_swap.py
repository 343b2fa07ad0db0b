"""TaggerSwap: the Tagger of a bolt, changed over to another model while photos stream."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autotag.bundles.download import fetch_bundle
from autotag.bundles.registry import WORKER_SESSION_S, Current, ModelRegistry, Refusal, Worker
from autotag.errors import FetchError, RegistryError
from autotag.events.times import now_us
from autotag.settings import Settings
from autotag.tagging.tagger import Tagger
from models.bundle import MANIFEST, Bundle
from models.bundle_folder import current, installed, make_current
from models.errors import ModelError

log = logging.getLogger(__name__)

AGAIN_S = 2.0
"""Before the registry or a bundle's location, when away, is asked again."""


class TaggerSwap:
    """Chooses each photo's Tagger: the one in use when the photo is read also scores it.

    It begins with what this host's folder says is current, or if that cannot be used, the newest before it that can.
    `follow` then changes over whenever the registry names another: the new bundle is fetched, opened and checked
    beside the old one, which goes on meanwhile, and for good where the new one is refused. What was changed over to
    becomes current in the host's folder. Without a registry that answers nothing changes.

    Safe for many threads. A folder that is one bundle is used for good.

    Args:
        tell: is told what an operator should know.
    """

    def __init__(self, settings: Settings, topology: str, task: int, tell: Callable[[str], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._root = settings.path(settings.model)
        self._registry = ModelRegistry(settings, WORKER_SESSION_S)
        self._woken = threading.Event()
        self._settled: Current | None = None
        """What was changed over to or refused last."""
        self._told: tuple[str, bool] | None = None
        self._lock = threading.Lock()
        self._photos: Counter[Tagger] = Counter()
        self._tagger = self._first()
        self._photos[self._tagger] = 0
        self._worker = Worker(
            topology=topology,
            task=task,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self._tagger.bundle.folder.name,
            since_us=now_us(),
        )

    # For each photo

    def begin(self) -> Tagger:
        """The Tagger that a photo is read and scored with; `end` must follow."""
        with self._lock:
            self._photos[self._tagger] += 1
            return self._tagger

    def end(self, tagger: Tagger) -> None:
        """Say that a photo is done. A Tagger that is not in use any more ends with its last photo."""
        with self._lock:
            self._photos[tagger] -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        with self._lock:
            unused = [tagger for tagger, photos in self._photos.items() if not photos and tagger is not self._tagger]
            for tagger in unused:
                del self._photos[tagger]
            shared = {tagger.extractor for tagger in self._photos}
        for tagger in unused:
            if tagger.extractor not in shared:
                tagger.close()

    # Changing over

    def follow(self) -> None:
        """Change over whenever the registry says so; never returns, but for a folder that is one bundle."""
        if (self._root / MANIFEST).exists():
            return
        self._registry.keep_connected(self._wake)
        pause_s = None
        while True:
            self._woken.wait(pause_s)
            self._woken.clear()
            try:
                pause_s = None if self._change_to(self._registry.current(self._wake)) else AGAIN_S
                self._registry.announce(self._worker)
            except RegistryError as error:
                log.warning("%s; model %s goes on", error, self._tagger.model)
                pause_s = AGAIN_S if self._registry.connected else None

    def _wake(self, _: object) -> None:
        self._woken.set()

    def _change_to(self, wanted: Current) -> bool:
        """Use what is current, or refuse it for good; False if it cannot be had now and should be tried again."""
        if wanted.model is None or wanted == self._settled:
            return True
        if wanted.model != self._worker.model:
            try:
                tagger = self._load(wanted.model, beside=self._tagger)
            except RegistryError:
                raise
            except FetchError as error:
                self._refuse(wanted.model, f"{error}; it is tried again", again=True)
                return False
            except Exception as error:  # whatever is wrong with a bundle, the old one goes on
                log.warning("model %s is refused", wanted.model, exc_info=error)
                self._refuse(wanted.model, str(error) if isinstance(error, ModelError) else repr(error))
                self._settled = wanted
                return True
            self._use(tagger, wanted.model)
        self._worker = replace(self._worker, refused=None)
        self._settled = wanted
        return True

    def _load(self, name: str, beside: Tagger | None = None) -> Tagger:
        known = self._registry.known_model(name)
        fetch_bundle(known, self._root)
        bundle = Bundle.find(self._root, known.sequence, known.version)
        return Tagger.load(bundle, self._settings, beside=beside)

    def _use(self, tagger: Tagger, name: str) -> None:
        with self._lock:
            self._photos[tagger] += 0
            self._tagger = tagger
        log.warning("changed over from model %s to %s", self._worker.model, name)
        self._worker = replace(self._worker, model=name, since_us=now_us())
        self._close_unused()
        try:
            make_current(self._root, name)
        except OSError as error:
            log.warning("%s: a restart will begin with an earlier model: %s", self._root, error)

    def _refuse(self, name: str, reason: str, *, again: bool = False) -> None:
        self._worker = replace(self._worker, refused=Refusal(model=name, reason=reason))
        if (name, again) != self._told:
            self._tell(f"model {name} is not used, {self._worker.model} goes on: {reason}")
        self._told = (name, again)

    # The beginning

    def _first(self) -> Tagger:
        try:
            return Tagger.open(self._settings)
        except ModelError as error:
            problem = error
        for folder in self._earlier():
            with contextlib.suppress(ModelError):
                tagger = Tagger.load(Bundle.open(folder), self._settings)
                self._tell(f"{problem}; beginning with the one before, {folder.name}")
                return tagger
        try:
            name = self._registry.connect().current().model
            if name is None:
                raise problem
            return self._load(name)
        except (RegistryError, FetchError) as error:
            raise ModelError(f"{problem}; and {error}") from error

    def _earlier(self) -> list[Path]:
        """The bundles published before the current one, the newest first.

        Later ones are none to begin with: whoever made an earlier one current has withdrawn them.
        """
        folders = installed(self._root)
        with contextlib.suppress(ModelError):
            if (folder := current(self._root)) in folders:
                folders = folders[: folders.index(folder)]
        return folders[::-1]
