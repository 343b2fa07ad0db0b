"""Tables: the little that a store needs of a database. Rows in byte order, cells that are only ever added.

Three tables, and in each row columns ``family:qualifier``. What they hold is written down in layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

PHOTOS, OWNERS, RUNS = "photos", "owners", "runs"
FAMILIES: Mapping[str, tuple[bytes, ...]] = {PHOTOS: (b"m", b"o"), OWNERS: (b"e",), RUNS: (b"r", b"c")}
"""The column families of each table."""


class Cell(NamedTuple):
    """One cell, to be written. `column` is ``family:qualifier``; row, qualifier and value may be any bytes."""

    row: bytes
    column: bytes
    value: bytes


class Stored(NamedTuple):
    """A cell's value, and when it was last written, in microseconds since 1970 by the database's clock."""

    value: bytes
    stored_us: int


Columns = dict[bytes, Stored]
"""A row: its cells by their column."""


def delete_as_read(tables: Tables, table: str, cells: Mapping[tuple[bytes, bytes], int]) -> None:
    """Remove cells (row, column) that were last written when they were read (`stored_us`); one written since stays.

    Always with the time that the database gave them: another clock, a client's say, may be hours ahead, and a deletion
    up to its time would take what is written until then.
    """
    by_time: dict[int, list[tuple[bytes, bytes]]] = {}
    for place, stored_us in cells.items():
        by_time.setdefault(stored_us, []).append(place)
    for stored_us, places in by_time.items():
        tables.delete(table, places, stored_us)


class Tables(Protocol):
    """What every database does; safe for many processes, and for the threads of each.

    Every method raises StoreError when the database is away, or its tables are not there; whatever was asked may then
    have been done, in part or as a whole, and can be asked again: everything here may be done twice.
    """

    embedded: bool
    """Whether all rows are on this machine, so that an index over all owners makes no hot spot."""

    def put(self, table: str, cells: Sequence[Cell]) -> dict[bytes, str]:
        """Write cells, durably once this returns; a cell that is there is replaced.

        Returns:
            The rows that the database refuses for good, each with the reason; all the others are written.
        """

    def put_if_absent(self, table: str, cell: Cell) -> bool:
        """Write a cell unless its column is there; of several who try, one does. Whether it holds `cell.value` now."""

    def get(self, table: str, rows: Sequence[bytes], family: bytes | None = None) -> dict[bytes, Columns]:
        """Those of `rows` that are there, all their columns or those of one family. Each row as of one moment."""

    def put_then_get(
        self, puts: Sequence[tuple[str, Sequence[Cell]]], table: str, rows: Sequence[bytes], family: bytes
    ) -> tuple[dict[bytes, str], dict[bytes, Columns]]:
        """`put` the cells of each table, one after another, and `get` after that; at the cost of one where it can."""

    def scan(self, table: str, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, Columns]]:
        """The first `limit` rows from `start`, inclusive, to `stop`, exclusive (None: to the end), in byte order."""

    def delete(self, table: str, cells: Sequence[tuple[bytes, bytes]], until_us: int) -> None:
        """Remove cells (row, column) that were last written at `until_us` or before; one written since stays."""

    def atomically(self) -> AbstractContextManager[None]:
        """All within is done at once and durably, or nothing, where the database can; elsewhere one after another."""

    def create(self) -> list[str]:
        """Create the tables that are not there; their names."""

    def check(self) -> list[str]:
        """What differs from how the tables should be, a line each; nothing when all is well."""

    def close(self) -> None:
        """Let go of the connection."""
