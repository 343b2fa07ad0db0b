"""The archive for bare machines: it runs with an empty environment, and on Spark's executors."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import secrets
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotag.errors import JobError
from autotag.jobs import archive as archive_module
from autotag.jobs.archive import Member, package
from autotag.jobs.backfill import Backfill
from autotag.jobs.photo_list import ListedPhotos
from autotag.jobs.spark import UNPACKED, SparkWorkers
from autotag.localcluster.processes import end, processes_with
from autotag.settings import PROJECT, Settings
from autotag.storage.folder import Folder
from autotag.stores import PhotoStore
from autotag.view.results import ModelVersion
from models.bundle import Bundle
from tests.conftest import free_ports

PROGRAM = str(Path(sys.executable).parent / "autotag")
Draw = Callable[..., Path]
TIME = "2026-01-31T12:00:00Z"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(PROJECT / "build/bundles/default")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """What `autotag package` makes, packed in less time."""
    path = tmp_path_factory.mktemp("archive") / "environment.tar.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "LEVEL", 1)
        made = package(path, bundle.folder)
    assert made["bytes"] == path.stat().st_size
    assert list(path.parent.iterdir()) == [path]
    return path


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("some where")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="fully_trusted")
    return folder


def test_it_tags_a_photo_where_there_is_nothing_else(unpacked: Path, draw: Draw, bundle: Bundle) -> None:
    script = """
import json, sys
from autotag import PhotoSource, Settings, Tagger
with Tagger.open(Settings.from_config(), PhotoSource(any_file=True)) as tagger:
    (uri, tags), = tagger.tag([sys.argv[1]])
print(json.dumps([str(tagger.model), len(tags), sys.executable, sorted({m.__file__ for m in sys.modules.values()
    if getattr(m, "__file__", None)})]))
"""
    link = unpacked.parent / "link"  # as Spark makes one
    link.symlink_to(unpacked)
    done = subprocess.run(
        ["env", "-i", str(link / "bin/python"), "-c", script, draw("a.jpg").as_uri()],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (0, "")
    model, _, executable, files = json.loads(done.stdout)
    assert model == str(ModelVersion.of(bundle))
    assert executable.startswith(str(unpacked))
    assert [file for file in files if not file.startswith(str(unpacked))] == []


def test_all_its_libraries_are_its_own_or_glibcs(unpacked: Path) -> None:
    script = """
