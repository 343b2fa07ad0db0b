"""A photo's tags as text for people and as JSON values; shared by all commands that print tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import click

from autotag.cli import CommandLine
from autotag.events.times import iso_time
from autotag.view.decisions import Ancestors, Decision
from autotag.view.merge import View, ViewTag
from autotag.view.tag_order import leaf_ids, specific_first, split_categories, view_ancestors
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable, is_category
from models.names import ENGLISH, vocabulary


class NamedTag(Protocol):
    """A tag with its English name."""

    @property
    def id(self) -> str:
        """The stable id."""

    @property
    def name(self) -> str:
        """The display name."""


def _checked_language(context: click.Context, _parameter: click.Parameter, language: str | None) -> str:
    if language is None:
        line = context.find_object(CommandLine)
        return line.settings.language if line else ENGLISH
    if language not in vocabulary().languages:
        raise click.BadParameter(f"{language!r} is no language of tags; there are {', '.join(vocabulary().languages)}")
    return language


with_language: Callable[[Any], Any] = click.option(
    "--lang",
    "language",
    metavar="CODE",
    callback=_checked_language,
    help="Language of the tags' names, such as de. By default the setting autotag.language.",
)


def tag_name(tag: NamedTag, language: str) -> str:
    """Return a tag's name in a language; its English name where it has none."""
    return tag.name if language == ENGLISH else vocabulary().name(tag.id, language, tag.name)


def tags_text(
    tags: Sequence[Tag] | Sequence[ViewTag], ancestors: Ancestors, language: str, most: int | None = None
) -> str:
    """Return tags in one line, the most specific first: ``beagle 0.97 (hound, dog, animal), ball 0.42 (toy)``.

    Args:
        tags: one photo's tags.
        ancestors: returns the ids of the tags that contain a tag.
        language: the code of the names' language.
        most: print at most this many of the most specific tags.
    """
    shown = []
    for one in specific_first(list[Tag | ViewTag](tags), ancestors)[:most]:
        parents = ", ".join(tag_name(parent, language) for parent in one.parents)
        shown.append(f"{tag_name(one.leaf, language)} {one.leaf.score:.2f}" + (f" ({parents})" if parents else ""))
    return ", ".join(shown) or "no tags"


def tags_as_dict(tags: Sequence[Tag], classes: ClassTable, language: str) -> dict[str, Any]:
    """Return a classifier's tags of one photo as JSON-safe values: `tags` and `categories`, each in the same order.

    Each tag has its name in the language and the ids of its direct `parents`, and is a `leaf` if none of its
    descendants is among the photo's tags.
    """
    leaves = leaf_ids(tags, classes.ancestors)
    tags, categories = split_categories(tags)
    return {
        "tags": [
            {**_named(tag, language), "parents": _parents(tag.id, classes), "leaf": tag.id in leaves} for tag in tags
        ],
        "categories": [_named(category, language) for category in categories],
    }


def _named(tag: Tag, language: str) -> dict[str, Any]:
    return {**vars(tag), "name": tag_name(tag, language)}


def view_as_dict(view: View, visibility: Visibility, language: str) -> dict[str, Any]:
    """Return what a reader sees of a photo as JSON-safe values: `tags`, with `parents` and `leaf`, `categories`
    and `colours`.

    Tags and categories have their provenance, and names in the language.
    """
    leaves = leaf_ids(view.tags, view_ancestors(view, visibility))
    tags, categories = split_categories(view.tags)
    return {
        "tags": [
            {**_tag_as_dict(tag, language), "parents": _parents(tag.id, visibility.classes), "leaf": tag.id in leaves}
            for tag in tags
        ],
        "categories": [_tag_as_dict(category, language) for category in categories],
        "colours": [dict(vars(colour)) for colour in view.colours],
    }


def decided_name(decision: Decision, language: str) -> str:
    """Return the name, in a language, of the tag that a person decided about."""
    return decision.name if language == ENGLISH else vocabulary().name(decision.tag_id, language, decision.name)


def _parents(tag_id: str, classes: ClassTable) -> list[str]:
    return [parent for parent in classes.parents.get(tag_id, ()) if not is_category(parent)]


def _tag_as_dict(tag: ViewTag, language: str) -> dict[str, Any]:
    values = {"id": tag.id, "name": tag_name(tag, language), "score": tag.score, "source": tag.source}
    origin = tag.origin
    if isinstance(origin, Decision):
        about = {"because": decided_name(origin, language)} if origin.tag_id != tag.id else {}
        return {**values, "by": origin.by, "decided_time": iso_time(origin.decided_us), **about}
    run = {"run": origin.run} if origin.run else {}
    times = {"event_time": iso_time(origin.content_us), "computed_time": iso_time(origin.computed_us)}
    return {**values, "bank": tag.bank, "model": str(origin.model), **times, **run}
