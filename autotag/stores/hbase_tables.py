"""HBaseTables: Tables on Apache HBase, through its Thrift 1 server and happybase.

`create` makes tables that work. It cannot split them beforehand, for which Thrift 1 has no words; and it compresses
them with GZ, which every HBase has, where Snappy or Zstandard take less time but want Hadoop's native libraries. In
production create them in HBase's shell instead, before the first use. With the prefix ``autotag``, and four regions on
each of four region servers:

    create 'autotag_photos', {NAME => 'm', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NAME => 'o', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NUMREGIONS => 16, SPLITALGO => 'UniformSplit'}
    create 'autotag_owners', {NAME => 'e', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NUMREGIONS => 16, SPLITALGO => 'UniformSplit'}
    create 'autotag_runs', {NAME => 'r', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NAME => 'c', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}

The keys of photos and owners begin with bytes of a hash, so that equal splits get equal loads; ``runs`` is small.
'ZSTD' is smaller than 'SNAPPY', and slower. A namespace (prefix ``photos:``) is made first: create_namespace 'photos'.
`check` is content with these tables, too.

A cell's timestamp is the region server's clock, in milliseconds; nothing here sets one but `delete`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import happybase  # also makes the module Hbase_thrift, which is no file
from Hbase_thrift import BatchMutation, Mutation, TScan
from Hbase_thrift import IOError as ServerError

from autotag.stores.hbase_link import ORDERLY, Answer, Exists, Link, Missing, Refused
from autotag.stores.tables import FAMILIES, Cell, Columns, Stored

ROWS = 1000
"""Rows of one call: 100 are half as fast, more are hardly faster."""
CALL_BYTES = 4 << 20
"""Bytes of one call, but for its last row; both servers hold all of it in memory."""
READ_ROWS = 500
"""Rows of one answer. Their size is not known before, so less than `ROWS`."""
MAX_ROW_BYTES = 32767
"""HBase's own limit. The Thrift server only says "Internal error" of a longer key, as it does of an empty one."""

OPTIONS: Mapping[str, Any] = {
    "max_versions": 1,
    "bloom_filter_type": "ROW",
    "compression": "GZ",
    "block_cache_enabled": True,
}
"""Of every column family. Thrift's own defaults are three versions, no Bloom filter and no cache."""
FOREVER_S = 2**31 - 1
"""What `time_to_live` is in a family that forgets nothing."""

_Batch = list[tuple[bytes, list[Mutation]]]


