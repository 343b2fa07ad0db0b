"""ContactSheet: one page of photos with the tags under each, for any browser.

The file holds all that it shows and runs no script. Its links to categories and tags show the photos of one of them, by
the style sheet alone: each names a heading, and a rule hides the other photos while that heading is the page's target.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from autotag.errors import InputError
from autotag.photos.fetch import shortened
from autotag.photos.reader import PhotoError, PhotoPixels
from autotag.photos.thumbnail import jpeg
from autotag.tagging.tagger import PhotoTags
from autotag.view.decisions import Ancestors
from autotag.view.tag_order import specific_first, split_categories
from models.bundle import Tag
from models.folders import staged

STYLE = Path(__file__).with_name("sheet.css")
MAX_PHOTOS = 5_000
"""Photos on a page, which has 12 to 20 KB of each: a browser still opens it."""
LINKED_TAGS = 30
"""The tags that are most often a photo's most specific ones; they stand above the photos, as links."""
SHOWN_TAGS = 12
"""The most specific tags that are shown of one photo."""
UNTAGGED, UNREADABLE = "untagged", "unreadable"


class _Entry(NamedTuple):
    """A photo, or the error in its place."""

    name: str
    uri: str
    tags: PhotoTags | PhotoError


class _Link(NamedTuple):
    """A group of photos that a link shows alone; `key` is its heading's id and a class of its photos."""

    key: str
    name: str
    photos: int


class ContactSheet:
    """Collects photos with their tags, and writes the page.

    Args:
        path: the page's file; an older one is replaced.
        photos: number of photos that will be added.
        ancestors: returns the ids of the tags that contain a tag.

    Raises:
        InputError: the path cannot be that of a page, or the photos are too many for one.
    """

    def __init__(self, path: Path, photos: int, ancestors: Ancestors) -> None:
        if path.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{path}: the name of a page ends in .html")
        self._path = Path(os.path.realpath(path))
        if self._path.is_dir() or not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise InputError(f"{path}: no file can be written there; name one in a folder that exists and is yours")
        if photos > MAX_PHOTOS:
            raise InputError(f"{path}: a page has at most {MAX_PHOTOS} photos, and these are {photos}; name fewer")
        self._ancestors = ancestors
        self._entries: list[_Entry] = []
        self._pictures: dict[str, str] = {}

    def reading(self, read: Callable[[str], PhotoPixels]) -> Callable[[str], PhotoPixels]:
        """Return a function that reads a photo by `read`, and keeps its thumbnail: what the network sees of it.

        No photo is read or decoded a second time. Safe for many threads.
        """

        def reading(uri: str) -> PhotoPixels:
            photo = read(uri)
            self._pictures[uri] = base64.b64encode(jpeg(photo.pixels)).decode()
            return photo

        return reading

    def add(self, name: str, uri: str, tags: PhotoTags | PhotoError) -> None:
        """Add a photo, by its name for people and its URI; the page shows photos in the order of their addition."""
        self._entries.append(_Entry(name, uri, tags))

    def write(self, title: str) -> None:
        """Write the page, whole or not at all; its size is 12 to 20 KB a photo.

        Raises:
            OSError: the folder refuses.
        """
        with staged(self._path.parent, ".autotag-sheet-") as folder:
            part = folder / self._path.name
            with part.open("w", encoding="utf-8", errors="replace") as file:  # names of files may be no UTF-8
                file.writelines(self._page(title))
            part.replace(self._path)

    def _page(self, title: str) -> Iterator[str]:
        tagged = [entry.tags for entry in self._entries if not isinstance(entry.tags, PhotoError)]
        categories = _links("c", [split_categories(tags)[1] for tags in tagged])
        # By the photos that have no more specific tag: else these would be animal, vertebrate, mammal.
        leaves = Counter(one.leaf.id for tags in tagged for one in specific_first(tags, self._ancestors))
        frequent = {id_ for id_, count in leaves.most_common(LINKED_TAGS) if count > 1}
        tags = _links("t", [[tag for tag in tags if tag.id in frequent] for tags in tagged])
        untagged = sum(not split_categories(tags)[0] for tags in tagged)
        others = [
            _Link(UNTAGGED, "Without tags", untagged),
            _Link(UNREADABLE, "Not readable", len(self._entries) - len(tagged)),
        ]
        others = [link for link in others if link.photos]
        links = categories | tags
        groups = [*links.values(), *others]
        rules = "".join(f"#{link.key}:target~.photos>:not(.{link.key}){{display:none}}\n" for link in groups)
        yield (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
            f"<title>{escape(title)}</title>\n"
            f"<style>\n{STYLE.read_text(encoding='utf-8')}{rules}</style></head><body>\n"
            f"<header><h1><bdi>{escape(title)}</bdi></h1>\n<p class=note>{_counted(len(self._entries))}. "
            "Under each: its most specific tags with their probability, then the tags that contain them. The pictures "
            "are what the network sees: the middle of each photo.</p>\n"
        )
        yield _nav("Categories", [*categories.values()])
        yield _nav("Most frequent tags", [*tags.values()])
        yield _nav("Other photos", others)
        yield "</header>\n"
        for link in groups:
            yield (
                f"<h2 class=only id={link.key}><bdi>{escape(link.name)}</bdi> <small>{_counted(link.photos)}</small> "
                '<a href="#all">show all</a></h2>\n'
            )
        yield "<main class=photos id=all>\n"
        common = _common_folder([entry.name for entry in self._entries])
        for entry in self._entries:
            yield self._card(entry, entry.name[len(common) :], links)
        yield "</main></body></html>\n"

    def _card(self, entry: _Entry, name: str, links: dict[str, _Link]) -> str:
        title = f"<p class=name title='{escape(entry.name)}'><bdi>{escape(name)}</bdi></p>"
        if isinstance(entry.tags, PhotoError):
            detail = entry.tags.detail.removeprefix(f"{shortened(entry.uri)}: ")
            error = f"<p class=error><b>{escape(entry.tags.reason)}</b> {escape(detail)}</p>"
            return f"<figure class={UNREADABLE}><figcaption>{title}{error}</figcaption></figure>\n"
        own = [links[tag.id] for tag in entry.tags if tag.id in links]
        tags, categories = split_categories(entry.tags)
        keys = " ".join([link.key for link in own] + ([] if tags else [UNTAGGED]))
        specific = specific_first(tags, self._ancestors)
        told = ", ".join(one.leaf.name for one in specific[:SHOWN_TAGS])
        picture = (
            f'<img src="data:image/jpeg;base64,{self._pictures[entry.uri]}" decoding=async '
            f'alt="Photo: {escape(told or "no tags")}">'
        )
        if entry.uri.lower().startswith(("file:", "http:", "https:")):
            picture = f'<a href="{escape(entry.uri)}">{picture}</a>'
        chips = "".join(
            f'<a class=chip href="#{links[category.id].key}">{escape(category.name)}</a>' for category in categories
        )
        rows = "".join(_row(one.leaf, [parent.name for parent in one.parents]) for one in specific[:SHOWN_TAGS])
        return (
            f'<figure class="{keys}">{picture}<figcaption>{title}'
            + ("<p class=error>partial: the photo is damaged</p>" if entry.tags.partial else "")
            + (f"<ul class=tags>{rows}</ul>" if rows else "<p class=note>no tags</p>")
            + (f"<p class=note>and {len(specific) - SHOWN_TAGS} more</p>" if len(specific) > SHOWN_TAGS else "")
            + (f"<p class=chips>{chips}</p>" if chips else "")
            + "</figcaption></figure>\n"
        )


