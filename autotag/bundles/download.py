"""Fetches a published bundle to this host, from a folder or a web server.

Storm's blobstore is not used: the Supervisor localises its files without telling a Python component of a change, it
needs Nimbus, and command line, training and backfill could not use it. Every team has a folder that all hosts mount, or
a web server that serves the publisher's folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from autotag.bundles.registry import PublishedModel
from autotag.errors import FetchError
from models.bundle import MANIFEST, Bundle, move_into_place, open_if_intact
from models.errors import ModelError
from models.folders import locked, staged
from models.manifest import parse_manifest

MAX_MANIFEST_BYTES = 16 << 20
MAX_BUNDLE_BYTES = 16 << 30
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 30.0
LEAST_BYTES_PER_S = 1 << 20
"""The least average speed of a download; `READ_TIMEOUT_S` are allowed on top."""

_CHUNK_BYTES = 1 << 18


def fetch_bundle(published: PublishedModel, root: Path) -> Path:
    """Return the folder of a published bundle below `root`; fetch it first if it is missing or damaged.

    Several processes of a host may call this at once: one of them fetches.

    Raises:
        FetchError: the location cannot be reached, or `root` cannot be written. Nothing is left behind.
        ModelError: the bundle at the location is damaged, or has another version.
    """
    folder = root / published.folder
    if open_if_intact(folder, published.version):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / ".fetching"):
            if not open_if_intact(folder, published.version):  # another process may have fetched it meanwhile
                _fetch(published, root)
    except (OSError, requests.RequestException) as error:  # RequestException is an OSError too
        raise FetchError(f"{published.location}: cannot be fetched to {root}: {error}") from error
    return folder


def _fetch(published: PublishedModel, root: Path) -> None:
    for left in root.glob(".fetching-*"):  # left by a killed process: only one process fetches at a time
        shutil.rmtree(left)
    with staged(root, ".fetching-") as folder:
        _fetch_files(published.location, folder)
        try:
            version = Bundle.open(folder).version
        except ModelError as error:
            raise ModelError(f"{published.location}: {error}") from error
        if version != published.version:
            raise ModelError(f"{published.location}: holds version {version[:12]}, not {published.version[:12]}")
        move_into_place(folder, root / published.folder)


def _fetch_files(location: str, folder: Path) -> None:
    """Fetch the manifest and the files that it names. Opening the bundle checks them."""
    with requests.Session() as session:
        deadline = time.monotonic() + READ_TIMEOUT_S
        data = b"".join(_read(session, f"{location}/{MANIFEST}", MAX_MANIFEST_BYTES, deadline))
        files = parse_manifest(data, f"{location}/{MANIFEST}")["files"]
        total = sum(facts["bytes"] for facts in files.values())
        if total > MAX_BUNDLE_BYTES:
            raise ModelError(f"{location}/{MANIFEST}: names {total} bytes; a bundle has at most {MAX_BUNDLE_BYTES}")
        deadline += total / LEAST_BYTES_PER_S
        for path, facts in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("wb") as file:
                for chunk in _read(session, f"{location}/{path}", facts["bytes"], deadline):
                    file.write(chunk)
        (folder / MANIFEST).write_bytes(data)


def _read(session: requests.Session, url: str, max_bytes: int, deadline: float) -> Iterator[bytes]:
    """Yield the bytes at a URL in chunks, at most `max_bytes`.

    Args:
        deadline: on the clock of `time.monotonic`.

    Raises:
        FetchError: the server has no such file, or the deadline has passed.
        ModelError: the file has more than `max_bytes`.
    """
    total = 0
    for chunk in _read_file(url) if url.startswith("file:") else _read_http(session, url):
        total += len(chunk)
        if total > max_bytes:
            raise ModelError(f"{url}: has more than the {max_bytes} bytes that the manifest states")
        if time.monotonic() > deadline:
            raise FetchError(f"{url}: is slower than {LEAST_BYTES_PER_S} bytes a second")
        yield chunk


def _read_file(url: str) -> Iterator[bytes]:
    with Path(unquote(urlsplit(url).path)).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _read_http(session: requests.Session, url: str) -> Iterator[bytes]:
    with session.get(url, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
        if response.status_code != requests.codes.ok:
            raise FetchError(f"{url}: the server answers {response.status_code} {response.reason}")
        yield from response.iter_content(_CHUNK_BYTES)