class HBaseTables:
    """Tables on HBase, connected when first used; for the threads of a process, each process opens its own.

    While HBase is away every method tries again for about 5 seconds, longer by up to two time-outs if it hangs, before
    it raises StoreError. A write whose answer did not come in time may still be done later, as long as HBase holds it.

    Args:
        host, port: HBase's Thrift server (Thrift 1, binary protocol, buffered transport: its defaults).
        prefix: with ``autotag`` the tables are ``autotag_photos`` etc., with ``ns:`` they are ``ns:photos`` in the
            namespace ``ns``, with ``ns:x`` ``ns:x_photos``.
        timeout_s: how long the server may take for one answer.
    """

    embedded = False

    def __init__(self, host: str, port: int, prefix: str, timeout_s: float) -> None:
        self._link = Link(host, port, timeout_s)
        start = prefix if prefix.endswith(":") else f"{prefix}_"
        self._names = {table: start + table for table in FAMILIES}

    def put(self, table: str, cells: Sequence[Cell]) -> dict[bytes, str]:
        rows = _mutations(cells)
        refused = {row: f"a row key of {len(row)} bytes; 1 to {MAX_ROW_BYTES} can be" for row in rows if not _fits(row)}
        for batch in _batches(rows):
            refused |= self._put(table, batch)
        return refused

    def put_then_get(
        self, puts: Sequence[tuple[str, Sequence[Cell]]], table: str, rows: Sequence[bytes], family: bytes
    ) -> tuple[dict[bytes, str], dict[bytes, Columns]]:
        """As `Tables` says. The requests are sent without waiting for the answers between them, which the server gives
        in the same order: it works on one while the next is made here.
        """
        if len(rows) <= READ_ROWS and all(map(_fits, rows)) and all(_fits(cell.row) for _, put in puts for cell in put):
            named = [(self._names[where], cells) for where, cells in puts]
            with contextlib.suppress(Refused):
                return {}, self._ask(table, partial(_written_and_got, puts=named, rows=list(rows), family=family))
        refused: dict[bytes, str] = {}
        for where, cells in puts:
            refused |= self.put(where, cells)
        return refused, self.get(table, rows, family)

    def put_if_absent(self, table: str, cell: Cell) -> bool:
        """As `Tables` says. One server call, two where the column is there; a value of one's own tells who won."""
        return self._ask(table, partial(_put_if_absent, cell=cell))

    def get(self, table: str, rows: Sequence[bytes], family: bytes | None = None) -> dict[bytes, Columns]:
        columns = None if family is None else [family]
        wanted = [row for row in dict.fromkeys(rows) if _fits(row)]
        found: dict[bytes, Columns] = {}
        for start in range(0, len(wanted), READ_ROWS):
            found |= self._ask(table, partial(_got, rows=wanted[start : start + READ_ROWS], columns=columns))
        return found

    def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, Columns]]:
        if limit < 1 or (stop is not None and start >= stop):
            return []
        wanted = TScan(startRow=start, stopRow=stop, caching=min(limit, READ_ROWS))
        return self._ask(table, partial(_scanned, wanted=wanted, limit=limit))

    def delete(self, table: str, cells: Sequence[tuple[bytes, bytes]], until_us: int) -> None:
        """As `Tables` says, to the millisecond: what is written in the millisecond of `until_us` goes, too.

        HBase hides what is older than a deletion, whenever it is written: with an `until_us` ahead of the region
        servers' clocks, cells put until then are lost.
        """
        until_ms = until_us // 1000
        if until_ms < 0:
            return
        rows: dict[bytes, dict[bytes, Mutation]] = {}
        for row, column in cells:
            rows.setdefault(row, {})[column] = Mutation(True, column, None, True)
        for batch in _batches(rows):
            self._ask(table, partial(_mutate, batch=batch, at_ms=until_ms))

    def atomically(self) -> AbstractContextManager[None]:
        """Nothing: HBase does no more than one row at once."""
        return contextlib.nullcontext()

    def create(self) -> list[str]:
        """As `Tables` says; another process may do it at the same moment. See above for production.

        Raises:
            StoreError: also when the namespace of the prefix is not there.
        """
        created = []
        for table, families in FAMILIES.items():
            with contextlib.suppress(Exists):
                self._ask(table, partial(_create, families=families))
                created.append(self._names[table])
        return created

    def check(self) -> list[str]:
        """As `Tables` says. Any compression will do; so will more, or fewer, regions."""
        lines = []
        for table, families in FAMILIES.items():
            name = self._names[table]
            try:
                found = self._ask(table, _families)
            except Missing:
                lines.append(f"{name}: the table is missing; run: autotag store init")
                continue
            lines += [line for family in families for line in _differences(name, family, found.get(family))]
            lines += [f"{name}: family {family.decode()} is not ours" for family in found if family not in families]
        return lines

    def close(self) -> None:
        self._link.close()

    def _ask(self, table: str, operation: Callable[[happybase.Connection, str], Answer]) -> Answer:
        """What `operation` returns for the connection and the table's name; see `Link.ask`."""
        name = self._names[table]
        return self._link.ask(name, lambda connection: operation(connection, name))

    def _put(self, table: str, batch: _Batch) -> dict[bytes, str]:
        """Write a batch; the rows that are refused for good: HBase names no row, so they are found by halving."""
        try:
            self._ask(table, partial(_mutate, batch=batch))
        except Refused as error:
            if len(batch) == 1:
                return {batch[0][0]: error.reason}
            half = len(batch) // 2
            return self._put(table, batch[:half]) | self._put(table, batch[half:])
        return {}


def _fits(row: bytes) -> bool:
    return 0 < len(row) <= MAX_ROW_BYTES


def _batches(rows: Mapping[bytes, Mapping[bytes, Mutation]]) -> Iterator[_Batch]:
    """The rows that HBase can hold, in batches of about `ROWS` and `CALL_BYTES` at most."""
    batch: _Batch = []
    size = 0
    for row, columns in rows.items():
        if not _fits(row):
            continue
        cells = list(columns.values())
        batch.append((row, cells))
        for cell in cells:
            size += len(row) + len(cell.column) + len(cell.value or b"")
        if len(batch) >= ROWS or size >= CALL_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _mutations(cells: Iterable[Cell]) -> dict[bytes, dict[bytes, Mutation]]:
    """The cells by row and column."""
    rows: dict[bytes, dict[bytes, Mutation]] = {}
    # Not happybase's Batch, but the same call: this takes 2 microseconds of Python a row, that one 5.
    for row, column, value in cells:
        mutation = Mutation(False, column, value, True)
        if (columns := rows.get(row)) is None:
            rows[row] = {column: mutation}
        else:
            columns[column] = mutation
    return rows


