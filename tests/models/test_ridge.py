"""Sums over labelled photos are exact in any order, and the classifiers are ridge regressions solved at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from models import moments as sums
from models.errors import ModelError
from models.fixed_point import LARGEST
from models.moments import EXACT_ROWS, FOLDS, Labels, Moments, Statistics
from models.ridge import FEW_POSITIVES, Solver

DIM = 3
NO_LABEL = 9


@dataclass(frozen=True)
class Photos:
    """Labelled photos, and of each photo and class a value or `NO_LABEL`."""

    features: NDArray[np.int16]
    folds: NDArray[np.int8]
    exhaustive: NDArray[np.bool_]
    table: NDArray[np.int8]
    open: NDArray[np.bool_] | None = None
    """[classes]: True if an exhaustive photo without a label is unknown; by default it is FALSE."""

    @property
    def closed(self) -> NDArray[np.bool_]:
        return np.ones(self.table.shape[1], np.bool_) if self.open is None else ~self.open

    def __getitem__(self, which: object) -> Photos:
        return Photos(self.features[which], self.folds[which], self.exhaustive[which], self.table[which], self.open)

    def __len__(self) -> int:
        return len(self.features)

    def add_to(self, statistics: Statistics, sign: int = 1) -> Statistics:
        rows, classes = np.nonzero(self.table != NO_LABEL)
        labels = Labels(rows, classes, self.table[rows, classes], self.exhaustive[rows] & self.closed[classes])
        statistics.add(self.features, self.folds, self.exhaustive, labels, sign)
        return statistics

    def statistics(self) -> Statistics:
        return self.add_to(empty(self.table.shape[1]))

    def moments(self, scale: int = 1, without: int | None = None) -> Moments:
        return self.statistics().moments(scale, self.closed, without)


def empty(classes: int) -> Statistics:
    return Statistics(DIM, [f"c{number}" for number in range(classes)])


@st.composite
def drawn(draw: st.DrawFn, most: int = 12) -> Photos:
    count, classes = draw(st.integers(0, most)), draw(st.integers(0, 4))
    return Photos(
        draw(arrays.arrays(np.int16, (count, DIM), elements=st.integers(-LARGEST, LARGEST))),
        draw(arrays.arrays(np.int8, count, elements=st.integers(0, FOLDS - 1))),
        draw(arrays.arrays(np.bool_, count)),
        draw(arrays.arrays(np.int8, (count, classes), elements=st.sampled_from([-1, 0, 1, NO_LABEL]))),
        draw(arrays.arrays(np.bool_, classes)),
    )


def assert_same(one: Statistics, other: Statistics) -> None:
    first, second = one.arrays(), other.arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype == np.int64
        assert array.tobytes() == second[name].tobytes(), name


def random_photos(count: int, classes: int = 3, seed: int = 0) -> Photos:
    """Photos whose classes differ in their means."""
    draw = np.random.default_rng(seed)
    table = draw.choice(np.array([-1, 0, 1, NO_LABEL], np.int8), (count, classes))
    features = draw.normal(0, 100, (count, DIM)) * [1, 5, 0.1] + (table == 1) @ draw.normal(0, 300, (classes, DIM))
    folds = draw.integers(0, FOLDS, count)
    return Photos(features.astype(np.int16), folds.astype(np.int8), draw.random(count) < 0.5, table)


# Sums


@given(drawn())
def test_statistics_are_what_plain_loops_add_up(photos: Photos) -> None:
    wanted = empty(photos.table.shape[1])
    wanted.known_sums = np.zeros_like(wanted.positive_sums)
    for row, fold, whole, values in zip(
        photos.features.astype(np.int64), photos.folds, photos.exhaustive, photos.table, strict=True
    ):
        wanted.counts[fold] += [1, int(whole)]
        wanted.sums[fold] += np.stack([row, row * whole])
        wanted.second[fold] += row[:, None] * row
        for class_, value in enumerate(values):
            closed = bool(whole and photos.closed[class_])
            known = value in (-1, 1) or (closed and value == NO_LABEL)
            if value == 1:
                wanted.positive_counts[fold, class_] += 1
                wanted.positive_sums[fold, class_] += row
            if known != closed:
                wanted.known_counts[fold, class_] += int(known) - int(closed)
                wanted.known_sums[fold, class_] += row * (int(known) - int(closed))
    assert_same(photos.statistics(), wanted)


@given(drawn(), st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_order_and_pieces_give_the_same_bytes(photos: Photos, random: object, cut: int) -> None:
    order = list(range(len(photos)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = photos[order[:cut]].statistics(), photos[order[cut:]].statistics()
    one.merge(other)
    assert_same(one, photos.statistics())


@given(drawn(), st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_is_taken_away_leaves_the_bytes_of_never_having_been(photos: Photos, drawn: list[bool]) -> None:
    stays = np.array(drawn[: len(photos)], np.bool_)
    statistics = photos.statistics()
    photos[~stays].add_to(statistics, sign=-1)
    assert_same(statistics, photos[stays].statistics())


def test_blocks_are_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = random_photos(500)
    whole = photos.statistics()
    monkeypatch.setattr(sums, "BLOCK_ROWS", 7)
    monkeypatch.setattr(sums, "EXACT_ROWS", 21)
    assert_same(photos.statistics(), whole)


def test_the_largest_features_of_more_photos_than_a_float_can_count_are_added_exactly() -> None:
    count = 2 * EXACT_ROWS + sums.BLOCK_ROWS + 1
    features = np.full((count, 2), LARGEST, np.int16)
    features[:, 1] = -LARGEST
    statistics = Statistics(2, ["a"])
    everywhere = np.arange(count)
    labels = Labels(everywhere, np.zeros(count, np.int64), np.ones(count, np.int8), np.zeros(count, np.bool_))
    statistics.add(features, np.zeros(count, np.int8), np.zeros(count, np.bool_), labels)
    square = count * LARGEST**2
    assert square > 2**53
    assert square % 2 == 1  # so that no float64 of this size is equal to it
    assert statistics.second[0].tolist() == [[square, -square], [-square, square]]
    assert statistics.positive_sums[0, 0].tolist() == [count * LARGEST, -count * LARGEST]


@given(drawn())
def test_classes_that_come_later_change_nothing_of_the_others(photos: Photos) -> None:
    count = photos.table.shape[1]
    ids = [f"c{number}" for number in range(count)]
    statistics = photos.statistics().arranged(["new", *reversed(ids)])
    wanted = Photos(
        photos.features,
        photos.folds,
        photos.exhaustive,
        np.hstack([np.full((len(photos), 1), NO_LABEL, np.int8), photos.table[:, ::-1]]),
        np.append(False, ~photos.closed[::-1]),
    )
    assert_same(statistics, wanted.statistics())
    assert_same(statistics.arranged(ids), photos.statistics())


@given(drawn())
def test_arrays_are_kept_and_taken_back(photos: Photos) -> None:
    statistics = photos.statistics()
    assert_same(Statistics.from_arrays(statistics.classes, statistics.arrays()), statistics)


@pytest.mark.parametrize("name", ["counts", "sums", "second", "positive_counts", "positive_sums", "known_counts"])
def test_arrays_that_are_missing_or_of_another_type_are_refused_by_name(name: str) -> None:
    kept = empty(2).arrays()
    with pytest.raises(ModelError, match=name):
        Statistics.from_arrays(["c0", "c1"], {key: array for key, array in kept.items() if key != name})
    with pytest.raises(ModelError, match=name):
        Statistics.from_arrays(["c0", "c1"], {**kept, name: kept[name].astype(np.float64)})


def test_statistics_of_other_classes_or_features_are_not_added() -> None:
    for other in (empty(2), Statistics(DIM + 1, ["c0"])):
        with pytest.raises(ModelError, match="other classes or features"):
            empty(1).merge(other)


@pytest.mark.parametrize("features", [np.zeros((2, DIM)), np.zeros((2, DIM + 1), np.int16), np.zeros(DIM, np.int16)])
def test_features_of_another_type_or_shape_are_refused(features: NDArray[np.int16]) -> None:
    none = Labels(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.bool_))
    with pytest.raises(ModelError, match=r"int16 \[n, 3\]"):
        empty(1).add(features, np.zeros(2, np.int8), np.zeros(2, np.bool_), none)


# Moments


@given(drawn(), st.none() | st.integers(0, FOLDS - 1))
def test_moments_are_the_means_and_the_covariance_of_the_photos(photos: Photos, without: int | None) -> None:
    scale = 64
    here = photos[photos.folds != (-1 if without is None else without)]
    if not len(here):
        with pytest.raises(ModelError, match="no labelled photos"):
            photos.moments(scale, without)
        return
    moments = photos.moments(scale, without)
    features = here.features / scale
    assert moments.photos == len(here)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(moments.covariance, np.cov(features.T, bias=True), atol=1e-7)
    negative = (here.table == -1) | ((here.table == NO_LABEL) & here.exhaustive[:, None] & here.closed)
    for which, counts, means in (
        (here.table == 1, moments.positives, moments.positive_means),
        (negative, moments.negatives, moments.negative_means),
    ):
        assert counts.tolist() == which.sum(axis=0).tolist()
        for class_ in range(photos.table.shape[1]):
            some = features[which[:, class_]]
            np.testing.assert_allclose(means[class_], some.mean(axis=0) if len(some) else 0, atol=1e-9)


# Classifiers


def test_a_classifier_is_the_ridge_regression_of_its_label_on_the_standardised_features() -> None:
    photos = random_photos(400)
    photos = Photos(photos.features, photos.folds, np.ones(400, np.bool_), np.where(photos.table == 1, 1, NO_LABEL))
    moments = photos.moments(1)
    made = Solver(moments).classifiers(strength=0.3)
    features = photos.features.astype(np.float64)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    for class_ in range(3):
        label = (photos.table[:, class_] == 1).astype(np.float64)
        strength = 0.3 + FEW_POSITIVES / label.sum()
        gram = standard.T @ standard / len(standard) + strength * np.eye(DIM)
        direction = np.linalg.solve(gram, standard.T @ (label - label.mean()) / len(standard))
        scores = standard @ direction
        wanted = (scores - scores[label == 0].mean()) / scores.std()
        np.testing.assert_allclose(features @ made.weights[:, class_] + made.biases[class_], wanted, atol=1e-4)
        assert made.positive_scores[class_] == pytest.approx(wanted[label == 1].mean(), abs=1e-4)


def test_some_classes_alone_are_solved_as_all_are() -> None:
    solver = Solver(random_photos(200).moments(1))
    every, some = solver.classifiers(0.1), solver.classifiers(0.1, np.array([2, 0]))
    np.testing.assert_allclose(some.weights, every.weights[:, [2, 0]], rtol=1e-5)
    np.testing.assert_allclose(some.biases, every.biases[[2, 0]], rtol=1e-5)


def test_a_feature_in_other_units_changes_no_score() -> None:
    photos = random_photos(300)
    features = np.clip(photos.features, -3000, 3000)
    scores = []
    for factor in (1, 10):
        scaled = (features * [1, factor, 1]).astype(np.int16)
        made = Solver(Photos(scaled, *vars_but_features(photos)).moments(1)).classifiers(0.1)
        scores.append(scaled @ made.weights + made.biases)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def vars_but_features(photos: Photos) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.int8]]:
    return photos.folds, photos.exhaustive, photos.table


def test_a_class_of_few_positives_trusts_the_features_that_vary_little_less() -> None:
    """The distance of one positive in a direction of little variance may be chance."""
    covariance = np.array([[1, 0.999], [0.999, 1]])
    means = np.array([[1.5, -0.5], [1.5, -0.5]])
    moments = Moments(1000, np.zeros(2), covariance, np.array([1, 1000]), np.array([999, 999]), means, np.zeros((2, 2)))
    few, many = Solver(moments).classifiers(0.01).weights.T
    along, across = np.array([1, 1]) / 2**0.5, np.array([1, -1]) / 2**0.5
    assert abs(few @ across) / abs(few @ along) < abs(many @ across) / abs(many @ along) / 10


def test_a_class_without_positives_or_without_negatives_is_all_zeros_and_finite() -> None:
    photos = random_photos(50)
    table = photos.table.copy()
    table[:, 0], table[:, 1] = -1, 1
    table[:, 2] = 0
    made = Solver(Photos(photos.features, photos.folds, photos.exhaustive, table).moments(1)).classifiers(0.1)
    assert not made.weights.any()
    assert not made.biases.any()
    assert not made.positive_scores.any()


@pytest.mark.parametrize("value", [0, 1, 3333, LARGEST, -LARGEST])
def test_constant_features_give_finite_classifiers_that_separate_nothing(value: int) -> None:
    photos = random_photos(97)
    constant = Photos(np.full((97, DIM), value, np.int16), *vars_but_features(photos))
    made = Solver(constant.moments(2048)).classifiers(0.1)
    assert np.isfinite(made.weights).all()
    scores = constant.features / np.float32(2048) @ made.weights + made.biases
    np.testing.assert_allclose(scores, 0, atol=1e-3)


def test_one_constant_feature_among_others_gets_no_say() -> None:
    photos = random_photos(300)
    features = photos.features.copy()
    features[:, 1] = LARGEST
    made = Solver(Photos(features, *vars_but_features(photos)).moments(1)).classifiers(0.1)
    assert np.isfinite(made.weights).all()
    assert np.abs(made.weights[1] * LARGEST).max() < 1e-3


@given(drawn(most=3))
def test_a_handful_of_photos_gives_finite_classifiers(photos: Photos) -> None:
    if len(photos):
        made = Solver(photos.moments(2048)).classifiers(0.01)
        for array in (made.weights, made.biases, made.positive_scores):
            assert np.isfinite(array).all()


def test_no_classes_make_no_classifiers() -> None:
    photos = random_photos(20, classes=0)
    made = Solver(photos.moments(1)).classifiers(0.1)
    assert made.weights.shape == (DIM, 0)
    assert made.biases.shape == made.positive_scores.shape == (0,)
