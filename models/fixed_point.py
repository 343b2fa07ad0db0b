"""Features as 16-bit fixed point: half the bytes, and their sums are whole numbers, exact in any order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

HEADROOM = 2
"""Largest feature that is not clipped, as a multiple of the largest feature of the probe."""
LARGEST = int(np.iinfo(np.int16).max)
MAX_SCALE = 2**24
"""Most steps per 1: float32 has no finer steps at 1."""


def feature_scale(probe: NDArray[np.float32]) -> int:
    """Return the steps per 1: the largest power of two at which `HEADROOM` times the probe's largest value fits int16.

    2048 for EfficientNet-Lite0: its features are averages of values from 0 to 6, and the largest of the probe is 5.3.

    Args:
        probe: float32 [n, d], the features of some photos.

    Raises:
        ModelError: the features are none, all 0, not finite, or so large that a step would be more than 1.
    """
    largest = float(np.abs(probe).max(initial=0.0))
    if not 0 < largest < math.inf:
        raise ModelError(f"a scale needs features that are finite and not all 0. Their largest is {largest!r}")
    scale = LARGEST / (HEADROOM * largest)
    if scale < 1:
        raise ModelError(f"features must be below {LARGEST // HEADROOM} in magnitude. Their largest is {largest!r}")
    return min(MAX_SCALE, 1 << math.floor(math.log2(scale)))


def to_fixed(features: NDArray[np.float32], scale: int) -> NDArray[np.int16]:
    """Return features times `scale`, rounded to the nearest, halves to even, and clipped to +-32767: int16 [n, d].

    Args:
        features: float32 [n, d].
        scale: a power of two, so that only the rounding loses precision.

    Raises:
        ModelError: a feature is not a number.
    """
    if not np.isfinite(features).all():
        raise ModelError("a feature is not a finite number")
    fixed: NDArray[np.int16] = np.clip(np.rint(features * np.float32(scale)), -LARGEST, LARGEST).astype(np.int16)
    return fixed


def from_fixed(fixed: NDArray[np.int16], scale: int) -> NDArray[np.float32]:
    """Return the features that `to_fixed` rounded and clipped: float32 [n, d]."""
    return fixed.astype(np.float32) / np.float32(scale)


def clipped(fixed: NDArray[np.int16]) -> int:
    """Return the number of values at the ends of the range of `to_fixed`: they were clipped, or nearly."""
    return int(np.count_nonzero(np.abs(fixed) == LARGEST))
