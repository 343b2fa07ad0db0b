"""A corpus is tagged chunk by chunk, on this machine and on Spark, and goes on after a kill at any moment."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autotag.errors import InputError, JobError
from autotag.events.times import iso_time
from autotag.jobs import backfill as backfill_module
from autotag.jobs.backfill import Backfill, JobSummary
from autotag.jobs.photo_list import BadEntry, CorpusPhoto, Entry, ListedPhotos, StoredPhotos, entry_line, read_entry
from autotag.jobs.tag_chunk import FailureKind
from autotag.jobs.worker_tagger import close_tagger
from autotag.jobs.workers import LocalWorkers
from autotag.localcluster.processes import processes_with
from autotag.photos.reader import PhotoError
from autotag.settings import Settings
from autotag.storage.folder import Folder
from autotag.storage.locks import alone_in
from autotag.stores import PhotoStore, open_store
from autotag.stores.runs import RunState
from autotag.tagging.tagger import Tagger
from autotag.view.results import ModelVersion
from models.bundle import Bundle
from tests.command_line import run_command
from tests.object_store import ObjectStore, emptied, object_store
from tests.worlds import CLASSES, deleted, model, rejected, tagged

PROGRAM = str(Path(sys.executable).parent / "autotag")
TIME = "2026-01-31T12:00:00Z"
Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture
def one_tagger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs in this process share a Tagger, which they would each load."""
    monkeypatch.setattr(backfill_module, "close_tagger", lambda: None)
    yield
    close_tagger()


def version(settings: Settings) -> str:
    return str(ModelVersion.of(Bundle.open(settings.path(settings.model))))


def listed(tmp_path: Path, lines: list[str], name: str = "list.txt") -> str:
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def drawn_list(draw: Draw, tmp_path: Path, count: int) -> str:
    """A list of so many photos, of three different ones."""
    photos = [draw(f"drawn/{seed}.jpg", seed).as_uri() for seed in range(3)]
    return listed(tmp_path, [f"p{number} {photos[number % 3]}" for number in range(count)])


def records(job: Folder) -> list[dict[str, Any]]:
    """All tags in a job's folder."""
    tags = job.folder("tags")
    return [json.loads(line) for name in tags.names() for line in gzip.decompress(tags.read(name)).splitlines()]


def failed(job: Folder) -> list[dict[str, Any]]:
    """All failures in a job's folder."""
    failures = job.folder("failed")
    return [json.loads(line) for name in failures.names() for line in failures.read(name).splitlines()]


def ran(job: Backfill, settings: Settings, *, only_failed: bool = False) -> JobSummary:
    return next(iter([*job.run(LocalWorkers(1), settings, only_failed=only_failed)][-1:]), job.summary())


# The list


def entries(url: str, store: PhotoStore, owner: str = "ann", content_time: str = TIME) -> list[Entry]:
    return list(ListedPhotos(url, store, owner, content_time).entries())


def test_lines_of_text_are_photos(tmp_path: Path, store: PhotoStore) -> None:
    url = listed(tmp_path, ["a file:///a.jpg", "", "b http://host/b.jpg  s3://out/b.json"])
    assert entries(url, store) == [
        CorpusPhoto(line=1, photo_id="a", uri="file:///a.jpg", owner="ann", content_time=TIME),
        CorpusPhoto(
            line=2,
            photo_id="b",
            uri="http://host/b.jpg",
            owner="ann",
            content_time=TIME,
            output_uri="s3://out/b.json",
        ),
    ]


