"""SqliteTables: Tables in one SQLite file, the embedded store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autotag.errors import StoreError
from autotag.events.times import now_us
from autotag.storage.sqlite_file import Database
from autotag.stores.tables import FAMILIES, Cell, CellKey, Columns, Stored

SCHEMA_VERSION = 2
SCHEMA = "".join(
    f"CREATE TABLE {table} (row BLOB, column BLOB, value BLOB, stored_us INTEGER, PRIMARY KEY (row, column))"
    " WITHOUT ROWID;\n"
    for table in FAMILIES
)


class SqliteTables:
    """`Tables` in one file, which is created with its tables when first used."""

    embedded = True

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, SCHEMA_VERSION, StoreError)
        self._open = threading.local()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a durable transaction, or join the one that this thread is in."""
        outer: sqlite3.Connection | None = getattr(self._open, "transaction", None)
        if outer is not None:
            yield outer
            return
        with self._database.transaction(durable=True) as db:
            self._open.transaction = db
            try:
                yield db
            finally:
                self._open.transaction = None

    @contextmanager
    def atomically(self) -> Iterator[None]:
        with self._transaction():
            yield

    def put(self, table: str, cells: Sequence[Cell]) -> dict[bytes, str]:
        if cells:
            now = now_us()
            with self._transaction() as db:
                db.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)",  # noqa: S608 - one of FAMILIES
                    [(cell.row, cell.column, cell.value, now) for cell in cells],
                )
        return {}

    def put_if_absent(self, table: str, cell: Cell) -> bool:
        with self._transaction() as db:
            db.execute(
                f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?)",  # noqa: S608
                (cell.row, cell.column, cell.value, now_us()),
            )
            stored = self.get(table, [cell.row])[cell.row][cell.column]
        return stored.value == cell.value

    def get(self, table: str, rows: Sequence[bytes], family: bytes | None = None) -> dict[bytes, Columns]:
        found: dict[bytes, Columns] = {}
        start, stop = (family + b":", family + b";") if family else (b"", b"\xff")
        for row in rows:
            cells = self._database.rows(
                f"SELECT * FROM {table} WHERE row = ? AND column >= ? AND column < ?",  # noqa: S608
                (row, start, stop),
            )
            if cells:
                found[row] = {cell["column"]: Stored(cell["value"], cell["stored_us"]) for cell in cells}
        return found

    def put_then_get(
        self, puts: Sequence[tuple[str, Sequence[Cell]]], table: str, rows: Sequence[bytes], family: bytes
    ) -> tuple[dict[bytes, str], dict[bytes, Columns]]:
        for where, cells in puts:
            self.put(where, cells)
        return {}, self.get(table, rows, family)

    def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, Columns]]:
        until, values = ("", (start, limit)) if stop is None else ("AND row < ?", (start, stop, limit))
        cells = self._database.rows(
            f"SELECT * FROM {table} WHERE row IN"  # noqa: S608
            f" (SELECT DISTINCT row FROM {table} WHERE row >= ? {until} ORDER BY row LIMIT ?) ORDER BY row, column",
            values,
        )
        found: dict[bytes, Columns] = {}
        for cell in cells:
            found.setdefault(cell["row"], {})[cell["column"]] = Stored(cell["value"], cell["stored_us"])
        return list(found.items())

    def delete(self, table: str, cells: Sequence[CellKey], until_us: int) -> None:
        if cells:
            with self._transaction() as db:
                db.executemany(
                    f"DELETE FROM {table} WHERE row = ? AND column = ? AND stored_us <= ?",  # noqa: S608
                    [(row, column, until_us) for row, column in cells],
                )

    def create(self) -> list[str]:
        self.check()
        return []  # the tables came with the file

    def check(self) -> list[str]:
        with self._transaction():
            return []

    def close(self) -> None:
        self._database.close()
