"""What pixels tell without a network: black and white, panorama, blurred, and the dominant colours."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from models import pixels as pixel_rules
from models.pixels import BLACK_AND_WHITE, BLURRED, PANORAMA, Colour, PixelFacts, colour_name, dominant_colours

SIZES = (224, 260)


def scene(size: int = 224, seed: int = 0) -> Image.Image:
    """Bright and dark edges of all directions over a gradient, in colours, as in a photo."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(np.tile(np.linspace(40, 220, size).astype(np.uint8)[:, None, None], (1, size, 3)))
    for _ in range(40):
        box = sorted(rng.integers(0, size, 2)), sorted(rng.integers(0, size, 2))
        (left, right), (top, bottom) = box
        picture.paste(tuple(rng.integers(0, 256, 3).tolist()), (left, top, right + 1, bottom + 1))
    return picture


def saved(picture: Image.Image, quality: int = 85) -> NDArray[np.uint8]:
    """The pixels of a picture that was saved as a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def pixel_facts(pixels: NDArray[np.uint8], width: int, height: int) -> PixelFacts:
    (facts,) = pixel_rules.pixel_facts(pixels[None], [(width, height)])
    return facts


def found(pixels: NDArray[np.uint8], width: int = 800, height: int = 600) -> set[str]:
    return set(pixel_facts(pixels, width, height).scores)


def sepia(grey: Image.Image) -> Image.Image:
    return ImageOps.colorize(grey, (5, 3, 0), (255, 252, 240), mid=(135, 110, 85))


def smooth(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(1))


# Black and white


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [60, 90])
def test_grey_and_sepia_are_black_and_white_as_jpeg_too(size: int, quality: int) -> None:
    grey = ImageOps.autocontrast(smooth(scene(size)).convert("L"), cutoff=2)
    assert BLACK_AND_WHITE in found(saved(grey, quality))
    assert BLACK_AND_WHITE in found(saved(grey.convert("RGB"), quality))
    toned = smooth(sepia(grey)).resize((4 * size, 4 * size))
    assert BLACK_AND_WHITE in found(np.asarray(Image.fromarray(saved(toned, quality)).resize((size, size))))


def coloured_snow() -> NDArray[np.uint8]:
    """Snow with blue shadows: nearly grey, of one cold hue."""
    grey = np.asarray(smooth(scene()).convert("L"), np.float32) / 4 + 180
    return np.stack([grey - (255 - grey) / 5, grey - (255 - grey) / 10, grey], -1).clip(0, 255).astype(np.uint8)


def one_red_spot() -> NDArray[np.uint8]:
    picture = scene().convert("L").convert("RGB")
    picture.paste((200, 20, 30), (90, 90, 130, 130))
    return np.asarray(picture)


@pytest.mark.parametrize(
    "pixels",
    [
        np.asarray(scene()),
        coloured_snow(),
        one_red_spot(),
        np.asarray(sepia(scene().convert("L")).rotate(0, fillcolor=0)) // 2
        + np.uint8(60) * np.eye(3, dtype=np.uint8)[1],
        np.zeros((224, 224, 3), np.uint8),
        np.full((224, 224, 3), 255, np.uint8),
    ],
    ids=["colours", "snow", "red spot", "green tone", "black", "white"],
)
def test_colour_photos_and_empty_frames_are_not_black_and_white(pixels: NDArray[np.uint8]) -> None:
    assert BLACK_AND_WHITE not in found(pixels)


# Panorama


@pytest.mark.parametrize(
    ("width", "height", "wide"),
    [(2000, 1000, True), (1000, 2000, True), (1999, 1000, False), (1000, 1999, False), (1, 2, True), (600, 600, False)],
)
def test_a_panorama_has_one_side_twice_the_other(width: int, height: int, wide: bool) -> None:
    assert (PANORAMA in found(np.asarray(scene()), width, height)) == wide


# Blurred


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(5))
def test_a_picture_out_of_focus_is_blurred_and_a_sharp_one_is_not(size: int, seed: int) -> None:
    sharp = scene(size, seed)
    assert BLURRED not in found(np.asarray(sharp))
    facts = pixel_facts(saved(sharp.filter(ImageFilter.GaussianBlur(4))), 800, 600)
    assert 0.5 <= facts.scores[BLURRED] <= 1


def portrait() -> Image.Image:
    picture = scene().filter(ImageFilter.GaussianBlur(6))
    picture.paste(scene(50, 1), (100, 60))
    return picture


def noise(spread: float) -> NDArray[np.uint8]:
    return np.random.default_rng(0).normal(128, spread, (224, 224, 3)).clip(0, 255).astype(np.uint8)


def sky() -> NDArray[np.uint8]:
    shades = np.linspace(90, 200, 224)
    return np.stack([shades * 0.5, shades * 0.8, shades * 1.2], -1)[:, None].repeat(224, 1).astype(np.uint8)


FOG = (np.asarray(scene(), np.float32) * 0.06 + 190).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [np.asarray(portrait()), noise(1), noise(40), sky(), FOG, np.zeros((224, 224, 3), np.uint8)],
    ids=["sharp in one place", "flat", "noise", "sky", "fog", "black"],
)
def test_what_has_a_sharp_place_or_nothing_to_be_sharp_is_not_blurred(pixels: NDArray[np.uint8]) -> None:
    assert BLURRED not in found(pixels)


def test_a_thumbnail_that_is_enlarged_is_not_called_blurred() -> None:
    pixels = saved(scene().filter(ImageFilter.GaussianBlur(4)))
    assert BLURRED not in found(pixels, 80, 60)
    assert BLURRED in found(pixels, 300, 200)


@pytest.mark.parametrize("size", [1, 2, 4, 83, 84])
def test_pictures_of_any_size_have_facts(size: int) -> None:
    red = np.zeros((size, size, 3), np.uint8)
    red[..., 0] = 220
    assert pixel_facts(red, size, size) == ({}, (Colour("red", 1.0),))


# Colours


@pytest.mark.parametrize(
    ("name", "colours"),
    {
        "black": [(0, 0, 0), (30, 30, 35)],
        "white": [(255, 255, 255), (235, 235, 230)],
        "grey": [(128, 128, 128), (180, 184, 188), (80, 82, 80)],
        "red": [(255, 0, 0), (180, 20, 25)],
        "orange": [(255, 140, 0), (240, 120, 40)],
        "yellow": [(255, 255, 0), (255, 215, 0), (240, 230, 140)],
        "green": [(0, 128, 0), (34, 139, 34), (85, 107, 47), (144, 238, 144)],
        "blue": [(0, 0, 255), (0, 0, 128), (135, 206, 235), (70, 130, 180)],
        "purple": [(128, 0, 128), (75, 0, 130), (147, 112, 219)],
        "pink": [(255, 192, 203), (255, 105, 180), (255, 20, 147)],
        "brown": [(139, 69, 19), (160, 82, 45), (210, 180, 140)],
    }.items(),
)
def test_colours_have_the_names_that_people_give_them(name: str, colours: list[tuple[int, int, int]]) -> None:
    assert {colour_name(*colour) for colour in colours} == {name}


def stripes(*shares: tuple[tuple[int, int, int], int]) -> NDArray[np.uint8]:
    """224 rows, so many of each colour."""
    return np.concatenate([np.full((rows, 224, 3), colour, np.uint8) for colour, rows in shares])


def test_the_dominant_colours_have_their_shares_and_small_ones_are_left_out() -> None:
    pixels = stripes(((30, 60, 200), 105), ((30, 140, 40), 70), ((200, 20, 20), 21), ((0, 0, 0), 28))
    assert pixel_facts(pixels, 800, 600).colours == (Colour("blue", 0.47), Colour("green", 0.31), Colour("black", 0.12))


def test_there_are_at_most_five_colours_equal_shares_by_name() -> None:
    each = [(0, 0, 0), (255, 255, 255), (220, 0, 0), (0, 128, 0), (0, 0, 220), (128, 0, 128), (255, 230, 0)]
    names = [colour.name for colour in dominant_colours(np.array(each, np.int16).T.repeat(32, axis=1)[None])[0]]
    assert names == ["black", "blue", "green", "purple", "red"]


@pytest.mark.parametrize("change", [lambda p: p[::-1], lambda p: p[:, ::-1], np.asarray])
def test_the_shares_of_noise_add_up_to_one_at_most(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (224, 224, 3), np.uint8)
    colours = pixel_facts(np.ascontiguousarray(change(pixels)), 10, 10).colours
    assert sum(colour.share for colour in colours) <= 1.01
    assert all(colour.share >= 0.1 for colour in colours)


def test_photos_that_are_looked_at_together_have_the_facts_of_each_alone() -> None:
    pictures = [scene(), scene(seed=1).convert("L").convert("RGB"), scene().filter(ImageFilter.GaussianBlur(4))]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    sides = [(800, 600), (1000, 400), (300, 200)]
    together = pixel_rules.pixel_facts(pixels, sides)
    assert together == [pixel_facts(one, *of_one) for one, of_one in zip(pixels, sides, strict=True)]
    assert [set(one.scores) for one in together] == [set(), {BLACK_AND_WHITE, PANORAMA}, {BLURRED}]