def test_ids_and_places_may_have_blanks_where_tabs_part_them_and_paths_start_where_the_list_is(
    tmp_path: Path, store: PhotoStore
) -> None:
    listed(tmp_path, ["photo_id\turi", "my photo\tfile:///a.jpg", "b\tin here/b.jpg\ts3://out/b.json"])
    listed(tmp_path, ["a /x/a.jpg", "b b.jpg"], "paths.txt")
    listed(tmp_path, [json.dumps({"photo_id": "a", "uri": "a.jpg"})], "paths.jsonl")
    pq.write_table(pa.table({"photo_id": ["a"], "uri": ["a.jpg"]}), tmp_path / "paths.parquet")

    def found(name: str) -> list[tuple[str, str, str]]:
        photos = [one for one in entries(str(tmp_path / name), store) if isinstance(one, CorpusPhoto)]
        return [(one.photo_id, one.uri, one.output_uri) for one in photos]

    here = tmp_path.as_uri()
    assert found("list.txt") == [("my photo", "file:///a.jpg", ""), ("b", f"{here}/in%20here/b.jpg", "s3://out/b.json")]
    assert found("paths.txt") == [("a", "file:///x/a.jpg", ""), ("b", f"{here}/b.jpg", "")]
    assert found("paths.jsonl") == found("paths.parquet") == [("a", f"{here}/a.jpg", "")]


def test_json_lines_and_parquet_say_more(tmp_path: Path, store: PhotoStore) -> None:
    said = {"photo_id": "a b", "uri": "file:///a.jpg", "owner": "bob", "content_time": TIME, "taken": TIME}
    with gzip.open(tmp_path / "list.jsonl.gz", "wt") as file:
        file.write(json.dumps({**said, "other": 1}) + "\n")
    rows = {name: [value] for name, value in said.items()}
    pq.write_table(pa.table(rows), tmp_path / "text.parquet")
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    pq.write_table(pa.table({**rows, "content_time": [moment], "x": [1]}), tmp_path / "time.parquet")
    naive = pa.array([moment.replace(tzinfo=None)], pa.timestamp("us"))
    pq.write_table(pa.table({**rows, "content_time": naive}), tmp_path / "naive.parquet")
    expected = CorpusPhoto(line=1, **said)
    as_written = replace(expected, content_time="2026-01-31T12:00:00+00:00")
    assert entries(str(tmp_path / "list.jsonl.gz"), store) == [expected]
    assert entries(str(tmp_path / "text.parquet"), store) == [expected]
    assert entries(str(tmp_path / "time.parquet"), store) == [as_written]
    assert entries(str(tmp_path / "naive.parquet"), store) == [as_written]


def test_a_folder_of_lists_is_one_list(tmp_path: Path, store: PhotoStore) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "b.txt").write_text("b file:///b\n")
    (folder / "a.jsonl").write_text('{"photo_id": "a", "uri": "file:///a"}\n\n')
    (folder / "_SUCCESS").write_text("")
    (folder / "notes.md").write_text("nothing")
    assert [(one.line, one.photo_id) for one in entries(str(folder), store) if isinstance(one, CorpusPhoto)] == [
        (1, "a"),
        (2, "b"),
    ]


def test_bad_lines_are_told_with_their_reason(tmp_path: Path, store: PhotoStore) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"only-an-id\na b c d\n\xff\xfe x\ngood file:///a\n" + b"x" * 100_000 + b"\n\0 b\n")
    found = entries(str(path), store)
    assert [isinstance(one, CorpusPhoto) for one in found] == [False, False, False, True, False, False]
    told = [one.detail for one in found if isinstance(one, BadEntry)]
    said = ["line 1: should be", "line 2: should be", "not UTF-8", "longer", "NUL"]
    assert all(words in detail for detail, words in zip(told, said, strict=True)), told


def test_bad_fields_are_told_with_their_reason(tmp_path: Path, store: PhotoStore) -> None:
    lines = ["[1]", "{", '{"uri": "file:///a"}', '{"photo_id": 1, "uri": "file:///a"}']
    for bad in ("soon", "1969-01-01T00:00:00Z", "2999-01-01T00:00:00Z"):
        lines.append(json.dumps({"photo_id": "a", "uri": "x", "content_time": bad}))
    told = [one.detail for one in entries(listed(tmp_path, lines, "x.jsonl"), store) if isinstance(one, BadEntry)]
    said = [
        "not a JSON object",
        "not JSON",
        "'photo_id' is missing",
        "be text",
        "be a time",
        "after 1970",
        "a day in the future",
    ]
    assert all(words in detail for detail, words in zip(told, said, strict=True)), told


