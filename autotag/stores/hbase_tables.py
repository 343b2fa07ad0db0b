"""HBaseTables: Tables on Apache HBase, through its Thrift 1 server and happybase.

`create` makes tables that work. But Thrift 1 cannot split a table when it creates it, and `create` compresses with GZ,
which every HBase has: Snappy and Zstandard take less time but need Hadoop's native libraries. In production create the
tables in HBase's shell instead, before the first use. With the prefix ``autotag``, and four regions on each of four
region servers:

    create 'autotag_photos', {NAME => 'm', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NAME => 'o', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NUMREGIONS => 16, SPLITALGO => 'UniformSplit'}
    create 'autotag_owners', {NAME => 'e', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NUMREGIONS => 16, SPLITALGO => 'UniformSplit'}
    create 'autotag_runs', {NAME => 'r', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}, \
        {NAME => 'c', VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'SNAPPY'}

The keys of photos and owners begin with bytes of a hash, so equal splits get equal loads; ``runs`` is small. 'ZSTD'
makes tables smaller than 'SNAPPY' does, and is slower. Create a namespace (prefix ``photos:``) first: create_namespace
'photos'. `check` accepts these tables too.

A cell's timestamp is the region server's clock, in milliseconds. Only `delete` gives a timestamp itself.
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

from autotag.stores.hbase_link import ORDERLY, Answer, Link, TableExists, TableMissing, WriteRefused
from autotag.stores.tables import FAMILIES, Cell, CellKey, Columns, Stored

ROWS = 1000
"""Rows of one call: 100 are half as fast, more than 1000 hardly faster."""
CALL_BYTES = 4 << 20
"""Bytes of one call, its last row not counted; both servers hold all of them in memory."""
READ_ROWS = 500
"""Rows of one answer: fewer than `ROWS`, for their size is not known beforehand."""
MAX_ROW_BYTES = 32767
"""HBase's own limit of a row key. For a longer key, or an empty one, the Thrift server only says "Internal error"."""

OPTIONS: Mapping[str, Any] = {
    "max_versions": 1,
    "bloom_filter_type": "ROW",
    "compression": "GZ",
    "block_cache_enabled": True,
}
"""The options of every column family. Thrift's defaults are three versions, no Bloom filter and no cache."""
FOREVER_S = 2**31 - 1
"""The `time_to_live` of a family whose cells never expire."""

_Batch = list[tuple[bytes, list[Mutation]]]


class HBaseTables:
    """Tables on HBase, connected when first used. Threads may share an object; each process opens its own.

    While HBase cannot be reached, every method tries again for about 5 seconds, and up to two time-outs longer if it
    hangs, before it raises StoreError. A write whose answer came too late may still be done, as long as HBase has it.

    Args:
        host, port: HBase's Thrift server (Thrift 1, binary protocol, buffered transport: its defaults).
        prefix: with ``autotag`` the tables are ``autotag_photos`` etc., with ``ns:`` they are ``ns:photos`` in the
            namespace ``ns``, with ``ns:x`` ``ns:x_photos``.
        timeout_s: seconds that the server may take for one answer.
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
        """See `Tables`. All requests are sent before the first answer is read; the server answers in order.

        So it works on one request while the next is made here.
        """
        if len(rows) <= READ_ROWS and all(map(_fits, rows)) and all(_fits(cell.row) for _, put in puts for cell in put):
            named = [(self._names[where], cells) for where, cells in puts]
            with contextlib.suppress(WriteRefused):
                return {}, self._ask(table, partial(_written_and_got, puts=named, rows=list(rows), family=family))
        refused: dict[bytes, str] = {}
        for where, cells in puts:
            refused |= self.put(where, cells)
        return refused, self.get(table, rows, family)

    def put_if_absent(self, table: str, cell: Cell) -> bool:
        """See `Tables`. One server call; two where the column exists, to compare its value with this writer's."""
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

    def delete(self, table: str, cells: Sequence[CellKey], until_us: int) -> None:
        """See `Tables`; to the millisecond: a cell written in the millisecond of `until_us` is removed too.

        HBase hides cells older than a deletion, whenever they are written. With an `until_us` ahead of the region
        servers' clocks, cells written until then would be lost.
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
        """Do nothing: HBase is atomic for one row only."""
        return contextlib.nullcontext()

    def create(self) -> list[str]:
        """See `Tables`, and for production the module's docstring. Safe beside another process that does the same.

        Raises:
            StoreError: also when the namespace of the prefix is not there.
        """
        created = []
        for table, families in FAMILIES.items():
            with contextlib.suppress(TableExists):
                self._ask(table, partial(_create, families=families))
                created.append(self._names[table])
        return created

    def check(self) -> list[str]:
        """See `Tables`. Any compression is accepted, and any number of regions."""
        lines = []
        for table, families in FAMILIES.items():
            name = self._names[table]
            try:
                found = self._ask(table, _families)
            except TableMissing:
                lines.append(f"{name}: the table is missing; run: autotag store init")
                continue
            lines += [line for family in families for line in _differences(name, family, found.get(family))]
            lines += [f"{name}: family {family.decode()} is not ours" for family in found if family not in families]
        return lines

    def close(self) -> None:
        self._link.close()

    def _ask(self, table: str, operation: Callable[[happybase.Connection, str], Answer]) -> Answer:
        """Return the result of `operation` for the connection and the table's name; see `Link.ask`."""
        name = self._names[table]
        return self._link.ask(name, lambda connection: operation(connection, name))

    def _put(self, table: str, batch: _Batch) -> dict[bytes, str]:
        """Write a batch; return the rows refused for good. HBase names none, so they are found by halving the batch."""
        try:
            self._ask(table, partial(_mutate, batch=batch))
        except WriteRefused as error:
            if len(batch) == 1:
                return {batch[0][0]: error.reason}
            half = len(batch) // 2
            return self._put(table, batch[:half]) | self._put(table, batch[half:])
        return {}


def _fits(row: bytes) -> bool:
    return 0 < len(row) <= MAX_ROW_BYTES


def _batches(rows: Mapping[bytes, Mapping[bytes, Mutation]]) -> Iterator[_Batch]:
    """Yield the rows that HBase can hold, in batches of at most about `ROWS` rows and `CALL_BYTES` bytes."""
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
    """Return the cells by row and column."""
    rows: dict[bytes, dict[bytes, Mutation]] = {}
    # Instead of happybase's Batch: 2 microseconds of Python a row, not 5.
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
        except ORDERLY as error:  # an answer like any other: read the next ones too
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
    """Raise TableNotFoundException if a failed write means that: its own message does not say so."""
    if b"servers with issues: null" in getattr(error, "message", b""):
        _families(connection, name)


def _put_if_absent(connection: happybase.Connection, name: str, cell: Cell) -> bool:
    client, mutation = connection.client, Mutation(False, cell.column, cell.value, True)
    if client.checkAndPut(name, cell.row, cell.column, None, mutation, {}):
        return True
    # Perhaps this writer put it: the answer to an earlier try, or to an earlier call, was lost.
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
    """Scan without happybase's Table.scan, which after a failure uses its broken connection to close the scanner."""
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
        yield f"{where} forgets cells older than {kept_s} s; {change}"


def _alter(table: str, family: bytes) -> str:
    options = "VERSIONS => 1, BLOOMFILTER => 'ROW', COMPRESSION => 'GZ', BLOCKCACHE => true, TTL => 'FOREVER'"
    return f"alter '{table}', {{NAME => '{family.decode()}', {options}}}"
