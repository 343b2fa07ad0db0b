"""TaggerSwap: replaces the Tagger of a bolt by one with another model while photos stream."""

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
"""Pause before another try, if the registry or a bundle's location is unreachable."""


class TaggerSwap:
    """Chooses each photo's Tagger: the one in use when the photo is read also scores it.

    The first Tagger has the current model of this host's folder, or if that is unusable, the newest usable one before
    it. `follow` then swaps whenever the registry names another model. The new bundle is fetched, opened and checked
    while the old Tagger goes on; if the bundle is refused, the old Tagger stays. A model that was swapped in becomes
    current in the host's folder. While the registry does not answer, nothing changes.

    Safe for many threads. If the folder is one bundle, its model is never replaced.

    Args:
        tell: called with each message for an operator.
    """

    def __init__(self, settings: Settings, topology: str, task: int, tell: Callable[[str], None]) -> None:
        self._settings = settings
        self._tell = tell
        self._root = settings.path(settings.model)
        self._registry = ModelRegistry(settings, WORKER_SESSION_S)
        self._woken = threading.Event()
        self._settled: Current | None = None
        """The current model that was swapped in or refused last."""
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
        """Return the Tagger to read and score a photo with; `end` must follow."""
        with self._lock:
            self._photos[self._tagger] += 1
            return self._tagger

    def end(self, tagger: Tagger) -> None:
        """Count a photo as done. A replaced Tagger is closed after its last photo."""
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

    # Swapping

    def follow(self) -> None:
        """Swap whenever the registry names another model. Returns, at once, only if the folder is one bundle."""
        if (self._root / MANIFEST).exists():
            return
        self._registry.keep_connected(self._wake)
        pause_s = None
        while True:
            self._woken.wait(pause_s)
            self._woken.clear()
            try:
                pause_s = None if self._swap_to(self._registry.current(self._wake)) else AGAIN_S
                self._registry.announce(self._worker)
            except RegistryError as error:
                log.warning("%s; model %s goes on", error, self._tagger.model)
                pause_s = AGAIN_S if self._registry.connected else None

    def _wake(self, _: object) -> None:
        self._woken.set()

    def _swap_to(self, wanted: Current) -> bool:
        """Use the current model, or refuse it for good. Return False if it cannot be fetched now: try again."""
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
            except Exception as error:  # no fault of a bundle may stop the old Tagger
                log.warning("model %s is refused", wanted.model, exc_info=error)
                self._refuse(wanted.model, str(error) if isinstance(error, ModelError) else repr(error))
                self._settled = wanted
                return True
            self._use(tagger, wanted.model)
        self._worker = replace(self._worker, refused=None)
        self._settled = wanted
        return True

    def _load(self, name: str, beside: Tagger | None = None) -> Tagger:
        published = self._registry.published_model(name)
        fetch_bundle(published, self._root)
        bundle = Bundle.find(self._root, published.sequence, published.version)
        return Tagger.load(bundle, self._settings, beside=beside)

    def _use(self, tagger: Tagger, name: str) -> None:
        with self._lock:
            self._photos[tagger] += 0
            self._tagger = tagger
        log.warning("replaced model %s by %s", self._worker.model, name)
        self._worker = replace(self._worker, model=name, since_us=now_us())
        self._close_unused()
        try:
            make_current(self._root, name)
        except OSError as error:
            log.warning("%s: a restart will use an earlier model: %s", self._root, error)

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
                self._tell(f"{problem}; starting with an earlier model, {folder.name}")
                return tagger
        try:
            name = self._registry.connect().current().model
            if name is None:
                raise problem
            return self._load(name)
        except (RegistryError, FetchError) as error:
            raise ModelError(f"{problem}; and {error}") from error

    def _earlier(self) -> list[Path]:
        """Return the bundles before the current one, the newest first.

        Later ones are left out: they were withdrawn when an earlier one became current.
        """
        folders = installed(self._root)
        with contextlib.suppress(ModelError):
            if (folder := current(self._root)) in folders:
                folders = folders[: folders.index(folder)]
        return folders[::-1]