def _links(prefix: str, photos: Sequence[Sequence[Tag]]) -> dict[str, _Link]:
    """Return a link for each of the photos' tags, by its id, the most frequent first."""
    counts = Counter(tag.id for tags in photos for tag in tags)
    names = {tag.id: tag.name for tags in photos for tag in tags}
    ordered = sorted(counts, key=lambda id_: (-counts[id_], names[id_], id_))
    return {id_: _Link(f"{prefix}{place}", names[id_], counts[id_]) for place, id_ in enumerate(ordered)}


def _nav(heading: str, links: Sequence[_Link]) -> str:
    if not links:
        return ""
    chips = "".join(
        f'<li><a class=chip href="#{link.key}"><bdi>{escape(link.name)}</bdi> <small>{link.photos:,}</small></a></li>'
        for link in links
    )
    return f'<nav aria-label="{heading}"><h2>{heading}</h2><ul class=chips>{chips}</ul></nav>\n'


def _row(leaf: Tag, parents: Sequence[str]) -> str:
    above = f"<small>{escape(', '.join(parents))}</small>" if parents else ""
    return (
        f'<li><span class=leaf style="--v:{leaf.score:.3f}"><bdi>{escape(leaf.name)}</bdi> '
        f"<data>{leaf.score:.2f}</data></span>{above}</li>"
    )


def _counted(photos: int) -> str:
    return f"{photos:,} photo{'' if photos == 1 else 's'}"


def _common_folder(names: Sequence[str]) -> str:
    """Return the beginning of all names, up to a slash."""
    pairs = zip(min(names), max(names), strict=False)
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return common[: common.rfind("/") + 1]
