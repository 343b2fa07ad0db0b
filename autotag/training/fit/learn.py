"""A new class from a handful of examples, against the statistics of all other photos.

With so few examples the direction is that of a linear discriminant between their mean and the mean of all photos, in
the metric of all photos (Hariharan, Malik, Ramanan, Discriminative Decorrelation for Clustering and Classification,
2012). A handful calibrates nothing, so the threshold is a cautious one, and the class is marked as provisional.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autotag.errors import JobError
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.candidate import LEARNED, BankContent, ClassQuality, learned_without
from autotag.training.fit.saved_sums import latest
from autotag.training.fit.update_sums import part_rows, read_features
from models.bank import Sigmoid
from models.bundle import Bundle
from models.fixed_point import from_fixed
from models.moments import Moments
from models.ridge import Solver

LEAST_EXAMPLES = 2
BACKGROUND = 20_000
"""Photos of the training set that a new class is compared with, at most."""
BACKGROUND_SHARE = 1e-4
"""Of the background, at most so many, and one photo in any case, may score above the threshold."""
LEAST_THRESHOLD = 3.7
"""In standard deviations of the background: what `BACKGROUND_SHARE` would be if scores were normal."""
SAME_PHOTO = 0.01
"""A photo of the background whose features are so near an example's, relative to their length, is that photo."""
STRENGTH = 0.1
SLOPE = 1.5
"""Of the provisional probability, for scores in standard deviations of the background: the median of Caltech-101's
classes (EfficientNet-Lite0), for want of photos to measure this class's own."""


@dataclass(frozen=True)
class Learned:
    """A class as it was learned."""

    content: BankContent
    """The whole bank, with what was learned before."""
    found: int
    """How many of the examples the class finds, each when it is left out of the examples."""
    examples: int
    background: int
    """Photos that it was compared with."""
    above: int
    """How many of them score above the threshold."""


def learn(
    training_set: TrainingSet, bundle: Bundle, class_id: str, name: str, features: NDArray[np.float32]
) -> Learned:
    """A class of its own, of these examples; a second or two.

    Args:
        bundle: the one in use; what its bank `LEARNED` has stays, but for a class of the same id.
        features: float32 [n, d], of the examples; equal ones count once.

    Raises:
        JobError: too few examples, no statistics, or another bank has the class.
        InputError: the training set cannot be read.
    """
    examples = np.unique(features, axis=0) if len(features) else features
    if len(examples) < LEAST_EXAMPLES:
        raise JobError(
            f"{name!r} needs {LEAST_EXAMPLES} different examples that can be read, better 5 or more. "
            f"Given: {len(examples)}"
        )
    if others := [bank.name for bank in bundle.banks if bank.name != LEARNED and class_id in bank.ids]:
        raise JobError(f"{name!r} is a class of bank {others[0]!r} already: correct its photos, and train it with them")
    sums = latest(training_set)
    if sums is None or not len(sums.snapshot):
        raise JobError(
            f"{training_set.folder}: has no statistics to learn against; `autotag join --photos FOLDER` some thousand "
            "photos such as will be tagged, and `autotag train`"
        )
    moments = sums.statistics.arranged(()).moments(training_set.scale, np.zeros(0, np.bool_))
    # All examples, and then all but one of them, each in turn.
    total, count = examples.astype(np.float64).sum(axis=0), len(examples)
    means = np.vstack([total / count, (total - examples) / (count - 1)])
    made = Solver(_against_all(moments, means, count)).classifiers(STRENGTH)
    background = _without(_background(training_set, sums.snapshot, class_id), examples)
    if len(background) < 2:
        raise JobError(f"{training_set.folder}: has no other photos to learn against: join some, and train")
    scores = np.sort(background @ made.weights[:, 0] + made.biases[0])[::-1]
    allowed = min(max(1, int(BACKGROUND_SHARE * len(scores))), len(scores) - 1)
    threshold = max(float(scores[allowed]), LEAST_THRESHOLD)
    left_out = np.einsum("nd,dn->n", examples, made.weights[:, 1:]) + made.biases[1:]
    found = int((left_out > threshold).sum())
    one = BankContent(
        class_ids=[class_id],
        names={class_id: name},
        weights=made.weights[:, :1],
        biases=made.biases[:1],
        rule=Sigmoid(*(np.array([value], np.float32) for value in (SLOPE, -SLOPE * threshold, 0.5))),
        quality={class_id: _quality(count, moments.photos, found)},
    )
    return Learned(_beside(bundle, one), found, count, len(scores), int((scores > threshold).sum()))


def _quality(positives: int, negatives: int, found: int) -> ClassQuality:
    """Return the quality of the class, as far as a handful of photos can tell."""
    return ClassQuality(
        provisional=True,
        positives=positives,
        negatives=negatives,
        average_precision=None,
        threshold=0.5,
        precision=None,
        recall=round(found / positives, 6),
        calibration_error=None,
    )


def _against_all(moments: Moments, means: NDArray[np.float64], count: int) -> Moments:
    """Classes whose negatives are all photos."""
    classes = len(means)
    return replace(
        moments,
        positives=np.full(classes, count),
        negatives=np.full(classes, moments.photos),
        positive_means=means,
        negative_means=np.repeat(moments.mean[None], classes, axis=0),
    )


def _background(training_set: TrainingSet, snapshot: Snapshot, class_id: str) -> NDArray[np.float32]:
    """The features of photos of the set that are not known to show the class; whole files, chosen by hash."""
    positives = np.zeros(len(snapshot), np.bool_)
    if class_id in snapshot.class_ids:
        place = snapshot.class_ids.index(class_id)
        positives[snapshot.rows[(snapshot.classes == place) & (snapshot.values == 1)]] = True
    first = np.full(len(snapshot.parts), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, snapshot.part, snapshot.hashes())
    found: list[NDArray[np.float32]] = []
    for part in np.argsort(first, kind="stable"):
        if sum(map(len, found)) >= BACKGROUND:
            break
        for rows in part_rows(snapshot, np.flatnonzero((snapshot.part == part) & ~positives)):
            found.append(from_fixed(read_features(training_set, rows), training_set.scale))
    return np.concatenate(found) if found else np.zeros((0, training_set.dim), np.float32)


def _without(background: NDArray[np.float32], examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The background less the examples themselves, which the set may have too."""
    lengths = (examples**2).sum(axis=1)
    distances = (background**2).sum(axis=1)[:, None] + lengths - 2 * background @ examples.T
    return np.asarray(background[(distances > SAME_PHOTO**2 * lengths).all(axis=1)])


def _beside(bundle: Bundle, one: BankContent) -> BankContent:
    """The class beside those that were learned before."""
    left = learned_without(bundle, one.class_ids)
    if left is None:
        return one
    arrays = zip(astuple(left.rule), astuple(one.rule), strict=True)
    return BankContent(
        class_ids=[*left.class_ids, *one.class_ids],
        names={**left.names, **one.names},
        weights=np.hstack([left.weights, one.weights]),
        biases=np.concatenate([left.biases, one.biases]),
        rule=Sigmoid(*(np.concatenate(pair) for pair in arrays)),
        quality={**left.quality, **one.quality},
    )
