"""StoreCleaner: removes what no reader can reach any more, and erases a photo or an owner from every table.

Entries of the index are removed before the facts that they follow from. So cleaning and erasing, stopped at any moment,
find what is left when they are repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from autotag.events.times import now_us
from autotag.progress import Progress, silent
from autotag.stores import base, layout
from autotag.stores.base import StoreBase
from autotag.stores.photo_row import PhotoRow
from autotag.stores.runs import RunState
from autotag.stores.tables import OWNERS, PHOTOS, CellKey, delete_as_read, scan_pages, stored_times
from autotag.view.decisions import Decision
from autotag.view.merge import Write, unreachable
from autotag.view.results import Deleted, Rejected
from autotag.view.visibility import Visibility

GRACE_US = 3600 * 1_000_000
"""Younger writes are not cleaned away: a reader or writer that started before may still use them, and clocks differ."""


@dataclass
class RemovalCounts:
    """Numbers of what was removed."""

    photos: int = 0
    """Photos that `clean` read, or that `erase_photo` and `erase_owner` erased."""
    facts: int = 0
    entries: int = 0
    """Entries of the index."""
    put_back: int = 0
    """Entries that the index lacked."""


class _Plan(NamedTuple):
    """The cleaning of one photo."""

    row: PhotoRow
    facts: list[bytes]
    """Columns to remove."""
    entries: set[CellKey]
    """Entries to remove with them."""
    needed: set[CellKey]
    """Entries that the index must have."""


class StoreCleaner(StoreBase):
    """The part of the store that removes."""

    # Cleaning

    def clean(self, progress: Progress = silent, grace_us: int = GRACE_US) -> RemovalCounts:
        """Remove every write that no view can reach any more, and put back the entries that the index lacks.

        No view changes. Safe beside writers, and safe to kill at any moment. Reads all photos once, in pages.
        """
        until_us = self.runs.clock_us() - grace_us
        ended = [
            run.name
            for run in self.runs.runs()
            if run.state in (RunState.RETRACTED, RunState.DROPPED) and (run.ended_us or 0) <= until_us
        ]
        # Runs that ended within the grace are left: a reader may have begun before they ended.
        visibility = replace(self.runs.read(), ended=frozenset(ended))
        removed = RemovalCounts()
        for rows in self._photo_pages(progress, "cleaning"):
            self._clean([self._plan(row, visibility, until_us) for row in rows], until_us, removed)
        for run in ended:  # nothing of them is left, so readers need not know of them
            self.runs.archive(run)
        return removed

    def _plan(self, row: PhotoRow, visibility: Visibility, until_us: int) -> _Plan:
        lost = {id(write) for write in unreachable(row.writes, visibility)}
        old = {column: write for column, write in row.facts.items() if row.stored_us(column) <= until_us}
        facts = [column for column, write in old.items() if id(write) in lost]
        staying = self._index.entries(write for column, write in row.facts.items() if column not in facts)
        entries = self._index.entries(row.writes) - staying if facts else set()
        # The writer of a young fact may still be writing its entries, so only old facts' entries are put back.
        needed = self._index.entries(write for write in old.values() if id(write) not in lost)
        return _Plan(row, facts, entries, needed)

    def _clean(self, plans: Sequence[_Plan], until_us: int, removed: RemovalCounts) -> None:
        stored_us = self._stored_entries(entry for plan in plans for entry in plan.entries | plan.needed)
        # A fact goes with all its entries, or later: without the fact nobody can compute them.
        ripe = [plan for plan in plans if all(stored_us.get(entry, 0) <= until_us for entry in plan.entries)]
        entries = {entry: stored_us[entry] for plan in ripe for entry in plan.entries if entry in stored_us}
        facts = {key: us for plan in ripe for key, us in plan.row.cells(plan.facts).items()}
        delete_as_read(self.tables, OWNERS, entries)
        delete_as_read(self.tables, PHOTOS, facts)
        # A writer was killed between a fact and its entries, and the present view needs others.
        missing = [entry for plan in plans for entry in plan.needed - stored_us.keys()]
        self._put_entries(missing)
        removed.photos += len(plans)
        removed.facts += len(facts)
        removed.entries += len(entries)
        removed.put_back += len(missing)

    # Erasing

    def erase_photo(self, photo_id: str) -> RemovalCounts:
        """Remove everything about a photo, but for a mark: a digest of its id, and a time.

        By the mark, an event that is still under way cannot bring the photo back; an upload after it does.
        """
        return self._erase(photo_id, frozenset())

    def _erase(self, photo_id: str, spared: Set[bytes]) -> RemovalCounts:
        """Erase a photo, but for the rows `spared` of the index."""
        removed = RemovalCounts()
        with self.tables.atomically():
            row = self._photo(photo_id)
            mark_us = max([now_us(), *(write.content_us for write in row.writes)])
            # Before all else: a writer from now on finds the mark, and removes its own late cells.
            self.tables.put(PHOTOS, [layout.fact_cell(Deleted(photo_id=photo_id, content_us=mark_us))])
            removed.facts, removed.entries = self._remove_outlived(row.key, mark_us, spared=spared)
        removed.photos = int(removed.facts > 0)
        return removed

    def erase_owner(self, owner: str, progress: Progress = silent) -> RemovalCounts:
        """Remove everything about an owner; if interrupted, call it again.

        Each photo that is the owner's now is erased as a whole, its writes from before it was the owner's included. Of
        a photo that is another owner's by now, the writes from when it was this owner's are removed.
        """
        removed = RemovalCounts()
        visibility = self.runs.read()
        done = 0
        for rows in scan_pages(self.tables, OWNERS, *layout.owner_range(owner), base.PAGE_ROWS):
            for photo in self._rows(layout.entry_photo(key) for key, _ in rows):
                self._erase_for_owner(owner, photo, visibility, removed)
            # Last: the photos are found by these entries. Some entries have no photo any more.
            delete_as_read(self.tables, OWNERS, stored_times(rows))
            removed.entries += sum(layout.is_member(key) for key, _ in rows)
            done += len(rows)
            progress("erasing", done)
        return removed

    def _erase_for_owner(self, owner: str, photo: PhotoRow, visibility: Visibility, removed: RemovalCounts) -> None:
        results = photo.results
        own = {column: write for column, write in results.items() if write.owner == owner}
        if not own:
            return
        seen = [write for write in results.values() if isinstance(write, Rejected) or visibility.sees(write.run)]
        newest_us = max((write.content_us for write in seen), default=0)
        member = layout.member_row(layout.owner_part(owner), photo.key)
        photo_id = next(iter(own.values())).photo_id
        removed.photos += 1
        if len(own) == len(results) or {owner} == {write.owner for write in seen if write.content_us == newest_us}:
            # As a whole: what it was in other hands before must not be seen again.
            erased = self._erase(photo_id, {member})
            removed.facts += erased.facts
            removed.entries += erased.entries
            return
        others_us = min(write.content_us for write in results.values() if write.owner != owner)
        if (own_us := max(write.content_us for write in own.values())) < others_us:
            # The photo was this owner's first. A mark for that time stops the events that are still under way.
            self.tables.put(PHOTOS, [layout.fact_cell(Deleted(photo_id=photo_id, content_us=own_us))])
        entries = self._index.entries([*own.values(), *photo.all_decisions])
        removed.facts += len(own)
        removed.entries += self._remove_entries(
            photo.key, {entry for entry in entries if entry[0] != member}, lambda column, _: column not in own
        )
        self._remove_facts(photo.key, own)

    def count_traces(self, photo_id: str | None = None, owner: str | None = None, progress: Progress = silent) -> int:
        """Return how many cells, of all tables, tell anything about a photo or an owner. Reads all of both tables.

        The mark of an erased photo is not counted: without the photo's id it tells nothing.
        """
        count = 0
        photo = layout.photo_row(photo_id) if photo_id is not None else None
        owners = layout.owner_range(owner)[0] if owner is not None else None
        for page in self._pages(OWNERS, progress, "reading the index"):
            count += sum(
                len(columns)
                for key, columns in page
                if layout.entry_photo(key) == photo or (owners is not None and key.startswith(owners))
            )
        for rows in self._photo_pages(progress, "reading the photos"):
            for row in rows:
                if row.key == photo:
                    count += sum(not isinstance(write, Deleted) for write in row.writes)
                elif owner is not None:
                    count += sum(write.owner == owner for write in row.results.values())
        return count

    # Removing from one photo, for cleaning and for writers that were late

    def _remove_outlived(
        self, photo: bytes, deleted_us: int, written: Iterable[CellKey] = (), spared: Set[bytes] = frozenset()
    ) -> tuple[int, int]:
        """Remove the writes that a deletion at `deleted_us` ended, and their entries but for those in rows `spared`.

        Args:
            photo: the photo's row.
            written: entries that the caller wrote, whose fact may be removed already.

        Returns:
            How many facts, earlier deletions not counted, and how many entries were removed.
        """
        row = self._row(photo)
        ended = {
            column: write
            for column, write in row.facts.items()
            if write.content_us < deleted_us or (write.content_us == deleted_us and not isinstance(write, Deleted))
        }
        entries = self._index.entries(row.writes).union(written)
        entries = {entry for entry in entries if entry[0] not in spared}

        def lives(_: bytes, write: Write) -> bool:
            return write.content_us > deleted_us

        removed = self._remove_entries(photo, entries, lives)
        # The results last: a repeated erase finds the photo as its owner's by them.
        self._remove_facts(photo, [column for column, one in ended.items() if isinstance(one, Deleted | Decision)])
        self._remove_facts(photo, ended)
        # Once more: a late writer may have written an entry again, and left it while the facts were there.
        self._remove_entries(photo, entries, lives)
        return sum(not isinstance(write, Deleted) for write in ended.values()), removed

    def _remove_facts(self, photo: bytes, facts: Iterable[bytes]) -> None:
        """Remove facts, by their columns, from the row `photo`; one that is written again meanwhile stays."""
        delete_as_read(self.tables, PHOTOS, self._row(photo).cells(facts))

    def _remove_entries(self, photo: bytes, entries: Iterable[CellKey], keeps: Callable[[bytes, Write], bool]) -> int:
        """Remove those of these entries that no fact of the photo needs; return how many existed.

        Args:
            keeps: returns True for a fact, given its column and its write, that may keep the entries it needs.
        """
        stored_us = self._stored_entries(entries)
        # After the entries: a fact that needed one of them when it was read is here by now. A later entry stays.
        facts = self._row(photo).facts
        needed = self._index.entries(write for column, write in facts.items() if keeps(column, write))
        unneeded = {entry: us for entry, us in stored_us.items() if entry not in needed}
        delete_as_read(self.tables, OWNERS, unneeded)
        return len(unneeded)
