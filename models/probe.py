"""The probe: pictures made by arithmetic. A bundle records their features, and each machine checks its own by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arrays import map_array
from models.errors import ModelError

PROBE = "probe.npy"
PROBE_PICTURES = 8
MAX_DEVIATION = 0.2
"""Largest distance of two machines' features of one picture, relative to their length; the cosine is 0.98 or more.

A bundle in bf16 on a CPU without bf16, which computes in f32, deviates by 0.02 to 0.07 (EfficientNet-Lite0), as it does
for photos. Pictures with smooth gradients would deviate by 0.25, since networks are unsure about them.
"""


def probe_pixels(size: int) -> NDArray[np.uint8]:
    """Draw the pictures: uint8 [8, size, size, 3], RGB; the same to the last bit on every machine.

    Black, white, a chessboard, noise of three grains, and two mixtures of grains, as photos have them. The
    arithmetic is on whole numbers only.
    """
    y, x = np.mgrid[0:size, 0:size].astype(np.uint32)

    def noise(grain: int, seed: int) -> NDArray[np.uint32]:
        places = (y // grain * np.uint32(size) + x // grain) * np.uint32(3) + np.uint32(seed * 1_000_003)
        return np.stack([_scattered(places + channel) for channel in np.arange(3, dtype=np.uint32)], axis=-1)

    chessboard = np.stack([(x // 8 + y // 8) % 2 * 255] * 3, axis=-1)
    fine = sum(noise(grain, 4) for grain in (1, 2, 4, 8, 16, 32, 64)) // 7
    coarse = sum(weight * noise(grain, 5) for grain, weight in ((2, 1), (8, 2), (32, 3))) // 6
    flat = np.zeros_like(chessboard)
    pictures = [flat, flat + 255, chessboard, noise(1, 1), noise(4, 2), noise(16, 3), fine, coarse]
    return np.stack(pictures).astype(np.uint8)


def read_probe(path: Path) -> NDArray[np.float32]:
    """Read the recorded features: float32 [8, d].

    Raises:
        ModelError: the file is missing or malformed.
    """
    try:
        features = map_array(path)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read as the probe's features: {error}") from error
    if features.dtype != np.dtype("<f4") or features.ndim != 2 or len(features) != PROBE_PICTURES:
        shape = list(features.shape)
        raise ModelError(f"{path}: must be float32 [{PROBE_PICTURES}, d]. It is {features.dtype} {shape}")
    if not np.isfinite(features).all():
        raise ModelError(f"{path}: the probe's features are not finite")
    return features


def check_probe(path: Path, recorded: NDArray[np.float32], features: NDArray[np.float32]) -> None:
    """Compare the features that a network computes here with the recorded ones; both float32 [8, d].

    Raises:
        ModelError: they have other shapes, are not finite, or are too far apart; the message names `path`, the file.
    """
    if features.shape != recorded.shape or not np.isfinite(features).all():
        shape = f"{features.dtype} {list(features.shape)}"
        raise ModelError(f"{path}: records finite features {list(recorded.shape)}; the network here gives {shape}")
    wide = recorded.astype(np.float64)
    apart = np.linalg.norm(features - wide, axis=1)
    allowed = MAX_DEVIATION * np.linalg.norm(wide, axis=1)
    if (apart > allowed).any():
        worst = int((apart - allowed).argmax())
        raise ModelError(
            f"{path}: the network here gives other features than where the bundle was made: those of picture {worst} "
            f"are {apart[worst]:.3g} apart, and {allowed[worst]:.3g} is allowed"
        )


def _scattered(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return a pseudo-random byte for each number: the finaliser of MurmurHash3 (Austin Appleby, public domain)."""
    mixed = numbers.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    return mixed & np.uint32(255)
