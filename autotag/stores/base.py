"""StoreBase: what the store's parts share, which read, clean and write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autotag.progress import Progress
from autotag.stores import layout
from autotag.stores.owner_index import OwnerIndex
from autotag.stores.photo_row import PhotoRow
from autotag.stores.runs import RunTable
from autotag.stores.tables import OWNERS, PHOTOS, Cell, CellKey, Columns, Tables, scan_pages, stored_times

PAGE_ROWS = 500
"""Rows that a scan holds in memory at once, and reads between two reports of progress."""
PARTS = 1000
"""Progress through a table is told in thousandths: its rows are not counted."""


class StoreBase:
    """The tables, and how rows of photos and entries of the index are read and written."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.runs = RunTable(tables)
        self._index = OwnerIndex(all_owners=tables.embedded)

    def close(self) -> None:
        """Close the connection."""
        self.tables.close()

    def _photo(self, photo_id: str) -> PhotoRow:
        """Return everything that is stored about a photo."""
        key = layout.photo_row(photo_id)
        return PhotoRow(key, self.tables.get(PHOTOS, [key]).get(key, {}), photo_id)

    def _row(self, key: bytes, family: bytes | None = None) -> PhotoRow:
        """Return one row of table ``photos``, or one family of it."""
        return PhotoRow(key, self.tables.get(PHOTOS, [key], family).get(key, {}))

    def _rows(self, keys: Iterable[bytes]) -> list[PhotoRow]:
        """Return those of these rows of table ``photos`` that exist, each once."""
        return [PhotoRow(key, columns) for key, columns in self.tables.get(PHOTOS, list(dict.fromkeys(keys))).items()]

    def _photo_pages(self, progress: Progress, step: str) -> Iterator[list[PhotoRow]]:
        """Yield the rows of all photos in pages; their order is as good as random."""
        for page in self._pages(PHOTOS, progress, step):
            yield [PhotoRow(key, columns) for key, columns in page]

    def _pages(self, table: str, progress: Progress, step: str) -> Iterator[list[tuple[bytes, Columns]]]:
        """Yield all rows of a table in pages, and tell progress after each."""
        progress(step, 0, PARTS)
        for page in scan_pages(self.tables, table, b"", None, PAGE_ROWS):
            yield page
            progress(step, layout.part_before(page[-1][0], PARTS), PARTS)
        progress(step, PARTS, PARTS)

    def _put_entries(self, entries: Iterable[CellKey]) -> None:
        self.tables.put(OWNERS, [Cell(row, column, b"") for row, column in entries])

    def _stored_entries(self, entries: Iterable[CellKey]) -> dict[CellKey, int]:
        """Return those of these entries that exist, each with its `stored_us`."""
        wanted = set(entries)
        stored_us = stored_times(self.tables.get(OWNERS, list({row for row, _ in wanted})).items())
        return {entry: us for entry, us in stored_us.items() if entry in wanted}
