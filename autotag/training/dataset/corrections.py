"""People's decisions in the store, as labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from autotag.stores import PhotoStore, layout
from autotag.stores.tables import PHOTOS
from autotag.training.dataset.labels import FALSE, TRUE
from autotag.view.decisions import Action, Decision, verdicts
from autotag.view.merge import Write, last_deletion_us, merge
from autotag.view.visibility import Visibility

PAGE_ROWS = 500


class Corrected(NamedTuple):
    """A photo that people decided about, and what stands of it."""

    photo_id: str
    uri: str
    """Empty where nobody said."""
    values: dict[str, int]
    """By tag: TRUE where it was added, or one that it contains; FALSE where it was removed."""
    names: dict[str, str]
    """What each tag was called."""


def corrections(store: PhotoStore, watch: Callable[[float], None] = lambda _: None) -> Iterator[Corrected]:
    """Every photo that people decided about and that is not deleted. Reads all photos once, in pages.

    Args:
        watch: is told which part of all photos has been gone through, from 0 to 1.
    """
    visibility = store.runs.read()
    start = b""
    while rows := store.tables.scan(PHOTOS, start, None, PAGE_ROWS):
        for _, columns in rows:
            # As layout.py has it: most photos have no decision, and need not be read.
            is_decided = any(column.startswith(b"o:p.") for column in columns)
            if is_decided and (found := corrected(layout.read_facts(columns), visibility)):
                yield found
        watch(int.from_bytes(rows[-1][0][:4], "big") / 2**32)
        start = rows[-1][0] + b"\0"


def corrected(writes: Sequence[Write], visibility: Visibility) -> Corrected | None:
    """What people's decisions among all the writes about one photo come to; None where nothing does."""
    view = merge(writes, visibility)
    if view is None:
        return None
    deleted_us = last_deletion_us(writes)
    decisions = [write for write in writes if isinstance(write, Decision) and write.content_us > deleted_us]
    stand = verdicts(decisions, visibility.ancestors)
    removed = {one.tag_id for one in decisions if one.action is Action.REMOVE}
    values = dict.fromkeys(stand.added, TRUE)
    values |= {tag_id: FALSE for tag_id in sorted(removed) if stand.hides(tag_id, visibility.ancestors)}
    names = {id_: visibility.classes.name(id_) for id_ in values if id_ in visibility.classes}
    names |= {one.tag_id: one.name for one in decisions if one.tag_id in values and one.tag_id not in names}
    return Corrected(view.photo_id, view.uri, values, names) if values else None
