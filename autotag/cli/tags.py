"""``autotag tags``: adds or removes a tag of a photo, as a person's decision."""

from __future__ import annotations

import click

from autotag.cli import CommandLine, print_json, user_name, with_json, with_settings
from autotag.cli.show import stored_id
from autotag.errors import TagError
from autotag.events.times import iso_time
from autotag.stores import open_store
from autotag.stores.tag_names import UnknownTagError
from autotag.view.decisions import Action


@click.group()
def tags() -> None:
    """Add or remove a tag of a photo; such a decision of a person wins over every model."""


with_photo = click.argument("photo")
with_tag = click.argument("tag")
with_person = click.option("--by", default=user_name, show_default="you", help="Person who decides.")


@tags.command()
@with_photo
@with_tag
@with_person
@click.option("--new", is_flag=True, help="Add a tag of your own, which no model has.")
@with_json
@with_settings
def add(line: CommandLine, photo: str, tag: str, by: str, new: bool, as_json: bool) -> None:
    """Add a tag to a photo, and with it the tags that contain it.

    TAG is a display name or an id; else a synonym, or a name in any language.
    """
    try:
        _decide(line, photo, tag, Action.ADD, by, new=new, as_json=as_json)
    except UnknownTagError as error:
        raise TagError(f"{error}; add a tag of your own as a new one (--new)") from error


@tags.command()
@with_photo
@with_tag
@with_person
@with_json
@with_settings
def remove(line: CommandLine, photo: str, tag: str, by: str, as_json: bool) -> None:
    """Remove a tag from a photo, and with it the tags in it.

    TAG is a display name or an id; else a synonym, or a name in any language.
    """
    _decide(line, photo, tag, Action.REMOVE, by, new=False, as_json=as_json)


def _decide(line: CommandLine, photo: str, tag: str, action: Action, by: str, *, new: bool, as_json: bool) -> None:
    store = open_store(line.settings)
    made = store.decide(stored_id(store, photo), tag, action, by, new=new)
    if as_json:
        values = {**vars(made), "decided_time": iso_time(made.decided_us), "content_time": iso_time(made.content_us)}
        print_json({name: value for name, value in values.items() if not name.endswith("_us")})
    else:
        done = "added to" if action is Action.ADD else "removed from"
        click.echo(f"{made.name!r} ({made.tag_id}) {done} {made.photo_id} by {made.by}, {iso_time(made.decided_us)}")
