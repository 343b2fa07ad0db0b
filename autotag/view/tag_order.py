"""The order in which people read a photo's tags: the most specific first, then the tags that contain it.

A parent is never less probable than its child, so "best score first" would always begin with "animal". Categories are
no tags: people browse by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from autotag.view.decisions import Ancestors, Decision
from autotag.view.merge import View
from autotag.view.visibility import Visibility
from models.classes import is_category


class AnyId(Protocol):
    """Anything that has the id of a class."""

    @property
    def id(self) -> str:
        """The stable id."""


class ScoredTag(AnyId, Protocol):
    """A tag of a classifier or of a reader's view."""

    @property
    def score(self) -> float:
        """The probability, from 0 to 1."""


Identified = TypeVar("Identified", bound=AnyId)
AnyTag = TypeVar("AnyTag", bound=ScoredTag)


@dataclass(frozen=True)
class SpecificTag(Generic[AnyTag]):
    """A leaf among a photo's tags, with the tags that contain it."""

    leaf: AnyTag
    parents: tuple[AnyTag, ...]
    """The photo's tags that contain the leaf, the nearest first; without those of the leaves before it."""


def split_categories(tags: Sequence[Identified]) -> tuple[list[Identified], list[Identified]]:
    """Return the tags that are no categories, and the categories, each in their order."""
    return [tag for tag in tags if not is_category(tag.id)], [tag for tag in tags if is_category(tag.id)]


def leaf_ids(tags: Sequence[ScoredTag], ancestors: Ancestors) -> frozenset[str]:
    """Return the ids of the leaves: the tags, without categories, none of whose descendants is among `tags`."""
    ids = frozenset(tag.id for tag in tags if not is_category(tag.id))
    return ids.difference(*(ancestors(tag.id) for tag in tags))


def specific_first(tags: Sequence[AnyTag], ancestors: Ancestors) -> list[SpecificTag[AnyTag]]:
    """Return the leaves, best first, each with its parents; every tag is there once, but no category.

    Args:
        tags: one photo's tags; equal scores stay in their order.
        ancestors: returns the ids of the tags that contain a tag.
    """
    tags, _ = split_categories(tags)
    leaves = leaf_ids(tags, ancestors)
    best_first = sorted(tags, key=lambda tag: (tag.id not in leaves, -tag.score))
    listed: set[str] = set()
    result = []
    for leaf in best_first:
        if leaf.id in listed:
            continue
        above = ancestors(leaf.id) - listed
        # A tag has more ancestors than each of its ancestors, so the one with the most is the nearest.
        parents = sorted((tag for tag in tags if tag.id in above), key=lambda tag: (-len(ancestors(tag.id)), tag.score))
        listed |= {leaf.id, *(tag.id for tag in parents)}
        result.append(SpecificTag(leaf, tuple(parents)))
    return result


def top_tags(tags: Sequence[AnyTag], ancestors: Ancestors, top: int) -> tuple[AnyTag, ...]:
    """Return the `top` best leaves and the tags that contain them, in the order of `tags`."""
    leaves = [one.leaf.id for one in specific_first(tags, ancestors)[:top]]
    wanted = frozenset(leaves).union(*map(ancestors, leaves))
    return tuple(tag for tag in tags if tag.id in wanted)


def view_ancestors(view: View, visibility: Visibility) -> Ancestors:
    """Return a function that gives the ids of the tags that contain one of the view's tags.

    A class that no model has any more has the parents that it had when a person added it.
    """
    implied = {
        tag.id: frozenset(tag.origin.implied)
        for tag in view.tags
        if isinstance(tag.origin, Decision) and tag.origin.tag_id == tag.id and tag.id not in visibility.classes
    }
    return lambda tag_id: implied.get(tag_id) or visibility.ancestors(tag_id)
