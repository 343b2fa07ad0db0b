"""The contact sheet: what it holds, and where it is written."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotag.errors import InputError
from autotag.photos.errors import PhotoError, Reason
from autotag.photos.reader import PhotoPixels
from autotag.tagging.sheet import MAX_PHOTOS, SHOWN_TAGS, ContactSheet
from autotag.tagging.tagger import PhotoTags
from autotag.view.visibility import Visibility
from models.bundle import Tag
from tests.worlds import ANIMALS, BEAGLE, CAT, CATEGORISED_MODELS, DOG, PETS

VOID = ("meta", "img")
ABOVE = Visibility(models=CATEGORISED_MODELS).ancestors
ANIMAL = Tag("n-animal", "animal", 0.98, "imagenet")
HOUND = PhotoTags((ANIMAL, ANIMALS, DOG, PETS, BEAGLE), partial=False)
NOTHING = PhotoTags((), partial=False)


class Page(HTMLParser):
    """A page's text, tags and figures; fails on an element that is not closed in its order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "figure":
            self.figures.append([])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "figure" in self._open and data.strip():
            self.figures[-1].append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def shown(self, key: str) -> list[int]:
        """Return the places of the figures that are left while `key` is the page's target."""
        assert f"#{key}:target~.photos>:not(.{key}){{display:none}}" in self.html
        return [place for place, one in enumerate(self.all("figure")) if key in str(one["class"]).split()]


def read(uri: str) -> PhotoPixels:
    return PhotoPixels(np.full((224, 224, 3), 200, np.uint8), 400, 300, partial=False)


def page_of(folder: Path, photos: Sequence[tuple[str, PhotoTags | PhotoError]], title: str = "my photos") -> Page:
    sheet = ContactSheet(folder / "out.html", len(photos), ABOVE)
    for name, tags in photos:
        uri = name if "://" in name else f"file:///photos/{name}"
        if not isinstance(tags, PhotoError):
            sheet.reading(read)(uri)
        sheet.add(name, uri, tags)
    sheet.write(title)
    return Page((folder / "out.html").read_text(encoding="utf-8"))


def test_under_each_photo_stand_its_most_specific_tags_then_what_contains_them_and_its_categories(
    tmp_path: Path,
) -> None:
    cat = PhotoTags((CAT, PETS), partial=True)
    page = page_of(tmp_path, [("a/dog.jpg", HOUND), ("a/cat.jpg", cat), ("a/none.jpg", NOTHING)])
    assert page.figures == [
        ["dog.jpg", "beagle", "0.90", "dog, animal", "Animals", "Cats and dogs"],
        ["cat.jpg", "partial: the photo is damaged", "domestic cat", "0.50", "Cats and dogs"],
        ["none.jpg", "no tags"],
    ]
    assert [one["alt"] for one in page.all("img")] == ["Photo: beagle", "Photo: domestic cat", "Photo: no tags"]
    assert [one["style"] for one in page.all("span")] == ["--v:0.900", "--v:0.500"]


def test_the_page_loads_nothing_and_its_pictures_are_the_photos(tmp_path: Path) -> None:
    page = page_of(tmp_path, [("dog.jpg", HOUND), ("http://host/cat.jpg", NOTHING)])
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert "url(" not in page.html
    assert "@import" not in page.html
    for picture in page.all("img"):
        kind, _, data = str(picture["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (224, 224)
            assert np.abs(np.asarray(image).astype(int) - 200).max() < 5
    links = [str(one["href"]) for one in page.all("a")]
    assert [one for one in links if one[0] != "#"] == ["file:///photos/dog.jpg", "http://host/cat.jpg"]
    ids = {one.get("id") for _, one in page.elements}
    assert {one[1:] for one in links if one[0] == "#"} <= ids


def test_each_category_and_frequent_tag_shows_its_photos_alone(tmp_path: Path) -> None:
    dog = PhotoTags((DOG, PETS), partial=False)
    error = PhotoError(Reason.NOT_FOUND, "gone")
    page = page_of(tmp_path, [("1", HOUND), ("2", HOUND), ("3", dog), ("4", NOTHING), ("5", error)])
    headings = re.findall(r"<h2 class=only id=(\w+)><bdi>(.*?)</bdi> <small>(.*?)</small>", page.html)
    assert {name: (page.shown(key), count) for key, name, count in headings} == {
        "Cats and dogs": ([0, 1, 2], "3 photos"),
        "Animals": ([0, 1], "2 photos"),
        "beagle": ([0, 1], "2 photos"),
        "Without tags": ([3], "1 photo"),
        "Not readable": ([4], "1 photo"),
    }
    chips = re.findall(r'<li><a class=chip href="#(\w+)">', page.html)
    assert chips == [key for key, _, _ in headings]


def test_why_a_photo_cannot_be_read_stands_in_its_place(tmp_path: Path) -> None:
    error = PhotoError(Reason.TRUNCATED, "9 bytes").about("'file:///photos/a.jpg'")
    page = page_of(tmp_path, [("a.jpg", error)])
    assert page.figures == [["a.jpg", "truncated", "9 bytes"]]
    assert page.all("img") == []


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    odd = "\"><script>alert(1)</script>'&\udce4"
    mean = PhotoTags((Tag("x", odd, 0.5, "mine"), Tag("category:x", odd, 0.5, "mine")), partial=False)
    page = page_of(
        tmp_path, [(odd, mean), ("javascript://%0aalert(1)", mean), (odd, PhotoError(Reason.BAD_URI, odd))], odd
    )
    assert page.all("script") == []
    shown = odd.replace("\udce4", "?")
    assert page.figures[0] == [shown, shown, "0.50", shown]
    assert page.all("img")[0]["alt"] == f"Photo: {shown}"
    assert not any(str(one["href"]).startswith("javascript") for one in page.all("a"))


def test_many_tags_of_one_photo_do_not_fill_the_page(tmp_path: Path) -> None:
    many = PhotoTags([Tag(f"t{place}", f"tag {place}", 0.9, "x") for place in range(SHOWN_TAGS + 5)], partial=False)
    page = page_of(tmp_path, [("a.jpg", many)])
    assert page.figures[0][-2:] == ["0.90", "and 5 more"]
    assert len(page.all("data")) == SHOWN_TAGS


def test_a_page_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out.html").write_text("old")
    assert page_of(tmp_path, [("a.jpg", HOUND)]).all("img")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_an_older_page_stays_where_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out.html").write_text("old")
    sheet = ContactSheet(tmp_path / "out.html", 1, ABOVE)
    sheet.add("a", "file:///never-read", HOUND)
    with pytest.raises(KeyError):
        sheet.write("broken")
    assert (tmp_path / "out.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


@pytest.mark.parametrize(
    ("name", "photos", "says"),
    [
        ("photo.jpg", 1, "the name of a page ends in .html"),
        ("missing/out.html", 1, "no file can be written there"),
        ("folder.html", 1, "no file can be written there"),
        ("out.html", MAX_PHOTOS + 1, "a page has at most 5000 photos, and these are 5001"),
    ],
)
def test_what_can_be_no_page_is_said_before_any_work(tmp_path: Path, name: str, photos: int, says: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=re.escape(says)):
        ContactSheet(tmp_path / name, photos, ABOVE)
