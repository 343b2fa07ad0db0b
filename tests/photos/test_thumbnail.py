"""Pixels as JPEG files."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from autotag.photos.thumbnail import jpeg


def test_pixels_become_a_small_jpeg_of_the_same_size_and_colours() -> None:
    ramp = np.linspace(0, 255, 224).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (100, 1)), np.full((100, 224), 90, np.uint8), np.tile(ramp[::-1], (100, 1))], -1)
    data = jpeg(pixels)
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (224, 100))
        assert np.abs(np.asarray(picture).astype(int) - pixels).mean() < 3
    assert len(data) < 10_000
