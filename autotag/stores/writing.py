"""StoreWriter: writes results and people's decisions, with the entries of the index that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotag.errors import ResultError, TagError
from autotag.events.times import now_us
from autotag.stores import layout
from autotag.stores.cleanup import StoreCleaner
from autotag.stores.photo_row import PhotoRow
from autotag.stores.tables import OWNERS, PHOTOS, Cell
from autotag.stores.tag_names import named_tag
from autotag.view.decisions import Action, Decision
from autotag.view.merge import View, stream_content_us, unreachable
from autotag.view.results import Deleted, Rejected, Tagged, check_result
from autotag.view.visibility import Visibility

MAX_FACT_BYTES = 1024 * 1024
"""Bytes of one write as JSON: some 10,000 tags."""
MAX_PERSON = 1000
"""Characters in the name of the person who decides."""


class StoreWriter(StoreCleaner):
    """The part of the store that writes. A write that comes after a deletion removes its own cells."""

    def write(self, results: Sequence[Tagged | Rejected | Deleted]) -> dict[int, str]:
        """Write results, and the entries that they need, durably once this returns.

        Returns:
            The reason, by its index in `results`, for each result that can never be written. All others are written.
        """
        cells, refused = _cells(results)
        if not cells:
            return refused
        with self.tables.atomically():
            facts = list(cells.values())
            entries = [entry for index in cells for entry in self._index.cells(results[index])]
            # Decisions and deletions are read after facts and entries are written: an earlier one is seen here, and
            # the writer of a later one sees these facts.
            refused_rows, overrides = self.tables.put_then_get(
                [(PHOTOS, facts), (OWNERS, entries)], PHOTOS, list({cell.row for cell in facts}), layout.OVERRIDES
            )
            for index, cell in cells.items():
                result = results[index]
                if cell.row in refused_rows:
                    refused[index] = refused_rows[cell.row]
                elif cell.row in overrides and not isinstance(result, Deleted):
                    self._follow(PhotoRow(cell.row, overrides[cell.row]), result)
        return refused

    def _follow(self, overrides: PhotoRow, result: Tagged | Rejected) -> None:
        """Make a written result, with its entries, follow the decisions and deletions in its row's family o."""
        decisions = overrides.decisions
        if decisions and result.content_us > overrides.deleted_us:
            self.tables.put(OWNERS, self._index.cells(result, decisions))
            overrides = self._row(overrides.key, layout.OVERRIDES)
        if result.content_us <= overrides.deleted_us:  # perhaps erased meanwhile: nothing of it may stay
            entries = self._index.entries([result, *decisions])
            self._remove_outlived(overrides.key, overrides.deleted_us, entries)

    def decide(self, photo_id: str, tag: str, action: Action, by: str, *, new: bool = False) -> Decision:
        """Write a person's decision about a photo's tag.

        Args:
            tag: the tag's display name, in any case, or its id.
            by: the person's name.
            new: accept a tag that no model has.

        Raises:
            UnknownTagError: no model has the tag, and `new` is false.
            TagError: nothing is stored about the photo, or a name is none.
        """
        visibility = self.runs.read()
        if not 0 < len(by) <= MAX_PERSON or not by.isprintable():
            raise TagError(
                f"a decision needs the name of a person, 1 to {MAX_PERSON} printable characters. Given: {by[:80]!r}"
            )
        with self.tables.atomically():
            row = self._photo(photo_id)
            view = row.view(visibility)
            if view is None:
                raise _nothing_stored(photo_id)
            tag_id, name = named_tag(tag, view, visibility, new=new)
            last_us = max((decision.decided_us for decision in row.all_decisions), default=0)
            decision = Decision(
                photo_id=photo_id,
                tag_id=tag_id,
                name=name,
                action=action,
                by=by,
                decided_us=max(now_us(), last_us + 1),
                content_us=_content_us(row, view),
                implied=tuple(sorted(visibility.ancestors(tag_id))) if action is Action.ADD else (),
            )
            self._put_decision(decision, visibility)
        return decision

    def _put_decision(self, decision: Decision, visibility: Visibility) -> None:
        """Write a decision and its entries; where a deletion came first, remove them and raise TagError."""
        self.tables.put(PHOTOS, [layout.fact_cell(decision)])
        row = self._photo(decision.photo_id)
        # A cleaner may just be removing the entries of unreachable writes, so nothing is added to those.
        lost = unreachable(row.writes, visibility)
        reachable = [write for write in row.results.values() if write not in lost]
        without_tags = [replace(write, tags=()) if isinstance(write, Tagged) else write for write in reachable]
        entries = self._index.entries([decision, *without_tags])
        self._put_entries(entries)
        overrides = self._row(row.key, layout.OVERRIDES)
        if decision.content_us <= overrides.deleted_us:
            self._remove_outlived(row.key, overrides.deleted_us, entries)
            raise _nothing_stored(decision.photo_id)


def _cells(results: Sequence[Tagged | Rejected | Deleted]) -> tuple[dict[int, Cell], dict[int, str]]:
    """Return the fact cell of each result, by its index; and the reason for each result that can have none."""
    cells: dict[int, Cell] = {}
    refused: dict[int, str] = {}
    for index, result in enumerate(results):
        try:
            check_result(result)
            cell = layout.fact_cell(result)
        except ResultError as error:
            refused[index] = str(error)
            continue
        if len(cell.value) > MAX_FACT_BYTES:
            refused[index] = f"it has {len(cell.value)} bytes; at most {MAX_FACT_BYTES} are stored of one result"
        else:
            cells[index] = cell
    return cells, refused


def _nothing_stored(photo_id: str) -> TagError:
    return TagError(f"nothing is stored of photo {photo_id!r}, so there is nothing to decide about")


def _content_us(row: PhotoRow, view: View) -> int:
    """Return the content version of a decision: the stream's if not deleted, for deletions refer to that one."""
    content_us = stream_content_us(row.writes)
    return content_us if content_us > row.deleted_us else view.content_us
