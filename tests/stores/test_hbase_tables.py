"""HBaseTables on a real HBase: what Tables promises, and what happens when the server goes away."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import happybase
import pytest
from Hbase_thrift import IOError as ServerError
from Hbase_thrift import Mutation

from autotag.errors import StoreError
from autotag.localcluster.hbase_jars import problem
from autotag.settings import Settings
from autotag.stores import hbase_link
from autotag.stores.hbase_tables import ROWS, HBaseTables
from autotag.stores.tables import OWNERS, PHOTOS, RUNS, Cell
from tests.drop_proxy import DropProxy

EVERY_BYTE = bytes(range(256))
Address = tuple[str, int]


@pytest.fixture(scope="module")
def address(hbase_settings: Settings) -> Address:
    assert hbase_settings.store_address is not None
    return hbase_settings.store_address[:2]


@contextlib.contextmanager
def dropped_after(address: Address, prefix: str) -> Iterator[str]:
    """A prefix whose tables are removed afterwards."""
    yield prefix
    connection = happybase.Connection(*address, timeout=60_000)
    for name in connection.tables():
        if name.startswith(prefix.encode()):
            connection.delete_table(name, disable=True)
    connection.close()


@pytest.fixture(scope="module")
def prefix(address: Address) -> Iterator[str]:
    """The prefix of existing tables; each test has its own `key` in them."""
    with dropped_after(address, f"test{secrets.token_hex(4)}") as prefix:
        tables = HBaseTables(*address, prefix, 60.0)
        assert tables.create() == [f"{prefix}_{table}" for table in (PHOTOS, OWNERS, RUNS)]
        tables.close()
        yield prefix


@pytest.fixture
def new_prefix(address: Address) -> Iterator[str]:
    with dropped_after(address, f"test{secrets.token_hex(4)}") as prefix:
        yield prefix


@pytest.fixture
def tables(address: Address, prefix: str) -> Iterator[HBaseTables]:
    tables = HBaseTables(*address, prefix, 60.0)
    yield tables
    tables.close()


@pytest.fixture
def key() -> bytes:
    """The beginning of the rows of one test."""
    return secrets.token_bytes(8)


@pytest.fixture
def proxy(address: Address) -> Iterator[DropProxy]:
    with DropProxy(*address) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tries follow soon after each other."""
    monkeypatch.setattr(hbase_link, "WAITS_S", tuple(wait_s / 100 for wait_s in hbase_link.WAITS_S))


@pytest.fixture
def behind(proxy: DropProxy, prefix: str, impatient: None) -> Iterator[HBaseTables]:
    """Tables that are reached through the proxy."""
    tables = HBaseTables("127.0.0.1", proxy.port, prefix, 60.0)
    yield tables
    tables.close()


def values(tables: HBaseTables, rows: list[bytes], table: str = PHOTOS) -> dict[bytes, dict[bytes, bytes]]:
    found = tables.get(table, rows)
    return {row: {column: stored.value for column, stored in columns.items()} for row, columns in found.items()}


def until_next_ms() -> None:
    """So that what the server does next has another timestamp; it is on this machine, or its clock runs, too."""
    time.sleep(0.005)


def refuses(message: str, call: Callable[..., object], *args: object) -> str:
    """Check that `call` raises a StoreError of one line that holds `message`; return the line."""
    with pytest.raises(StoreError) as raised:
        call(*args)
    text = str(raised.value)
    assert message in text
    assert len(text.splitlines()) == 1
    assert "\tat " not in text
    assert len(text) < 600
    return text


# What Tables promises


def test_what_was_put_is_got_whole_or_by_family_with_the_time_it_was_written(tables: HBaseTables, key: bytes) -> None:
    before_us = time.time_ns() // 1000
    assert tables.put(PHOTOS, [Cell(key, b"m:a", b"1"), Cell(key, b"o:b", b"2"), Cell(key + b"x", b"m:", b"")]) == {}
    assert values(tables, [key, key + b"x", key + b"y"]) == {
        key: {b"m:a": b"1", b"o:b": b"2"},
        key + b"x": {b"m:": b""},
    }
    assert set(tables.get(PHOTOS, [key], b"o")[key]) == {b"o:b"}
    assert tables.get(PHOTOS, [key + b"x"], b"o") == {}
    stored_us = tables.get(PHOTOS, [key])[key][b"m:a"].stored_us
    assert abs(stored_us - before_us) < 3600e6  # microseconds, by a clock not far from ours
    assert stored_us % 1000 == 0


