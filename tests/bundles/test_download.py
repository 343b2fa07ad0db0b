"""Fetching a bundle: whole and right, once a host, and whatever the other end does nothing else is left."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from autotag.bundles.download import fetch_bundle
from autotag.bundles.registry import PublishedModel
from autotag.errors import FetchError
from models import manifest as manifests
from models.bundle import CLASSES, MANIFEST, NETWORK, Bundle, install
from models.errors import ModelError
from models.folders import locked
from tests.model_files import write_small_bundle
from tests.photo_server import PhotoServer


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write_small_bundle(tmp_path / "b", banks=["imagenet", "more"])
    return install(tmp_path / "b", tmp_path / "there", at_least=6)


@pytest.fixture
def known(bundle: Bundle) -> PublishedModel:
    return PublishedModel(
        name=bundle.name,
        version=bundle.version,
        sequence=bundle.sequence,
        classes=6,
        location=bundle.folder.as_uri(),
        published_by="ann",
        published_us=1,
    )


@pytest.fixture
def server(bundle: Bundle) -> Iterator[PhotoServer]:
    """A web server over the folder of bundles."""
    with PhotoServer() as server:
        for path in bundle.folder.rglob("*"):
            if path.is_file():
                server.add(f"/{path.relative_to(bundle.folder.parent)}", path.read_bytes())
        yield server


def at(server: PhotoServer, known: PublishedModel) -> PublishedModel:
    return replace(known, location=f"{server.url}/{known.folder}")


def assert_nothing_is_left(root: Path) -> None:
    assert [path.name for path in root.iterdir() if path.name != ".fetching"] == []


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_bundle_is_fetched_whole_and_only_once(
    known: PublishedModel, server: PhotoServer, tmp_path: Path, scheme: str
) -> None:
    wanted = at(server, known) if scheme == "http" else known
    with ThreadPoolExecutor(8) as bolts:
        folders = list(bolts.map(lambda _: fetch_bundle(wanted, tmp_path / "here"), range(8)))
    assert set(folders) == {tmp_path / "here" / known.folder}
    fetched = Bundle.open(folders[0])
    assert (fetched.version, fetched.sequence) == (known.version, 7)
    if scheme == "http":
        assert sorted(server.requests) == sorted(server.photos)  # each file once
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [".fetching", known.folder]


def test_a_copy_that_is_damaged_here_is_fetched_again(known: PublishedModel, tmp_path: Path) -> None:
    network = fetch_bundle(known, tmp_path / "here") / NETWORK
    network.write_bytes(network.read_bytes()[:-1] + b"?")
    assert Bundle.open(fetch_bundle(known, tmp_path / "here")).version == known.version


def test_a_damaged_copy_stays_where_no_good_one_can_be_had(known: PublishedModel, tmp_path: Path) -> None:
    network = fetch_bundle(known, tmp_path / "here") / NETWORK
    network.write_bytes(b"?")
    with pytest.raises(FetchError):
        fetch_bundle(replace(known, location=(tmp_path / "nowhere").as_uri()), tmp_path / "here")
    assert network.read_bytes() == b"?"


def test_what_a_process_that_died_has_left_is_removed(known: PublishedModel, tmp_path: Path) -> None:
    left = tmp_path / "here" / ".fetching-abc" / "banks"
    left.mkdir(parents=True)
    fetch_bundle(known, tmp_path / "here")
    assert not left.parent.exists()


def test_a_damaged_file_a_longer_one_and_another_version_are_refused(
    bundle: Bundle, known: PublishedModel, server: PhotoServer, tmp_path: Path
) -> None:
    wanted, here = at(server, known), tmp_path / "here"
    classes = (bundle.folder / CLASSES).read_bytes()
    server.add(f"/{known.folder}/{CLASSES}", classes[:-2] + b"?\n")
    with pytest.raises(ModelError, match=rf"{wanted.location}: .*classes\.tsv: is not what the manifest says"):
        fetch_bundle(wanted, here)
    server.add(f"/{known.folder}/{CLASSES}", classes + b"more")
    with pytest.raises(ModelError, match=rf"classes\.tsv: has more than the {len(classes)} bytes"):
        fetch_bundle(wanted, here)
    server.add(f"/{known.folder}/{CLASSES}", classes)
    with pytest.raises(ModelError, match=f"{wanted.location}: holds version {known.version[:12]}, not ffffffffffff"):
        fetch_bundle(replace(wanted, version="f" * 64), here)
    assert_nothing_is_left(here)
    assert fetch_bundle(wanted, here).is_dir()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../stray", r"'\.\./stray' is not an allowed path of a file"),
        ("/tmp/stray", "'/tmp/stray' is not an allowed path"),
        ("huge.npy", "a bundle has at most"),
    ],
)
def test_a_manifest_cannot_lead_out_of_the_folder_or_fill_the_disk(
    bundle: Bundle, known: PublishedModel, server: PhotoServer, tmp_path: Path, path: str, message: str
) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["files"][path] = {**manifest["files"][NETWORK], "bytes": 1 << 40}
    manifest["version"] = manifests._version(manifest)
    server.add(f"/{known.folder}/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(ModelError, match=message):
        fetch_bundle(at(server, known), tmp_path / "here")
    assert_nothing_is_left(tmp_path / "here")
    assert not (tmp_path / "stray").exists()


def test_what_is_away_may_come_back(known: PublishedModel, server: PhotoServer, tmp_path: Path) -> None:
    here = tmp_path / "here"
    path = f"/{known.folder}/{NETWORK}"
    data, _ = server.photos[path]
    server.add(path, data[:10], Content_Length=str(len(data)), Connection="close")
    for location, message in (
        ("http://127.0.0.1:1/x", "Connection refused"),
        (f"{server.url}/nowhere", "the server answers 404"),
        (at(server, known).location, "bytes read"),
        ((tmp_path / "nowhere").as_uri(), "No such file"),
    ):
        with pytest.raises(FetchError, match=message):
            fetch_bundle(replace(known, location=location), here)
    assert_nothing_is_left(here)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FetchError, match="cannot be fetched to"):
        fetch_bundle(known, tmp_path / "file")


def test_a_fetch_waits_for_another_that_is_at_it(known: PublishedModel, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    fetched = threading.Event()
    with locked(here / ".fetching"):
        thread = threading.Thread(target=lambda: (fetch_bundle(known, here), fetched.set()))
        thread.start()
        assert not fetched.wait(0.2)
    thread.join(30)
    assert fetched.is_set()