@pytest.mark.parametrize("name", ["none.txt", "folder", "damaged.parquet", "columns.parquet", "cut.txt.gz"])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, store: PhotoStore, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 no")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "columns.parquet")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"a file:///a\n" * 1000)[:-20])
    with pytest.raises(InputError, match=name):
        entries(str(tmp_path / name), store)


def test_what_the_list_does_not_say_the_store_is_asked_for(tmp_path: Path, store: PhotoStore) -> None:
    store.runs.add_model(model(), CLASSES)
    store.write([tagged("known", content=5_000_000, owner="bob")])
    url = listed(tmp_path, ["known file:///a", "unknown file:///b"])
    known = CorpusPhoto(line=1, photo_id="known", uri="file:///a", owner="bob", content_time=iso_time(5_000_000))
    first, second = entries(url, store, owner="", content_time="")
    assert first == known
    assert isinstance(second, BadEntry)
    assert "photo 'unknown' has no owner and content_time, and the store does not know it: say --owner" in second.detail
    assert entries(url, store) == [
        known,
        CorpusPhoto(line=2, photo_id="unknown", uri="file:///b", owner="ann", content_time=TIME),
    ]


def test_a_photo_with_an_output_gets_an_owner_where_there_is_one_and_needs_none(
    tmp_path: Path, store: PhotoStore
) -> None:
    (tmp_path / "list.txt").write_text("a http://host/a.jpg s3://out/a.json\n")
    for owner in ("", "ann"):
        (photo,) = ListedPhotos(str(tmp_path / "list.txt"), store, owner).entries()
        assert isinstance(photo, CorpusPhoto)
        assert (photo.owner, photo.output_uri) == (owner, "s3://out/a.json")


def test_the_stores_photos_are_those_that_readers_see(store: PhotoStore) -> None:
    store.runs.add_model(model(), CLASSES)
    seen = [tagged(f"p{number}", content=number + 1, owner=f"owner{number}") for number in range(1200)]
    store.write([*seen, tagged("gone", 1), deleted(2, "gone"), rejected(photo_id="no-uri", content=7)])
    found = list(StoredPhotos(store, "here").entries())
    photos = {one.photo_id: one for one in found if isinstance(one, CorpusPhoto)}
    assert photos.keys() == {one.photo_id for one in seen}
    assert [one.line for one in found] == list(range(1, 1202))
    assert (photos["p7"].uri, photos["p7"].owner, photos["p7"].content_time) == ("file:///p7", "owner7", iso_time(8))
    assert [one.detail for one in found if isinstance(one, BadEntry)] == ["the store knows no URI of photo 'no-uri'"]


def test_entries_are_read_back_as_they_were_written() -> None:
    for entry in (CorpusPhoto(line=1, photo_id="Zoë\t", uri="x", taken=TIME), BadEntry(line=2, detail="\u2028")):
        assert read_entry(entry_line(entry).encode()) == entry


# The job


