"""Tables: the few operations that a store needs of a database. Rows in byte order; cells are only ever added.

There are three tables, and each row has columns ``family:qualifier``. layout.py describes what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

PHOTOS, OWNERS, RUNS = "photos", "owners", "runs"
FAMILIES: Mapping[str, tuple[bytes, ...]] = {PHOTOS: (b"m", b"o"), OWNERS: (b"e",), RUNS: (b"r", b"c")}
"""The column families of each table."""


class Cell(NamedTuple):
    """A cell to write. `column` is ``family:qualifier``; row, qualifier and value may be any bytes."""

    row: bytes
    column: bytes
    value: bytes


class Stored(NamedTuple):
    """A cell's value, and when it was last written, in microseconds since 1970 by the database's clock."""

    value: bytes
    stored_us: int


CellKey = tuple[bytes, bytes]
"""Row and column of a cell."""
Columns = dict[bytes, Stored]
"""The cells of a row, by column."""


class Tables(Protocol):
    """A database; safe for many processes, and for the threads of each.

    Every method raises StoreError when the database cannot be reached, or its tables are missing. The call may then
    have been carried out, in part or as a whole, and can be repeated: every operation here may be done twice.
    """

    embedded: bool
    """True if all rows are on this machine, so that an index over all owners makes no hot spot."""

    def put(self, table: str, cells: Sequence[Cell]) -> dict[bytes, str]:
        """Write cells, durably once this returns; a cell that exists is replaced.

        Returns:
            The rows that the database refuses for good, each with the reason; all others are written.
        """

    def put_if_absent(self, table: str, cell: Cell) -> bool:
        """Write a cell unless its column exists; of several writers, one succeeds.

        Returns:
            True if the cell holds `cell.value` now.
        """

    def get(self, table: str, rows: Sequence[bytes], family: bytes | None = None) -> dict[bytes, Columns]:
        """Return those of `rows` that exist, with all columns or those of one family. Each row is a snapshot."""

    def put_then_get(
        self, puts: Sequence[tuple[str, Sequence[Cell]]], table: str, rows: Sequence[bytes], family: bytes
    ) -> tuple[dict[bytes, str], dict[bytes, Columns]]:
        """`put` the cells of each table, one after another, and then `get`; in one round trip where possible."""

    def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, Columns]]:
        """Return the first `limit` rows from `start`, inclusive, to `stop`, exclusive (None: the end), in order."""

    def delete(self, table: str, cells: Sequence[CellKey], until_us: int) -> None:
        """Remove cells that were last written at `until_us` or before; a cell written since stays."""

    def atomically(self) -> AbstractContextManager[None]:
        """Do everything within as one durable transaction where the database can; elsewhere one after another."""

    def create(self) -> list[str]:
        """Create the missing tables; return their names."""

    def check(self) -> list[str]:
        """Return the differences from the tables as they should be, a line each; none when all is well."""

    def close(self) -> None:
        """Close the connection."""


def scan_pages(
    tables: Tables, table: str, start: bytes, stop: bytes | None, rows: int
) -> Iterator[list[tuple[bytes, Columns]]]:
    """Yield all rows from `start`, inclusive, to `stop`, exclusive (None: the end), in pages of at most `rows` rows."""
    while page := tables.scan(table, start, stop, rows):
        yield page
        start = page[-1][0] + b"\0"


def stored_times(rows: Iterable[tuple[bytes, Columns]]) -> dict[CellKey, int]:
    """Return the `stored_us` of each cell of these rows."""
    return {(row, column): cell.stored_us for row, columns in rows for column, cell in columns.items()}


def delete_as_read(tables: Tables, table: str, cells: Mapping[CellKey, int]) -> None:
    """Remove cells unless they were written after they were read; `cells` has each one's `stored_us` as read.

    The time is always the database's own: by another clock, say a client's that is hours ahead, a deletion would also
    take what is written until that time.
    """
    by_time: dict[int, list[CellKey]] = {}
    for key, stored_us in cells.items():
        by_time.setdefault(stored_us, []).append(key)
    for stored_us, keys in by_time.items():
        tables.delete(table, keys, stored_us)
