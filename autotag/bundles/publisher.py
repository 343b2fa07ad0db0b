"""Publisher: makes a new bundle the current model for all hosts, or an earlier one again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from autotag.bundles.download import fetch_bundle
from autotag.bundles.registry import Current, ModelRegistry, PublishedModel
from autotag.errors import PublishingError, SettingsError
from autotag.events.times import now_us
from autotag.settings import Settings
from autotag.stores import PhotoStore
from autotag.view.results import ModelVersion
from models import bundle as bundles
from models.bundle import CLASSES, MANIFEST, Bundle, move_into_place, open_if_intact
from models.bundle_folder import current, installed, make_current, parse_folder_name
from models.classes import ClassTable
from models.errors import ModelError
from models.folders import locked, staged
from models.manifest import read_manifest
from models.network import FeatureNetwork
from models.probe import probe_pixels

log = logging.getLogger(__name__)

_COPYING = ".publishing-"


class PublishedModels(Protocol):
    """The published models and the current one: of all hosts (`ModelRegistry`) or of this host (`HostModels`)."""

    def current(self) -> Current: ...

    def published(self) -> list[PublishedModel]: ...

    def change(self, seen: Current, model: str, by: str, new: Iterable[PublishedModel] = ()) -> bool: ...


class HostModels:
    """The models in this host's folder of bundles. The folder does not record who published them."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.path(settings.model)
        self._location = settings.model_location or self.root.resolve().as_uri()

    def current(self) -> Current:
        """Return the model in use. Log it if that bundle is missing, and return none."""
        try:
            folder = current(self.root)
        except ModelError as error:
            log.warning("%s", error)
            return Current()
        return Current(model=folder.name if folder else None)

    def published(self) -> list[PublishedModel]:
        """Return the bundles whose manifest can be read, the newest last. Their files are not checked."""
        models = []
        for folder in installed(self.root):
            try:
                models.append(self.describe(folder.name))
            except ModelError as error:
                log.warning("left out: %s", error)
        return models

    def describe(self, name: str) -> PublishedModel:
        """Return the facts about one of the folder's bundles; it counts as published when it was installed.

        Raises:
            ModelError: the bundle is damaged.
        """
        folder = self.root / name
        facts = read_manifest(folder / MANIFEST)
        return PublishedModel(
            name=facts["name"],
            version=facts["version"],
            sequence=(parse_folder_name(name) or (0, ""))[0],
            classes=len(ClassTable.open(folder / CLASSES).ids),
            location=f"{self._location.rstrip('/')}/{name}",
            published_by="",
            published_us=folder.stat().st_mtime_ns // 1000,
        )

    def change(self, seen: Current, model: str, by: str, new: Iterable[PublishedModel] = ()) -> bool:  # noqa: ARG002
        make_current(self.root, model)
        return True


def use_current(settings: Settings, registry: ModelRegistry) -> None:
    """Fetch the model that is current for all hosts, and use it on this host. Do nothing if none was published yet.

    Raises:
        RegistryError: the registry does not answer.
        FetchError, ModelError: as from `fetch_bundle`.
    """
    name, root = registry.current().model, settings.path(settings.model)
    if name is not None:
        fetch_bundle(registry.published_model(name), root)
        make_current(root, name)


@dataclass(frozen=True)
class Change:
    """The result of publishing or rolling back."""

    model: ModelVersion
    """The present current model."""
    before: str | None
    """The folder's name of the model that was current before; None if there was none."""
    restored: bool = False
    """True if this host's copy was damaged or missing and was replaced."""

    @property
    def changed(self) -> bool:
        """True if another model is current now."""
        return self.model.folder != self.before


