"""Features as 16-bit fixed point: half the bytes, and sums of them are whole numbers, exact in any order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

HEADROOM = 2
"""How many times the largest value of the probe a photo's feature may be without being clipped."""
LARGEST = int(np.iinfo(np.int16).max)
MAX_SCALE = 2**24
"""Finer steps than float32 has at 1 are none."""


def feature_scale(probe: NDArray[np.float32]) -> int:
    """Steps per 1: the largest power of two at which `HEADROOM` times the probe's largest magnitude fits into int16.

    2048 for EfficientNet-Lite0: its features are averages of values from 0 to 6, and the largest of the probe is 5.3.

    Args:
        probe: float32 [n, d], the features of some photos.

    Raises:
        ModelError: they are none, all 0, not finite, or so large that a step would be more than 1.
    """
    largest = float(np.abs(probe).max(initial=0.0))
    if not 0 < largest < math.inf:
        raise ModelError(f"a scale needs features that are finite and not all 0. Their largest is {largest!r}")
    scale = LARGEST / (HEADROOM * largest)
    if scale < 1:
        raise ModelError(f"features must be below {LARGEST // HEADROOM} in magnitude. Their largest is {largest!r}")
    return min(MAX_SCALE, 1 << math.floor(math.log2(scale)))


def to_fixed(features: NDArray[np.float32], scale: int) -> NDArray[np.int16]:
    """Features times `scale`, rounded to the nearest, halves to even, and clipped to +-32767: int16 [n, d].

    Args:
        features: float32 [n, d].
        scale: a power of two, so that nothing but the rounding is lost.

    Raises:
        ModelError: a feature is not a number.
    """
    if not np.isfinite(features).all():
        raise ModelError("a feature is not a finite number, and has no fixed point")
    fixed: NDArray[np.int16] = np.clip(np.rint(features * np.float32(scale)), -LARGEST, LARGEST).astype(np.int16)
    return fixed


def from_fixed(fixed: NDArray[np.int16], scale: int) -> NDArray[np.float32]:
    """What `to_fixed` was given, but for its rounding and clipping: float32 [n, d]."""
    return fixed.astype(np.float32) / np.float32(scale)


def clipped(fixed: NDArray[np.int16]) -> int:
    """How many values of `to_fixed` lie at the ends of its range: they were clipped, or nearly."""
    return int(np.count_nonzero(np.abs(fixed) == LARGEST))
