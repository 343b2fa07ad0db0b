"""Sample: estimates the number of rows in a range from the first of them."""

from __future__ import annotations

from collections.abc import Iterator

from autotag.stores import layout
from autotag.stores.tables import Columns, Tables, scan_pages

SAMPLE = 1000
"""Rows that an estimate reads. Rows are digests, so the first ones are a random sample of all. The relative error is
1/sqrt(1000), some 3 %, for all photos, and 1/sqrt(n) for a tag that n photos of the sample have."""


class Sample:
    """The rows of a range, whose last 16 bytes are a digest: all of them, or the first `SAMPLE` with a factor.

    Digests are spread evenly, so the position of the k-th smallest estimates how many there are: (k - 1) / position,
    with positions from 0 to 1 (the k minimum values estimator, Bar-Yossef et al. 2002).
    """

    def __init__(self, tables: Tables, table: str, start: bytes, stop: bytes | None) -> None:
        self._tables = tables
        self._table = table
        self._start = start
        self._stop = stop
        self.factor = 1.0
        """The number of rows that each row of the sample stands for; set when `pages` has ended, 1 if it read all."""

    def pages(self, *, every: bool) -> Iterator[list[tuple[bytes, Columns]]]:
        """Yield all rows in pages if `every`, else one page of at most `SAMPLE` rows."""
        for page in scan_pages(self._tables, self._table, self._start, self._stop, SAMPLE + 1):
            if every or len(page) <= SAMPLE:
                yield page
                if len(page) <= SAMPLE:
                    return
            else:
                yield page[:SAMPLE]
                position = int.from_bytes(layout.entry_photo(page[SAMPLE - 1][0]), "big") / 2**128
                self.factor = (SAMPLE - 1) / position / SAMPLE
                return
