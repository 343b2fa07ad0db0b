"""Learning a class from a handful of examples and the saved sums, with a cautious threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autotag.errors import JobError
from autotag.jobs.workers import LocalWorkers
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.candidate import LEARNED, BankContent, write_candidate
from autotag.training.fit.learn import Learned, learn
from autotag.training.fit.update_sums import update
from models.bundle import Bundle
from models.fixed_point import from_fixed
from tests.drawn_features import SCALE, Drawn
from tests.model_files import write_small_bundle

DRAWN = Drawn({"one": (0.1, 5.0), "other": (0.1, 5.0), "new": (0.0, 7.0), "hard": (0.0, 4.5), "dim": (0.0, 1.0)})


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    """Return a set of photos that do not show a new class, with saved sums."""
    found = DRAWN.new_set(tmp_path_factory.mktemp("set"))
    DRAWN.add(found, 4000)
    update(found, lambda _: (), LocalWorkers(1))
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_small_bundle(tmp_path / "small", banks=["imagenet", "owned"])


def examples(class_id: str, count: int, seed: int = 7) -> NDArray[np.float32]:
    """Return features of photos that show the class and no other."""
    shifts = {"one": 5.0, "other": 5.0, "new": 7.0, "hard": 4.5, "dim": 1.0}
    alone = Drawn({id_: (float(id_ == class_id), shift) for id_, shift in shifts.items()})
    return from_fixed(alone.photos(count, seed)[0], SCALE)


def learned(training_set: TrainingSet, bundle: Bundle, class_id: str = "new", count: int = 5) -> Learned:
    return learn(training_set, bundle, class_id, class_id.title(), examples(class_id, count))


def share_found(content: BankContent, class_id: str, features: NDArray[np.float32]) -> float:
    at = list(content.class_ids).index(class_id)
    z = features @ content.weights[:, at] + content.biases[at]
    p = 1 / (1 + np.exp(-(content.rule.a[at] * z + content.rule.b[at])))
    return float((p >= content.rule.thresholds[at]).mean())


def test_new_photos_of_the_class_are_found_and_hardly_any_others(training_set: TrainingSet, bundle: Bundle) -> None:
    done = learned(training_set, bundle)
    assert done.found == done.examples == 5
    assert share_found(done.content, "new", examples("new", 300, seed=8)) > 0.8
    others = from_fixed(DRAWN.photos(20_000, seed=9)[0], SCALE)
    assert share_found(done.content, "new", others) < 0.001
    assert done.above <= 1
    assert done.background == 4000


def test_more_examples_find_more(training_set: TrainingSet, bundle: Bundle) -> None:
    fresh = examples("hard", 300, seed=8)
    few, many = (learned(training_set, bundle, "hard", count).content for count in (2, 30))
    assert share_found(few, "hard", fresh) + 0.1 < share_found(many, "hard", fresh)


def test_a_class_that_cannot_be_told_apart_says_little(training_set: TrainingSet, bundle: Bundle) -> None:
    done = learned(training_set, bundle, "dim")
    assert done.found <= 1
    assert share_found(done.content, "dim", from_fixed(DRAWN.photos(20_000, seed=9)[0], SCALE)) < 0.002


def test_it_is_marked_as_provisional(training_set: TrainingSet, bundle: Bundle) -> None:
    quality = learned(training_set, bundle).content.quality["new"]
    assert quality.provisional
    assert (quality.positives, quality.negatives, quality.recall) == (5, 4000, 1.0)
    assert quality.precision is quality.average_precision is quality.calibration_error is None


def test_equal_examples_are_one(training_set: TrainingSet, bundle: Bundle) -> None:
    some = examples("new", 3)
    once, twice = (learn(training_set, bundle, "new", "New", given) for given in (some, np.repeat(some, 4, axis=0)))
    assert twice.examples == 3
    assert np.array_equal(once.content.weights, twice.content.weights)
    with pytest.raises(JobError, match=r"'New' needs at least 2 different, readable examples, .* Given: 1"):
        learn(training_set, bundle, "new", "New", np.repeat(some[:1], 4, axis=0))


def test_examples_that_are_in_the_set_are_not_held_against_themselves(tmp_path: Path, bundle: Bundle) -> None:
    training_set = DRAWN.new_set(tmp_path / "set")
    DRAWN.add(training_set, 2000)
    some = examples("new", 6)
    fixed = np.rint(some * SCALE).astype(np.int16)
    training_set.write_part("f" * 32, [(f"example {number}", "file:///e") for number in range(6)], fixed, 1)
    update(training_set, lambda _: (), LocalWorkers(1))
    # As they would be computed in another batch.
    done = learn(training_set, bundle, "new", "New", some + np.float32(1e-5))
    assert (done.background, done.found) == (2000, 6)


def test_photos_that_are_labelled_with_the_class_are_no_background(tmp_path: Path, bundle: Bundle) -> None:
    training_set = DRAWN.new_set(tmp_path / "set")
    DRAWN.add(training_set, 2000)
    DRAWN.label(training_set, ["photo-0-000000", "photo-0-000001"], np.array([[0, 0, 1, 0, 0]] * 2), exhaustive=False)
    update(training_set, lambda _: (), LocalWorkers(1))
    assert learned(training_set, bundle).background == 1998


def test_a_second_class_stands_beside_the_first_and_the_same_again_replaces_it(
    training_set: TrainingSet, tmp_path: Path
) -> None:
    bundle = write_small_bundle(tmp_path / "base")

    def content(class_id: str, weight: float) -> BankContent:
        one = learned(training_set, bundle, class_id).content
        return BankContent(
            one.class_ids, one.names, np.full((3, 1), weight, np.float32), one.biases, one.rule, one.quality
        )

    bundle = write_candidate(bundle, LEARNED, content("new", 1), {}, tmp_path)
    # The bundle has three features, which only matters where they meet.
    narrow = Drawn({"one": (0.1, 5.0)}, dim=3)
    small_set = narrow.new_set(tmp_path / "set")
    narrow.add(small_set, 1000)
    update(small_set, lambda _: (), LocalWorkers(1))
    shown = np.array([[9, 9, 9], [9, 9, 8]], np.float32)
    both = learn(small_set, bundle, "dim", "Dim", shown).content
    assert list(both.class_ids) == ["new", "dim"]
    assert both.names == {"new": "New", "dim": "Dim"}
    assert both.weights.shape == (3, 2)
    assert both.weights[0, 0] == 1
    assert both.quality.keys() == {"new", "dim"}
    again = learn(small_set, bundle, "new", "New", shown).content
    assert list(again.class_ids) == ["new"]
    assert again.weights[0, 0] != 1


def test_a_class_of_another_bank_is_refused(training_set: TrainingSet, bundle: Bundle) -> None:
    for class_id, bank in (("n1", "imagenet"), ("n11", "imagenet"), ("n3", "imagenet")):
        with pytest.raises(JobError, match=f"is a class of bank '{bank}' already"):
            learned(training_set, bundle, class_id)


def test_without_statistics_it_is_said_how_to_make_them(tmp_path: Path, bundle: Bundle) -> None:
    training_set = DRAWN.new_set(tmp_path / "set")
    for _ in range(2):
        with pytest.raises(JobError, match=r"has not been trained yet.*autotag join --photos FOLDER.*autotag train"):
            learned(training_set, bundle)
        DRAWN.add(training_set, 10)


def test_a_set_of_nothing_but_the_examples_is_told(tmp_path: Path, bundle: Bundle) -> None:
    training_set = DRAWN.new_set(tmp_path / "set")
    some = examples("new", 3)
    training_set.write_part(
        "f" * 32, [(f"{at}", "file:///e") for at in range(3)], np.rint(some * SCALE).astype(np.int16), 1
    )
    update(training_set, lambda _: (), LocalWorkers(1))
    with pytest.raises(JobError, match="no other photos to compare with: join some, and train"):
        learn(training_set, bundle, "new", "New", some)
