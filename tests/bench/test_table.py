"""The table of figures: the parts of a row give its ratio."""

from __future__ import annotations

import random
import re

import pytest

from bench.table import median_round


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_the_parts_of_the_round_give_the_ratio_that_is_shown(count: int) -> None:
    draw = random.Random(count)
    rounds = [(draw.uniform(100, 500), draw.uniform(100, 500)) for _ in range(count)]
    (ours, theirs), text = median_round(rounds, lambda round: round[0] / round[1])
    ratios = sorted(one / other for one, other in rounds)
    shown, lowest, highest = map(float, re.findall(r"[\d.]+", text))
    assert shown == pytest.approx(ours / theirs, abs=0.005)
    assert (lowest, highest) == pytest.approx((ratios[0], ratios[-1]), abs=0.005)
    assert sum(ratio < ours / theirs for ratio in ratios) == (count - 1) // 2


def test_a_noisy_round_does_not_lend_its_parts_to_the_median() -> None:
    rounds = [(400, 430), (239, 142), (390, 420)]
    assert median_round(rounds, lambda round: round[0] / round[1]) == ((400, 430), "0.93 (0.93 to 1.68)")
