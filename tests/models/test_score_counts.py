"""The file of a bank's scores: what was written is read, and everything else is refused by name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from models.errors import ModelError
from models.score_counts import BINS, ScoreCounts, ScoreHistogram


def histogram() -> ScoreHistogram:
    counts = ScoreCounts(np.array([1, 2], np.float32))
    counts.positives[1, 0, 30], counts.negatives[2, 1, 5], counts.labelled_negatives[0, 1, 5] = 3, 4, 1
    return counts.histogram(np.array([1.0, 2.5]), np.array([0.25, 0.5]), 0.9)


def read(data: bytes, classes: int = 2) -> ScoreHistogram:
    return ScoreHistogram.from_bytes(data, "bank/counts.npz", classes)


def test_what_was_written_is_read() -> None:
    data = histogram().to_bytes()
    found = read(data)
    assert found.positives[1, 0, 30] == 3
    assert found.negatives[:, 1, 5].tolist() == [1, 0, 4 * 2.5, 0, 0]
    assert (found.frequencies.tolist(), found.precision.tolist()) == ([0.25, 0.5], [0.9, 0.9])
    assert found.to_bytes() == data


def test_frequencies_are_never_quite_0_or_1() -> None:
    counts = ScoreCounts(np.array([1, 2], np.float32))
    extreme = np.array([1e-300, 1 - 1e-12])
    made = counts.histogram(np.ones(2), extreme, 0.9)
    for one in (made, made.at(extreme)):
        found = read(one.to_bytes()).frequencies
        assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positives": np.zeros((2, BINS))}, "positives must be float32"),
        ({"negatives": np.zeros((2, 3), np.float32)}, "negatives must be float32"),
        ({"low": np.array([np.nan, 0], np.float32)}, "low has a value"),
        ({"negative_weights": np.array([-1, 0], np.float32)}, "negative_weights has a value"),
        ({"frequencies": np.array([0, 0.5], np.float32)}, "between 0 and 1"),
        ({"width": np.zeros(2, np.float32)}, "widths above 0"),
        ({"precision": np.ones(2)}, "between 0 and 1"),
        ({"precision": np.full(3, 0.9)}, "precision must be float64"),
        ({"precision": None}, "cannot be read"),
    ],
)
def test_impossible_values_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with np.load(io.BytesIO(histogram().to_bytes())) as arrays:
        changed = {**arrays, **changes}
    data = io.BytesIO()
    np.savez(data, **{name: value for name, value in changed.items() if value is not None})
    with pytest.raises(ModelError, match=rf"bank/counts\.npz: .*{said}"):
        read(data.getvalue())


def test_another_file_is_refused() -> None:
    whole = histogram().to_bytes()
    for data in (b"", b"no such file", whole[: len(whole) // 2]):
        with pytest.raises(ModelError, match="cannot be read as counts of scores"):
            read(data)
    with pytest.raises(ModelError, match=r"must be float32 \[3\]"):
        read(whole, classes=3)
