"""Bundle: everything that turns pixels into tags, in one immutable folder.

    manifest.json     name, version, network, how it was made, and size and SHA-256 of every other file
    network.onnx      see network.py
    classes.tsv       see classes.py
    banks/<name>/     see bank.py

A folder of published bundles holds ``<sequence>-<first 12 digits of the version>/`` for each.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bank import ClassifierBank
from models.classes import ClassTable
from models.errors import ModelError
from models.preprocessing import Preprocessing

FORMAT, FORMAT_VERSION = "autotag-bundle", 1
MANIFEST, NETWORK, CLASSES, BANKS = "manifest.json", "network.onnx", "classes.tsv", "banks"
SCORE_DIGITS = 4
"""Decimals of a tag's score; what a batch's size changes in numpy's sums lies below."""
BUILD_AGAIN = "build it again: autotag model build"

_PUBLISHED = re.compile(r"(\d{6,})-([0-9a-f]{12})")


@dataclass(frozen=True)
class Tag:
    """A class that a photo shows: stable id, display name, probability from 0 to 1, and the bank that said so."""

    id: str
    name: str
    score: float
    bank: str


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, checked. Its files must not change while it is used: the banks are mapped."""

    folder: Path
    name: str
    version: str
    """64 hexadecimal digits: the digest of the content, numerical precision included. It has no order."""
    sequence: int
    """The number under which it was published, the higher the newer; 0 where it was not."""
    network_key: str
    """Names what features depend on: weights, preprocessing and precision."""
    precision: str
    preprocessing: Preprocessing
    classes: ClassTable
    banks: tuple[ClassifierBank, ...]
    made: Mapping[str, Any]
    """How it was made; not part of the version."""

    @property
    def network_path(self) -> Path:
        """The network's ONNX file, for `FeatureNetwork.open`."""
        return self.folder / NETWORK

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open one bundle, or the newest of a folder of published ones. Reads every byte, to check it.

        Raises:
            ModelError: there is none, or a file is missing, left over or not what the manifest says; the message names
                it.
        """
        folder, sequence = path, 0
        if not (path / MANIFEST).exists():
            published = _published(path)
            if not published:
                raise ModelError(f"{path}: there is no bundle here; {BUILD_AGAIN}")
            folder = published[max(published)]
        if match := _PUBLISHED.fullmatch(folder.resolve().name):
            sequence = int(match[1])
        manifest = _read_manifest(folder)
        _check_files(folder, manifest["files"])
        if match and not manifest["version"].startswith(match[2]):
            raise ModelError(f"{folder}: holds version {manifest['version'][:12]}; {BUILD_AGAIN}")
        return cls._from_manifest(folder, sequence, manifest)

    @classmethod
    def _from_manifest(cls, folder: Path, sequence: int, manifest: Mapping[str, Any]) -> Bundle:
        network = manifest["network"]
        bundle = cls(
            folder=folder,
            name=manifest["name"],
            version=manifest["version"],
            sequence=sequence,
            network_key=network["key"],
            precision=network["precision"],
            preprocessing=Preprocessing.from_dict(network["preprocessing"]),
            classes=ClassTable.open(folder / CLASSES),
            banks=tuple(ClassifierBank.open(bank) for bank in sorted((folder / BANKS).iterdir())),
            made=manifest["made"],
        )
        for bank in bundle.banks:
            where = folder / BANKS / bank.name
            if bank.network != bundle.network_key:
                raise ModelError(f"{where}: was trained on network {bank.network}, not on {bundle.network_key}")
            if unknown := [id_ for id_ in bank.ids if id_ not in bundle.classes]:
                raise ModelError(f"{where}: {folder / CLASSES} has no class {unknown[0]!r}")
        return bundle

    @staticmethod
    def seal(
        folder: Path, name: str, network_key: str, precision: str, preprocessing: Preprocessing, made: Mapping[str, Any]
    ) -> Bundle:
        """Write the manifest of a folder that holds everything else, and open it.

        Args:
            made: facts on how it was made, JSON; they are kept, and are no part of the version.
        """
        network = {"key": network_key, "precision": precision, "preprocessing": preprocessing.to_dict()}
        files = {path: _facts(folder / path) for path in _files(folder)}
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": name, "version": "", "network": network}
        manifest |= {"files": files, "made": dict(made)}
        manifest["version"] = _version(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return Bundle.open(folder)

    def tags(
        self, features: NDArray[np.float32], top: int | None = None, min_score: float | None = None
    ) -> list[list[Tag]]:
        """The tags of each photo, the highest score first, equal ones by name.

        Where several banks give one tag, the highest probability stands. Scores are rounded to `SCORE_DIGITS` decimals.

        Args:
            features: float32 [n, d] from this bundle's network.
            top: the best so many only.
            min_score: a probability from 0 to 1 that takes the place of every threshold.

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
        return [sorted(tags.values(), key=lambda tag: (-tag.score, tag.name))[:top] for tags in photos]


