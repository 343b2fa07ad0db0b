"""A photo's tags as text for people and as JSON values; shared by all commands that print tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotag.events.times import iso_time
from autotag.view.decisions import Ancestors, Decision
from autotag.view.merge import View, ViewTag
from autotag.view.tag_order import leaf_ids, specific_first, split_categories, view_ancestors
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable, is_category


def tags_text(tags: Sequence[Tag] | Sequence[ViewTag], ancestors: Ancestors, most: int | None = None) -> str:
    """Return tags in one line, the most specific first: ``beagle 0.97 (hound, dog, animal), ball 0.42 (toy)``.

    Args:
        tags: one photo's tags.
        ancestors: returns the ids of the tags that contain a tag.
        most: print at most this many of the most specific tags.
    """
    shown = []
    for one in specific_first(list[Tag | ViewTag](tags), ancestors)[:most]:
        parents = ", ".join(parent.name for parent in one.parents)
        shown.append(f"{one.leaf.name} {one.leaf.score:.2f}" + (f" ({parents})" if parents else ""))
    return ", ".join(shown) or "no tags"


def tags_as_dict(tags: Sequence[Tag], classes: ClassTable) -> dict[str, Any]:
    """Return a classifier's tags of one photo as JSON-safe values: `tags` and `categories`, each in the same order.

    Each tag has the ids of its direct `parents`, and is a `leaf` if none of its descendants is among the photo's tags.
    """
    leaves = leaf_ids(tags, classes.ancestors)
    tags, categories = split_categories(tags)
    return {
        "tags": [{**vars(tag), "parents": _parents(tag.id, classes), "leaf": tag.id in leaves} for tag in tags],
        "categories": [dict(vars(category)) for category in categories],
    }


def view_as_dict(view: View, visibility: Visibility) -> dict[str, Any]:
    """Return what a reader sees of a photo as JSON-safe values: `tags`, with `parents` and `leaf`, and `categories`.

    Both have their provenance.
    """
    leaves = leaf_ids(view.tags, view_ancestors(view, visibility))
    tags, categories = split_categories(view.tags)
    return {
        "tags": [
            {**_tag_as_dict(tag), "parents": _parents(tag.id, visibility.classes), "leaf": tag.id in leaves}
            for tag in tags
        ],
        "categories": [_tag_as_dict(category) for category in categories],
    }


def _parents(tag_id: str, classes: ClassTable) -> list[str]:
    return [parent for parent in classes.parents.get(tag_id, ()) if not is_category(parent)]


def _tag_as_dict(tag: ViewTag) -> dict[str, Any]:
    values = {"id": tag.id, "name": tag.name, "score": tag.score, "source": tag.source}
    origin = tag.origin
    if isinstance(origin, Decision):
        about = {"because": origin.name} if origin.tag_id != tag.id else {}
        return {**values, "by": origin.by, "decided_time": iso_time(origin.decided_us), **about}
    run = {"run": origin.run} if origin.run else {}
    times = {"event_time": iso_time(origin.content_us), "computed_time": iso_time(origin.computed_us)}
    return {**values, "bank": tag.bank, "model": str(origin.model), **times, **run}
