"""The bf16 product beside the float32 one, which is the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bank import ClassifierBank, Sigmoid
from models.errors import ModelError

DIM, CLASSES = 320, 700


@pytest.fixture
def bank(tmp_path: Path) -> ClassifierBank:
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((DIM, CLASSES)).astype(np.float32) / np.float32(DIM**0.5)
    biases = rng.standard_normal(CLASSES).astype(np.float32)
    ones = np.ones(CLASSES, np.float32)
    ids = [f"c{number}" for number in range(CLASSES)]
    return ClassifierBank.write(tmp_path / "bank", "bank", "net", ids, weights, biases, Sigmoid(ones, -ones, ones / 2))


def features(count: int) -> NDArray[np.float32]:
    return np.abs(np.random.default_rng(count).standard_normal((count, DIM))).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 8, 33])
def test_scores_are_alike_to_two_digits(bank: ClassifierBank, count: int) -> None:
    exact = bank.scores(features(count))
    bank.use_bf16()
    assert bank.scores(features(count)).dtype == np.float32
    np.testing.assert_allclose(bank.scores(features(count)), exact, atol=0.02)


def test_only_tags_at_their_threshold_change(bank: ClassifierBank) -> None:
    photos = features(200)
    exact, before = bank.probabilities(photos), bank.predict(photos)
    bank.use_bf16()
    for row, (one, other) in enumerate(zip(before, bank.predict(photos), strict=True)):
        changed = sorted(set(one[0].tolist()) ^ set(other[0].tolist()))
        assert np.abs(exact[row, changed] - 0.5).max(initial=0) < 0.005


def test_threads_may_score_at_once(bank: ClassifierBank) -> None:
    bank.use_bf16()
    batches = [features(count) for count in (1, 2, 5, 8) * 10]
    alone = [bank.scores(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(bank.scores, batches), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_cannot_be_scored_is_refused_as_before(bank: ClassifierBank) -> None:
    bank.use_bf16()
    with pytest.raises(ModelError, match="too large to score"):
        bank.scores(np.full((1, DIM), 3e38, np.float32))
    assert bank.scores(features(0)).shape == (0, CLASSES)