def test_a_finished_job_holds_each_photos_tags_as_the_tagger_gives_them(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    folder = Folder(str(tmp_path / "job"))
    job = Backfill(folder, ListedPhotos(drawn_list(draw, tmp_path, 10), store, "ann", TIME), version(settings), 4)
    assert folder.folder("photos").names() == ["000000.jsonl.gz", "000001.jsonl.gz", "000002.jsonl.gz"]
    assert job.to_do() == 10
    done = ran(job, settings)
    assert (done.photos, done.tagged, done.left, done.tried, done.failures.total()) == (10, 10, 0, 10, 0)
    with Tagger.open(settings) as tagger:
        right = dict(tagger.tag(draw(f"drawn/{seed}.jpg", seed).as_uri() for seed in range(3)))
    found = records(folder)
    assert [one["photo_id"] for one in found] == [f"p{number}" for number in range(10)]
    for one in found:
        tags = right[one["uri"]]
        assert not isinstance(tags, PhotoError)
        assert [tag["id"] for tag in one["tags"]] == [tag.id for tag in tags]
        assert one["colours"] == [vars(colour) for colour in tags.colours] != []
        assert [tag["score"] for tag in one["tags"]] == pytest.approx([tag.score for tag in tags], abs=2e-4)
        assert (one["owner"], one["content_time"], one["model"]) == ("ann", TIME, version(settings))


def test_the_same_list_gives_the_same_files_but_for_times(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    url = drawn_list(draw, tmp_path, 5)
    folders = [Folder(str(tmp_path / name)) for name in ("one", "two")]
    for folder in folders:
        ran(Backfill(folder, ListedPhotos(url, store, "ann", TIME), version(settings), 4), settings)
    one, two = ({name: folder.read(name) for name in folder.files()} for folder in folders)
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if not name.startswith("tags/"))
    for mine, yours in zip(records(folders[0]), records(folders[1]), strict=True):
        assert {**mine, "computed_time": "", "tags": []} == {**yours, "computed_time": "", "tags": []}
        assert [tag["id"] for tag in mine["tags"]] == [tag["id"] for tag in yours["tags"]]


class Killed(BaseException):
    """As if by kill -9: nothing is written from here on."""


class Mortal(Folder):
    """A folder whose writer is killed before its n-th write or removal."""

    def __init__(self, url: str, writes: int) -> None:
        super().__init__(url)
        self.writes = writes

    def _live(self) -> None:
        if self.writes == 0:
            raise Killed
        self.writes -= 1

    def write(self, name: str, data: bytes) -> None:
        self._live()
        super().write(name, data)

    def remove(self, name: str) -> None:
        self._live()
        super().remove(name)


def test_a_kill_between_any_two_writes_loses_no_photo_and_does_none_twice(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    later = tmp_path / "later"
    settings = replace(settings, photo_roots=(str(tmp_path / "drawn"), str(later)))
    good = draw("drawn/good.jpg")
    (tmp_path / "drawn/bad.jpg").write_text("no photo")
    lines = [f"bad file://{tmp_path}/drawn/bad.jpg", f"late1 file://{later}/1.jpg", "nothing"]
    lines += [f"good{number} {good.as_uri()}" for number in range(5)]
    lines += [f"late2 file://{later}/2.jpg", f"never file://{later}/3.jpg"]
    corpus = ListedPhotos(listed(tmp_path, lines), store, "ann", TIME)
    of = version(settings)

    def killed_and_begun_again(address: str, writes: int, only_failed: bool) -> tuple[JobSummary, int]:
        """Where the job stands in the end, and how many writes its killer waited for in vain."""
        mortal = Mortal(address, writes)
        try:
            return ran(Backfill(mortal, corpus, of, 4), settings, only_failed=only_failed), mortal.writes
        except Killed:
            again = Backfill(Folder(address), corpus, of, 4)
            return ran(again, settings, only_failed=only_failed), -1

    for kill in range(100):
        address = str(tmp_path / f"job{kill}")
        first, left = killed_and_begun_again(address, kill, only_failed=False)
        assert (first.done, first.tagged, first.transient) == (10, 5, 3)
        later.mkdir()
        for name in ("1.jpg", "2.jpg"):
            (later / name).write_bytes(good.read_bytes())
        _, left = killed_and_begun_again(address, left, only_failed=True)
        job = Backfill(Folder(address), corpus, of, 4)
        last = job.summary()
        assert last.failures == {
            FailureKind("not_an_image", True): 1,
            FailureKind("bad_line", True): 1,
            FailureKind("not_found", True): 1,
        }
        assert (last.tagged, last.left, job.to_do(), job.to_do(only_failed=True)) == (7, 0, 0, 0)
        ids = sorted(one["photo_id"] for one in records(job.folder))
        assert ids == ["good0", "good1", "good2", "good3", "good4", "late1", "late2"]
        assert sorted(one.get("photo_id", "") for one in failed(job.folder)) == ["", "bad", "never"]
        if left > 0:
            assert kill > 10
            return
        shutil.rmtree(later)
    raise AssertionError("there is no end of writes")


def test_failures_of_a_try_that_was_killed_do_not_stand(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    job = Backfill(
        Folder(str(tmp_path / "job")),
        ListedPhotos(drawn_list(draw, tmp_path, 1), store, "ann", TIME),
        version(settings),
    )
    line = {"line": 1, "photo_id": "p0", "uri": "", "reason": "timeout", "detail": "", "permanent": False}
    job.folder.write("failed/000000.jsonl", json.dumps(line).encode() + b"\n")
    assert ran(job, settings).tagged == 1
    assert failed(job.folder) == []
    assert ran(job, settings, only_failed=True).tried == 0


def test_what_failed_for_good_is_not_tried_again(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    gone = tmp_path / "gone"
    settings = replace(settings, photo_roots=(str(tmp_path / "drawn"), str(gone)))
    draw("drawn/a.jpg")
    url = listed(tmp_path, [f"none file://{tmp_path}/drawn/none.jpg", f"late file://{gone}/a.jpg"])
    job = Backfill(Folder(str(tmp_path / "job")), ListedPhotos(url, store, "ann", TIME), version(settings))
    first = ran(job, settings)
    assert first.failures == {FailureKind("not_found", True): 1, FailureKind("storage_down", False): 1}
    draw("drawn/none.jpg")
    draw("gone/a.jpg")
    assert job.to_do(only_failed=True) == 1
    second = ran(job, settings, only_failed=True)
    assert +second.failures == {FailureKind("not_found", True): 1}
    assert (second.tried, second.tagged, second.done_before) == (1, 1, 2)
    assert [one["photo_id"] for one in records(job.folder)] == ["late"]
    assert [(one["photo_id"], one["reason"], one["permanent"], one["line"]) for one in failed(job.folder)] == [
        ("none", "not_found", True, 1)
    ]


def test_what_may_work_later_is_tried_again_when_nothing_is_left_and_given_up_after_some_tries(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    settings = replace(settings, photo_roots=(str(tmp_path / "drawn"), str(tmp_path / "gone")))
    lines = [f"{name} {draw(f'drawn/{name}.jpg').as_uri()}" for name in ("a", "b")]
    corpus = ListedPhotos(listed(tmp_path, [*lines, f"late file://{tmp_path}/gone/a.jpg"]), store, "ann", TIME)

    def opened(**given: int) -> Backfill:
        return Backfill(Folder(str(tmp_path / "job")), corpus, version(settings), chunk_photos=2, **given)

    first = opened()
    assert ran(first, settings).transient == 1
    first.folder.remove("tags/000000.jsonl.gz")  # as if the driver had been killed before it was done
    assert ran(opened(), settings).tried == 2
    second = ran(opened(), settings)
    assert (second.tried, second.transient) == (1, 1)
    with pytest.raises(JobError, match="1 may work at another try"), opened().tags():
        pass
    assert +ran(opened(), settings).failures == {FailureKind("storage_down", True): 1}
    assert opened().to_do() == opened().to_do(only_failed=True) == 0
    with opened().tags() as source:
        assert source.total_bytes
    draw("gone/a.jpg")
    assert ran(opened(tries=4), settings).tagged == 3


def test_a_chunk_that_another_has_done_meanwhile_is_not_done_again(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore, one_tagger: None
) -> None:
    url = listed(tmp_path, [f"a {draw('drawn/a.jpg').as_uri()}", "rubbish"])
    jobs = [
        Backfill(Folder(str(tmp_path / "job")), ListedPhotos(url, store, "ann", TIME), version(settings))
        for _ in range(2)
    ]
    first = ran(jobs[0], settings)
    kept = jobs[0].folder.read("tags/000000.jsonl.gz")
    second = ran(jobs[1], settings)
    assert (second.tagged, second.failures) == (first.tagged, first.failures) == (1, {FailureKind("bad_line", True): 1})
    assert jobs[0].folder.read("tags/000000.jsonl.gz") == kept  # which has the time in it


def test_a_job_of_another_list_or_model_is_refused(tmp_path: Path, settings: Settings, store: PhotoStore) -> None:
    folder = Folder(str(tmp_path / "job"))
    url = listed(tmp_path, ["a file:///a"])

    def opened(owner: str = "ann", of: str = "m/000001-0", chunk_photos: int | None = None) -> Backfill:
        return Backfill(folder, ListedPhotos(url, store, owner, TIME), of, chunk_photos)

    opened()
    opened()
    with pytest.raises(JobError, match=r"its model is 'm/000001-0', not 'm/000002-0'.*--model names an older"):
        opened(of="m/000002-0")
    with pytest.raises(JobError, match="its chunk_photos is 256, not 3"):
        opened(chunk_photos=3)
    with pytest.raises(JobError, match="another job was begun there: its list is"):
        opened(owner="bob")
    listed(tmp_path, ["b file:///a"])  # of the same length
    with pytest.raises(JobError, match="another job was begun there: its list is"):
        opened()


def test_a_folder_that_is_no_jobs_is_refused(tmp_path: Path, store: PhotoStore) -> None:
    corpus = ListedPhotos(listed(tmp_path, ["a file:///a"]), store, "ann", TIME)
    other = Folder(str(tmp_path / "other"))
    other.write("tags/a.jsonl.gz", b"")
    with pytest.raises(JobError, match=r"has tags but no job\.json"):
        Backfill(other, corpus, "m")
    for content in (b"{}", b"no", b"[]", b'{"format": "autotag-backfill", "format_version": 2}'):
        folder = Folder(str(tmp_path / "damaged"))
        folder.write("job.json", content)
        with pytest.raises(JobError, match=r"job\.json: is no backfill's"):
            Backfill(folder, corpus, "m")


def test_an_empty_list_is_done_at_once(tmp_path: Path, settings: Settings, store: PhotoStore) -> None:
    job = Backfill(Folder(str(tmp_path / "job")), ListedPhotos(listed(tmp_path, []), store), version(settings))
    assert ran(job, settings) == JobSummary(photos=0)


def test_a_worker_with_another_model_is_refused(
    tmp_path: Path, draw: Draw, settings: Settings, store: PhotoStore
) -> None:
    corpus = ListedPhotos(drawn_list(draw, tmp_path, 1), store, "ann", TIME)
    job = Backfill(Folder(str(tmp_path / "job")), corpus, "default/000001-000000000000")
    with pytest.raises(JobError, match=r"by model default/000001-000000000000, and .* give every worker the same"):
        ran(job, settings)
    assert job.folder.folder("tags").names() == []


# The command


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Path:
    options = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items() if value != ""}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return path


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(config, "backfill", *arguments)


def run_process(config: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a backfill in a process of its own, because of its environment, or because Java writes beside it."""
    return subprocess.run(
        [PROGRAM, "--config", str(config), "backfill", *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=100,
        env={**os.environ, **environment},
    )


GIVEN = ("--owner", "ann", "--content-time", TIME)


def test_a_list_becomes_an_unpublished_run(tmp_path: Path, draw: Draw, config: Path, settings: Settings) -> None:
    url = listed(tmp_path, [f"p{n} {draw(f'drawn/{n}.jpg', n).as_uri()}" for n in range(3)] + ["rubbish"])
    job = str(tmp_path / "job")
    command = (url, "--job", job, "--workers", "2", "--chunk-photos", "2", "--load", "again", *GIVEN)
    done = run(config, *command)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == "4 photos: 3 tagged, 1 failed: bad_line 1"
    assert second.startswith("4 photos in ")
    assert "per core" in second
    assert third == "run again is loaded: 3 photos"
    assert done.stderr.endswith(f"each failure and its reason: {job}/failed\n")
    assert "should be: photo_id uri" in failed(Folder(job))[0]["detail"]
    with contextlib.closing(open_store(settings)) as store:
        assert store.get("p1") is None
        assert store.runs.run("again").state is RunState.LOADED
        store.runs.publish("again", "tests")
        found = store.get("p1")
        assert found is not None
        assert found.view.owner == "ann"
    again = json.loads(run(config, *command, "--json").stdout)
    assert (again["done_before"], again["tried"], again["tagged"], again["run"]["state"]) == (4, 0, 3, "published")
    assert again["failures"] == [{"reason": "bad_line", "permanent": True, "photos": 1}]


def test_all_that_the_store_knows_is_tagged_again(draw: Draw, tmp_path: Path, config: Path, settings: Settings) -> None:
    uri = draw("drawn/a.jpg").as_uri()
    with contextlib.closing(open_store(settings)) as store:
        store.runs.add_model(model(), CLASSES)
        store.write([replace(tagged("p"), uri=uri, content_us=5_000_000)])
    done = run(config, "--from-store", "--job", str(tmp_path / "job"), "--workers", "1", "--load", "again")
    assert done.returncode == 0, done.stderr
    with contextlib.closing(open_store(settings)) as store:
        store.runs.publish("again", "tests")
        (newest, *_) = [entry.write for entry in store.history("p")]
        assert getattr(newest, "run", "") == "again"
        assert (newest.content_us, getattr(newest, "uri", "")) == (5_000_000, uri)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a list of photos, or --from-store"),
        (("x.txt", "--from-store"), "give a list of photos, or --from-store"),
        (("/nowhere/x.txt",), "/nowhere/x.txt: there is no such list"),
        (("--from-store", "--owner", "ann"), "are for lists"),
        (("--from-store", "--archive", "x"), "go with --spark"),
        (("--from-store", "--spark", "local", "--workers", "2"), "one of the two"),
        (("--from-store", "--spark", "nonsense"), "--spark is local[N], spark://HOST:PORT"),
        (("/etc/hostname", "--content-time", "soon"), "must be a time"),
    ],
)
def test_wrong_use_is_told(config: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(config, *arguments, "--job", str(tmp_path / "job"))
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "job").exists()


def test_photos_and_documents_may_be_in_s3(s3: ObjectStore, draw: Draw, tmp_path: Path, config: Path) -> None:
    bucket = emptied(s3)
    bucket.write("in/a.jpg", draw("a.jpg").read_bytes())
    lines = ["a s3://photos/in/a.jpg s3://photos/out/a.json", "none s3://photos/in/none.jpg s3://photos/out/none.json"]
    lines += [f"b {draw('b.jpg').as_uri()} {tmp_path}/deep/b.json", "c s3://photos/in/a.jpg s3://nobucket/c.json"]
    bucket.write("list.txt", "\n".join(lines).encode())
    command = ("s3://photos/list.txt", "--job", "s3://photos/job", "--workers", "1", "--json")
    done = run_process(config, *command, **s3.environment)
    assert done.returncode == 1
    failures = [(one["reason"], one["permanent"]) for one in json.loads(done.stdout)["failures"]]
    assert sorted(failures) == [("not_found", True), ("output_failed", False)], done.stderr
    document = json.loads(bucket.read("out/a.json"))
    assert document["photo_id"] == "a"
    assert document["tags"] == json.loads((tmp_path / "deep/b.json").read_text())["tags"]
    assert [one["photo_id"] for one in records(bucket.folder("job"))] == ["a", "b"]
    assert bucket.folder("out").names() == ["a.json"]


def test_a_job_in_s3_is_loaded_as_a_run(s3: ObjectStore, draw: Draw, tmp_path: Path, config: Path) -> None:
    emptied(s3).write("a.jpg", draw("a.jpg").read_bytes())
    url = listed(tmp_path, ["a s3://photos/a.jpg"])
    command = (url, "--job", "s3://photos/job", "--workers", "1", "--load", "r", *GIVEN)
    for _ in range(2):
        done = run_process(config, *command, **s3.environment)
        assert done.returncode == 0, done.stderr
        assert "run r is loaded: 1 photo\n" in done.stdout


def test_no_run_is_loaded_while_photos_may_work_later(tmp_path: Path, draw: Draw, config: Path) -> None:
    url = listed(tmp_path, [f"a {draw('a.jpg').as_uri()}", "b http://127.0.0.1:9/a.jpg"])
    command = (url, "--job", str(tmp_path / "job"), "--workers", "1", "--load", "r", *GIVEN)
    done = run(config, *command, "--tries", "2")
    assert done.returncode == 1
    assert done.stdout.startswith("2 photos: 1 tagged, 1 failed")
    assert "1 may work at another try, so no bulk run is loaded; go on, or load what is there" in done.stderr
    done = run(config, *command, "--tries", "2")
    assert done.returncode == 0, done.stderr
    assert "run r is loaded: 1 photo\n" in done.stdout


def test_a_list_of_which_nothing_is_tagged_fails_and_takes_no_runs_name(
    tmp_path: Path, draw: Draw, config: Path
) -> None:
    photo = draw("a.jpg").as_uri()
    command = ("--workers", "1", "--load", "r")
    done = run(config, listed(tmp_path, [f"a {photo}", "rubbish"]), "--job", str(tmp_path / "one"), *command)
    assert done.returncode == 1
    assert done.stdout.startswith("2 photos: 0 tagged, 2 failed: bad_line 2\n")
    assert "none of the 2 photos has tags, so no bulk run is loaded" in done.stderr
    assert run(config, listed(tmp_path, ["rubbish"]), "--job", str(tmp_path / "two")).returncode == 1
    done = run(config, listed(tmp_path, [f"a {photo}"]), "--job", str(tmp_path / "three"), *command, *GIVEN)
    assert done.returncode == 0, done.stderr


def test_two_drivers_of_one_job_are_kept_apart(tmp_path: Path, draw: Draw, config: Path) -> None:
    command = (listed(tmp_path, [f"a {draw('a.jpg').as_uri()}"]), "--job", str(tmp_path / "job"), *GIVEN)
    with alone_in(Folder(str(tmp_path / "job"))):
        done = run(config, *command)
    assert done.returncode == 1
    assert f"{tmp_path}/job: another process uses it" in done.stderr
    assert run(config, *command, "--workers", "1").returncode == 0


def test_spark_tags_the_same_and_says_nothing_of_its_own(draw: Draw, tmp_path: Path, config: Path) -> None:
    url = drawn_list(draw, tmp_path, 12)
    options = ("--spark", "local[2]", "--spark-option", "spark.app.name=mine", "--chunk-photos", "4")
    done = run_process(config, url, "--job", str(tmp_path / "job"), *options, *GIVEN)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if " photos/s, " not in line] == []
    assert done.stdout.startswith("12 photos: 12 tagged, 0 failed\n")
    assert [one["photo_id"] for one in records(Folder(str(tmp_path / "job")))] == [f"p{n}" for n in range(12)]


def begun(config: Path, mark: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "--config", str(config), "backfill", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AUTOTAG_TEST_MARK": mark},
        start_new_session=True,
    )


def wait_until(what: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.02)


def test_a_driver_killed_at_any_moment_leaves_no_process_and_the_job_goes_on(
    draw: Draw, tmp_path: Path, config: Path
) -> None:
    url, mark = drawn_list(draw, tmp_path, 600), secrets.token_hex(8)
    job = Folder(str(tmp_path / "job"))
    command = (url, "--job", str(tmp_path / "job"), "--workers", "2", "--chunk-photos", "4", *GIVEN)
    chance = random.Random(0)
    for more in (1, 10):
        with begun(config, mark, *command) as process:
            wanted = len(job.folder("tags").names()) + more
            wait_until(lambda: len(job.folder("tags").names()) >= wanted, process)  # noqa: B023 - called at once
            time.sleep(chance.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_until(lambda: not processes_with("AUTOTAG_TEST_MARK", mark))
    assert 0 < len(job.folder("tags").names()) < 150
    done = run(config, *command, "--json")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["tagged"], summary["left"]) == (0, 600, 0), done.stderr
    assert summary["done_before"] >= 4 * 11
    assert summary["tried"] == 600 - summary["done_before"]
    assert sorted(one["photo_id"] for one in records(job)) == sorted(f"p{number}" for number in range(600))
