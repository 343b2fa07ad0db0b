"""Bulk runs on real files and real stores: loading, going on after a kill, publishing, taking back."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import happybase
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autotag.bulk import load as load_module
from autotag.bulk.load import BulkLoad, RefusedRecord
from autotag.bulk.source import MAX_LINE_BYTES, Source
from autotag.errors import InputError, RunError
from autotag.events.times import iso_time, now_us
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.stores.runs import Run, RunState
from autotag.stores.tables import OWNERS, PHOTOS
from autotag.view.results import ModelVersion, Tagged
from models.bundle import Tag
from models.classes import ClassTable
from models.pixels import Colour
from tests.command_line import run_command

PROGRAM = str(Path(sys.executable).parent / "autotag")
MODEL = ModelVersion("default", "f25f3aed11090000", 2)
CLASSES = ClassTable([("n1", "animal", ()), ("n2", "dog", ("n1",)), ("n3", "Zoë's cat", ("n1",))])
TAGS = [{"id": "n2", "score": 0.9, "bank": "imagenet"}, {"name": "animal", "score": 0.75}]
COMPUTED = "2026-02-01T00:00:00Z"


@pytest.fixture
def store(settings: Settings) -> Iterator[PhotoStore]:
    with contextlib.closing(knowing(open_store(settings))) as store:
        yield store


def knowing(store: PhotoStore) -> PhotoStore:
    """Return the store with the model of these tests added."""
    store.runs.add_model(MODEL, CLASSES)
    return store


def record(photo_id: str = "p", **changes: Any) -> dict[str, Any]:
    """Return the fields of a good line; None removes one."""
    values = {
        "photo_id": photo_id,
        "owner": "ann",
        "content_time": "2026-01-31T12:00:00Z",
        "computed_time": COMPUTED,
        "model": str(MODEL),
        "tags": TAGS,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def records(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [record(f"p{i}", owner=f"owner{i % 3}", tags=TAGS[: i % 3]) for i in range(first, first + count)]


def written(path: Path, lines: Iterable[Any]) -> Path:
    """Write a file with these lines: bytes as they are, all else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def load(store: PhotoStore, path: Path, name: str = "run") -> tuple[Run, list[RefusedRecord]]:
    bulk_load = BulkLoad(store, name, Source.find(path), "bob")
    refused = [record for refused in bulk_load.batches() for record in refused]
    return bulk_load.run, refused


def cells(store: PhotoStore) -> list[tuple[bytes, bytes, bytes]]:
    """Return all facts and all entries of the index, without their times."""
    rows = [row for table in (PHOTOS, OWNERS) for row in store.tables.scan(table, b"", None, 10**6)]
    return [(row, column, stored.value) for row, columns in rows for column, stored in columns.items()]


def seen(store: PhotoStore, photo_id: str = "p", owner: str = "ann") -> tuple[list[str], list[str], int]:
    """Return the answers of every kind of reader: a photo's tags, the photos found by 'dog', the owner's number."""
    photo = store.get(photo_id)
    found = sorted(one.view.photo_id for one in store.search("dog", owner).photos)
    return [tag.name for tag in photo.view.tags] if photo else [], found, store.owner(owner).photos


# Loading


def test_a_line_is_stored_as_it_says_with_the_class_tables_names(store: PhotoStore, tmp_path: Path) -> None:
    more = {"uri": "https://photos.example.org/p", "taken": "2025-06-01T10:00:00+02:00", "mood": {"x": [1]}}
    tags = [{"name": "ZOË'S CAT", "score": 1}, {"id": "n2", "name": "an older name", "score": 0.5, "bank": "b"}]
    run, refused = load(store, written(tmp_path / "a.jsonl", [record(**more, tags=tags)]))
    assert (run.state, run.photos, run.refused, refused) == (RunState.LOADED, 1, 0, [])
    (entry,) = store.history("p")
    assert entry.write == Tagged(
        photo_id="p",
        content_us=1769860800000000,
        owner="ann",
        uri="https://photos.example.org/p",
        taken="2025-06-01T10:00:00+02:00",
        model=MODEL,
        tags=(Tag("n3", "Zoë's cat", 1.0, "unknown"), Tag("n2", "dog", 0.5, "b")),
        computed_us=1769904000000000,
        run="run",
    )


