"""People's decisions in the store, as labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autotag.progress import Progress, silent
from autotag.stores import PhotoStore
from autotag.stores.responses import DecidedPhoto
from autotag.training.dataset.labels import FALSE, TRUE
from autotag.view.decisions import Action, verdicts
from autotag.view.visibility import Visibility
from models.classes import is_category


class CorrectedPhoto(NamedTuple):
    """A photo that people decided about, and the labels that follow from their decisions."""

    photo_id: str
    uri: str
    """Empty if no event and no run named one."""
    values: dict[str, int]
    """Label by tag id: TRUE if the tag, or a tag that it contains, was added; FALSE if it was removed. No categories:
    they follow from their tags."""
    names: dict[str, str]
    """Name by tag id."""


def corrections(store: PhotoStore, progress: Progress = silent) -> Iterator[CorrectedPhoto]:
    """Yield every photo that people decided about and that is not deleted. Reads all photos once, in pages."""
    visibility = store.runs.read()
    for photo in store.decided_photos(progress):
        if one := corrected(photo, visibility):
            yield one


def corrected(photo: DecidedPhoto, visibility: Visibility) -> CorrectedPhoto | None:
    """Return the labels that follow from people's decisions about one photo; None if no decision is in force."""
    view, decisions = photo
    stand = verdicts(decisions, visibility.ancestors)
    removed = {one.tag_id for one in decisions if one.action is Action.REMOVE}
    values = dict.fromkeys(stand.added, TRUE)
    values |= {tag_id: FALSE for tag_id in sorted(removed) if stand.hides(tag_id, visibility.ancestors)}
    values = {tag_id: value for tag_id, value in values.items() if not is_category(tag_id)}
    names = {id_: visibility.classes.name(id_) for id_ in values if id_ in visibility.classes}
    names |= {one.tag_id: one.name for one in decisions if one.tag_id in values and one.tag_id not in names}
    return CorrectedPhoto(view.photo_id, view.uri, values, names) if values else None
