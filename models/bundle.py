"""Bundle: all files that are needed to turn pixels into tags, in one immutable folder.

manifest.json     name, version, network, how it was made, and size and SHA-256 of every other file
network.onnx      see network.py
probe.npy         see probe.py
classes.tsv       see classes.py
banks/<name>/     see bank.py; and quality.json where the bank's quality was measured, counts.npz (see score_counts.py)
                  where its thresholds can be fitted to other photos
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import manifest
from models.bank import ClassifierBank
from models.bank_product import has_bf16
from models.bundle_folder import CURRENT, current, folder_name, installed, make_current, parse_folder_name
from models.classes import ClassTable
from models.errors import ModelError
from models.folders import locked
from models.manifest import BANKS, BUILD_AGAIN, CLASSES, MANIFEST, NETWORK, check_files, read_manifest, write_manifest
from models.pixels import PIXELS
from models.preprocessing import Preprocessing
from models.probe import PROBE, check_probe, read_probe

__all__ = [
    "BANKS",
    "BUILD_AGAIN",
    "CLASSES",
    "MANIFEST",
    "NETWORK",
    "PROBE",
    "Bundle",
    "Tag",
    "install",
    "move_into_place",
    "network_key",
    "open_if_intact",
]

SCORE_DIGITS = 4
"""Decimals of a tag's score; the differences that the size of a batch makes in numpy's sums are smaller."""


@dataclass(frozen=True)
class Tag:
    """A class that a photo shows: stable id, display name, probability from 0 to 1, and the bank that gave it."""

    id: str
    name: str
    score: float
    bank: str


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, checked. Its files must not change while it is used: the banks are mapped into memory."""

    folder: Path
    name: str
    version: str
    """64 hexadecimal digits: the digest of the content, numerical precision included. It has no order."""
    sequence: int
    """The number under which it was installed, the higher the newer; 0 if it was not."""
    network_key: str
    """Digest of all that features depend on: weights, preprocessing and precision."""
    precision: str
    preprocessing: Preprocessing
    classes: ClassTable
    banks: tuple[ClassifierBank, ...]
    probe: NDArray[np.float32]
    """The network's features of `probe_pixels`, float32 [8, d], as they were computed when the bundle was made."""
    made: Mapping[str, Any]
    """Facts on how it was made; not part of the version."""

    @property
    def network_path(self) -> Path:
        """The network's ONNX file, for `FeatureNetwork.open`."""
        return self.folder / NETWORK

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open one bundle, or the current one of a folder of bundles. Reads every byte, to check it.

        Raises:
            ModelError: there is none, or a file is missing, left over or not what the manifest says; the message names
                it.
        """
        folder = path if (path / MANIFEST).exists() or parse_folder_name(path.name) else current(path)
        if folder is None or not folder.is_dir():
            raise ModelError(f"{path}: there is no bundle here; {BUILD_AGAIN}")
        facts = read_manifest(folder / MANIFEST)
        check_files(folder, facts["files"])
        sequence, version = parse_folder_name(folder.resolve().name) or (0, "")
        if not facts["version"].startswith(version):
            raise ModelError(f"{folder}: holds version {facts['version'][:12]}; {BUILD_AGAIN}")
        return cls._from_manifest(folder, sequence, facts)

    @classmethod
    def find(cls, path: Path, sequence: int, version: str) -> Bundle:
        """Open the bundle of this number and version: in a folder of bundles, or `path` itself.

        Raises:
            ModelError: it is not there, or damaged.
        """
        bundle = cls.open(path if (path / MANIFEST).exists() else path / folder_name(sequence, version))
        if (bundle.sequence, bundle.version) != (sequence, version):
            raise ModelError(f"{bundle.folder}: holds version {bundle.version[:12]}, not {version[:12]}")
        return bundle

    @classmethod
    def _from_manifest(cls, folder: Path, sequence: int, facts: Mapping[str, Any]) -> Bundle:
        network = facts["network"]
        bundle = cls(
            folder=folder,
            name=facts["name"],
            version=facts["version"],
            sequence=sequence,
            network_key=network["key"],
            precision=network["precision"],
            preprocessing=Preprocessing.from_dict(network["preprocessing"]),
            classes=ClassTable.open(folder / CLASSES),
            banks=tuple(ClassifierBank.open(bank) for bank in sorted((folder / BANKS).iterdir())),
            probe=read_probe(folder / PROBE),
            made=facts["made"],
        )
        for bank in bundle.banks:
            where = folder / BANKS / bank.name
            if bank.network != bundle.network_key:
                raise ModelError(f"{where}: was trained on network {bank.network}, not on {bundle.network_key}")
            if unknown := [id_ for id_ in bank.ids if id_ not in bundle.classes]:
                raise ModelError(f"{where}: {folder / CLASSES} has no class {unknown[0]!r}")
            if bundle.probe.shape[1] != bank.dim:
                raise ModelError(
                    f"{where}: takes {bank.dim} features, but {folder / PROBE} has {bundle.probe.shape[1]}"
                )
        return bundle

    @staticmethod
    def seal(
        folder: Path, name: str, network_key: str, precision: str, preprocessing: Preprocessing, made: Mapping[str, Any]
    ) -> Bundle:
        """Write the manifest of a folder that holds everything else, the probe's features too, and open it.

        Args:
            made: facts on how it was made, JSON; they are kept, and are no part of the version.
        """
        network = {"key": network_key, "precision": precision, "preprocessing": preprocessing.to_dict()}
        write_manifest(folder, name, network, made)
        return Bundle.open(folder)

    def use_bf16(self, threads: int = 1) -> None:
        """Score in bf16 from now on, if the network computes so and this CPU has it; see bank_product.py.

        Args:
            threads: number of cores that one product may use.
        """
        if self.precision != "f32" and has_bf16():
            for bank in self.banks:
                bank.use_bf16(threads)

    def self_check(self, features: NDArray[np.float32]) -> None:
        """Make sure that a loaded network computes here what it did where the bundle was made, and that banks score it.

        Args:
            features: float32 [8, d], what the network gives here for `probe_pixels`.

        Raises:
            ModelError: the features deviate by more than a CPU may cause, or a bank cannot score them.
        """
        check_probe(self.folder / PROBE, self.probe, features)
        for bank in self.banks:
            bank.probabilities(features)

    def tags(
        self,
        features: NDArray[np.float32],
        min_score: float | None = None,
        pixel_scores: Sequence[Mapping[str, float]] = (),
    ) -> list[list[Tag]]:
        """Return the tags of each photo, the highest score first, equal scores by name.

        Where several banks give one tag, the highest probability stands. A tag brings the classes that contain it, each
        at least as probable. Scores are rounded to `SCORE_DIGITS` decimals.

        Args:
            features: float32 [n, d] from this bundle's network.
            min_score: a probability from 0 to 1 that takes the place of every threshold.
            pixel_scores: by photo, the score of each class that the pixels show; see pixels.py. A class that the class
                table lacks is left out.

        Raises:
            ModelError: the features are of another shape or type, or not finite.
        """
        photos: list[dict[str, Tag]] = [{} for _ in range(len(features))]
        for bank in self.banks:
            for tags, (places, probabilities) in zip(photos, bank.predict(features, min_score), strict=True):
                for place, probability in zip(places.tolist(), probabilities.tolist(), strict=True):
                    id_, score = bank.ids[place], round(probability, SCORE_DIGITS)
                    if id_ not in tags or tags[id_].score < score:
                        tags[id_] = Tag(id_, self.classes.name(id_), score, bank.name)
        for tags, scores in zip(photos, pixel_scores, strict=bool(pixel_scores)):
            for id_, score in scores.items():
                if id_ in self.classes and score >= (min_score or 0):
                    tags[id_] = Tag(id_, self.classes.name(id_), round(score, SCORE_DIGITS), PIXELS)
        for tags in photos:
            for tag in list(tags.values()):
                for above in self.classes.ancestors(tag.id):
                    if above not in tags or tags[above].score < tag.score:
                        tags[above] = Tag(above, self.classes.name(above), tag.score, tag.bank)
        return [sorted(tags.values(), key=lambda tag: (-tag.score, tag.name)) for tags in photos]


def network_key(network: Path, precision: str, preprocessing: Preprocessing) -> str:
    """Return the digest of network, precision and preprocessing, on which features depend: 64 hexadecimal digits."""
    return manifest.network_key(network, precision, preprocessing.to_dict())


def open_if_intact(folder: Path, version: str) -> Bundle | None:
    """Return the bundle in a folder; None if it is missing, damaged or of another version. Reads every byte."""
    try:
        bundle = Bundle.open(folder)
    except ModelError:
        return None
    return bundle if bundle.version == version else None


def move_into_place(folder: Path, target: Path) -> Bundle:
    """Move a sealed bundle to its place and open it there.

    An older folder at that place is renamed to `.replaced-<its name>`: another process may have it open, or a person
    may want to look at it.

    Args:
        folder: on the same file system as `target`.
    """
    if target.exists():
        replaced = target.with_name(f".replaced-{target.name}")
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    folder.rename(target)
    return Bundle.open(target)


def install(folder: Path, root: Path, at_least: int = 0) -> Bundle:
    """Move a sealed bundle into a folder of bundles, with the next sequence number. It does not become current.

    Safe for several processes at once; a reader sees the whole bundle or none of it. If `root`'s newest bundle has the
    same version and a number above `at_least`, that one is opened, and nothing is moved unless it is damaged: then
    this bundle replaces it.

    Args:
        folder: on the same file system as `root`.
        at_least: the highest number that is taken elsewhere.
    """
    bundle = Bundle.open(folder)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / ".lock"):
        newest = next(reversed(installed(root)), None)
        number, version = (parse_folder_name(newest.name) if newest else None) or (0, "")
        if newest and number > at_least and bundle.version.startswith(version):
            return open_if_intact(newest, bundle.version) or move_into_place(folder, newest)
        if newest and not (root / CURRENT).exists():
            make_current(root, newest.name)  # or the new bundle would become current
        target = root / folder_name(max(number, at_least) + 1, bundle.version)
        folder.rename(target)
    return Bundle.open(target)