def test_rows_qualifiers_and_values_are_any_bytes(tables: HBaseTables, key: bytes) -> None:
    cells = [Cell(key + bytes([i]), b"m:" + bytes([i]) + EVERY_BYTE, EVERY_BYTE + bytes([i])) for i in range(256)]
    assert tables.put(PHOTOS, cells) == {}
    assert values(tables, [cell.row for cell in cells]) == {row: {column: value} for row, column, value in cells}
    assert [row for row, _ in tables.scan(PHOTOS, key, key + b"\xff\xff", 1000)] == [cell.row for cell in cells]
    assert tables.put_if_absent(PHOTOS, Cell(key + EVERY_BYTE, b"o:" + EVERY_BYTE, EVERY_BYTE))
    tables.delete(PHOTOS, [(cell.row, cell.column) for cell in cells[:255]], _last_us(tables, [c.row for c in cells]))
    assert values(tables, [cell.row for cell in cells]) == {cells[255].row: {cells[255].column: cells[255].value}}


def _last_us(tables: HBaseTables, rows: list[bytes]) -> int:
    found = tables.get(PHOTOS, rows)
    return max(stored.stored_us for columns in found.values() for stored in columns.values())


def test_the_last_value_of_a_cell_stands_also_within_a_batch(tables: HBaseTables, key: bytes) -> None:
    tables.put(PHOTOS, [Cell(key, b"m:a", b"1"), Cell(key, b"m:b", b"1"), Cell(key, b"m:a", b"2")])
    assert values(tables, [key]) == {key: {b"m:a": b"2", b"m:b": b"1"}}
    for i in range(20):  # some of them in the same millisecond
        tables.put(PHOTOS, [Cell(key, b"m:a", b"%d" % i)])
        assert values(tables, [key])[key][b"m:a"] == b"%d" % i


