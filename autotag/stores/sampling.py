"""Sample: counting many rows by looking at a few."""

from __future__ import annotations

from collections.abc import Iterator

from autotag.stores import layout
from autotag.stores.tables import Columns, Tables

SAMPLE = 1000
"""Photos that a count looks at. Rows are digests, so the first ones are a random sample of all; what is estimated by
them is off by 1/sqrt(1000), some 3 %, for all photos, and by 1/sqrt(n) for a tag that n of them have."""


class Sample:
    """The rows of a range whose last 16 bytes are a digest: all, or the first `SAMPLE` and what each stands for.

    Digests are spread evenly, so how far the first k of them reach tells how many there are: (k - 1) / reach (the k
    minimum values estimator, Bar-Yossef et al. 2002).
    """

    def __init__(self, tables: Tables, table: str, start: bytes, stop: bytes | None) -> None:
        self._tables = tables
        self._table = table
        self._start = start
        self._stop = stop
        self.factor = 1.0
        """How many rows each one that was seen stands for; known when `pages` has ended."""

    def pages(self, *, every: bool) -> Iterator[list[tuple[bytes, Columns]]]:
        start = self._start
        while rows := self._tables.scan(self._table, start, self._stop, SAMPLE + 1):
            page = rows[:SAMPLE]
            yield page
            if len(rows) <= SAMPLE:
                return
            start = page[-1][0] + b"\0"
            if not every:
                reach = int.from_bytes(layout.entry_photo(page[-1][0]), "big") / 2**128
                self.factor = (SAMPLE - 1) / reach / SAMPLE
                return
