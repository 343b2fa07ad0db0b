"""Features as fixed point: the scale, the rounding, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.fixed_point import LARGEST, clipped, feature_scale, from_fixed, to_fixed


def floats(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("largest", "scale"), [(5.3, 2048), (4.0, 2048), (3.99, 4096), (-5.3, 2048), (16383.0, 1), (1e-12, 2**24)]
)
def test_the_scale_is_a_power_of_two_that_leaves_room_for_twice_the_probe(largest: float, scale: int) -> None:
    assert feature_scale(floats(largest / 2, largest)) == scale


@given(st.floats(2**-8, 16000, width=32))
def test_twice_the_probe_fits_and_with_twice_the_scale_it_would_not(largest: float) -> None:
    scale = feature_scale(floats(largest))
    assert 2 * largest * scale <= LARGEST
    assert scale == 2**24 or 2 * largest * 2 * scale > LARGEST


@pytest.mark.parametrize("values", [(), (0.0,), (np.inf,), (np.nan, 1.0), (20_000.0,)])
def test_a_probe_that_says_nothing_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="largest is"):
        feature_scale(np.array([values], np.float32))


def test_features_are_rounded_to_the_nearest_step() -> None:
    fixed = to_fixed(floats(0, 0.25, 0.26, -0.26, 0.125, 0.375, 1.5), 4)
    assert fixed.dtype == np.int16
    assert fixed.tolist() == [[0, 1, 1, -1, 0, 2, 6]]


def test_what_does_not_fit_is_clipped_and_counted() -> None:
    fixed = to_fixed(floats(9000, -9000, 8191.75, 1), 4)
    assert fixed.tolist() == [[LARGEST, -LARGEST, LARGEST, 4]]
    assert clipped(fixed) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ModelError, match="not a finite number"):
        to_fixed(floats(1, value), 4)


@given(st.lists(st.floats(-15, 15, width=32), min_size=1), st.integers(0, 11))
def test_nothing_but_the_rounding_is_lost(values: list[float], exponent: int) -> None:
    scale = 2**exponent
    features = np.array([values], np.float32)
    assert np.abs(from_fixed(to_fixed(features, scale), scale) - features).max() <= 0.5 / scale