import bz2, ctypes, hashlib, lzma, sqlite3, ssl, uuid, zlib
import aiohttp, fsspec, numpy, openvino, pillow_heif, pyarrow.parquet, requests, s3fs, PIL.Image
print("".join(line for line in open("/proc/self/maps") if ".so" in line))
"""
    python = str(unpacked / "bin/python")
    done = subprocess.run(["env", "-i", python, "-c", script], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("/")[2] for line in done.stdout.splitlines() if line}
    own = {path.name for path in unpacked.rglob("*.so*")}
    assert {name for name in loaded - own if not archive_module.GLIBC.match(name)} == set()
    # Python's own library is found by a path of this machine's first, which others do not have.
    assert "libpython3.11.so.1.0" not in loaded - {path.name for path in (unpacked / "lib").iterdir()}


def test_it_leaves_out_what_executors_do_not_need(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    packages = {one.name.split("/")[3] for one in members if "/site-packages/" in one.name}
    assert {"numpy", "openvino", "PIL", "fsspec", "s3fs"} <= packages
    assert not packages & {"pyspark", "mypy", "ruff", "moto", "boto3", "pytest", "pip", "click", "sklearn", "scipy"}
    assert not [one.name for one in members if one.name.endswith(".pyc") or "/tests/" in one.name]
    assert sum(one.size for one in members) < 500e6


def test_nothing_in_it_says_who_packed_it_or_when(archive: Path) -> None:
    with archive.open("rb") as file:
        assert file.read(10)[3:8] == bytes(5)  # gzip: no name, no time
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, 0, "", "")}
    assert [one.name for one in members] == sorted(one.name for one in members)
    assert {one.mode for one in members} == {0o644, 0o755}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"some" * 1000)
    members = [Member("a", source), Member("b", b"other", executable=True)]
    archive_module._write(tmp_path / "one", members)
    os.utime(source, (1, 1))
    archive_module._write(tmp_path / "two", members)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_package_that_is_not_here_is_named(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "PACKAGES", (*archive_module.PACKAGES, "no-such-package"))
    with pytest.raises(JobError, match="no-such-package is not installed here"):
        package(tmp_path / "out.tar.gz", bundle.folder)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark master and a worker of one core, whose environment has Java and nothing of ours."""
    import pyspark

    home = Path(pyspark.__file__).parent
    folder, mark = tmp_path_factory.mktemp("spark"), secrets.token_hex(8)
    port, web, worker_web = free_ports(3)
    bare = {"PATH": "/usr/bin:/bin", "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_TEST_MARK": mark, "SPARK_NO_DAEMONIZE": "1"}
    if java := os.environ.get("JAVA_HOME"):
        bare["JAVA_HOME"] = java
    url = f"spark://127.0.0.1:{port}"
    commands = [
        ["master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(web)],
        ["worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1G", "--webui-port", str(worker_web)],
    ]
    commands[1] += ["--work-dir", str(folder / "work"), url]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("ab"))
        for name, *arguments in commands:
            command = [str(home / "bin/spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
            stack.enter_context(subprocess.Popen(command, env=bare, stdout=log, stderr=log, cwd=folder))
        stack.callback(end, lambda: processes_with("SPARK_TEST_MARK", mark), 5)
        deadline = time.monotonic() + 60
        while "Successfully registered with master" not in (folder / "log").read_text():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield url


def test_executors_that_have_nothing_tag_with_the_archive(
    master: str, archive: Path, draw: Draw, tmp_path: Path, settings: Settings, store: PhotoStore, bundle: Bundle
) -> None:
    lines = [f"p{number} {draw(f'{number}.jpg', number).as_uri()}" for number in range(3)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    corpus = ListedPhotos(str(tmp_path / "list.txt"), store, "ann", TIME)
    model = str(ModelVersion.of(bundle))
    job = Backfill(Folder(str(tmp_path / "job")), corpus, model, chunk_photos=2)
    options = {f"spark.driver.{name}": "127.0.0.1" for name in ("host", "bindAddress")}
    options["spark.executor.memory"] = "512m"
    with contextlib.closing(SparkWorkers(master, options, str(archive))) as workers:
        *_, last = job.run(workers, replace(settings, model="/nowhere"))
        (prefix,) = workers.map(eval, ["__import__('sys').prefix"])
    assert (last.tagged, last.left) == (3, 0)
    assert UNPACKED in Path(prefix).parts
    found: list[dict[str, Any]] = []
    for path in sorted((tmp_path / "job/tags").iterdir()):
        found += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [(one["photo_id"], one["model"]) for one in found] == [(f"p{number}", model) for number in range(3)]


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("")
    command = [PROGRAM, "backfill", str(tmp_path / "list.txt"), "--job", str(tmp_path / "job"), "--spark", "local[1]"]
    done = subprocess.run([*command, "--archive", "/nowhere/out.tar.gz"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 1
    assert "no Spark application could be started on 'local[1]'" in done.stderr
    assert "/nowhere/out.tar.gz" in done.stderr


def test_an_archive_with_another_model_is_refused(unpacked: Path, draw: Draw, tmp_path: Path) -> None:
    script = """
import sys
from autotag.jobs.backfill import Backfill
from autotag.jobs.photo_list import ListedPhotos
from autotag.storage.folder import Folder
from autotag.jobs.workers import LocalWorkers
from autotag.settings import Settings
job = Backfill(Folder(sys.argv[1]), ListedPhotos(sys.argv[2], None), "default/000009-0")
list(job.run(LocalWorkers(1), Settings()))
"""
    photo = {"photo_id": "a", "uri": draw("a.jpg").as_uri(), "owner": "ann", "content_time": TIME}
    (tmp_path / "list.jsonl").write_text(json.dumps(photo))
    done = subprocess.run(
        [str(unpacked / "bin/python"), "-c", script, str(tmp_path / "job"), str(tmp_path / "list.jsonl")],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 1
    assert "the job's tags are by model default/000009-0, and the archive has default/" in done.stderr
