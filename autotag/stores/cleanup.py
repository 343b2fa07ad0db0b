"""What removes: cleaning away what no reader can reach any more, and erasing a photo or an owner from every table.

Both delete the index before the facts that it follows from, so that either, ended at any moment, can be asked again and
finds what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from autotag.events.times import now_us
from autotag.stores import layout
from autotag.stores.photo_store import PhotoStore
from autotag.stores.runs import RunState
from autotag.stores.tables import OWNERS, PHOTOS, Cell, Columns, delete_as_read
from autotag.view.decisions import Decision
from autotag.view.merge import unreachable
from autotag.view.results import Deleted, Rejected, Tagged
from autotag.view.visibility import Visibility

BATCH_ROWS = 500
"""Photos looked at between two signs of progress."""
GRACE_US = 3600 * 1_000_000
"""Nothing younger is cleaned: a reader or writer that began before may be about to use it, and clocks differ."""

Watch = Callable[[float], None]
"""Is told which part of all rows has been gone through, from 0 to 1."""


@dataclass
class Removed:
    """What was removed."""

    photos: int = 0
    """Looked at by `clean`; erased by `erase_owner`."""
    facts: int = 0
    entries: int = 0
    """Of the index."""
    put_back: int = 0
    """Entries that the index lacked."""


def clean(store: PhotoStore, watch: Watch = lambda _: None, grace_us: int = GRACE_US) -> Removed:
    """Remove what no view can reach any more, of all photos, in batches; and put back what the index lacks.

    Safe while others write, and to be killed at any moment: no view changes by it. Costs one pass over all photos.
    """
    until_us = store.runs.clock_us() - grace_us
    runs = _settled(store, until_us)
    visibility = replace(store.runs.read(), ended=frozenset(runs))
    removed = Removed()
    for rows in _pages(store, PHOTOS):
        _clean(store, rows, visibility, until_us, removed)
        watch(_part(rows[-1][0]))
    for run in runs:  # nothing of them is left, so readers need not know of them
        store.runs.archive(run)
    return removed


def _clean(
    store: PhotoStore, rows: Sequence[tuple[bytes, Columns]], visibility: Visibility, until_us: int, removed: Removed
) -> None:
    """Clean these photos, and put back what the index lacks of what they keep."""
    everyone = store.tables.embedded
    found = {row: _sorted(columns, visibility, until_us, everyone=everyone) for row, columns in rows}
    places = {entry for one in found.values() for entry in one.unneeded | one.needed}
    indexed = store.tables.get(OWNERS, list({row for row, _ in places}))
    stored_us = {(row, column): one.stored_us for row, columns in indexed.items() for column, one in columns.items()}
    # A fact goes with all its entries, or later: without it nobody knows which they are.
    ripe = {row: one for row, one in found.items() if all(stored_us.get(e, 0) <= until_us for e in one.unneeded)}
    entries = {entry: stored_us[entry] for one in ripe.values() for entry in one.unneeded if entry in stored_us}
    facts = {
        (row, column): columns[column].stored_us for row, columns in rows if row in ripe for column in ripe[row].gone
    }
    delete_as_read(store.tables, OWNERS, entries)
    delete_as_read(store.tables, PHOTOS, facts)
    # Somebody was killed between a fact and its entries, and what came of it later has others.
    missing = [Cell(row, column, b"") for one in found.values() for row, column in one.needed - stored_us.keys()]
    store.tables.put(OWNERS, missing)
    removed.photos += len(rows)
    removed.facts += len(facts)
    removed.entries += len(entries)
    removed.put_back += len(missing)


def _settled(store: PhotoStore, until_us: int) -> list[str]:
    """The runs that readers have not seen for a while, and will not again."""
    return [
        run.name
        for run in store.runs.runs()
        if run.state in (RunState.RETRACTED, RunState.DROPPED) and (run.ended_us or 0) <= until_us
    ]


class _Sorted(NamedTuple):
    """What is to be done about one photo: its columns that go, the entries that go with them, those that must be."""

    gone: list[bytes]
    unneeded: set[tuple[bytes, bytes]]
    needed: set[tuple[bytes, bytes]]


def _sorted(columns: Columns, visibility: Visibility, until_us: int, *, everyone: bool) -> _Sorted:
    facts = {column: layout.read_fact(column, one.value) for column, one in columns.items()}
    lost = {id(write) for write in unreachable(list(facts.values()), visibility)}
    gone = [column for column, write in facts.items() if id(write) in lost and columns[column].stored_us <= until_us]
    kept = layout.entries([write for column, write in facts.items() if column not in gone], everyone=everyone)
    unneeded = layout.entries(facts.values(), everyone=everyone) - kept if gone else set()
    # Of what was written just now, the writer is still at the entries.
    old = [write for column, write in facts.items() if id(write) not in lost and columns[column].stored_us <= until_us]
    return _Sorted(gone, unneeded, layout.entries(old, everyone=everyone))


# Erasing


def erase_photo(store: PhotoStore, photo_id: str) -> Removed:
    """Remove everything about a photo. What stays is a digest of its id and a time: the mark by which an event that is
    still under way cannot bring it back; an upload from now on does.
    """
    return _erase(store, photo_id, frozenset())


def _erase(store: PhotoStore, photo_id: str, spared: Set[bytes]) -> Removed:
    """Erase a photo, but for the rows `spared` of the index."""
    removed = Removed()
    row = layout.photo_row(photo_id)
    with store.tables.atomically():
        columns = store.tables.get(PHOTOS, [row]).get(row, {})
        mark_us = max([now_us(), *(write.content_us for write in layout.read_facts(columns))])
        # Before all else: who writes from now on finds it, and takes back what is late.
        store.tables.put(PHOTOS, [layout.fact_cell(Deleted(photo_id=photo_id, content_us=mark_us))])
        removed.facts, removed.entries = store.remove_outlived(row, mark_us, spared=spared)
    removed.photos = int(removed.facts > 0)
    return removed


def erase_owner(store: PhotoStore, owner: str, watch: Callable[[int], None] = lambda _: None) -> Removed:
    """Remove everything about an owner: each of the owner's photos, also what is known of it from before it was this
    owner's; and of photos that are another's since, what was written while they were this owner's. Asked again after it
    was interrupted, it goes on.
    """
    removed = Removed()
    visibility = store.runs.read()
    start, stop = layout.owner_range(owner)
    while rows := store.tables.scan(OWNERS, start, stop, BATCH_ROWS):
        photos = store.tables.get(PHOTOS, list(dict.fromkeys(layout.entry_photo(row) for row, _ in rows)))
        for photo, columns in photos.items():
            _erase_for_owner(store, owner, photo, columns, visibility, removed)
        # Last, for by them the photos are found; and some have no photo any more.
        read = {(row, column): one.stored_us for row, columns in rows for column, one in columns.items()}
        delete_as_read(store.tables, OWNERS, read)
        removed.entries += sum(layout.is_member(row) for row, _ in rows)
        watch(len(rows))
        start = rows[-1][0] + b"\0"
    return removed


def _erase_for_owner(
    store: PhotoStore, owner: str, photo: bytes, columns: Columns, visibility: Visibility, removed: Removed
) -> None:
    facts = {column: layout.read_fact(column, one.value) for column, one in columns.items()}
    results = {column: write for column, write in facts.items() if isinstance(write, Tagged | Rejected)}
    own = {column: write for column, write in results.items() if write.owner == owner}
    if not own:
        return
    seen = [write for write in results.values() if isinstance(write, Rejected) or visibility.sees(write.run)]
    newest_us = max((write.content_us for write in seen), default=0)
    member = layout.member_row(owner, photo)
    photo_id = next(iter(own.values())).photo_id
    removed.photos += 1
    if len(own) == len(results) or {owner} == {write.owner for write in seen if write.content_us == newest_us}:
        # As a whole: what it was in other hands before must not be seen again.
        erased = _erase(store, photo_id, {member})
        removed.facts += erased.facts
        removed.entries += erased.entries
        return
    kept_us = min(write.content_us for write in results.values() if write.owner != owner)
    if (own_us := max(write.content_us for write in own.values())) < kept_us:
        # It was this owner's before: a mark for that time, for what is still under way.
        store.tables.put(PHOTOS, [layout.fact_cell(Deleted(photo_id=photo_id, content_us=own_us))])
    decisions = [write for write in facts.values() if isinstance(write, Decision)]
    entries = layout.entries([*own.values(), *decisions], everyone=store.tables.embedded)
    entries = {entry for entry in entries if entry[0] != member}
    removed.facts += len(own)
    removed.entries += store.remove_entries(photo, entries, lambda column, _: column not in own)
    store.remove_facts(photo, own)


def traces(
    store: PhotoStore, photo_id: str | None = None, owner: str | None = None, watch: Watch = lambda _: None
) -> int:
    """How many cells of any table say anything of a photo or an owner, found by reading all of them.

    The mark of an erased photo is not counted: it says nothing to who does not know the id.
    """
    count = 0
    photo = layout.photo_row(photo_id) if photo_id is not None else None
    owners = layout.owner_range(owner)[0] if owner is not None else None
    for rows in _pages(store, OWNERS):
        count += sum(
            len(columns)
            for row, columns in rows
            if layout.entry_photo(row) == photo or (owners is not None and row.startswith(owners))
        )
        watch(_part(rows[-1][0]) / 2)
    for rows in _pages(store, PHOTOS):
        for row, columns in rows:
            values = [layout.read_fact(column, one.value) for column, one in columns.items() if one.value]
            if row == photo:
                count += len(values)
            elif owner is not None:
                count += sum(isinstance(write, Tagged | Rejected) and write.owner == owner for write in values)
        watch((1 + _part(rows[-1][0])) / 2)
    return count


def _pages(store: PhotoStore, table: str) -> Iterator[list[tuple[bytes, Columns]]]:
    start = b""
    while rows := store.tables.scan(table, start, None, BATCH_ROWS):
        yield rows
        start = rows[-1][0] + b"\0"


def _part(row: bytes) -> float:
    """How far a row is on the way from the first to the last: rows begin with a digest."""
    return int.from_bytes(row[:4], "big") / 2**32