def network_key(network: Path, precision: str, preprocessing: Preprocessing) -> str:
    """The digest of what features depend on: 64 hexadecimal digits."""
    return _digest({"network": _facts(network), "precision": precision, "preprocessing": preprocessing.to_dict()})


def publish(folder: Path, root: Path) -> Bundle:
    """Move a sealed bundle into a folder of published ones, with the next sequence number.

    Safe for several publishers at once; a reader sees the whole bundle or none of it. Where `root`'s newest bundle has
    the same version already, nothing is moved and that one is opened.

    Args:
        folder: on the same file system as `root`.
    """
    bundle = Bundle.open(folder)
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        published = _published(root)
        newest = max(published, default=0)
        if newest and Bundle.open(published[newest]).version == bundle.version:
            return Bundle.open(published[newest])
        target = root / f"{newest + 1:06d}-{bundle.version[:12]}"
        folder.rename(target)
    return Bundle.open(target)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    # Two publishers that saw the same newest number would give two bundles the next one.
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _published(root: Path) -> dict[int, Path]:
    """The published bundles by sequence number."""
    folders = root.iterdir() if root.is_dir() else ()
    matches = ((_PUBLISHED.fullmatch(folder.name), folder) for folder in folders)
    return {int(match[1]): folder for match, folder in matches if match}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT or manifest["format_version"] != FORMAT_VERSION:
            raise ModelError(f"{path}: is not of the format {FORMAT!r}, version {FORMAT_VERSION}; {BUILD_AGAIN}")
        wrong = manifest["version"] != _version(manifest)
        network, texts = manifest["network"], [manifest["name"], manifest["network"]["key"]]
        texts += [network["precision"], *manifest["files"]]
        wrong |= not all(isinstance(text, str) and text for text in texts) or not isinstance(manifest["made"], dict)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is no bundle's manifest: {error!r}; {BUILD_AGAIN}") from error
    if wrong:
        raise ModelError(f"{path}: its version is not the digest of what it says; {BUILD_AGAIN}")
    return dict(manifest)


def _check_files(folder: Path, files: Mapping[str, Any]) -> None:
    found = set(_files(folder))
    for path in sorted(found | set(files) | {NETWORK, CLASSES}):
        if path not in found:
            raise ModelError(f"{folder / path}: is missing; {BUILD_AGAIN}")
        if path not in files:
            raise ModelError(f"{folder / path}: is not in the bundle's manifest; remove it, or {BUILD_AGAIN}")
        if _facts(folder / path) != files[path]:
            raise ModelError(f"{folder / path}: is not what the manifest says; {BUILD_AGAIN}")


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest, relative to it, in order."""
    paths = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return sorted(str(path.relative_to(folder)) for path in paths if path != folder / MANIFEST)


def _facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}; {BUILD_AGAIN}") from error


def _version(manifest: Mapping[str, Any]) -> str:
    return _digest({key: manifest[key] for key in ("format", "format_version", "network", "files")})


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
