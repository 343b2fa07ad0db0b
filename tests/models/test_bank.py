"""ClassifierBank: scores, probabilities and what reaches its threshold, against answers worked by hand."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bank import CALIBRATION, HEADER, WEIGHTS, ClassifierBank, Sigmoid, Softmax
from models.errors import ModelError

LN3 = math.log(3)
PARENTS = {"pair": [0, 1], "every": [0, 1, 2]}


def softmax_bank(folder: Path, temperature: float = 1.0, leaf: float = 0.5, parent: float = 0.75) -> ClassifierBank:
    """Three classes whose scores are the three features, the second with 1 added."""
    biases = np.array([0, 1, 0], np.float32)
    rule = Softmax(temperature, leaf, parent, PARENTS)
    return ClassifierBank.write(folder / "bank", "three", "key", ["a", "b", "c"], np.eye(3, dtype="f"), biases, rule)


def sigmoid_bank(folder: Path) -> ClassifierBank:
    """Three classes whose scores are the three features."""
    rule = Sigmoid(
        a=np.array([1, 2, 1], np.float32),
        b=np.array([0, 0, LN3], np.float32),
        thresholds=np.array([0.5, 0.9, 0.75], np.float32),
    )
    biases = np.zeros(3, np.float32)
    return ClassifierBank.write(folder / "bank", "three", "key", ["a", "b", "c"], np.eye(3, dtype="f"), biases, rule)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def found(bank: ClassifierBank, features: np.ndarray, min_score: float | None = None) -> list[dict[str, float]]:
    return [
        {bank.ids[place]: float(score) for place, score in zip(places, scores, strict=True)}
        for places, scores in bank.predict(features, min_score)
    ]


def test_a_score_is_the_product_less_the_bias(tmp_path: Path) -> None:
    weights = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    rule = Softmax(1, 0.5, 0.5, {})
    bank = ClassifierBank.write(tmp_path / "b", "two", "key", ["x", "y"], weights, np.array([10, -1], np.float32), rule)
    # 1*1 + 2*3 + 3*5 + 10 = 32; 1*2 + 2*4 + 3*6 - 1 = 27
    np.testing.assert_array_equal(bank.scores(row(1, 2, 3)), [[32, 27]])
    assert (bank.dim, bank.name, bank.network, bank.classifiers) == (3, "two", "key", ("x", "y"))


def test_softmax_gives_leaves_and_sums_over_their_parents(tmp_path: Path) -> None:
    # Scores ln 3, 0 + 1, 0 less the bias of 1: e^z = 3, 1, 1, so 0.6, 0.2, 0.2.
    bank = softmax_bank(tmp_path, leaf=0.5, parent=0.75)
    features = row(LN3, -1, 0)
    np.testing.assert_allclose(bank.probabilities(features), [[0.6, 0.2, 0.2, 0.8, 1.0]], rtol=1e-6)
    assert found(bank, features) == [pytest.approx({"a": 0.6, "pair": 0.8, "every": 1.0})]


def test_temperature_divides_the_scores(tmp_path: Path) -> None:
    # e^(z/2) = 3, 1, 1 for z = 2 ln 3, 0, 0.
    bank = softmax_bank(tmp_path, temperature=2)
    np.testing.assert_allclose(bank.probabilities(row(2 * LN3, -1, 0))[0, :3], [0.6, 0.2, 0.2], rtol=1e-6)


def test_leaves_and_parents_have_a_threshold_each(tmp_path: Path) -> None:
    bank = softmax_bank(tmp_path, leaf=0.1, parent=0.9)
    assert found(bank, row(LN3, -1, 0))[0].keys() == {"a", "b", "c", "every"}


def test_a_class_that_equals_its_threshold_has_reached_it(tmp_path: Path) -> None:
    # Two equal classes and one far below: exactly one half each, and a sum of exactly 1.
    features = row(0, -1, -200)
    bank = softmax_bank(tmp_path / "at", leaf=0.5, parent=1.0)
    assert found(bank, features) == [{"a": 0.5, "b": 0.5, "pair": 1.0, "every": 1.0}]
    above = softmax_bank(tmp_path / "above", leaf=np.nextafter(np.float32(0.5), np.float32(1)).item(), parent=1.0)
    assert found(above, features) == [{"pair": 1.0, "every": 1.0}]


def test_sigmoid_classes_are_independent_with_their_own_calibration_and_threshold(tmp_path: Path) -> None:
    bank = sigmoid_bank(tmp_path)
    # a: 1/(1+e^0) = 0.5, at its threshold; b: 2 * ln 3 gives 9/10, at its threshold; c: ln 3 + 0 gives 3/4, at its.
    assert found(bank, row(0, LN3, 0)) == [pytest.approx({"a": 0.5, "b": 0.9, "c": 0.75})]
    assert found(bank, row(-0.01, LN3 - 0.01, -0.01)) == [{}]
    np.testing.assert_allclose(bank.probabilities(row(0, LN3, 0)), [[0.5, 0.9, 0.75]], rtol=1e-6)


def test_min_score_takes_every_thresholds_place(tmp_path: Path) -> None:
    features = row(LN3, -1, 0)
    bank = softmax_bank(tmp_path / "softmax")
    assert found(bank, features, 0.0)[0].keys() == {"a", "b", "c", "pair", "every"}
    assert found(bank, features, 0.7)[0].keys() == {"pair", "every"}
    bank = sigmoid_bank(tmp_path / "sigmoid")
    assert found(bank, row(0, LN3, 0), 0.0)[0].keys() == {"a", "b", "c"}
    assert found(bank, row(0, LN3, 0), 0.7)[0].keys() == {"b", "c"}
    assert found(bank, row(-90, -90, -90), 0.0)[0].keys() == {"a", "b", "c"}
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ModelError, match="min_score"):
            bank.predict(features, wrong)


@pytest.mark.parametrize("make", [softmax_bank, sigmoid_bank])
def test_huge_scores_neither_overflow_nor_warn(tmp_path: Path, make: Callable[[Path], ClassifierBank]) -> None:
    bank = make(tmp_path)
    probabilities = bank.probabilities(row(3e38, -3e38, 0))
    np.testing.assert_array_equal(probabilities[0, :2], [1, 0])
    assert np.isfinite(probabilities).all()


def test_a_batch_is_its_photos_one_by_one_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    features = np.array([[LN3, -1, 0], [0, -1, 0], [0, 5, 0]], np.float32)
    for bank in (softmax_bank(tmp_path / "softmax"), sigmoid_bank(tmp_path / "sigmoid")):
        together = found(bank, features)
        assert together == [found(bank, photo[None])[0] for photo in features]
        assert len({len(photo) for photo in together}) > 1
        assert bank.predict(features[:0]) == []


def test_a_photo_without_any_tag_stands_in_its_place(tmp_path: Path) -> None:
    low, high = [-9, -9, -9], [9, 9, 9]
    tags = found(sigmoid_bank(tmp_path), np.array([low, high, low, low, high, low], np.float32))
    assert [len(photo) for photo in tags] == [0, 3, 0, 0, 3, 0]


@pytest.mark.parametrize("make", [softmax_bank, sigmoid_bank])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_refused_with_their_photo(
    tmp_path: Path, make: Callable[[Path], ClassifierBank], bad: float
) -> None:
    features = np.zeros((3, 3), np.float32)
    features[1, 2] = bad
    with pytest.raises(ModelError, match=r"photos \[1\] are not finite"):
        make(tmp_path).predict(features)


def test_finite_features_whose_scores_overflow_are_refused(tmp_path: Path) -> None:
    weights = np.full((3, 2), 3e38, np.float32)
    rule = Softmax(1, 0.5, 0.5, {})
    bank = ClassifierBank.write(tmp_path / "b", "two", "key", ["x", "y"], weights, np.zeros(2, np.float32), rule)
    with pytest.raises(ModelError, match="too large"):
        bank.predict(row(3e38, 3e38, 3e38))


@pytest.mark.parametrize("wrong", [np.zeros((1, 3)), np.zeros((1, 4), np.float32), np.zeros(3, np.float32)])
def test_features_of_another_shape_or_type_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"float32 \[n, 3\]") as caught:
        softmax_bank(tmp_path).predict(wrong)
    assert f"{wrong.dtype} {list(wrong.shape)}" in str(caught.value)


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), max_size=6),
    st.lists(st.floats(-30, 30, width=32), min_size=6, max_size=6),
    st.floats(0, 1),
)
def test_softmax_is_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], scores: list[float], threshold: float
) -> None:
    """Also with leaves reached by several ways: each counts once."""
    parents = {f"p{number}": sorted(set(group)) for number, group in enumerate(groups)}
    rule = Softmax(1.5, threshold, threshold, parents)
    weights, biases = np.eye(6, dtype=np.float32), np.zeros(6, np.float32)
    folder = tmp_path_factory.mktemp("bank") / "b"
    bank = ClassifierBank.write(folder, "six", "key", list("abcdef"), weights, biases, rule)
    wide = [math.exp((score - max(scores)) / 1.5) for score in scores]
    leaves = [value / sum(wide) for value in wide]
    wanted = dict(zip("abcdef", leaves, strict=True))
    wanted |= {f"p{number}": sum(leaves[leaf] for leaf in set(group)) for number, group in enumerate(groups)}
    given_ = found(bank, row(*scores), 0.0)[0]
    assert given_ == pytest.approx(wanted, abs=1e-5)
    assert max(given_.values()) <= 1
    shutil.rmtree(folder)
    stored = bank.probabilities(row(*scores))[0] >= np.float32(threshold)
    assert found(bank, row(*scores))[0].keys() == {id_ for id_, yes in zip(bank.ids, stored, strict=True) if yes}


@given(
    st.lists(
        st.tuples(st.floats(0.125, 8, width=32), st.floats(-4, 4, width=32), st.floats(-30, 30, width=32)),
        min_size=3,
        max_size=3,
    ),
    st.floats(1 / 64, 63 / 64, width=32),
)
def test_sigmoid_is_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, classes: list[tuple[float, float, float]], threshold: float
) -> None:
    a, b, scores = (np.array(column, np.float32) for column in zip(*classes, strict=True))
    rule = Sigmoid(a, b, np.full(3, threshold, np.float32))
    folder = tmp_path_factory.mktemp("bank") / "b"
    weights, biases = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    bank = ClassifierBank.write(folder, "three", "key", list("abc"), weights, biases, rule)
    wanted = [1 / (1 + math.exp(-(ai * z + bi))) for ai, bi, z in classes]
    np.testing.assert_allclose(bank.probabilities(scores[None])[0], wanted, atol=1e-5)
    tags = found(bank, scores[None])[0]
    for id_, p in zip("abc", wanted, strict=True):
        if abs(p - threshold) > 1e-5:
            assert (id_ in tags) == (p > threshold)
    assert tags == pytest.approx({id_: p for id_, p in zip("abc", wanted, strict=True) if id_ in tags}, abs=1e-5)
    shutil.rmtree(folder)


def test_the_matrix_is_mapped_and_never_copied(tmp_path: Path) -> None:
    bank = softmax_bank(tmp_path)
    scores = bank.scores(row(0, 0, 0))
    # Who writes into the file changes what the open bank says: it reads the file's own pages.
    weights = np.load(tmp_path / "bank" / WEIGHTS, mmap_mode="r+")
    weights[3] = [5, 6, 7]
    weights.flush()
    np.testing.assert_array_equal(scores, [[0, 1, 0]])
    np.testing.assert_array_equal(bank.scores(row(0, 0, 0)), [[5, 6, 7]])


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_20000_classifiers_open_in_under_50_ms(tmp_path: Path, kind: str) -> None:
    count = 20_000
    ids = [f"n{number:08d}" for number in range(count)]
    parents = {f"p{number}": list(range(number, number + 20)) for number in range(count // 3)}
    calibration = np.tile(np.array([[1], [0], [0.5]], np.float32), count)
    rule = Softmax(1, 0.5, 0.5, parents) if kind == "softmax" else Sigmoid(*calibration)
    ClassifierBank.write(
        tmp_path / "b", "many", "key", ids, np.zeros((1280, count), np.float32), np.zeros(count, np.float32), rule
    )
    times_s = []
    for _ in range(10):
        # Its own seconds: the machine's other work is none of its doing.
        start = time.thread_time()
        bank = ClassifierBank.open(tmp_path / "b")
        times_s.append(time.thread_time() - start)
    assert len(bank.ids) == count + (len(parents) if kind == "softmax" else 0)
    assert min(times_s) < 0.05


def _edit(folder: Path, **facts: object) -> None:
    path = folder / "bank" / HEADER
    header = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({key: value for key, value in header.items() if value is not None}))


@pytest.mark.parametrize(
    "facts",
    [
        {"format": "other"},
        {"version": 2},
        {"kind": "tree"},
        {"name": 3},
        {"network": None},
        {"classes": ["a", "b"]},
        {"classes": ["a", "b", "a"]},
        {"classes": ["a", "b", "pair"]},
        {"classes": ["a", "b", 3]},
        {"features": 4},
        {"features": "3"},
        {"temperature": 0},
        {"temperature": math.nan},
        {"leaf_threshold": 1.5},
        {"parent_threshold": math.nan},
        {"parent_threshold": None},
        {"parents": {"pair": []}},
        {"parents": {"pair": [0, 3]}},
        {"parents": {"pair": [-1, 1]}},
        {"parents": {"pair": [1, 1]}},
        {"parents": {"pair": [0.5]}},
        {"parents": ["pair"]},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused_by_its_files_name(tmp_path: Path, facts: dict[str, object]) -> None:
    softmax_bank(tmp_path)
    _edit(tmp_path, **facts)
    with pytest.raises(ModelError, match=r"bank\.json"):
        ClassifierBank.open(tmp_path / "bank")


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3), np.float32),
        np.zeros((4, 3)),
        np.zeros((4, 3), ">f4"),
        np.asfortranarray(np.zeros((4, 3), np.float32)),
    ],
)
def test_a_matrix_of_another_shape_type_or_order_is_refused(tmp_path: Path, matrix: np.ndarray) -> None:
    softmax_bank(tmp_path)
    np.save(tmp_path / "bank" / WEIGHTS, matrix)
    with pytest.raises(ModelError, match=r"weights\.npy.*\[4, 3\]"):
        ClassifierBank.open(tmp_path / "bank")


def test_a_truncated_and_a_missing_matrix_are_refused(tmp_path: Path) -> None:
    softmax_bank(tmp_path)
    path = tmp_path / "bank" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"weights\.npy"):
        ClassifierBank.open(tmp_path / "bank")
    path.unlink()
    with pytest.raises(ModelError, match=r"weights\.npy"):
        ClassifierBank.open(tmp_path / "bank")


@pytest.mark.parametrize(("place", "value"), [(0, 0), (0, -1), (0, math.nan), (1, math.inf), (2, 1.5), (2, -0.1)])
def test_a_calibration_out_of_bounds_is_refused(tmp_path: Path, place: int, value: float) -> None:
    sigmoid_bank(tmp_path)
    path = tmp_path / "bank" / CALIBRATION
    calibration = np.load(path)
    calibration[place, 1] = value
    np.save(path, calibration)
    with pytest.raises(ModelError, match=r"calibration\.npy"):
        ClassifierBank.open(tmp_path / "bank")


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    weights = np.array([[1], [math.nan]], np.float32)
    with pytest.raises(ModelError, match="finite"):
        ClassifierBank.write(
            tmp_path / "b", "one", "key", ["a"], weights, np.zeros(1, np.float32), Softmax(1, 0.5, 0.5, {})
        )
    assert not (tmp_path / "b").exists()
