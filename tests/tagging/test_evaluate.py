"""Evaluation: labels come from names, and top-1 and top-5 are what a person would count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autotag.errors import AutotagError
from autotag.tagging.evaluate import Labelled, evaluate, labelled_photos
from models.bundle import Bundle
from models.classes import ClassTable
from models.errors import ModelError
from tests.model_files import CLASS_ROWS, write_small_bundle

TABLE = ClassTable([*CLASS_ROWS, ("n00000042", "grand piano", [])])


class Echo:
    """Stands where the network is: the first three numbers of a photo are its features."""

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixels.reshape(len(pixels), -1)[:, :3].astype(np.float32)


def draw(path: Path, *scores: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(scores))


def read_pixels(path: Path) -> NDArray[np.uint8]:
    data = path.read_bytes()
    if len(data) < 3:
        raise AutotagError("truncated")
    return np.resize(np.frombuffer(data, np.uint8), (4, 4, 3))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_small_bundle(tmp_path / "bundle")


def test_a_label_is_the_files_wnid_or_else_its_folders_name(tmp_path: Path) -> None:
    names = ["n00000042_7.JPEG", "n1/a.jpg", "Grand_Piano/b.png", "grand piano/c.webp", "TEAPOT/n00000042.gif"]
    for name in names:
        draw(tmp_path / name)
    draw(tmp_path / "notes.txt")
    labels = {photo.path.relative_to(tmp_path).as_posix(): photo.label for photo in labelled_photos(tmp_path, TABLE)}
    assert labels == {
        "n00000042_7.JPEG": "n00000042",
        "n1/a.jpg": "n1",
        "Grand_Piano/b.png": "n00000042",
        "grand piano/c.webp": "n00000042",
        "TEAPOT/n00000042.gif": "n00000042",
    }


def test_names_that_are_no_class_are_listed(tmp_path: Path) -> None:
    for name in ("zebra/a.jpg", "zebra/b.jpg", "teapot/c.jpg", "d.jpg", "n99999999_1.jpg"):
        draw(tmp_path / name)
    with pytest.raises(ModelError, match=r"3 names are no class of this bundle: d\.jpg, n99999999, zebra$"):
        labelled_photos(tmp_path, TABLE)


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no photos"):
        labelled_photos(tmp_path, TABLE)


def test_top1_and_top5_are_shares_of_the_photos_that_can_be_read(tmp_path: Path, bundle: Bundle) -> None:
    # The three scores are spaniel's, wolf's and teapot's.
    draw(tmp_path / "photos/spaniel/right.jpg", 9, 1, 1)
    draw(tmp_path / "photos/spaniel/second.jpg", 8, 9, 1)
    draw(tmp_path / "photos/wolf/right.jpg", 1, 9, 1)
    draw(tmp_path / "photos/teapot/right.jpg", 1, 1, 9)
    draw(tmp_path / "photos/teapot/broken.jpg", 1)
    seen: list[tuple[object, ...]] = []
    result = evaluate(bundle, Echo(), tmp_path / "photos", read_pixels, lambda *told: seen.append(told))
    assert (result.photos, result.top1, result.top5) == (4, 0.75, 1.0)
    assert [path.name for path in result.unreadable] == ["broken.jpg"]
    assert seen == [("evaluating", 5, 5)]


def test_a_photo_labelled_with_a_parent_is_right_when_something_below_it_is_found(
    tmp_path: Path, bundle: Bundle
) -> None:
    draw(tmp_path / "photos/animal/wolf.jpg", 1, 9, 1)
    draw(tmp_path / "photos/dog/wolf.jpg", 1, 9, 1)
    result = evaluate(bundle, Echo(), tmp_path / "photos", read_pixels)
    assert (result.photos, result.top1) == (2, 0.5)


def test_more_photos_than_a_batch_are_all_counted(tmp_path: Path, bundle: Bundle) -> None:
    for number in range(70):
        draw(tmp_path / f"photos/wolf/{number}.jpg", 1, 9 if number % 10 else 0, 1)
    seen: list[tuple[object, ...]] = []
    result = evaluate(bundle, Echo(), tmp_path / "photos", read_pixels, lambda *told: seen.append(told))
    assert (result.photos, result.top1) == (70, 0.9)
    assert seen == [("evaluating", done, 70) for done in (32, 64, 70)]


def test_where_no_photo_can_be_read_there_is_no_figure(tmp_path: Path, bundle: Bundle) -> None:
    draw(tmp_path / "photos/wolf/a.jpg")
    with pytest.raises(ModelError, match="none of its 1 photos"):
        evaluate(bundle, Echo(), tmp_path / "photos", read_pixels)


def test_a_labelled_photo_is_a_path_and_a_class(tmp_path: Path) -> None:
    draw(tmp_path / "n1" / "a.jpg")
    assert labelled_photos(tmp_path, TABLE) == [Labelled(tmp_path / "n1" / "a.jpg", "n1")]
