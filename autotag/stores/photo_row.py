"""PhotoRow: everything that was written about one photo."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from autotag.stores import layout
from autotag.stores.responses import DecidedPhoto, HistoryEntry
from autotag.stores.tables import CellKey, Columns
from autotag.view.decisions import Decision
from autotag.view.merge import View, Write, last_deletion_us, merge
from autotag.view.results import Rejected, Tagged
from autotag.view.visibility import Visibility


class PhotoRow:
    """A row of table ``photos``, or one column family of it. Each column holds a fact: one write about the photo.

    Args:
        key: the row's key; see `layout.photo_row`.
        columns: the row as it was read; empty where nothing is stored about the photo.
        photo_id: the photo's id, where the caller knows it: a deletion's cell does not hold it.
    """

    def __init__(self, key: bytes, columns: Columns, photo_id: str = "") -> None:
        self.key = key
        self._columns = columns
        self._photo_id = photo_id

    @cached_property
    def facts(self) -> dict[bytes, Write]:
        """Each write, by its column."""
        return {column: layout.read_fact(column, cell.value, self._photo_id) for column, cell in self._columns.items()}

    @property
    def writes(self) -> list[Write]:
        """All writes, in no order."""
        return list(self.facts.values())

    @property
    def results(self) -> dict[bytes, Tagged | Rejected]:
        """Tags and rejections, by column."""
        return {column: write for column, write in self.facts.items() if isinstance(write, Tagged | Rejected)}

    @cached_property
    def deleted_us(self) -> int:
        """The time of the last deletion, microseconds since 1970; -1 where there was none."""
        return last_deletion_us(self.facts.values())

    @property
    def has_decisions(self) -> bool:
        """True if a person ever decided about the photo. Costs no parsing."""
        return any(column.startswith(layout.DECISION) for column in self._columns)

    @property
    def all_decisions(self) -> list[Decision]:
        """People's decisions, those before a deletion included."""
        return [write for write in self.facts.values() if isinstance(write, Decision)]

    @property
    def decisions(self) -> list[Decision]:
        """People's decisions since the last deletion."""
        return [decision for decision in self.all_decisions if decision.content_us > self.deleted_us]

    def stored_us(self, column: bytes) -> int:
        """Return when a fact was last written, microseconds since 1970 by the database's clock."""
        return self._columns[column].stored_us

    def cells(self, columns: Iterable[bytes]) -> dict[CellKey, int]:
        """Return those of these columns that exist, as cells with their `stored_us`, for `delete_as_read`."""
        return {(self.key, one): self._columns[one].stored_us for one in columns if one in self._columns}

    def view(self, visibility: Visibility) -> View | None:
        """Return what readers see of the photo; None where nothing is stored, or it was deleted."""
        return merge(self.facts.values(), visibility)

    def shown_us(self, view: View) -> int:
        """Return when the newest write that readers see in this row's `view` was stored."""
        seen = {id(origin) for origin in view.origins}
        return max(self.stored_us(column) for column, write in self.facts.items() if id(write) in seen or not seen)

    def decided(self, visibility: Visibility) -> DecidedPhoto | None:
        """Return the photo with people's decisions about it; None where there are none, or readers see no photo."""
        if not self.has_decisions or not (decisions := self.decisions):
            return None
        view = self.view(visibility)
        return DecidedPhoto(view, decisions) if view else None

    def history(self, visibility: Visibility) -> list[HistoryEntry]:
        """Return all writes, the last stored first."""
        view = self.view(visibility)
        seen = {id(origin) for origin in view.origins} if view else set()
        entries = [
            HistoryEntry(write, self.stored_us(column), id(write) in seen) for column, write in self.facts.items()
        ]
        return sorted(entries, key=lambda entry: entry.stored_us, reverse=True)
