"""The tag that a person means by a name or an id."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from autotag.errors import TagError
from autotag.view.merge import View
from autotag.view.visibility import Visibility
from models.classes import CATEGORY, ClassTable, is_category
from models.names import vocabulary, word_key

MAX_NAME = 100
"""Characters in the name of a tag that a person made up."""


class UnknownCategoryError(TagError):
    """No model has a category of this name; the message lists all that there are."""

    def __init__(self, category: str, names: list[str]) -> None:
        known = f"the categories are {', '.join(sorted(names))}" if names else "no model in the store has categories"
        super().__init__(f"no category is called {category[:MAX_NAME]!r}; {known}")


class UnknownTagError(TagError):
    """No model and no person has given the photo, or any photo, a tag of this name; `near` are the nearest names."""

    def __init__(self, tag: str, near: list[str]) -> None:
        super().__init__(f"no class is called {tag[:MAX_NAME]!r}{did_you_mean(near)}")
        self.near = near


def did_you_mean(near: list[str]) -> str:
    """Return the nearest names as the end of a message; empty where there are none."""
    return f" (did you mean {', '.join(map(repr, near))}?)" if near else ""


def _own_id(name: str) -> str:
    """Return the id of a tag that a person made up."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def own_tag(text: str, called: str = "tag") -> tuple[str, str]:
    """Return the id and name of a tag that a person makes up.

    Args:
        called: the word for it in the error.

    Raises:
        TagError: the text can be no name.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise TagError(f"a {called}'s name has 1 to {MAX_NAME} printable characters. Given: {text[:MAX_NAME]!r}")
    if is_category(_own_id(name)):
        raise TagError(
            f"a {called}'s name does not begin with {CATEGORY!r}, as the ids of categories do. Given: {text!r}"
        )
    return _own_id(name), name


def tag_ids(tag: str, visibility: Visibility) -> list[str]:
    """Return the ids that a name or id may mean: a class, a tag of a model without class table, a person's own tag."""
    return list(dict.fromkeys([visibility.classes.find(tag) or tag, tag, _own_id(tag)]))


def synonym_ids(word: str, classes: ClassTable) -> list[str]:
    """Return the ids of the classes that a synonym, or a name in another language, means.

    Empty for the id or display name of a class: it means that class alone.
    """
    if classes.find(word):
        return []
    for text in (word, word.removesuffix("s")):  # "dogs" finds dog
        if text != word and (id_ := classes.find(text)):
            return [id_]
        if found := [id_ for id_ in vocabulary().find(text) if id_ in classes]:
            return found
    return []


def near_names(word: str, classes: ClassTable, others: Iterable[str] = ()) -> list[str]:
    """Return the names and synonyms nearest to a word, of the classes and of `others`; none if it means a class."""
    if classes.find(word) or synonym_ids(word, classes):
        return []
    names = {word_key(name): name for name in (*vocabulary().words(classes), *classes.names, *others)}
    return [names[key] for key in difflib.get_close_matches(word_key(word[:MAX_NAME]), names, n=3)]


def named_category(category: str, visibility: Visibility) -> str:
    """Return the id of the category of this name, in any case and language, or id, with or without its beginning.

    Raises:
        UnknownCategoryError: there is none.
    """
    classes = visibility.classes
    named = [classes.find(text) for text in (category, CATEGORY + category.casefold().removeprefix(CATEGORY))]
    for id_ in [*named, *synonym_ids(category, classes)]:
        if id_ and is_category(id_):
            return id_
    raise UnknownCategoryError(category, [classes.name(id_) for id_ in classes.ids if is_category(id_)])


def named_tag(tag: str, view: View, visibility: Visibility, *, new: bool) -> tuple[str, str]:
    """Return the id and name of the tag that a person means; with `new` it may be one that no model has.

    It is named by its id or display name, else by a synonym or its name in any language. Those make no new tag: with
    `new` the person wants the word itself.

    Raises:
        UnknownTagError: there is no such tag, and `new` is false.
        TagError: the text can be no name, or means several classes.
    """
    for shown in view.tags:  # the tags that the person sees come before the models' classes
        if _own_id(tag) in (_own_id(shown.id), _own_id(shown.name)):
            return shown.id, shown.name
    if id_ := visibility.classes.find(tag):
        return id_, visibility.classes.name(id_)
    if new:
        return own_tag(tag)
    classes = visibility.classes
    meant = synonym_ids(tag, classes)
    meant = [shown.id for shown in view.tags if shown.id in meant] or meant
    if not meant:
        raise UnknownTagError(tag, near_names(tag, classes, (shown.name for shown in view.tags)))
    if len(meant) > 1:
        raise TagError(f"{tag!r} may mean {' or '.join(repr(classes.name(id_)) for id_ in meant)}; give one of these")
    return meant[0], classes.name(meant[0])
