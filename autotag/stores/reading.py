"""StoreReader: photos as readers see them, one by one, by tag, by owner, and all of them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from autotag.errors import StoreError
from autotag.progress import Progress, silent
from autotag.stores import layout
from autotag.stores.base import StoreBase
from autotag.stores.photo_row import PhotoRow
from autotag.stores.responses import (
    DecidedPhoto,
    FoundPhoto,
    HistoryEntry,
    OwnerTags,
    Page,
    StoredPhoto,
    StoreStatus,
    TagCount,
)
from autotag.stores.sampling import Sample
from autotag.stores.tables import OWNERS, PHOTOS, Columns
from autotag.stores.tag_names import synonym_ids, tag_ids
from autotag.view.merge import View
from autotag.view.tag_order import split_categories
from autotag.view.visibility import Visibility

SEARCH_ROUNDS = 4
"""A search reads so many times its limit of entries before it returns a short page."""


class StoreReader(StoreBase):
    """The part of the store that reads."""

    def get(self, photo_id: str) -> StoredPhoto | None:
        """Return what readers see of a photo; None when nothing is stored about it, or it was deleted."""
        visibility = self.runs.read()
        row = self._photo(photo_id)
        view = row.view(visibility)
        return StoredPhoto(view, row.shown_us(view)) if view else None

    def history(self, photo_id: str) -> list[HistoryEntry]:
        """Return every write about a photo that was not cleaned away, the last stored first."""
        visibility = self.runs.read()
        return self._photo(photo_id).history(visibility)

    def stored_ids(self, photo_ids: Collection[str]) -> set[str]:
        """Return those of these photos about which anything is stored, a deletion too. Costs one get."""
        rows = {layout.photo_row(photo_id): photo_id for photo_id in photo_ids}
        return {rows[row.key] for row in self._rows(rows)}

    def views(self, photo_ids: Iterable[str]) -> dict[str, View]:
        """Return what readers see of these photos, by id; photos that they do not see are missing. Costs one get."""
        visibility = self.runs.read()
        rows = self._rows(map(layout.photo_row, photo_ids))
        return {view.photo_id: view for row in rows if (view := row.view(visibility))}

    def photos(self, progress: Progress = silent) -> Iterator[list[View]]:
        """Yield all photos as readers see them, in pages; the order is as good as random. Reads the table once."""
        visibility = self.runs.read()
        for page in self._photo_pages(progress, "reading the store"):
            yield [view for row in page if (view := row.view(visibility))]

    def newest_photos(self, count: int, progress: Progress = silent) -> list[View]:
        """Return the photos of the newest content that have an address, the newest first. Reads the table once.

        Photos that no machine could tag are none of them.
        """
        pages = self.photos(progress)
        found = (view for page in pages for view in page if view.uri and not view.rejected)
        return heapq.nlargest(count, found, key=lambda view: (view.content_us, view.photo_id))

    def decided_photos(self, progress: Progress = silent) -> Iterator[DecidedPhoto]:
        """Yield every photo that people decided about, unless it was deleted since. Reads the table once."""
        visibility = self.runs.read()
        for page in self._photo_pages(progress, "reading decisions"):
            for row in page:
                if photo := row.decided(visibility):
                    yield photo

    def search(self, tag: str, owner: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return photos that have a tag or are in a category, newest content first.

        Costs at most 12 x `limit` entries of the index and 4 x `limit` photos, however many there are and however far
        the index is behind.

        Args:
            tag: the tag's or category's display name, in any case, or its id. Where no class is called so, a synonym or
                a name in any language, besides people's own tags of that name.
            owner: None searches the photos of all owners, in an embedded store only.
            cursor: the cursor of the page before.

        Raises:
            StoreError: also for a cursor that no search returned, for a limit below 1, and without an owner in a store
                that is not embedded.
        """
        if limit < 1:
            raise StoreError(f"the limit of a search must be 1 or more. Given: {limit!r}")
        if owner is None and not self.tables.embedded:
            raise StoreError(
                "a search in this store needs an owner (--owner): the photos of all owners by one tag are too many for "
                "one server"
            )
        visibility = self.runs.read()
        ids = [*tag_ids(tag, visibility), *synonym_ids(tag, visibility.classes)]
        after = None if cursor is None else _read_cursor(cursor)
        found: list[FoundPhoto] = []
        for _ in range(SEARCH_ROUNDS):
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
        """Return the first `limit` entries of any of these tags after a position, each with its position, in order."""
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
        """Yield the photos whose view has the owner, content version and tag of an entry, each with its position."""
        seen = [one for one, columns in entries if any(visibility.sees(layout.entry_run(column)) for column in columns)]
        rows = self._rows(map(layout.entry_photo, seen))
        views = {row.key: view for row in rows if (view := row.view(visibility))}
        for position in seen:
            view = views.get(layout.entry_photo(position))
            if view and view.content_us == layout.entry_content_us(position) and owner in (None, view.owner):
                shown = [tag for tag in view.tags if tag.id in ids]
                if shown:
                    yield position, FoundPhoto(view, shown[0])

    def owner(self, owner: str, *, exact: bool = False) -> OwnerTags:
        """Return an owner's categories and tags, with the number of photos that have each.

        Reads at most `SAMPLE` photos, and estimates where there are more; with `exact`, reads all.
        """
        visibility = self.runs.read()
        start, stop = layout.member_range(owner)
        counts: Counter[str] = Counter()
        names: dict[str, str] = {}
        photos = 0
        sample = Sample(self.tables, OWNERS, start, stop)
        for page in sample.pages(every=exact):
            for row in self._rows(layout.entry_photo(key) for key, _ in page):
                view = row.view(visibility)
                if view and view.owner == owner:
                    photos += 1
                    counts.update(tag.id for tag in view.tags)
                    names.update((tag.id, tag.name) for tag in view.tags)
        counted = [TagCount(id_, names[id_], round(count * sample.factor)) for id_, count in counts.items()]
        tags, categories = split_categories(sorted(counted, key=lambda one: (-one.photos, one.name, one.id)))
        return OwnerTags(
            photos=round(photos * sample.factor),
            categories=tuple(categories),
            tags=tuple(tags),
            exact=sample.factor == 1,
        )

    def status(self) -> StoreStatus:
        """Return the numbers of tagged and rejected photos; reads at most `SAMPLE`, and estimates if there are more."""
        visibility = self.runs.read()
        counts: Counter[str | None] = Counter()
        sample = Sample(self.tables, PHOTOS, b"", None)
        for page in sample.pages(every=False):
            views = (PhotoRow(key, columns).view(visibility) for key, columns in page)
            counts.update(view.rejected.reason if view.rejected else None for view in views if view and view.origins)
        totals = {reason: round(count * sample.factor) for reason, count in counts.items()}
        tagged = totals.pop(None, 0)
        return StoreStatus(tagged, {str(reason): count for reason, count in totals.items()}, sample.factor == 1)


def _read_cursor(cursor: str) -> bytes:
    try:
        position = bytes.fromhex(cursor)
    except ValueError:
        position = b""
    if len(position) != layout.POSITION_BYTES:
        raise StoreError(f"the cursor is none that a search returned. Given: {cursor[:100]!r}")
    return position