def test_the_model_may_be_an_object_and_the_time_of_computation_is_when_the_run_was_begun(
    store: PhotoStore, tmp_path: Path
) -> None:
    run, _ = load(store, written(tmp_path / "a.jsonl", [record(model=vars(MODEL), computed_time=None)]))
    (entry,) = store.history("p")
    assert isinstance(entry.write, Tagged)
    assert (entry.write.model, entry.write.computed_us) == (MODEL, run.begun_us)


def test_colours_are_stored_and_may_be_missing(store: PhotoStore, tmp_path: Path) -> None:
    colours = [{"name": "blue", "share": 0.3}, {"name": "green", "share": 0.45}]
    lines = [record("a", colours=colours), record("b"), record("c", colours=[])]
    load(store, written(tmp_path / "a.jsonl", lines))
    pq.write_table(pa.Table.from_pylist([record("d", colours=colours), record("e")]), tmp_path / "b.parquet")
    load(store, tmp_path / "b.parquet", "other")
    found = {photo_id: store.history(photo_id)[0].write.colours for photo_id in "abcde"}  # type: ignore[union-attr]
    both = (Colour("green", 0.45), Colour("blue", 0.3))
    assert found == {"a": both, "b": (), "c": (), "d": both, "e": ()}


def test_the_best_tag_comes_first_and_there_may_be_none(store: PhotoStore, tmp_path: Path) -> None:
    lines = [record("a", tags=[*reversed(TAGS)]), record("b", tags=[])]
    load(store, written(tmp_path / "a.jsonl", lines))
    store.runs.publish("run", "bob")
    assert seen(store, "a") == (["dog", "animal"], ["a"], 2)
    assert seen(store, "b")[0] == []
    photo = store.get("b")
    assert photo is not None
    assert photo.view.owner == "ann"


def test_what_show_prints_is_loaded_without_what_people_said(store: PhotoStore, tmp_path: Path) -> None:
    from autotag.cli.show import photo_as_dict
    from autotag.view.decisions import Action

    load(store, written(tmp_path / "a.jsonl", [record()]), "old")
    store.runs.publish("old", "bob")
    store.decide("p", "our garden", Action.ADD, "bob", new=True)
    photo = store.get("p")
    assert photo is not None
    assert [tag.name for tag in photo.view.tags] == ["our garden", "dog", "animal"]
    run, refused = load(store, written(tmp_path / "b.jsonl", [photo_as_dict(photo, store.runs.read(), "en")]))
    assert (run.photos, refused) == (1, [])
    (write,) = [one.write for one in store.history("p") if isinstance(one.write, Tagged) and one.write.run == "run"]
    assert isinstance(photo.view.machine, Tagged)
    assert write == replace(photo.view.machine, run="run")


