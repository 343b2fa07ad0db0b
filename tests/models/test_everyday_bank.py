"""The bank that comes with the program: what was written for a network is opened, its counts of scores too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import everyday_bank
from models.bank import Sigmoid
from models.errors import ModelError
from models.everyday_bank import EverydayBank
from models.score_counts import COUNTS, ScoreCounts


@pytest.fixture
def bank() -> EverydayBank:
    counts = ScoreCounts(np.array([1, 2], np.float32)).histogram(np.ones(2), np.array([0.1, 0.2]), 0.9)
    rule = Sigmoid(np.ones(2, np.float32), np.zeros(2, np.float32), np.full(2, 0.5, np.float32))
    quality = {"a": {"average_precision": 0.5}}
    return EverydayBank(["a", "b"], np.ones((3, 2), np.float32), np.zeros(2, np.float32), rule, quality, counts)


def test_what_was_written_for_a_network_is_opened(
    bank: EverydayBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everyday_bank, "FOLDER", tmp_path)
    bank.write("net", tmp_path)
    found = EverydayBank.open("net")
    assert found.histogram.to_bytes() == bank.histogram.to_bytes()
    assert (list(found.class_ids), dict(found.quality)) == (list(bank.class_ids), dict(bank.quality))
    (tmp_path / f"net.{COUNTS}").write_bytes(b"?")
    with pytest.raises(ModelError, match=f"net.{COUNTS}"):
        EverydayBank.open("net")
    with pytest.raises(ModelError, match="'other' cannot be read"):
        EverydayBank.open("other")
