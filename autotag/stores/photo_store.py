"""PhotoStore: what is known of every photo, and the one view of it that readers get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import replace

from autotag.errors import ResultError, StoreError, TagError
from autotag.events.times import now_us
from autotag.stores import layout
from autotag.stores.responses import FoundPhoto, HistoryEntry, OwnerTags, Page, StoredPhoto, StoreStatus, TagCount
from autotag.stores.runs import RunTable
from autotag.stores.sampling import Sample
from autotag.stores.tables import OWNERS, PHOTOS, Cell, Columns, Tables, delete_as_read
from autotag.stores.tag_names import named_tag, tag_ids
from autotag.view.decisions import Action, Decision
from autotag.view.merge import View, Write, last_deletion_us, merge, stream_content_us, unreachable
from autotag.view.results import Deleted, Rejected, Tagged, check_result
from autotag.view.visibility import Visibility

MAX_FACT_BYTES = 1024 * 1024
"""Of one write, as JSON: some 10,000 tags."""
MAX_PERSON = 1000
"""Characters in the name of who decides."""


class PhotoStore:
    """Over any `Tables`; safe for many processes, and for the threads of each.

    Every method raises StoreError when the store is away. What was asked may then have been done in part; asking again
    does no harm, for any order, repetition or delay of the same writes ends in the same view.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.runs = RunTable(tables)

    # Writing

    def write(self, results: Sequence[Tagged | Rejected | Deleted]) -> dict[int, str]:
        """Write results, and what the index needs for them, durably once this returns.

        Returns:
            By its place in `results`: each that can never be written, and why. All others are written.
        """
        cells, refused = _cells(results)
        if not cells:
            return refused
        with self.tables.atomically():
            facts = list(cells.values())
            entries = self._entries([results[index] for index in cells], [])
            # After facts and entries: whoever decided or deleted before is seen here, and who does later sees us.
            turned_down, overrides = self.tables.put_then_get(
                [(PHOTOS, facts), (OWNERS, entries)], PHOTOS, list({cell.row for cell in facts}), b"o"
            )
            for index, cell in cells.items():
                result = results[index]
                if cell.row in turned_down:
                    refused[index] = turned_down[cell.row]
                elif cell.row in overrides and not isinstance(result, Deleted):
                    self._heed(result, cell, overrides[cell.row])
        return refused

    def _entries(self, results: Iterable[Write], decisions: Sequence[Decision]) -> list[Cell]:
        """What the index needs for results, and for decisions about their photo."""
        cells: list[Cell] = []
        for result in results:
            if isinstance(result, Tagged | Rejected):
                cells += layout.index_cells(result, decisions, everyone=self.tables.embedded)
        return cells

    def _heed(self, result: Tagged | Rejected, cell: Cell, overrides: Columns) -> None:
        """Make a result that is written, with its entries, follow what people decided and what was deleted."""
        deleted_us, decisions = _read_overrides(overrides)
        if decisions and result.content_us > deleted_us:
            self.tables.put(OWNERS, self._entries([result], decisions))
            overrides = self.tables.get(PHOTOS, [cell.row], b"o").get(cell.row, {})
            deleted_us, _ = _read_overrides(overrides)
        if result.content_us <= deleted_us:  # perhaps erased meanwhile: nothing of it is to stay
            entries = layout.index_cells(result, decisions, everyone=self.tables.embedded)
            self.remove_outlived(cell.row, deleted_us, map(_place, entries))

    def remove_outlived(
        self,
        photo: bytes,
        deleted_us: int,
        written: Iterable[tuple[bytes, bytes]] = (),
        spared: Set[bytes] = frozenset(),
    ) -> tuple[int, int]:
        """Remove what a deletion at `deleted_us` has put an end to, with its entries but for those in rows `spared`.

        Args:
            written: entries that the caller wrote, whose fact may be removed already.

        Returns:
            How many facts, but for earlier deletions, and how many entries were removed.
        """
        columns = self.tables.get(PHOTOS, [photo]).get(photo, {})
        facts = {column: layout.read_fact(column, one.value) for column, one in columns.items()}
        gone = {
            column: write
            for column, write in facts.items()
            if write.content_us < deleted_us or (write.content_us == deleted_us and not isinstance(write, Deleted))
        }
        entries = layout.entries(facts.values(), everyone=self.tables.embedded).union(written)
        entries = {entry for entry in entries if entry[0] not in spared}

        def lives(_: bytes, write: Write) -> bool:
            return write.content_us > deleted_us

        removed = self.remove_entries(photo, entries, lives)
        # The results last: by them the photo is known as its owner's, when this is asked again.
        self.remove_facts(photo, [column for column, one in gone.items() if isinstance(one, Deleted | Decision)])
        self.remove_facts(photo, gone)
        # Once more: somebody who was late may have written one again, and left it while the facts were there.
        self.remove_entries(photo, entries, lives)
        return sum(not isinstance(write, Deleted) for write in gone.values()), removed

    def remove_facts(self, photo: bytes, facts: Iterable[bytes]) -> None:
        """Remove facts, by their columns, of the photo of row `photo`; one that is written again meanwhile stays."""
        columns = self.tables.get(PHOTOS, [photo]).get(photo, {})
        found = {(photo, column): columns[column].stored_us for column in facts if column in columns}
        delete_as_read(self.tables, PHOTOS, found)

    def remove_entries(
        self,
        photo: bytes,
        entries: Iterable[tuple[bytes, bytes]],
        needs: Callable[[bytes, Write], bool] = lambda *_: True,
    ) -> int:
        """Remove those of these entries (row, column) that none of the photo's facts calls for; how many were there.

        Args:
            needs: whether a fact, given its column and itself, is one that can call for them.
        """
        wanted = set(entries)
        indexed = self.tables.get(OWNERS, [row for row, _ in wanted])
        # After the entries: whatever fact called for one of those is here by now. One that is written later stays.
        columns = self.tables.get(PHOTOS, [photo]).get(photo, {})
        facts = {column: layout.read_fact(column, one.value) for column, one in columns.items()}
        kept = [write for column, write in facts.items() if needs(column, write)]
        wanted -= layout.entries(kept, everyone=self.tables.embedded)
        stored_us = {
            (row, column): one.stored_us
            for row, found in indexed.items()
            for column, one in found.items()
            if (row, column) in wanted
        }
        delete_as_read(self.tables, OWNERS, stored_us)
        return len(stored_us)

    def decide(self, photo_id: str, tag: str, action: Action, by: str, *, new: bool = False) -> Decision:
        """Write a person's decision about a photo's tag, named by its display name (in any case) or its id.

        Args:
            new: a tag that no model has may be added; else it is an error, with the nearest names.

        Raises:
            TagError: there is no such photo or tag.
        """
        visibility = self.runs.read()
        if not 0 < len(by) <= MAX_PERSON or not by.isprintable():
            raise TagError(
                f"a decision needs to know by whom, in 1 to {MAX_PERSON} printable characters. Given: {by[:80]!r}"
            )
        with self.tables.atomically():
            writes = [write for write, _ in self._facts(photo_id)]
            view = merge(writes, visibility)
            if view is None:
                raise _unknown(photo_id)
            tag_id, name = named_tag(tag, view, visibility, new=new)
            last_us = max((write.decided_us for write in writes if isinstance(write, Decision)), default=0)
            decision = Decision(
                photo_id=photo_id,
                tag_id=tag_id,
                name=name,
                action=action,
                by=by,
                decided_us=max(now_us(), last_us + 1),
                content_us=_content_us(writes, view),
                implied=tuple(sorted(visibility.ancestors(tag_id))) if action is Action.ADD else (),
            )
            self._put_decision(decision, visibility)
        return decision

    def _put_decision(self, decision: Decision, visibility: Visibility) -> None:
        """Write a decision, and what it needs of the index; as in `write`, nothing of it stays where it is late."""
        cell = layout.fact_cell(decision)
        self.tables.put(PHOTOS, [cell])
        writes = [write for write, _ in self._facts(decision.photo_id)]
        # With what nobody can reach any more, somebody may be cleaning its entries away just now.
        lost = unreachable(writes, visibility)
        found = [write for write in writes if isinstance(write, Tagged | Rejected) and write not in lost]
        bare = [replace(write, tags=()) if isinstance(write, Tagged) else write for write in found]
        entries = layout.entries([decision, *bare], everyone=self.tables.embedded)
        self.tables.put(OWNERS, [Cell(row, column, b"") for row, column in entries])
        deleted_us, _ = _read_overrides(self.tables.get(PHOTOS, [cell.row], b"o").get(cell.row))
        if decision.content_us <= deleted_us:
            self.remove_outlived(cell.row, deleted_us, entries)
            raise _unknown(decision.photo_id)

    # Reading

    def get(self, photo_id: str) -> StoredPhoto | None:
        """What readers see of a photo; None when nothing is known of it, or it was deleted."""
        visibility = self.runs.read()
        facts = self._facts(photo_id)
        view = merge([write for write, _ in facts], visibility)
        if view is None:
            return None
        seen = {id(origin) for origin in view.origins}
        times = [stored_us for write, stored_us in facts if id(write) in seen or not seen]
        return StoredPhoto(view, max(times))

    def history(self, photo_id: str) -> list[HistoryEntry]:
        """All that was written about a photo and not cleaned away, the newest first."""
        visibility = self.runs.read()
        facts = self._facts(photo_id)
        view = merge([write for write, _ in facts], visibility)
        seen = {id(origin) for origin in view.origins} if view else set()
        entries = [HistoryEntry(write, stored_us, id(write) in seen) for write, stored_us in facts]
        return sorted(entries, key=lambda entry: entry.stored_us, reverse=True)

    def _facts(self, photo_id: str) -> list[tuple[Write, int]]:
        """All that was written about a photo, each with when it was stored."""
        row = layout.photo_row(photo_id)
        columns = self.tables.get(PHOTOS, [row]).get(row, {})
        return [(layout.read_fact(column, one.value, photo_id), one.stored_us) for column, one in columns.items()]

    def _views(self, rows: Sequence[bytes], visibility: Visibility) -> dict[bytes, View]:
        """What readers see of the photos in these rows, where they see any."""
        found = self.tables.get(PHOTOS, list(dict.fromkeys(rows)))
        views = ((row, merge(layout.read_facts(columns), visibility)) for row, columns in found.items())
        return {row: view for row, view in views if view}

    def search(self, tag: str, owner: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Photos that have a tag, named by its display name (in any case) or its id, newest content first.

        Costs at most 12 x `limit` entries of the index and 4 x `limit` photos, however many there are and however far
        the index is behind.

        Raises:
            StoreError: also for a cursor that no search gave, a limit below 1, and without an owner on a store of many
                machines.
        """
        if limit < 1:
            raise StoreError(f"the limit of a search must be 1 or more. Given: {limit!r}")
        if owner is None and not self.tables.embedded:
            raise StoreError(
                "a search here needs its owner (--owner): all owners' photos by one tag are too many for one server"
            )
        visibility = self.runs.read()
        ids = tag_ids(tag, visibility)
        after = None if cursor is None else _read_cursor(cursor)
        found: list[FoundPhoto] = []
        for _ in range(4):
            entries = self._entries_after(ids, owner, after, limit)
            for position, photo in self._checked(entries, owner, ids, visibility):
                found.append(photo)
                if len(found) == limit:
                    at_end = len(entries) < limit and position == entries[-1][0]
                    return Page(tuple(found), None if at_end else position.hex())
            if len(entries) < limit:
                return Page(tuple(found), None)
            after = entries[-1][0]
        return Page(tuple(found), entries[-1][0].hex())

    def _entries_after(
        self, ids: Iterable[str], owner: str | None, after: bytes | None, limit: int
    ) -> list[tuple[bytes, Columns]]:
        """The first `limit` entries of any of these tags after a position, each by its position, in order."""
        merged: dict[bytes, Columns] = {}
        for tag_id in ids:
            start, stop = layout.entry_range(owner, tag_id)
            start = start if after is None else start + after + b"\0"
            for row, columns in self.tables.scan(OWNERS, start, stop, limit):
                merged.setdefault(row[-layout.POSITION_BYTES :], {}).update(columns)
        return sorted(merged.items())[:limit]

    def _checked(
        self, entries: Sequence[tuple[bytes, Columns]], owner: str | None, ids: Collection[str], visibility: Visibility
    ) -> Iterator[tuple[bytes, FoundPhoto]]:
        """The photos that entries name, where their view has the tag, in that owner's hands, at that position."""
        seen = [one for one, columns in entries if any(visibility.sees(layout.run_of(column)) for column in columns)]
        views = self._views([layout.entry_photo(position) for position in seen], visibility)
        for position in seen:
            view = views.get(layout.entry_photo(position))
            if view and view.content_us == layout.entry_content_us(position) and owner in (None, view.owner):
                shown = [tag for tag in view.tags if tag.id in ids]
                if shown:
                    yield position, FoundPhoto(view, shown[0])

    def owner(self, owner: str, *, exact: bool = False) -> OwnerTags:
        """An owner's tags and how many photos have each.

        Costs `SAMPLE` photos at most, and is an estimate if there are more; with `exact`, each of them.
        """
        visibility = self.runs.read()
        start, stop = layout.member_range(owner)
        counts: Counter[str] = Counter()
        names: dict[str, str] = {}
        photos = 0
        sample = Sample(self.tables, OWNERS, start, stop)
        for rows in sample.pages(every=exact):
            for view in self._views([layout.entry_photo(row) for row, _ in rows], visibility).values():
                if view.owner == owner:
                    photos += 1
                    counts.update(tag.id for tag in view.tags)
                    names.update((tag.id, tag.name) for tag in view.tags)
        tags = [TagCount(id_, names[id_], round(count * sample.factor)) for id_, count in counts.items()]
        return OwnerTags(
            photos=round(photos * sample.factor),
            tags=tuple(sorted(tags, key=lambda one: (-one.photos, one.name, one.id))),
            exact=sample.factor == 1,
        )

    def status(self) -> StoreStatus:
        """The counts now; costs `SAMPLE` photos at most, and is an estimate if there are more."""
        visibility = self.runs.read()
        counts: Counter[str | None] = Counter()
        sample = Sample(self.tables, PHOTOS, b"", None)
        for rows in sample.pages(every=False):
            views = (merge(layout.read_facts(columns), visibility) for _, columns in rows)
            counts.update(view.rejected.reason if view.rejected else None for view in views if view and view.origins)
        found = {reason: round(count * sample.factor) for reason, count in counts.items()}
        tagged = found.pop(None, 0)
        return StoreStatus(tagged, {str(reason): count for reason, count in found.items()}, sample.factor == 1)

    def close(self) -> None:
        """Let go of the connection."""
        self.tables.close()


def _cells(results: Sequence[Tagged | Rejected | Deleted]) -> tuple[dict[int, Cell], dict[int, str]]:
    """The fact cell of each result, by its place; and of those that can be none, why."""
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


def _read_overrides(columns: Columns | None) -> tuple[int, list[Decision]]:
    """Of family o: the last deletion's time (-1 for none), and the decisions since."""
    writes = layout.read_facts(columns or {})
    deleted_us = last_deletion_us(writes)
    return deleted_us, [write for write in writes if isinstance(write, Decision) and write.content_us > deleted_us]


def _place(cell: Cell) -> tuple[bytes, bytes]:
    return cell.row, cell.column


def _unknown(photo_id: str) -> TagError:
    return TagError(f"nothing is stored of photo {photo_id!r}, so there is nothing to decide about")


def _content_us(writes: Sequence[Write], view: View) -> int:
    """The content version that a decision belongs to: the stream's, of which the deletion will be, where it lives."""
    content_us = stream_content_us(writes)
    return content_us if content_us > last_deletion_us(writes) else view.content_us


def _read_cursor(cursor: str) -> bytes:
    try:
        position = bytes.fromhex(cursor)
    except ValueError:
        position = b""
    if len(position) != layout.POSITION_BYTES:
        raise StoreError(f"the cursor was not given by a search. Given: {cursor[:100]!r}")
    return position
