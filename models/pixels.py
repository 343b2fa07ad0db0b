"""Facts that a photo's pixels and size tell without a network: dominant colours, and the classes of the bank "pixels".

All of it is a fixed rule over the network's input, most of it over a grid of 32 x 32 of its pixels. The
input is the middle of the photo (see preprocessing.py), so the borders that were cut off count for nothing but the
size: colours there have no share, and a coloured border does not keep a photo from being black and white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PIXELS = "pixels"
"""The name of the bank."""
BLACK_AND_WHITE, BLURRED, PANORAMA = "black and white", "blurred", "panorama"
"""The classes, by their ids."""
PIXEL_CLASSES = (BLACK_AND_WHITE, BLURRED, PANORAMA)

COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""The basic colour terms (Berlin and Kay 1969)."""
MOST_COLOURS = 5
LEAST_SHARE = 0.1
"""A dominant colour has at least this share of the picture."""
SHARE_DIGITS = 2

PANORAMA_RATIO = 2
"""The longer side of a panorama is at least so many times the shorter one; cameras' single photos have up to 16:9."""
GRID = 32
"""Pixels in a row and a column of the grid, about. A region's share of it is its share of the picture within 1 %."""


@dataclass(frozen=True)
class Colour:
    """A dominant colour: one of `COLOURS`, and its share of the picture, from `LEAST_SHARE` to 1, of two decimals."""

    name: str
    share: float


class PixelFacts(NamedTuple):
    """Facts that the pixels of one photo tell."""

    scores: dict[str, float]
    """Those of `PIXEL_CLASSES` that hold, each with its score from 0.5 to 1."""
    colours: tuple[Colour, ...]
    """The dominant colours, the largest share first, equal shares by name; at most `MOST_COLOURS`."""


