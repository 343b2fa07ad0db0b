"""Which tag a person means by a name or an id."""

from __future__ import annotations

import difflib
import unicodedata

from autotag.errors import TagError
from autotag.view.merge import View
from autotag.view.visibility import Visibility

MAX_NAME = 100
"""Characters in a tag of people's own."""


def _own_id(name: str) -> str:
    """The id of a tag of people's own."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def own_tag(text: str) -> tuple[str, str]:
    """The id and name of a tag of people's own; raises TagError where the text can be no name."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise TagError(f"a tag's name has 1 to {MAX_NAME} printable characters. Given: {text[:MAX_NAME]!r}")
    return _own_id(name), name


def tag_ids(tag: str, visibility: Visibility) -> list[str]:
    """The ids of the tags that go by a name or id: a class, one of a model that is not known, one of people's own."""
    return list(dict.fromkeys([visibility.classes.find(tag) or tag, tag, _own_id(tag)]))


def named_tag(tag: str, view: View, visibility: Visibility, *, new: bool) -> tuple[str, str]:
    """The id and name of the tag that a person means."""
    for shown in view.tags:  # what the person sees comes before what models know
        if _own_id(tag) in (_own_id(shown.id), _own_id(shown.name)):
            return shown.id, shown.name
    if id_ := visibility.classes.find(tag):
        return id_, visibility.classes.name(id_)
    if not new:
        known = [*visibility.classes.names, *(shown.name for shown in view.tags)]
        near = difflib.get_close_matches(tag.casefold()[:MAX_NAME], known, n=3)
        hint = f" (did you mean {', '.join(map(repr, near))}?)" if near else ""
        raise TagError(f"no class is called {tag[:MAX_NAME]!r}{hint}; a tag of your own is added as a new one (--new)")
    return own_tag(tag)
