"""Folders anywhere that fsspec reaches: on this machine, in S3, and where files are moved into place."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from autotag.errors import InputError
from autotag.storage import folder as folder_module
from autotag.storage.folder import Folder, read_url, split_url
from tests.object_store import ObjectStore, emptied, object_store


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture(params=["local", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty one. In fsspec's memory a file is there before it is whole, as on HDFS."""
    if request.param == "s3":
        return emptied(request.getfixturevalue("s3"))
    return Folder(str(tmp_path / "folder") if request.param == "local" else f"memory://{tmp_path}/folder")


def test_what_is_written_is_read_listed_and_removed(folder: Folder) -> None:
    assert folder.names() == []
    assert folder.files() == []
    assert not folder.exists("b/c")
    folder.write("a", b"one")
    folder.write("b/c", b"two")
    folder.write("b/c", b"three")
    folder.write("b/.hidden", b"")
    assert folder.names() == ["a", "b"]
    assert folder.folder("b").names() == ["c"]
    assert folder.files() == ["a", "b/c"]
    assert folder.exists("b/c")
    assert folder.read("b/c") == b"three"
    with folder.open("b/c") as file:
        file.seek(2)
        assert file.read() == b"ree"
    folder.remove("b")
    folder.remove("nothing")
    assert folder.files() == ["a"]
    assert Folder(f"{folder.url}/b").names() == []


def test_a_file_is_copied_to_this_machine(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", bytes(range(256)) * 1000)
    folder.fetch("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(range(256)) * 1000


def test_a_file_that_is_there_is_not_created_again(folder: Folder) -> None:
    assert folder.create("a", b"mine")
    assert not folder.create("a", b"yours")
    assert folder.read("a") == b"mine"
    assert folder.files() == ["a"]


def test_of_several_who_create_a_file_one_does(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: folder.create("a", str(number).encode()), range(50)))
    assert created.count(True) == 1
    assert folder.read("a") == str(created.index(True)).encode()


def test_a_folder_travels_by_its_name(folder: Folder) -> None:
    folder.write("a", b"one")
    other = pickle.loads(pickle.dumps(folder))
    assert str(other) == str(folder)
    assert other.read("a") == b"one"


def test_what_others_wrote_since_is_listed(s3: ObjectStore) -> None:
    folder = emptied(s3)
    assert folder.names() == []
    done = subprocess.run(
        [sys.executable, "-c", f"from autotag.storage.folder import Folder; Folder({s3.url!r}).write('x/new', b'1')"],
        check=False,
    )
    assert done.returncode == 0
    assert folder.names() == ["x"]
    assert folder.exists("x/new")


def test_a_bucket_that_is_not_there_is_not_made(s3: ObjectStore) -> None:
    with pytest.raises(InputError, match=r"s3://other/a/b: does not exist"):
        Folder("s3://other/a").write("b", b"")
    with pytest.raises(InputError, match=r"s3://other/a/b: does not exist"):
        Folder("s3://other/a").create("b", b"")
    assert not fsspec.filesystem("s3").exists("other")


def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    old, new = b"a" * 1_000_000, b"b" * 1_000_000
    folder = Folder(str(tmp_path))
    folder.write("file", old)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from autotag.storage.folder import Folder; print(flush=True)\n"
            f"while True: Folder({str(tmp_path)!r}).write('file', b'b' * 1000000)",
        ],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    with writer:
        writer.stdout.readline()
        seen = {folder.read("file") for _ in range(200)}
        writer.kill()
    seen.add(folder.read("file"))
    assert seen <= {old, new}
    assert folder.names() == ["file"]


@pytest.mark.parametrize("moves_over", [True, False])
def test_where_files_are_moved_into_place_no_moment_is_without_the_old_bytes_or_the_new(
    moves_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(f"memory://{tmp_path}/folder")
    system = fsspec.filesystem("memory")
    folder.write("file", b"old")
    if not moves_over:
        monkeypatch.setattr(folder_module, "_MOVES_OVER", frozenset())
    move, seen = system.mv, []

    def look_and_move(*paths: str) -> None:
        seen.append({system.cat_file(path) for path in system.find(folder._root)})
        move(*paths)

    monkeypatch.setattr(system, "mv", look_and_move)
    folder.write("file", b"new")
    assert seen == [{b"old", b"new"}] * (1 if moves_over else 2)
    assert folder.read("file") == b"new"
    assert system.find(folder._root) == [f"{folder._root}/file"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(InputError, match="file: cannot be reached"):
        Folder(str(tmp_path)).write("file", b"1")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["file"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://host/folder", "nonsense"),
        ("s3://photos/nothing", "does not exist"),
        ("/nowhere", "does not exist"),
        ("http://127.0.0.1:9/x", "cannot be reached|does not exist"),
    ],
)
def test_an_address_that_cannot_be_read_is_named(url: str, said: str, s3: ObjectStore) -> None:
    with pytest.raises(InputError, match=f"{url}.*({said})"):
        Folder(url).read("file")


@pytest.mark.parametrize("url", ["s3://", "s3:///", "s3:", "file:///", "memory://"])
def test_a_url_without_a_path_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=f"'{url}': names no folder"):
        Folder(url)
    with pytest.raises(InputError, match="names no folder"):
        split_url(f"{url.rstrip('/')}//file")


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder("a/b").url == str(tmp_path / "a/b")
    folder, name = split_url("list.txt")
    assert (folder.url, name) == (str(tmp_path), "list.txt")
    assert split_url("/list.txt")[0].url == "/"
    with pytest.raises(InputError, match="names no file"):
        split_url("s3://photos/")


def test_a_file_is_read_by_its_url(folder: Folder) -> None:
    folder.write("x/a b", b"one")
    assert read_url(f"{folder.url}/x/a b") == b"one"