def pixel_facts(pixels: NDArray[np.uint8], sides: Sequence[tuple[int, int]]) -> list[PixelFacts]:
    """Return the facts of each photo.

    Photos are looked at together: each step of numpy costs as much for one small picture as for several.

    Args:
        pixels: uint8 [n, s, s, 3], sRGB: the middles of the photos, as a network takes them.
        sides: width and height of each whole photo as shown, in pixels.
    """
    step = max(pixels.shape[1] // GRID, 1)
    sampled = pixels[:, step // 2 :: step, step // 2 :: step]
    planes = np.empty((len(pixels), 3, *sampled.shape[1:3]), np.int16)
    planes[:] = sampled.transpose(0, 3, 1, 2)
    grid = planes.reshape(len(pixels), 3, -1)
    may_be_grey, soft = ~_has_cold_pixels(grid), ~_has_sharp_row(pixels)
    facts = []
    for index, ((width, height), colours) in enumerate(zip(sides, dominant_colours(grid), strict=True)):
        scores = {}
        if may_be_grey[index] and is_black_and_white(grid[index]):
            scores[BLACK_AND_WHITE] = 1.0
        if max(width, height) >= PANORAMA_RATIO * min(width, height):
            scores[PANORAMA] = 1.0
        if soft[index] and (blurred := blurred_score(pixels[index], min(width, height))) >= 0.5:
            scores[BLURRED] = blurred
        facts.append(PixelFacts(scores, colours))
    return facts


# Dominant colours


def dominant_colours(colours: NDArray[np.int16]) -> list[tuple[Colour, ...]]:
    """Return the colours that have at least `LEAST_SHARE` of each photo's pixels, at most `MOST_COLOURS`.

    Each pixel has one name by `colour_names`, its channels in 32 steps of 8 values, each taken for its middle.

    Args:
        colours: int16 [n, 3, m], sRGB from 0 to 255, m pixels of each photo.
    """
    photos, _, size = colours.shape
    steps = colours >> 3
    places = steps[:, 0] << 10
    places |= steps[:, 1] << 5
    places |= steps[:, 2]
    names = _names().take(places) + (np.arange(photos) * len(COLOURS))[:, None]
    counts = np.bincount(names.ravel(), minlength=photos * len(COLOURS)).reshape(photos, -1).tolist()
    dominant = []
    for of_photo in counts:
        found = [(-count, name) for count, name in zip(of_photo, COLOURS, strict=True) if count >= LEAST_SHARE * size]
        shares = [Colour(name, round(-count / size, SHARE_DIGITS)) for count, name in sorted(found)]
        dominant.append(tuple(shares[:MOST_COLOURS]))
    return dominant


@cache
def _names() -> NDArray[np.uint8]:
    """Return the place in `COLOURS` of each of 32 x 32 x 32 colours: uint8 [32768]; 30 ms, once."""
    steps = np.arange(32) * 8 + 4
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    return colour_names(cube)


def colour_name(red: int, green: int, blue: int) -> str:
    """Return the basic name of one sRGB colour, channels from 0 to 255."""
    return COLOURS[colour_names(np.array([[red, green, blue]]))[0]]


def colour_names(colours: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the place in `COLOURS` of each sRGB colour: uint8 [n].

    The rule is in OKLab, whose distances and hues are those that people see better than HSV's: lightness from 0 to 1,
    chroma from 0 to about 0.3, hue in degrees. The first condition below that holds names the colour. The limits
    were set on the named colours of CSS, and by looking at photos.

    Args:
        colours: [n, 3], sRGB from 0 to 255.
    """
    light, a, b = _oklab(colours)
    chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    # What is called grey of a photo's pixels has a tint; the darker a colour, the less its chroma is seen.
    tinted = chroma >= np.where(light < 0.5, 0.035, 0.03)
    warm = (hue >= 20) & (hue < 105)
    rules = (
        ("black", (light < 0.2) | ((light < 0.32) & (chroma < 0.045))),
        ("white", (light >= 0.88) & (chroma < 0.04)),
        ("grey", ~tinted),
        ("brown", warm & (light < 0.82) & (chroma < np.where(light < 0.65, 0.13, 0.09))),
        ("pink", ((hue < 20) | (hue >= 310)) & (light >= np.where((hue >= 310) & (hue < 345), 0.7, 0.62))),
        ("pink", (hue < 60) & (light >= 0.75) & (chroma < 0.1)),
        ("yellow", warm & (light >= 0.82) & (chroma < 0.1)),
        ("purple", (hue >= 285) & (hue < 355)),
        ("red", (hue < 40) | (hue >= 355)),
        ("orange", hue < 82),
        ("yellow", (hue < 105) | ((hue < 118) & (light >= 0.75))),
        ("green", hue < 192),
        ("blue", hue < 285),
    )
    return np.select([holds for _, holds in rules], [COLOURS.index(name) for name, _ in rules]).astype(np.uint8)


def _oklab(colours: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return sRGB colours in OKLab: [3, n]. Source: Ottosson, "A perceptual color space for image processing", 2020."""
    values = colours / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(lab @ np.cbrt(cones @ linear.T))


# Black and white

_GREY_NOISE = 3
"""Channels of a grey photo differ by this at most, from the conversion of profiles; JPEG keeps a grey photo grey."""
_COLD_NOISE = 10
"""In sepia, red is not below green, nor green below blue, but for so much."""
_MOST_WARMTH = 120
"""Red less blue, in the brightest brown of sepia."""
_LEAST_DEVIATION = 8
"""A frame in black, or whose greys deviate less, shows nothing, and is no photo in black and white."""
_OUTLIERS = 0.01
"""The share of pixels that may break a rule."""
_SEPIA_TINTS = (6, 50)
"""Mean chroma of sepia's middle greys. Above, dunes and old paper are as much of one hue."""
_SEPIA_SPREAD = 0.2
"""The greatest deviation of the chroma of one grey, as a part of the mean chroma. Measured: 0.05 to 0.2 for photos that
were toned and saved as JPEG; from 0.2 for most colour photos of brown animals and of wood."""
_SEPIA_DEVIATION = 45
"""Least deviation of the greys: a print in sepia has blacks and whites; a carpet in warm light has not."""
_SEPIA_NOISE = 4
"""The greatest deviation from the hue of one grey, but for outliers; 2.5 to 4.2 for toned photos, 4.5 and more for
colour photos. Photos in cold tones are left out: a colour photo of snow, fog or the sky is of one cold hue, too."""


def is_black_and_white(colours: NDArray[np.int16]) -> bool:
    """Return True for a picture in greys, or in the browns of sepia, within what JPEG and colour profiles add.

    Args:
        colours: int16 [3, n], sRGB from 0 to 255.
    """
    red, green, blue = colours
    most = _OUTLIERS * colours.shape[1]
    if _has_cold_pixels(colours):
        return False
    warmth, greenness = red - blue, green - red
    if warmth.max() - warmth.min() > _MOST_WARMTH:
        return False
    if np.count_nonzero((np.abs(warmth) > _GREY_NOISE) | (np.abs(greenness) > _GREY_NOISE)) > most:
        return _is_sepia(colours, most)
    return float(green.std()) >= _LEAST_DEVIATION


def _has_cold_pixels(colours: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return True where some pixels are blue or green, as in most colour photos: bool [...] of [..., 3, n]."""
    red, green, blue = colours[..., 0, :], colours[..., 1, :], colours[..., 2, :]
    cold = np.maximum(blue, green) - red > _COLD_NOISE
    return np.asarray(np.count_nonzero(cold, axis=-1) > _OUTLIERS * colours.shape[-1])


def _is_sepia(colours: NDArray[np.int16], most: float) -> bool:
    """Return True if the colour is a function of the grey, is warm, and has one hue."""
    light = np.array([0.299, 0.587, 0.114], np.float32) @ colours
    u, v = colours[2] - light, colours[0] - light
    middle = (light > 64) & (light < 208)
    if light.std() < _SEPIA_DEVIATION or np.count_nonzero(middle) < len(light) / 10:
        return False
    tint_u, tint_v = float(u[middle].mean()), float(v[middle].mean())
    tint = math.hypot(tint_u, tint_v)
    if tint_u >= 0 or tint_v <= 0 or not _SEPIA_TINTS[0] <= tint <= _SEPIA_TINTS[1]:
        return False
    greys = (light / 8).astype(np.intp)
    counts = np.maximum(np.bincount(greys), 1)

    def deviation(values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each pixel's difference from the mean of the pixels of its grey."""
        return np.asarray(values - (np.bincount(greys, values) / counts)[greys])

    along = deviation((u * tint_u + v * tint_v) / tint)
    across = deviation((u * tint_v - v * tint_u) / tint)
    spread = float(np.sqrt(np.square(along[middle]).mean()))
    outliers = int(np.count_nonzero(np.abs(across) > _SEPIA_NOISE))
    return spread <= _SEPIA_SPREAD * tint and outliers <= most


# Blurred

_TILES = 7
"""Tiles in a row and a column. The sharpest counts, so that a portrait before a blurred background is sharp."""
_ROWS = 4
"""Rows of a tile whose Laplacian is taken."""
_EVEN_ODDS = 40.0
"""Mean square of the Laplacian of green, in the sharpest tile, below which a photo is called blurred. Measured: 78 and
more for each of 1,248 sharp photos of things and animals; 25 and more for clouds and sunsets, which are soft by nature;
35 for a median photo that was blurred by 2 pixels (standard deviation, short side 256), 14 for one blurred by 3."""
_COARSE = 4
"""Pixels between the neighbours of the coarse Laplacian."""
_FINE_PART = 0.03
_FINE_NOISE = 12.0
"""A blurred photo's Laplacian between neighbours is at most this part of the coarse one, above what JPEG
adds: a photo with little contrast, as in fog, has little of both."""
_LEAST_COARSE = 150.0
"""Least mean square of the coarse Laplacian: a clear sky, a wall or a black frame has nothing that
could be blurred."""
_MOST_ENLARGED = 2
"""A smaller photo is enlarged more than so many times for the network, and blurred by that alone."""


def blurred_score(pixels: NDArray[np.uint8], short_side: int) -> float:
    """Return how likely a photo is blurred at the network's size, from 0 to 1; 0 where nothing tells.

    Args:
        pixels: uint8 [s, s, 3].
        short_side: of the whole photo, in pixels.
    """
    rows = _rows(pixels)
    if rows is None or short_side * _MOST_ENLARGED < len(pixels):
        return 0.0
    fine = float(_row_energies(rows).sum(axis=1).max()) / (_ROWS * _tile_width(len(pixels)))
    coarse = _laplacian(pixels[::_COARSE, ::_COARSE, 1].astype(np.int16))
    tile = len(coarse) // _TILES
    tiles = np.square(coarse[: tile * _TILES, : tile * _TILES].astype(np.float32)).reshape(_TILES, tile, _TILES, tile)
    coarse_most = float(tiles.mean(axis=(1, 3)).max())
    if coarse_most < _LEAST_COARSE or fine > _FINE_NOISE + _FINE_PART * coarse_most:
        return 0.0
    return 1 / (1 + (fine / _EVEN_ODDS) ** 2)


def _has_sharp_row(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return True for each photo that one row of each tile shows to be sharp already: bool [n]; pixels [n, s, s, 3].

    The mean over all rows of a tile is no less than the part of this one.
    """
    rows = _rows(pixels)
    if rows is None:
        return np.ones(len(pixels), np.bool_)
    energies = _row_energies(rows[:, :, :1]).reshape(len(pixels), -1)
    return np.asarray(energies.max(axis=1) > _EVEN_ODDS * _ROWS * _tile_width(pixels.shape[1]))


def _rows(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the green of the rows that are looked at, each between its neighbours: uint8 [..., tiles, rows, 3, s].

    None for pictures that are too small.
    """
    size = pixels.shape[-2]
    height = size // (_TILES * _ROWS)
    if height < 3:
        return None
    green = pixels[..., : height * _TILES * _ROWS, :, 1]
    at = height // 2
    return green.reshape(*green.shape[:-2], _TILES, _ROWS, height, size)[..., at - 1 : at + 2, :]


def _tile_width(size: int) -> int:
    return (size - 2) // _TILES


def _row_energies(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the sum of squares of the Laplacian over the width of a tile: float32 [..., tiles, rows, tiles].

    Args:
        rows: uint8 [..., tiles, rows, 3, s], each row between its neighbours.
    """
    laplacian = _laplacian(rows.astype(np.int16))[..., 0, :].astype(np.float32)
    laplacian *= laplacian
    return np.asarray(laplacian @ _tile_columns(rows.shape[-1]))


@cache
def _tile_columns(size: int) -> NDArray[np.float32]:
    """Return a matrix that sums a row of the Laplacian by tiles: float32 [size - 2, tiles]."""
    columns = np.arange(size - 2) // _tile_width(size)
    return np.equal(columns[:, None], np.arange(_TILES)).astype(np.float32)


def _laplacian(values: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return 4 times each value less its four neighbours, [..., h - 2, w - 2] of [..., h, w]."""
    result = values[..., 1:-1, 1:-1] << 2
    result -= values[..., 1:-1, :-2]
    result -= values[..., 1:-1, 2:]
    result -= values[..., :-2, 1:-1]
    result -= values[..., 2:, 1:-1]
    return result