BROKEN: list[tuple[Any, str]] = [
    (b"{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
    (b'{"photo_id": "\xff"}', "not UTF-8: invalid start byte at byte 15"),
    (b"[" * 100_000, "not JSON: nested too deeply"),
    (b'{"tags": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
    (b" " * MAX_LINE_BYTES + b"{}", "longer than 4194304 bytes"),
    ([], "not a JSON object. Given: []"),
    (None, "not a JSON object. Given: None"),
    ({}, "'photo_id' is missing"),
    (record(""), "'photo_id' is missing"),
    (record(photo_id=7), "'photo_id' must be text. Given: 7"),
    (record("x" * 4097), "'photo_id' has 4097 characters; at most 4096"),
    (record("a\nb"), r"'photo_id' has control characters or half a surrogate pair. Given: 'a\nb'"),
    (record("a\ud800"), "'photo_id' has control characters or half a surrogate pair"),
    (record(owner=None), "'owner' is missing"),
    (record(owner="\0"), "'owner' has control characters"),
    (record(content_time=None), "'content_time' is missing"),
    (record(content_time=1769860800), "'content_time' must be text"),
    (record(content_time="yesterday"), "'content_time' must be a time such as '2026-01-31T12:00:00Z'"),
    (record(content_time="2026-01-31T12:00:00"), "'content_time' needs its offset from UTC"),
    (record(content_time="1969-12-31T23:59:59Z"), "'content_time' must be after 1970"),
    (record(content_time=iso_time(now_us() + 25 * 3600 * 10**6)), "'content_time' lies more than a day in the future"),
    (record(computed_time="9999-01-01T00:00:00Z"), "'computed_time' lies more than a day in the future"),
    (record(partial="yes"), "'partial' must be true or false. Given: 'yes'"),
    (record(partial=1), "'partial' must be true or false. Given: 1"),
    (record(colours="green"), "'colours' must be a list. Given: 'green'"),
    (record(colours=["green"]), "a colour must be an object of name and share. Given: 'green'"),
    (record(colours=[{"name": "green"}]), "a colour must have a name, which is text, and a share, a number. Given"),
    (record(colours=[{"name": "mauve", "share": 0.5}]), "a colour is one of black, white,"),
    (record(colours=[{"name": "green", "share": 2}]), "colour 'green': its share must be from 0 to 1. Given: 2.0"),
    (record(computed_time=False), "'computed_time' must be text"),
    (record(model=None), "'model' is missing"),
    (record(model=7), "'model' must be text such as"),
    (record(model={"name": "default", "version": [], "sequence": 2}), "'model' must be text such as"),
    (record(model={**vars(MODEL), "sequence": True}), "'model' must be text such as"),
    (
        record(model="default/000003-f25f3aed1109"),
        "the store has no model 'default/000003-",
    ),
    (record(model={**vars(MODEL), "sequence": 9}), "'sequence': 9}, only 'default/000002-f25f3aed1109'"),
    (record(model={**vars(MODEL), "version": "f25f3aed1109"}), "'sequence': 2}, only 'default/000002-f25f3aed1109'"),
    (record(tags=None), "'tags' is missing"),
    (record(tags={"n2": 0.5}), "'tags' must be a list. Given: {'n2': 0.5}"),
    (record(tags=["dog"]), "a tag must be an object. Given: 'dog'"),
    (record(tags=[{"score": 0.5}]), "a tag has neither id nor name: {'score': 0.5}"),
    (record(tags=[{"name": "", "score": 0.5}]), "model 'default/000002-f25f3aed1109' has no class ''"),
    (record(tags=[{"name": "\0\ud800\u2028\x1b[2J", "score": 0.5}]), r"has no class '\x00\ud800\u2028\x1b[2J'"),
    (record(tags=[{"name": "x" * 4000, "score": 0.5}]), "has no class 'xxxx"),
    (record(tags=[{"id": "n2 ", "score": 0.5}]), "has no class 'n2 '"),
    (record(tags=[{"id": "dog", "score": 0.5}]), "has no class 'dog'"),
    (record(tags=[{"id": ["n2"], "score": 0.5}]), "has no class ['n2']"),
    (record(tags=[{"id": "n2"}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: None"),
    (record(tags=[{"id": "n2", "score": "0.5"}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: '0.5'"),
    (record(tags=[{"id": "n2", "score": True}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: True"),
    (record(tags=[{"id": "n2", "score": 1.01}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: 1.01"),
    (record(tags=[{"id": "n2", "score": -1e-9}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: -1e-09"),
    (record(tags=[{"id": "n2", "score": float("nan")}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: nan"),
    (record(tags=[{"id": "n2", "score": 10**400}]), "tag 'n2': 'score' must be a number from 0 to 1. Given: 1000"),
    (record(tags=[{"id": "n2", "score": 0.5, "bank": 1}]), "'bank' must be text. Given: 1"),
    (record(tags=[*TAGS, {"name": "DOG", "score": 0.1}]), "tag 'dog' ('n2') is listed twice"),
    (record(uri="ftp://x"), "'uri' must begin with one of file:, http:, https:"),
    (record(uri=1), "'uri' must be text"),
    (record(taken="last summer"), "'taken' must be a time such as"),
    (b'{"photo_id": ' + b"[" * 700 + b"]" * 700 + b"}", ""),
]


def test_each_broken_line_is_refused_with_its_number_and_reason_and_the_rest_is_loaded(
    store: PhotoStore, tmp_path: Path
) -> None:
    lines = [b"\xef\xbb\xbf" + json.dumps(record("first")).encode()]
    for broken, _ in BROKEN:
        lines += [json.dumps(broken).encode() if not isinstance(broken, bytes) else broken, b"  \r"]
    run, refused = load(store, written(tmp_path / "a.jsonl", [*lines, record("last")]))
    assert (run.state, run.photos, run.refused) == (RunState.LOADED, 2, len(BROKEN))
    found = {one.number: one for one in refused}
    assert sorted(found) == list(range(2, 2 * len(BROKEN) + 2, 2))
    for (_, reason), one in zip(BROKEN, (found[number] for number in sorted(found)), strict=True):
        assert reason in one.reason
        assert one.reason.isprintable()
        assert len(one.reason) < 300
        assert one.file == "a.jsonl"
    assert [len(store.history(photo_id)) for photo_id in ("first", "last")] == [1, 1]


def test_the_tags_of_a_withdrawn_model_are_refused(store: PhotoStore, tmp_path: Path) -> None:
    store.runs.withdraw(str(MODEL), "bob")
    _, (refused,) = load(store, written(tmp_path / "a.jsonl", [record()]))
    assert refused.reason == "model 'default/000002-f25f3aed1109' was withdrawn: none of its tags count any more"


def test_a_line_that_the_store_refuses_is_told_like_the_others(store: PhotoStore, tmp_path: Path) -> None:
    table = ClassTable((f"{i:04d}" + "x" * 2000, f"class {i}", ()) for i in range(600))
    model = replace(MODEL, sequence=9)
    store.runs.add_model(model, table)
    tags = [{"name": name, "score": 0.5} for name in table.names]
    lines = [record("a"), record("b", model=str(model), tags=tags), record("c")]
    run, (refused,) = load(store, written(tmp_path / "a.jsonl", lines))
    assert (run.photos, refused.number) == (2, 2)
    assert "bytes; at most" in refused.reason


def test_a_store_that_knows_no_model_is_told_before_the_name_is_used(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    with pytest.raises(RunError, match="autotag store init"):
        load(store, written(tmp_path / "a.jsonl", [record()]))
    assert store.runs.runs() == []
    store.close()


# Files


def test_of_a_folder_all_parts_are_loaded_in_the_order_of_their_names(store: PhotoStore, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    written(folder / "part-00001.json", [record("b"), {}])
    written(folder / "part-00000.json.gz", [record("a")])
    written(folder / "part-00003.ndjson", [])
    pq.write_table(pa.Table.from_pylist([record("c"), record("")]), folder / "part-00002.parquet")
    for name in ("_SUCCESS", "_metadata.json", ".part-00001.json.crc", ".hidden.json", "notes.txt"):
        (folder / name).write_text("no line of ours")
    (folder / "deep.json").mkdir()
    run, refused = load(store, folder)
    assert [(one.file, one.number) for one in refused] == [("part-00001.json", 2), ("part-00002.parquet", 2)]
    assert (run.photos, run.refused) == (3, 2)
    assert run.input.startswith("4 files, ")


@pytest.mark.parametrize("name", ["a.txt", "nothing.jsonl", "empty", "gone", "a.jsonl.bz2"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "a.jsonl.bz2").write_text("")
    os.mkfifo(tmp_path / "nothing.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        Source.find(tmp_path / name)


@pytest.mark.parametrize(("name", "keep"), [("a.jsonl.gz", -20), ("a.parquet", -20), ("b.jsonl.gz", 0)])
def test_a_damaged_file_is_told_and_what_was_whole_is_loaded(
    store: PhotoStore, tmp_path: Path, name: str, keep: int
) -> None:
    whole = written(tmp_path / "parts/0.jsonl", [record("a")])
    path = whole.with_name(name)
    if name.endswith(".gz"):
        written(path, records(2000, 10))
    else:
        pq.write_table(pa.Table.from_pylist(records(10)), path)
    path.write_bytes(path.read_bytes()[:keep] or b"no gzip")
    with pytest.raises(
        InputError, match=rf"^{name}: cannot be read: [^\n]+: `autotag bulk drop run`, then load [^\n]+$"
    ):
        load(store, whole.parent)
    assert store.runs.run("run").state is RunState.LOADING


def table_of(lines: list[dict[str, Any]], time: str) -> pa.Table:
    """Lines as a table, times of the kind that is asked for."""
    table = pa.Table.from_pylist([{**one, "model": vars(MODEL), "more": 1} for one in lines])
    if time == "text":
        return table
    unit, _, zone = time.partition(" ")
    for name in ("content_time", "computed_time"):
        column = table[name].cast(pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, zone or None))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


@pytest.mark.parametrize(
    ("time", "int96"), [("text", False), ("us UTC", False), ("ns Asia/Tokyo", False), ("ms", False), ("ns", True)]
)
def test_parquet_loads_the_same_as_json_lines_whatever_kind_its_times_are(
    store: PhotoStore, settings: Settings, tmp_path: Path, time: str, int96: bool
) -> None:
    lines = [{**one, "taken": COMPUTED} for one in records(1200)]
    table = table_of(lines, time)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700, use_deprecated_int96_timestamps=int96)
    run, refused = load(store, tmp_path / "a.parquet")
    assert (run.photos, refused) == (1200, [])
    other = knowing(open_store(replace(settings, store="sqlite:other.db")))
    load(other, written(tmp_path / "a.jsonl", lines))
    assert cells(store) == cells(other)
    other.close()


def test_broken_rows_of_parquet_are_refused_with_their_numbers(store: PhotoStore, tmp_path: Path) -> None:
    none = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"p\xff\xfe"))
    table = pa.Table.from_pylist([record(), record("q")])
    pq.write_table(table.set_column(0, "photo_id", none), tmp_path / "a.parquet")
    far = {"taken": pa.array([2**62, None], pa.timestamp("us")), "content_time": pa.array([5, None], pa.timestamp("s"))}
    for name, column in far.items():
        table = table.append_column(name, column) if name == "taken" else table.set_column(2, name, column)
    pq.write_table(table, tmp_path / "b.parquet")
    pq.write_table(pa.table({"other": [1, 2]}), tmp_path / "c.parquet")
    assert [one.reason for one in load(store, tmp_path / "a.parquet", "a")[1]] == ["not UTF-8: invalid start byte"]
    reasons = [one.reason for one in load(store, tmp_path / "b.parquet", "b")[1]]
    assert reasons == [f"'taken' is beyond the years 1 to 9999. Given: {2**62}", "'content_time' is missing"]
    assert [one.reason for one in load(store, tmp_path / "c.parquet", "c")[1]] == ["'photo_id' is missing"] * 2


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(InputError, match=r"^Parquet files need pyarrow, .*: pip install pyarrow$"):
        Source.find(tmp_path)


# Going on

KILLED_AT_A_PUT = """
import os, signal, sys
from pathlib import Path
from autotag.bulk import load
from autotag.settings import Settings
from autotag.stores import open_store

home, path, puts = sys.argv[1:]
load.BATCH_PHOTOS = 40
store = open_store(Settings(home=home, store="sqlite:store.db"))
put, left = store.tables.put, [int(puts)]

def killing(table, cells):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(table, cells)

load = load.BulkLoad(store, "run", load.Source.find(Path(path)), "bob")
store.tables.put = killing
for _ in load.batches():
    pass
"""


def test_loading_goes_on_where_it_was_killed_and_ends_as_if_it_never_was(
    store: PhotoStore, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    lines: list[Any] = [*records(130), b"broken", *records(70, first=130)]
    written(folder / "0.jsonl", lines)
    written(folder / "1.jsonl.gz", [*records(95, first=300), {}])
    pq.write_table(pa.Table.from_pylist([*records(90, first=500), record("")]), folder / "2.parquet", row_group_size=25)
    expected, _ = load(store, folder)
    home = tmp_path / "other"
    other = knowing(open_store(replace(settings, home=str(home))))
    # A batch is two puts in one transaction, and then one for the bookmark: the process dies once at each.
    places = []
    for puts in (1, 3, 8, 8, 9, 10):
        script = [sys.executable, "-c", KILLED_AT_A_PUT, str(home), str(folder), str(puts)]
        if (code := subprocess.run(script, timeout=60).returncode) == 0:
            break
        assert code == -signal.SIGKILL
        places.append(other.runs.bookmark("run").get("file"))
    run, _ = load(other, folder) if code else (other.runs.run("run"), [])
    assert [one for one in places if one is not None] == sorted(one for one in places if one is not None)
    assert {0, 1, 2} <= {*places}, places
    assert (
        (run.state, run.photos, run.refused)
        == (RunState.LOADED, expected.photos, expected.refused)
        == ("loaded", 385, 3)
    )
    assert cells(other) == cells(store)
    other.close()


def test_a_repetition_after_a_kill_writes_the_same_cells_again(store: PhotoStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [record(f"p{i}", computed_time=None) for i in range(30)])
    killed = BulkLoad(store, "run", Source.find(path), "bob").batches()
    next(killed)  # in the store, but before its bookmark
    killed.close()
    assert store.runs.bookmark("run") == {}
    assert load(store, path)[0].photos == 30
    assert {len(store.history(f"p{i}")) for i in range(30)} == {1}


def test_two_loads_of_one_run_at_the_same_time_do_no_harm(
    store: PhotoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "BATCH_PHOTOS", 7)
    path = written(tmp_path / "a.jsonl", [*records(40), b"broken"])
    one, other = (BulkLoad(store, "run", Source.find(path), "bob") for _ in range(2))
    slow, quick = one.batches(), other.batches()
    next(slow)
    for _ in quick:
        pass
    for _ in slow:
        assert (store.runs.run("run").photos, store.runs.run("run").refused) == (40, 1)
    assert one.run == other.run
    assert {len(store.history(f"p{i}")) for i in range(40)} == {1}


def test_a_run_that_is_dropped_ends_the_load_that_is_under_way(
    store: PhotoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "BATCH_PHOTOS", 7)
    batches = BulkLoad(store, "run", Source.find(written(tmp_path / "a.jsonl", records(40))), "bob").batches()
    next(batches)
    store.runs.drop("run", "eve")
    with pytest.raises(RunError, match="dropped while it was loaded"):
        list(batches)
    run = store.runs.run("run")
    assert (run.state, run.ended_by) == (RunState.DROPPED, "eve")
    assert store.clean(grace_us=0).facts == 7
    assert cells(store) == []


def test_a_run_that_is_dropped_at_the_last_moment_is_told_to_be(store: PhotoStore, tmp_path: Path) -> None:
    batches = BulkLoad(store, "run", Source.find(written(tmp_path / "a.jsonl", records(4))), "bob").batches()
    next(batches)
    store.runs.save_bookmark("run", {})
    store.runs.drop("run", "eve")
    with pytest.raises(RunError, match="dropped while it was loaded"):
        list(batches)


def test_a_name_is_never_used_for_another_input_nor_again(store: PhotoStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", records(4))
    next(BulkLoad(store, "run", Source.find(path), "bob").batches())
    with pytest.raises(RunError, match=r"other files: a\.jsonl, "):
        load(store, written(tmp_path / "b.jsonl", records(4)))
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(RunError, match="other files"):
        load(store, path)
    path = written(path, records(4))
    load(store, path)
    for act in (None, store.runs.publish, store.runs.retract):
        if act:
            act("run", "bob")
        with pytest.raises(RunError, match=r"is (loaded|published|retracted); a run's name is never used again"):
            load(store, written(tmp_path / "b.jsonl", records(4)))
    with pytest.raises(RunError, match=r"is retracted; a run's name is never used again"):
        load(store, path)


def test_a_run_that_is_loaded_or_published_is_not_loaded_again(store: PhotoStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*records(4), {}])
    loaded, _ = load(store, path)
    before = cells(store)
    for act in (store.runs.run, lambda name: store.runs.publish(name, "bob")):
        run = act("run")
        again = BulkLoad(store, "run", Source.find(path), "eve")
        assert (again.was_loaded, list(again.batches()), again.run) == (True, [], run)
    assert run.state is RunState.PUBLISHED
    assert run.loaded_us == loaded.loaded_us
    assert cells(store) == before


def test_files_that_change_while_they_are_loaded_make_no_loaded_run(store: PhotoStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", records(4))
    batches = BulkLoad(store, "run", Source.find(path), "bob").batches()
    next(batches)
    written(path, records(5))
    with pytest.raises(RunError, match="changed while it was loaded"):
        list(batches)
    assert store.runs.run("run").state is RunState.LOADING


# What readers see


def test_readers_see_a_run_from_its_publication_to_its_retraction_and_then_what_was_before(
    store: PhotoStore, tmp_path: Path
) -> None:
    streamed = Tagged(
        photo_id="p", content_us=1769860800000000, owner="ann", model=MODEL, tags=(), computed_us=1, run=None
    )
    store.write([streamed])
    before = cells(store)
    load(store, written(tmp_path / "a.jsonl", [record(), record("q")]))
    assert seen(store) == ([], [], 1)
    assert seen(store, "q") == ([], [], 1)
    store.runs.publish("run", "bob")
    assert seen(store) == (["dog", "animal"], ["p", "q"], 2)
    assert seen(store, "q")[0] == ["dog", "animal"]
    store.runs.retract("run", "bob")
    assert seen(store) == ([], [], 1)
    assert store.get("q") is None
    assert store.clean().facts == 0  # all of it is too young
    assert store.clean(grace_us=0).facts == 2
    assert cells(store) == before


def test_on_hbase_too_a_run_is_loaded_on_after_a_stop_published_found_retracted_and_cleaned_away(
    hbase_settings: Settings, tmp_path: Path
) -> None:
    assert hbase_settings.store_address is not None
    host, port, _ = hbase_settings.store_address
    prefix = f"bulk{secrets.token_hex(4)}"
    store = open_store(replace(hbase_settings, store=f"hbase://{host}:{port}/{prefix}"))
    store.tables.create()
    try:
        knowing(store)
        path = written(tmp_path / "a.jsonl", [*records(2500), b"broken"])
        batches = BulkLoad(store, "run", Source.find(path), "bob").batches()
        assert [len(next(batches)) for _ in range(2)] == [0, 0]
        batches.close()
        assert 0 < store.runs.bookmark("run")["photos"] < 2500
        run, refused = load(store, path)
        assert (run.photos, run.refused, [one.number for one in refused]) == (2500, 1, [2501])
        assert seen(store, "p1", "owner1") == ([], [], 0)
        store.runs.publish("run", "bob")
        tags, found, photos = seen(store, "p1", "owner1")
        assert (tags, len(found), photos) == (["dog"], 50, 833)
        store.runs.retract("run", "bob")
        assert seen(store, "p1", "owner1") == ([], [], 0)
        assert store.clean(grace_us=0).facts == 2500
        assert cells(store) == []
    finally:
        store.close()
        connection = happybase.Connection(host, port)
        for table in (b"photos", b"owners", b"runs"):
            connection.delete_table(prefix.encode() + b"_" + table, disable=True)
        connection.close()


# The command line

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(config: Path) -> Program:
    def program(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_command(config, "bulk", *map(str, arguments))

    return program


def test_the_commands_load_publish_list_retract_and_clean(program: Program, store: PhotoStore, tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [record(), {}, record("q")])
    done = program("load", "r1", path, "--by", "bob")
    assert (done.returncode, done.stdout) == (1, "run r1 is loaded: 2 photos, 1 line refused\n")
    assert done.stderr == "refused a.jsonl, line 2: 'photo_id' is missing\n"
    again = program("load", "r1", path)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "run r1 is loaded already: 2 photos, 1 line refused\n"
    other = program("load", "r1", written(tmp_path / "b.jsonl", [record()]))
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr == "autotag: run 'r1' is loaded; a run's name is never used again: choose another\n"
    assert program("publish", "r1").stdout == "run r1 is published: 2 photos\n"
    assert seen(store)[0] == ["dog", "animal"]
    (line,) = program("list", "--json").stdout.splitlines()
    run = json.loads(line)
    assert [run[name] for name in ("name", "state", "photos", "refused", "begun_by")] == [
        "r1",
        "published",
        2,
        1,
        "bob",
    ]
    assert run["begun_time"] < run["loaded_time"] < run["published_time"]
    assert run["ended_time"] is None
    dropped = program("drop", "r1")
    assert (dropped.returncode, dropped.stderr) == (1, "autotag: run 'r1' is published; retract it instead\n")
    assert json.loads(program("retract", "r1", "--by", "eve", "--json").stdout)["ended_by"] == "eve"
    assert program("list").stdout.splitlines()[1].startswith("r1   retracted  2       1 ")
    for act in ("retract", "drop"):
        assert program(act, "r1").stdout == "run r1 is retracted already, nothing was changed: 2 photos\n"
    assert store.runs.run("r1").ended_by == "eve"
    cleaned = program("clean")
    assert cleaned.stdout.startswith(
        "looked at 2 photos; removed 0 facts, 0 index entries; put back 0 that the index lacked. "
        "What is younger than 60 min"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["load", "r1", "{folder}/gone.jsonl"], 2, "does not exist"),
        (["load", "r1", "{folder}/config.json", "more"], 2, "unexpected extra argument"),
        (["load", "r1", "{folder}/store.db"], 2, "no file, or folder of files, that ends in .jsonl"),
        (["load", "r1", "{folder}/job"], 2, "is the folder of a backfill; its tags are in {folder}/job/tags"),
        (["load", "../r1", "{folder}/config.json"], 1, "a run's name has 1 to 100 letters"),
        (["publish", "r9"], 1, "there is no run 'r9'"),
    ],
)
def test_wrong_use_ends_with_2_and_a_failure_with_1_and_one_line(
    program: Program, store: PhotoStore, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "job" / "tags").mkdir(parents=True)
    (tmp_path / "job" / "job.json").write_text("{}")
    done = program(*(argument.format(folder=tmp_path) for argument in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert says.format(folder=tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_killed_in_the_middle_says_where_it_goes_on(
    program: Program, config: Path, store: PhotoStore, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.jsonl", [b"broken", *records(20_000)])
    command = [PROGRAM, "--config", str(config), "bulk", "load", "run", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not any(run.photos for run in store.runs.runs()):
            assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = store.runs.run("run")
    assert (done.state, done.refused) == (RunState.LOADING, 1)
    going_on = program("load", "run", path, "--json")
    assert going_on.stderr.startswith(
        f"goes on at a.jsonl, line {done.photos + 2}: {done.photos} photos loaded before, 1"
    )
    loaded = json.loads(going_on.stdout)
    assert [loaded[name] for name in ("state", "photos", "refused")] == ["loaded", 20_000, 1]