class Publisher:
    """Publishes into the folder `Settings.model`, the store and a set of models.

    Each step may be repeated: after an interruption at any point, the same call completes the work.

    Args:
        by: name of the person who decides.
    """

    def __init__(self, settings: Settings, store: PhotoStore, models: PublishedModels, by: str) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._by = by
        self._folder = HostModels(settings)
        if (self._folder.root / MANIFEST).exists():
            raise SettingsError(
                f"autotag.model must be a folder of bundles. Given: {self._folder.root}, which is one bundle"
            )

    def publish(self, candidate: Path, *, again: bool = False, force: bool = False) -> Change:
        """Check a sealed bundle, copy it into the folder under the next sequence number, and make it current.

        If the bundle is current already, only a damaged or missing copy on this host is replaced. The store has the
        bundle's classes before any worker can use it.

        Args:
            again: publish the bundle even if it was withdrawn.
            force: publish the bundle even if it was not made from the current one. The changes made since are lost.

        Raises:
            PublishingError: the bundle was withdrawn, or made from another bundle than the current one.
            ModelError: the bundle is damaged, or its network computes something else on this machine.
            RegistryError, StoreError, OSError: the bundle is not current; the same call completes the work.
        """
        bundle = Bundle.open(candidate)
        network = FeatureNetwork.open(bundle.network_path, bundle.precision, self._settings.tagger_network_threads)
        bundle.self_check(network.features(probe_pixels(bundle.preprocessing.size)))
        while True:
            seen, published = self._read()
            standing = self._store.runs.read()
            used = published.get(seen.model)
            if used and used.version == bundle.version and str(used.model) not in standing.withdrawn:
                self._store.runs.add_model(used.model, bundle.classes)
                restored = self._restore(candidate, used)
                self._use_here(used.folder)
                return Change(used.model, used.folder, restored)
            models = {one.model for one in published.values()} | set(standing.models)
            if not again:
                _check_not_withdrawn(bundle, models, standing.withdrawn)
            if not force and not (used and used.version == bundle.version):
                _check_base(bundle, seen)
            # A number is taken unless this version has it and is not withdrawn under it.
            taken = (m.sequence for m in models if m.version != bundle.version or str(m) in standing.withdrawn)
            name = self._place(candidate, max(taken, default=0))
            new = replace(self._folder.describe(name), published_by=self._by, published_us=now_us())
            self._store.runs.add_model(new.model, bundle.classes)
            if self._models.change(seen, name, self._by, [] if name in published else [new]):
                self._use_here(name)
                return Change(new.model, seen.model)

    def roll_back(self, name: str | None = None) -> Change:
        """Make an earlier model current, and withdraw the present one: its tags count no more.

        Args:
            name: the earlier model, as printed, or its folder's name; by default the model that was current before, or
                if that was withdrawn, the newest model below the current one that was not.

        Raises:
            PublishingError: there is no such model, it is withdrawn, or the current model has changed meanwhile.
            ModelError: the model's bundle on this host is damaged.
        """
        seen, published = self._read()
        withdrawn = self._store.runs.read().withdrawn
        if (used := published.get(seen.model)) is None:
            raise PublishingError("no model was published yet, so none can be rolled back")
        target = self._target(name, seen, published, withdrawn)
        if target == used:
            return Change(used.model, used.folder)
        if (self._folder.root / target.folder).is_dir():
            Bundle.open(self._folder.root / target.folder)
        # In this order: after an interruption in between, the same call withdraws the same model.
        self._add_to_store(used)
        self._store.runs.withdraw(str(used.model), self._by)
        if not self._models.change(seen, target.folder, self._by):
            raise PublishingError(
                f"{used.model} was withdrawn, but another model has become current meanwhile; see: autotag model list"
            )
        self._use_here(target.folder)
        return Change(target.model, used.folder)

    def _read(self) -> tuple[Current, dict[str | None, PublishedModel]]:
        """Return the current model, and all published models by the names of their folders.

        If no model was published yet, publish this host's first, so that it can be rolled back to.
        """
        seen = self._models.current()
        if seen.model is None and (own := self._own()):
            self._add_to_store(own)
            self._models.change(seen, own.folder, self._by, [own])
            seen = self._models.current()
        return seen, {published.folder: published for published in self._models.published()}

    def _own(self) -> PublishedModel | None:
        """Return the bundle that this host uses; None if it cannot be opened."""
        try:
            name = self._folder.current().model
            return self._folder.describe(name) if name else None
        except ModelError as error:
            log.warning("this host's model cannot be rolled back to: %s", error)
            return None

    def _target(
        self, name: str | None, seen: Current, published: dict[str | None, PublishedModel], withdrawn: frozenset[str]
    ) -> PublishedModel:
        names = [str(one.model) for one in published.values() if str(one.model) not in withdrawn]
        if name is not None:
            named = ModelVersion.parse(name)
            target = published.get(named.folder) if named else None
            if target is None:
                raise PublishingError(f"there is no model {name!r}; there are {names}")
            if str(target.model) in withdrawn:
                raise PublishingError(
                    f"{target.model} is withdrawn: readers would not see its tags. Publish its bundle again instead: "
                    f"autotag model publish --again {self._folder.root / target.folder}"
                )
            return target
        sequence = published[seen.model].sequence
        earlier = [one for one in published.values() if one.sequence < sequence and str(one.model) not in withdrawn]
        if not earlier:
            raise PublishingError(f"all earlier models are withdrawn; there are {names}")
        return next((one for one in earlier if one.folder == seen.before), earlier[-1])

    def _restore(self, candidate: Path, published: PublishedModel) -> bool:
        """Replace this host's copy of a published bundle if it is damaged or missing; return True if it was."""
        folder = self._folder.root / published.folder
        if open_if_intact(folder, published.version):
            return False
        with self._copied(candidate) as copy, locked(self._folder.root / ".lock"):
            move_into_place(copy, folder)
        return True

    def _place(self, candidate: Path, at_least: int) -> str:
        """Install a copy of a bundle in the folder of bundles; return its name there."""
        with self._copied(candidate) as copy:
            return bundles.install(copy, self._folder.root, at_least).folder.name

    @contextmanager
    def _copied(self, candidate: Path) -> Iterator[Path]:
        """Yield a hidden copy of a bundle in the folder of bundles, to be moved to its place."""
        with staged(self._folder.root, _COPYING) as copy:
            shutil.copytree(candidate, copy, copy_function=shutil.copyfile, dirs_exist_ok=True)
            copy.chmod(0o755)  # copytree copies the candidate's mode
            copy.touch()  # the folder's time is the time of publication
            yield copy

    def _add_to_store(self, published: PublishedModel) -> None:
        """Add a model to the store if its classes are on this host: only then can it be withdrawn."""
        classes = self._folder.root / published.folder / CLASSES
        if published.model not in self._store.runs.read().models and classes.exists():
            self._store.runs.add_model(published.model, ClassTable.open(classes))

    def _use_here(self, name: str) -> None:
        if (self._folder.root / name).is_dir():
            make_current(self._folder.root, name)


def _check_not_withdrawn(bundle: Bundle, models: Iterable[ModelVersion], withdrawn: frozenset[str]) -> None:
    """Refuse a bundle that was withdrawn after its last publication: that was a person's decision."""
    before = max((one for one in models if one.version == bundle.version), key=lambda one: one.sequence, default=None)
    if str(before) in withdrawn:
        raise PublishingError(f"{bundle.folder}: is {before}, which was withdrawn; to publish it again, give --again")


def _check_base(bundle: Bundle, seen: Current) -> None:
    """Refuse a bundle that was made from another than the current one: it lacks the classes published since."""
    base, now = ModelVersion.parse(str(bundle.made.get("base", ""))), ModelVersion.parse(seen.model or "")
    # Versions are compared: a bundle that was published again, under another number, is the same.
    if base and now and base.version != now.version:
        raise PublishingError(
            f"{bundle.folder}: was made from {base.folder}, and {seen.model} is current, whose classes would be lost: "
            "train or learn again from that, or give --force"
        )
