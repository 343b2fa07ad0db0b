"""The manifest of a bundle: the size and SHA-256 of every file, and the version, which is the digest of all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.probe import PROBE

FORMAT, FORMAT_VERSION = "autotag-bundle", 2
MANIFEST, NETWORK, CLASSES, BANKS = "manifest.json", "network.onnx", "classes.tsv", "banks"
REQUIRED = (NETWORK, CLASSES, PROBE)
BUILD_AGAIN = "build it again: autotag model build"
MAKE_GOOD = "publish a good copy of it again, or build it: autotag model build"

_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*")
"""Allowed paths of files: they stay below the bundle's folder, on every file system, and need no quoting in a URL."""


def write_manifest(folder: Path, name: str, network: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Write the manifest of a folder that has all other files of a bundle."""
    files = {path: _facts(folder / path) for path in _files(folder)}
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": name, "version": "", "network": network}
    manifest |= {"files": files, "made": dict(made)}
    manifest["version"] = _version(manifest)
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a bundle, and check it alone; the other files are not read.

    Raises:
        ModelError: it is missing, not a manifest, of another format, or its version is not the digest of its content.
    """
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"{path}: is not the manifest of a bundle: {error!r}; {BUILD_AGAIN}") from error


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """Check a manifest that was read elsewhere; `where` names its place in messages."""
    try:
        manifest = json.loads(data)
        if manifest["format"] != FORMAT or manifest["format_version"] != FORMAT_VERSION:
            raise ModelError(f"{where}: is not of the format {FORMAT!r}, version {FORMAT_VERSION}; {BUILD_AGAIN}")
        wrong = manifest["version"] != _version(manifest)
        network, texts = manifest["network"], [manifest["name"], manifest["network"]["key"]]
        texts += [network["precision"], *manifest["files"]]
        wrong |= not all(isinstance(text, str) and text for text in texts) or not isinstance(manifest["made"], dict)
        outside = next((path for path in manifest["files"] if not _PATH.fullmatch(path)), None)
        wrong |= not all(type(facts["bytes"]) is int and facts["bytes"] >= 0 for facts in manifest["files"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{where}: is not the manifest of a bundle: {error!r}; {BUILD_AGAIN}") from error
    if outside is not None:
        raise ModelError(f"{where}: {outside!r} is not an allowed path of a file; {BUILD_AGAIN}")
    if wrong:
        raise ModelError(f"{where}: its version is not the digest of its content; {BUILD_AGAIN}")
    return dict(manifest)


def check_files(folder: Path, files: Mapping[str, Any]) -> None:
    """Compare every file of a bundle with the manifest's `files`; reads every byte.

    Raises:
        ModelError: a file is missing, superfluous or different; the message names it.
    """
    found = set(_files(folder))
    for path in sorted(found | set(files) | set(REQUIRED)):
        if path not in found:
            raise ModelError(f"{folder / path}: is missing; {MAKE_GOOD}")
        if path not in files:
            raise ModelError(f"{folder / path}: is not in the bundle's manifest; remove it, or {BUILD_AGAIN}")
        if _facts(folder / path) != files[path]:
            raise ModelError(f"{folder / path}: is not what the manifest says; {MAKE_GOOD}")


def network_key(network: Path, precision: str, preprocessing: Mapping[str, Any]) -> str:
    """Return the digest of all that features depend on: 64 hexadecimal digits."""
    return _digest({"network": _facts(network), "precision": precision, "preprocessing": preprocessing})


def _files(folder: Path) -> list[str]:
    """Return all files below `folder` but the manifest, relative to it, sorted."""
    paths = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return sorted(str(path.relative_to(folder)) for path in paths if path != folder / MANIFEST)


def _facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}; {BUILD_AGAIN}") from error


def _version(manifest: Mapping[str, Any]) -> str:
    # The probe's features depend on the CPU, and a bundle shall have the same version wherever it was built.
    files = {path: facts for path, facts in manifest["files"].items() if path != PROBE}
    return _digest({key: manifest[key] for key in ("format", "format_version", "network")} | {"files": files})


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