def _written_and_got(
    connection: happybase.Connection,
    name: str,
    puts: Sequence[tuple[str, Sequence[Cell]]],
    rows: list[bytes],
    family: bytes,
) -> dict[bytes, Columns]:
    client = connection.client
    sent = []
    for table, cells in puts:
        for batch in _batches(_mutations(cells)):
            mutations = [BatchMutation(*one) for one in batch]
            client._send("mutateRows", tableName=table, rowBatches=mutations, attributes={})
            sent.append(table)
    client._send("getRowsWithColumns", tableName=name, rows=rows, columns=[family], attributes={})
    failure: Exception | None = None
    failed = ""
    for table in sent:
        try:
            client._recv("mutateRows")
        except ORDERLY as error:  # an answer like any other: the next ones are still to be read
            failure = failure or error
            failed = failed or table
    try:
        found = _read(client._recv("getRowsWithColumns"))
    except ORDERLY as error:
        failure = failure or error
    if failure:
        _look_for_table(connection, failed or name, failure)
        raise failure
    return found


def _mutate(connection: happybase.Connection, name: str, batch: _Batch, at_ms: int | None = None) -> None:
    mutations = [BatchMutation(row, cells) for row, cells in batch]
    try:
        if at_ms is None:
            connection.client.mutateRows(name, mutations, {})
        else:
            connection.client.mutateRowsTs(name, mutations, at_ms, {})
    except ServerError as error:
        _look_for_table(connection, name, error)
        raise


def _look_for_table(connection: happybase.Connection, name: str, error: Exception) -> None:
    """Raise TableNotFoundException if that is what a failed write means: it does not say so itself."""
    if b"servers with issues: null" in getattr(error, "message", b""):
        _families(connection, name)


def _put_if_absent(connection: happybase.Connection, name: str, cell: Cell) -> bool:
    client, mutation = connection.client, Mutation(False, cell.column, cell.value, True)
    if client.checkAndPut(name, cell.row, cell.column, None, mutation, {}):
        return True
    # It may be there because we put it: the answer to an earlier try, or to an earlier call, was lost.
    found = client.get(name, cell.row, cell.column, {})
    return bool(found) and bool(found[0].value == cell.value)


def _got(
    connection: happybase.Connection, name: str, rows: list[bytes], columns: list[bytes] | None
) -> dict[bytes, Columns]:
    return _read(connection.client.getRowsWithColumns(name, rows, columns, {}))


def _read(results: Sequence[Any]) -> dict[bytes, Columns]:
    return {
        result.row: {column: Stored(cell.value, cell.timestamp * 1000) for column, cell in result.columns.items()}
        for result in results
    }


def _scanned(connection: happybase.Connection, name: str, wanted: TScan, limit: int) -> list[tuple[bytes, Columns]]:
    """Not happybase's Table.scan: after a failure that one still asks its broken connection to close the scanner."""
    client = connection.client
    scanner = client.scannerOpenWithScan(name, wanted, {})
    rows: list[tuple[bytes, Columns]] = []
    while len(rows) < limit and (results := client.scannerGetList(scanner, min(limit - len(rows), READ_ROWS))):
        rows += _read(results).items()
    client.scannerClose(scanner)
    return rows


def _create(connection: happybase.Connection, name: str, families: Sequence[bytes]) -> None:
    connection.create_table(name, {family.decode(): dict(OPTIONS) for family in families})


def _families(connection: happybase.Connection, name: str) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = connection.table(name).families()
    return found


def _differences(table: str, family: bytes, found: Mapping[str, Any] | None) -> Iterator[str]:
    where, change = f"{table}: family {family.decode()}", f"in HBase's shell: {_alter(table, family)}"
    if found is None:
        yield f"{where} is missing; {change}"
        return
    if (versions := found["max_versions"]) != 1:
        yield f"{where} keeps {versions} versions of a cell, not 1; {change}"
    if (bloom := found["bloom_filter_type"]) != b"ROW":
        yield f"{where} has the Bloom filter {bloom.decode()}, not ROW; {change}"
    if found["compression"] == b"NONE":
        yield f"{where} is not compressed; {change}"
    if not found["block_cache_enabled"]:
        yield f"{where} is not cached; {change}"
    if (kept_s := found["time_to_live"]) != FOREVER_S:
        yield f"{where} forgets what is older than {kept_s} s; {change}"


def _alter(table: str, family: bytes) -> str:
    options = "VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'GZ', BLOCKCACHE => true, TTL => 'FOREVER'"
    return f"alter '{table}', {{NAME => '{family.decode()}', {options}}}"