def test_nothing_asked_is_nothing_done(tables: HBaseTables, key: bytes) -> None:
    assert tables.put(PHOTOS, []) == {}
    assert tables.get(PHOTOS, []) == {}
    assert tables.get(PHOTOS, [b"", key, b"x" * 40_000]) == {}
    tables.delete(PHOTOS, [], time.time_ns() // 1000)
    tables.delete(PHOTOS, [(key, b"m:a")], time.time_ns() // 1000)
    tables.delete(PHOTOS, [(key, b"m:a")], -1)
    assert tables.scan(PHOTOS, key, key + b"\xff", 10) == []


def test_a_scan_gives_the_first_rows_in_byte_order_from_start_to_before_stop(tables: HBaseTables, key: bytes) -> None:
    rows = [key + b"%06d" % i for i in range(ROWS + 234)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert tables.put(OWNERS, [Cell(row, b"e:", row) for row in shuffled]) == {}
    end = key + b"\xff"
    found = tables.scan(OWNERS, key, end, 10_000)
    assert [row for row, _ in found] == rows
    assert all(columns[b"e:"].value == row for row, columns in found)
    for limit in (1, 499, 500, 501, 1000, len(rows)):
        assert [row for row, _ in tables.scan(OWNERS, key, end, limit)] == rows[:limit]
    assert [row for row, _ in tables.scan(OWNERS, rows[7], rows[9], 10)] == rows[7:9]
    assert [row for row, _ in tables.scan(OWNERS, rows[7] + b"\0", rows[9] + b"\0", 10)] == rows[8:10]
    assert [row for row, _ in tables.scan(OWNERS, rows[-1], None, 1)] == rows[-1:]
    assert tables.scan(OWNERS, rows[7], rows[7], 10) == []
    assert tables.scan(OWNERS, rows[9], rows[7], 10) == []
    assert tables.scan(OWNERS, key, end, 0) == []
    assert tables.scan(OWNERS, key, b"", 10) == []
    assert set(tables.get(OWNERS, [*rows, *rows])) == set(rows)


def test_a_cell_written_after_a_deletions_time_stays(tables: HBaseTables, key: bytes) -> None:
    tables.put(PHOTOS, [Cell(key, b"m:old", b""), Cell(key, b"m:again", b"1"), Cell(key, b"m:other", b"")])
    until_us = _last_us(tables, [key])
    until_next_ms()
    tables.put(PHOTOS, [Cell(key, b"m:again", b"2"), Cell(key, b"m:new", b"")])
    tables.delete(PHOTOS, [(key, b"m:old"), (key, b"m:again"), (key, b"m:new")], until_us)
    assert values(tables, [key]) == {key: {b"m:again": b"2", b"m:other": b"", b"m:new": b""}}


def test_a_deleted_cell_is_gone_with_all_its_versions_until_it_is_put_again(tables: HBaseTables, key: bytes) -> None:
    for value in (b"1", b"2"):
        tables.put(PHOTOS, [Cell(key, b"m:a", value)])
        until_next_ms()
    tables.delete(PHOTOS, [(key, b"m:a")], _last_us(tables, [key]))
    assert tables.get(PHOTOS, [key]) == {}
    tables.put(PHOTOS, [Cell(key, b"m:a", b"3")])
    assert values(tables, [key]) == {key: {b"m:a": b"3"}}
    tables.delete(PHOTOS, [(key, b"m:a")], _last_us(tables, [key]))
    until_next_ms()
    assert tables.put_if_absent(PHOTOS, Cell(key, b"m:a", b"4"))


def test_put_if_absent_says_whether_the_cell_holds_the_value(tables: HBaseTables, key: bytes) -> None:
    assert tables.put_if_absent(RUNS, Cell(key, b"c:a", b"1"))
    assert tables.put_if_absent(RUNS, Cell(key, b"c:a", b"1"))  # as after an answer that was lost
    assert not tables.put_if_absent(RUNS, Cell(key, b"c:a", b"2"))
    assert tables.put_if_absent(RUNS, Cell(key, b"c:b", b"2"))
    assert values(tables, [key], RUNS) == {key: {b"c:a": b"1", b"c:b": b"2"}}


def _race(address: Address, prefix: str, key: bytes, me: int, start: Barrier, won: Queue[tuple[int, int]]) -> None:
    tables = HBaseTables(*address, prefix, 60.0)
    start.wait()
    for i in range(20):
        if tables.put_if_absent(RUNS, Cell(key, b"c:%d" % i, b"%d" % me)):
            won.put((i, me))
    tables.close()
    won.put((-1, me))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_of_several_who_put_if_absent_one_does(
    kind: str, tables: HBaseTables, address: Address, prefix: str, key: bytes
) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, won = spawn.Barrier(4), spawn.Queue()
    racer: Any = threading.Thread if kind == "threads" else spawn.Process
    racers = [racer(target=_race, args=(address, prefix, key, me, start, won)) for me in range(4)]
    for one in racers:
        one.start()
    winners: list[tuple[int, int]] = []
    while sum(i == -1 for i, _ in winners) < len(racers):
        winners.append(won.get(timeout=60))
    for one in racers:
        one.join()
    wins = sorted((i, me) for i, me in winners if i >= 0)
    assert [i for i, _ in wins] == list(range(20))
    found = values(tables, [key], RUNS)[key]
    assert found == {b"c:%d" % i: b"%d" % me for i, me in wins}


def test_rows_that_are_refused_for_good_are_found_and_the_others_written(tables: HBaseTables, key: bytes) -> None:
    rows = [key + b"%04d" % i for i in range(1500)]
    large = dict.fromkeys((rows[3], rows[700], rows[701]), bytes(11 << 20))
    cells = [Cell(row, b"m:a", large.get(row, row)) for row in rows]
    long = key + bytes(40_000)
    refused = tables.put(PHOTOS, [*cells, Cell(b"", b"m:a", b""), Cell(long, b"m:a", b""), Cell(rows[3], b"o:a", b"")])
    assert set(refused) == {*large, b"", long}
    assert "KeyValue size too large" in refused[rows[3]]
    assert refused[long] == "a row key of 40008 bytes; 1 to 32767 can be"
    assert values(tables, rows) == {row: {b"m:a": row} for row in rows if row not in large}
    refuses("KeyValue size too large", tables.put_if_absent, PHOTOS, Cell(key, b"m:b", bytes(11 << 20)))


@pytest.mark.parametrize("bytes_", [11 << 20, 3 << 20])
def test_putting_then_getting_is_the_same_as_one_after_the_other(tables: HBaseTables, key: bytes, bytes_: int) -> None:
    rows = [key + b"%04d" % i for i in range(40)]
    tables.put(PHOTOS, [Cell(row, b"o:a", row) for row in rows[::2]])
    puts = [
        (PHOTOS, [Cell(row, b"m:a", bytes(bytes_) if row == rows[7] else row) for row in rows]),
        (OWNERS, [Cell(row, b"e:", b"") for row in [*rows, rows[0]]]),
    ]
    refused, found = tables.put_then_get(puts, PHOTOS, [*rows, rows[0], b"absent"], b"o")
    assert set(refused) == ({rows[7]} if bytes_ > 10 << 20 else set())
    assert {row: set(columns) for row, columns in found.items()} == {row: {b"o:a"} for row in rows[::2]}
    assert set(tables.get(PHOTOS, rows, b"m")) == set(rows) - set(refused)
    assert set(tables.get(OWNERS, rows)) == set(rows)
    bad = [(OWNERS, [Cell(rows[0], b"e:x", b""), Cell(b"", b"e:", b"")])]
    assert set(tables.put_then_get(bad, PHOTOS, [b""], b"o")[0]) == {b""}
    assert tables.get(OWNERS, [rows[0]])[rows[0]].keys() == {b"e:", b"e:x"}
    assert tables.put_then_get([], PHOTOS, [], b"o") == ({}, {})


def test_atomically_changes_nothing(tables: HBaseTables, key: bytes) -> None:
    assert not tables.embedded
    with tables.atomically():
        tables.put(PHOTOS, [Cell(key, b"m:a", b"")])
        assert set(tables.get(PHOTOS, [key])) == {key}


def test_a_closed_connection_is_made_again_when_used(tables: HBaseTables, key: bytes) -> None:
    tables.put(PHOTOS, [Cell(key, b"m:a", b"")])
    tables.close()
    tables.close()
    assert set(tables.get(PHOTOS, [key])) == {key}


# The tables themselves


def test_without_its_tables_everything_says_how_to_create_them(address: Address, new_prefix: str) -> None:
    tables = HBaseTables(*address, new_prefix, 60.0)
    cell = Cell(b"a", b"m:a", b"")
    calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
        (tables.put, (PHOTOS, [cell])),
        (tables.put, (PHOTOS, [cell, cell._replace(row=b"b")])),
        (tables.put_if_absent, (PHOTOS, cell)),
        (tables.put_then_get, ([(PHOTOS, [cell])], PHOTOS, [b"a"], b"o")),
        (tables.get, (PHOTOS, [b"a"])),
        (tables.scan, (PHOTOS, b"", None, 1)),
        (tables.delete, (PHOTOS, [(b"a", b"m:a")], 1)),
    ]
    for call, args in calls:
        refuses(f"table {new_prefix}_photos: does not exist; run: autotag store init", call, *args)
    assert tables.check() == [
        f"{new_prefix}_{table}: the table is missing; run: autotag store init" for table in (PHOTOS, OWNERS, RUNS)
    ]
    tables.close()


def test_a_missing_family_is_said_so(tables: HBaseTables, prefix: str) -> None:
    for table, call in ((PHOTOS, tables.put), (OWNERS, tables.put)):
        text = refuses("autotag store init", call, table, [Cell(b"a", b"z:a", b"")])
        assert f"{prefix}_{table}: a column family is missing" in text
    refuses("autotag store init", tables.get, PHOTOS, [b"a"], b"z")
    refuses("autotag store init", tables.put_if_absent, PHOTOS, Cell(b"a", b"z:a", b""))


def test_tables_are_created_as_they_should_be_by_several_at_once(address: Address, new_prefix: str) -> None:
    several = [HBaseTables(*address, new_prefix, 60.0) for _ in range(3)]
    created: list[str] = []
    threads = [threading.Thread(target=lambda tables=tables: created.extend(tables.create())) for tables in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(created) == {f"{new_prefix}_{table}" for table in (PHOTOS, OWNERS, RUNS)}
    for tables in several:
        assert tables.create() == []
        assert tables.check() == []
        tables.close()


def test_check_says_what_differs(address: Address, new_prefix: str) -> None:
    good = {"max_versions": 1, "bloom_filter_type": "ROW", "compression": "GZ", "block_cache_enabled": True}
    connection = happybase.Connection(*address, timeout=60_000)
    connection.create_table(f"{new_prefix}_photos", {"m": {"time_to_live": 60}, "z": {}})
    connection.create_table(f"{new_prefix}_owners", {"e": good})
    connection.close()
    tables = HBaseTables(*address, new_prefix, 60.0)
    photos, m = f"{new_prefix}_photos", f"{new_prefix}_photos: family m"
    starts = [line.partition(";")[0] for line in tables.check()]
    assert starts == [
        f"{m} keeps 3 versions of a cell, not 1",
        f"{m} has the Bloom filter NONE, not ROW",
        f"{m} is not compressed",
        f"{m} is not cached",
        f"{m} forgets cells older than 60 s",
        f"{photos}: family o is missing",
        f"{photos}: family z is not ours",
        f"{new_prefix}_runs: the table is missing",
    ]
    assert tables.create() == [f"{new_prefix}_runs"]
    tables.close()


@pytest.mark.parametrize(("prefix", "name"), [("nosuch:", "nosuch:photos"), ("nosuch:x", "nosuch:x_photos")])
def test_a_prefix_may_name_a_namespace_that_must_be_there(address: Address, prefix: str, name: str) -> None:
    tables = HBaseTables(*address, prefix, 60.0)
    text = refuses("create_namespace 'nosuch'", tables.create)
    assert f"table {name}: " in text
    tables.close()


# A server that goes away


def _numbered(tables: HBaseTables, key: bytes, count: int) -> list[bytes]:
    """Rows whose values are their keys, so that an answer shows which question it belongs to."""
    rows = [key + b"%04d" % i for i in range(count)]
    assert tables.put(PHOTOS, [Cell(row, b"m:a", row) for row in rows]) == {}
    return rows


def _ask_all_ways(tables: HBaseTables, rows: list[bytes], i: int) -> None:
    for row in random.Random(i).sample(rows, 3):  # one after the other: an answer to another kind of question shows
        assert values(tables, [row]) == {row: {b"m:a": row}}
    some = rows[i % len(rows) : i % len(rows) + 1 + i % 7]
    assert values(tables, some) == {row: {b"m:a": row} for row in some}
    assert [row for row, _ in tables.scan(PHOTOS, some[0], some[-1] + b"\0", 100)] == some
    mine = b"%s-%d" % (rows[0], i)
    # More than a buffer full: the connection may break while it is sent, with the rest still in the buffer.
    large = b"%d" % i * 100_000
    assert tables.put(OWNERS, [Cell(mine, b"e:a", b"%d" % i), Cell(mine, b"e:c", large)]) == {}
    assert tables.put_if_absent(OWNERS, Cell(mine, b"e:b", b"%d" % i))
    assert not tables.put_if_absent(OWNERS, Cell(mine, b"e:b", b"other"))
    asked, got = tables.put_then_get([(PHOTOS, []), (OWNERS, [Cell(mine, b"e:c", large)])], PHOTOS, some, b"m")
    assert not asked
    assert {row: columns[b"m:a"].value for row, columns in got.items()} == {row: row for row in some}
    assert values(tables, [mine], OWNERS) == {mine: {b"e:a": b"%d" % i, b"e:b": b"%d" % i, b"e:c": large}}


def test_after_any_drop_every_answer_belongs_to_its_question(
    tables: HBaseTables, behind: HBaseTables, proxy: DropProxy, key: bytes
) -> None:
    rows = _numbered(tables, key, 50)
    chance = random.Random(7)
    for i in range(100):
        proxy.faults = chance.choices(["idle", "lost", "torn"], k=chance.choice([0, 1, 1, 2, 3]))
        if chance.random() < 0.2:
            proxy.drop()
        _ask_all_ways(behind, rows, i)
    assert proxy.accepted > 100


def test_threads_share_a_connection_that_breaks_and_none_gets_anothers_answer(
    tables: HBaseTables, behind: HBaseTables, proxy: DropProxy, key: bytes
) -> None:
    rows = _numbered(tables, key, 50)
    wrong: list[BaseException] = []

    def ask(me: int) -> None:
        try:
            for i in range(20):
                _ask_all_ways(behind, rows, me * 1000 + i)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        proxy.drop()
        time.sleep(0.1)
    assert not wrong


def test_an_answer_that_was_lost_does_not_lose_the_cell(
    tables: HBaseTables, behind: HBaseTables, proxy: DropProxy, key: bytes
) -> None:
    for i, fault in enumerate(["lost", "torn"]):
        assert behind.get(PHOTOS, [key]) == {}
        proxy.faults = [fault]
        assert behind.put_if_absent(RUNS, Cell(key, b"c:%d" % i, b"mine"))
        assert not tables.put_if_absent(RUNS, Cell(key, b"c:%d" % i, b"another's"))
    assert proxy.faults == []


def test_while_the_server_is_away_tries_are_bounded_and_once_it_is_back_all_is_well(
    tables: HBaseTables, behind: HBaseTables, proxy: DropProxy, key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    rows = _numbered(tables, key, 3)
    assert set(behind.get(PHOTOS, rows)) == set(rows)
    proxy.leave()
    with caplog.at_level(logging.INFO):
        for call, args in ((behind.get, (PHOTOS, rows)), (behind.put, (PHOTOS, [Cell(key, b"m:b", b"")]))):
            text = refuses("Connection refused (tries: 5)", call, *args)
            assert f"HBase at 127.0.0.1:{proxy.port}" in text
    left = [line.getMessage().rpartition(": ")[2] for line in caplog.records if line.name == hbase_link.__name__]
    assert left == ["4", "3", "2", "1"] * 2
    proxy.listen()
    for i in range(3):
        _ask_all_ways(behind, rows, i)


def test_a_server_that_accepts_and_drops_is_given_up_within_bounded_tries(
    behind: HBaseTables, proxy: DropProxy, key: bytes
) -> None:
    proxy.faults = ["idle"] * 100
    refuses("(tries: 5)", behind.get, PHOTOS, [key])
    assert proxy.accepted == 5
    proxy.faults = []
    assert behind.get(PHOTOS, [key]) == {}


def test_a_server_that_stops_answering_times_out_within_bounded_tries(
    tables: HBaseTables, proxy: DropProxy, prefix: str, key: bytes, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _numbered(tables, key, 20)
    hasty = HBaseTables("127.0.0.1", proxy.port, prefix, 0.5)
    proxy.silent.set()
    refuses("no answer for 0.5 s (tries: 5)", hasty.get, PHOTOS, rows)
    assert proxy.accepted == 5
    monkeypatch.setattr(hbase_link, "PATIENCE_S", -1.0)  # used up already
    refuses("no answer for 0.5 s (tries: 1)", hasty.scan, PHOTOS, b"", None, 10)
    hasty.close()
    proxy.silent.clear()
    patient = HBaseTables("127.0.0.1", proxy.port, prefix, 60.0)
    _ask_all_ways(patient, rows, 3)
    patient.close()


def test_what_speaks_no_thrift_is_reported_and_nothing_connects_before_it_is_used(impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        tables = HBaseTables(*listener.getsockname(), "autotag", 5.0)

        def answer() -> None:
            for _ in range(5):
                client = listener.accept()[0]
                client.recv(10_000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.recv(1)
                client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        refuses("ProtocolError: No protocol version header (tries: 5)", tables.check)
        thread.join()


# The link below


def test_a_server_in_trouble_is_asked_again_on_the_same_connection(address: Address, impatient: None) -> None:
    link = hbase_link.Link(*address, 60.0)
    busy = b"org.apache.hadoop.hbase.RegionTooBusyException: over memstore limit\n\tat org.apache.Some.java:1"
    attempts = b"org.apache.hadoop.hbase.client.RetriesExhaustedException: Failed after attempts=16, exceptions:\n"
    attempts += b"2026-01-01, RpcRetryingCaller{x}, java.net.ConnectException: Call to address=a:1 failed\n\tat x"
    seen: list[object] = []

    def operation(connection: happybase.Connection) -> str:
        seen.append(connection)
        if len(seen) < 3:
            raise ServerError(message=busy)
        return "done"

    assert link.ask("t", operation) == "done"
    assert len(set(map(id, seen))) == 1
    for message, said in ((busy, "RegionTooBusyException: over memstore limit (tries: 5)"), (attempts, "address=a:1")):

        def away(_: happybase.Connection, message: bytes = message) -> None:
            raise ServerError(message=message)

        refuses(said, link.ask, "t", away)
    link.close()


def test_a_bare_do_not_retry_is_an_outage_and_not_a_reason_to_refuse_a_row(address: Address, impatient: None) -> None:
    link, bare = hbase_link.Link(*address, 60.0), b"DoNotRetryIOException: "

    def ask(message: bytes) -> None:
        def operation(_: happybase.Connection) -> None:
            raise ServerError(message=message)

        link.ask("t", operation)

    with pytest.raises(StoreError) as closing:
        ask(b"org.apache.hadoop.hbase." + bare + b"hconnection-0x1 closed\n\tat x")
    assert type(closing.value) is StoreError
    limit, hbase = b"Cell[a/m:b/1/Put/vlen=9] with size 9 exceeds limit of 8 bytes", b"org.apache.hadoop.hbase."
    with pytest.raises(hbase_link.WriteRefused) as refused:
        ask(hbase + b"client.RetriesExhaustedWithDetailsException: Failed 1 action: " + 2 * (hbase + bare) + limit)
    assert refused.value.reason == (bare + limit).decode()
    refuses(
        "access is denied", ask, b"org.apache.hadoop.hbase.security.AccessDeniedException: Insufficient permissions"
    )
    link.close()


def test_only_our_own_tables_say_whether_hbase_can_be_used(address: Address, new_prefix: str) -> None:
    """Another's tables may begin with our prefix, and be disabled."""
    with contextlib.closing(happybase.Connection(*address, timeout=60_000)) as connection:
        connection.create_table(f"{new_prefix}_old_photos", {"m": {}})
        connection.disable_table(f"{new_prefix}_old_photos")
        assert problem(*address, new_prefix, 60.0) is None
        told = problem(*address, f"{new_prefix}_old", 60.0)
        assert told is not None
        assert told.startswith("HBase does not answer at ")
        assert len(told.splitlines()) == 1


def test_an_interrupt_in_the_middle_of_an_answer_costs_the_connection(
    tables: HBaseTables, address: Address, prefix: str, key: bytes
) -> None:
    _numbered(tables, key, 2)
    link = hbase_link.Link(*address, 60.0)
    used: list[happybase.Connection] = []

    def interrupted(connection: happybase.Connection) -> None:
        used.append(connection)
        connection.client._send("getRow", tableName=f"{prefix}_photos", row=key + b"0000", attributes={})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.ask("t", interrupted)
    found = link.ask("t", lambda connection: connection.table(f"{prefix}_photos").row(key + b"0001"))
    assert found == {b"m:a": key + b"0001"}
    assert not used[0].transport.is_open()
    link.close()


def test_bad_arguments_are_a_store_error_though_their_exception_cannot_be_printed(
    address: Address, prefix: str, impatient: None
) -> None:
    link = hbase_link.Link(*address, 60.0)

    def operation(connection: happybase.Connection) -> None:
        connection.client.mutateRow(f"{prefix}_photos", b"", [Mutation(False, b"m:a", b"", True)], {})

    refuses("table t: ", link.ask, "t", operation)
    link.close()
