"""The probe: the same pictures everywhere, and a network that computes something else is found out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autotag.settings import Settings
from models.bundle import Bundle
from models.errors import ModelError
from models.network import FeatureNetwork
from models.probe import MAX_DEVIATION, PROBE, probe_pixels
from tests.model_files import write_small_bundle


def test_the_pictures_are_the_same_to_the_last_bit_whoever_draws_them() -> None:
    pixels = probe_pixels(224)
    assert (pixels.shape, pixels.dtype) == ((8, 224, 224, 3), np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest().startswith("a620c44c9c5b3ca3")
    assert (pixels[0].max(), pixels[1].min()) == (0, 255)
    assert len({picture.tobytes() for picture in pixels}) == 8


@pytest.mark.parametrize("size", [1, 4, 31, 260])
def test_there_are_pictures_of_every_size(size: int) -> None:
    assert probe_pixels(size).shape == (8, size, size, 3)


def test_features_that_a_cpu_may_make_different_pass_and_others_do_not(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    recorded = bundle.probe
    bundle.self_check(recorded)
    aside = np.zeros_like(recorded)
    aside[3] = [1, -1, 0]  # at right angles to the record, whose length is the root of 3
    bundle.self_check(recorded + aside * np.float32(0.99 * MAX_DEVIATION * (3 / 2) ** 0.5))
    with pytest.raises(ModelError, match=rf"{tmp_path}/b/{PROBE}: .*those of picture 3 are 0\.35 apart"):
        bundle.self_check(recorded + aside * np.float32(1.01 * MAX_DEVIATION * (3 / 2) ** 0.5))
    with pytest.raises(ModelError, match="other features"):
        bundle.self_check(recorded * 2)  # of the same direction, and all scores are others
    with pytest.raises(ModelError, match=r"records finite features \[8, 3\]; the network here gives float32 \[8, 4\]"):
        bundle.self_check(np.ones((8, 4), np.float32))
    with pytest.raises(ModelError, match="finite"):
        bundle.self_check(recorded * np.float32(np.nan))


def test_features_that_a_bank_cannot_score_do_not_pass(tmp_path: Path) -> None:
    large = write_small_bundle(tmp_path / "b", banks=["more"], weight=3e38)
    with pytest.raises(ModelError, match="too large to score"):
        large.self_check(large.probe * np.float32(1.19))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((7, 3), np.float32), r"must be float32 \[8, d\]. It is float32 \[7, 3\]"),
        (np.ones((8, 3)), r"must be float32 \[8, d\]. It is float64"),
        (np.full((8, 3), np.nan, np.float32), "not finite"),
        (np.ones((8, 4), np.float32), "banks/imagenet: takes 3 features, but .*probe.npy has 4"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, features: NDArray[Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        write_small_bundle(tmp_path / "b", probe=features)


def test_a_bundle_in_f32_passes_where_it_was_made_in_bf16_and_one_of_another_network_does_not(
    settings: Settings,
) -> None:
    bundle = Bundle.open(Path(settings.model))
    pixels = probe_pixels(bundle.preprocessing.size)
    network = FeatureNetwork.open(bundle.network_path, "f32")
    bundle.self_check(network.features(pixels))
    with pytest.raises(ModelError, match="other features"):
        bundle.self_check(network.features(pixels[::-1].copy()))
