"""``autotag search``: prints the photos that have a tag."""

from __future__ import annotations

from typing import Any

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.cli.tag_output import tags_text, view_as_dict, with_language
from autotag.events.times import iso_time
from autotag.stores import open_store
from autotag.stores.responses import FoundPhoto
from autotag.stores.tag_names import did_you_mean, named_category, near_names, synonym_ids
from autotag.view.tag_order import view_ancestors
from autotag.view.visibility import Visibility
from models.names import vocabulary

EMPTY_PAGES = 20
"""A search skips this many empty pages by itself."""
SHOWN_TAGS = 3
"""The most specific tags that are printed beside each photo."""


@click.command()
@click.argument("tag", required=False)
@click.option("--category", metavar="NAME", help="A category, in place of TAG; a wrong name lists all that there are.")
@click.option("--owner", help="Only this owner's photos. A store on HBase needs it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Photos on a page.")
@click.option("--page", "cursor", metavar="CURSOR", help="Continue after an earlier page; it printed the cursor.")
@with_language
@with_json
@with_settings
def search(
    line: CommandLine,
    tag: str | None,
    category: str | None,
    owner: str | None,
    limit: int,
    cursor: str | None,
    language: str,
    as_json: bool,
) -> None:
    """List the photos that have a tag, or are in a category, newest first.

    TAG and NAME are a display name or an id; or, where no class is called so, a synonym or a name in any language.
    """
    if (tag is None) == (category is None):
        raise click.UsageError("give TAG or --category NAME" + (", not both" if tag else ""))
    store = open_store(line.settings)
    visibility = store.runs.read()
    what = f"in the category {category!r}" if category else f"has the tag {tag!r}"
    tag = named_category(category, visibility) if category is not None else str(tag)
    page = store.search(tag, owner, limit, cursor)
    for _ in range(EMPTY_PAGES):  # The index may be behind and name photos that do not have the tag any more.
        if page.photos or not page.cursor:
            break
        page = store.search(tag, owner, limit, page.cursor)
    classes = visibility.classes
    meant = [vocabulary().name(id_, language, classes.name(id_)) for id_ in synonym_ids(tag, classes)]
    near = [] if page.photos or page.cursor or cursor else near_names(tag, visibility.classes)
    if as_json:
        photos = [found_as_dict(photo, visibility, language) for photo in page.photos]
        print_json({"photos": photos, "cursor": page.cursor, **({"near": near} if near else {})})
        return
    rows = [
        [
            f"{photo.tag.score:.2f}",
            iso_time(photo.view.content_us)[:19],
            photo.view.owner,
            photo.view.photo_id,
            tags_text(photo.view.tags, view_ancestors(photo.view, visibility), language, SHOWN_TAGS),
        ]
        for photo in page.photos
    ]
    if meant and tag.casefold() not in (name.casefold() for name in meant):
        click.echo(f"{tag!r} is taken for {' or '.join(map(repr, meant))}", err=True)
    if rows:
        print_table(rows, ["score", "version", "owner", "photo", "tags"])
    elif not page.cursor:
        click.echo(f"no photo {what}{did_you_mean(near)}", err=True)
    if page.cursor:
        none = "" if page.photos else "no photo so far; "
        click.echo(f"{none}more: --page {page.cursor}", err=True)


def found_as_dict(photo: FoundPhoto, visibility: Visibility, language: str) -> dict[str, Any]:
    """Return a photo that a search found as JSON-safe values: `tag` is the one searched for, `tags` are all."""
    view = photo.view
    values = view_as_dict(view, visibility, language)
    return {
        "photo_id": view.photo_id,
        "owner": view.owner,
        "uri": view.uri,
        "content_time": iso_time(view.content_us),
        "tag": next(tag for tag in values["tags"] + values["categories"] if tag["id"] == photo.tag.id),
        **values,
    }
