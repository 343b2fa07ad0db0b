"""A new class from a handful of examples and the saved sums of all other photos.

The classifier is a linear discriminant between the mean of the examples and the mean of all photos, with the covariance
of all photos (Hariharan, Malik, Ramanan, Discriminative Decorrelation for Clustering and Classification,
2012). A handful of examples is too little for calibration, so the threshold is cautious and the class provisional.
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
"""Maximum number of photos of the training set that a new class is compared with."""
BACKGROUND_SHARE = 1e-4
"""Share of the background that may score above the threshold; at least one photo may."""
LEAST_THRESHOLD = 3.7
"""Minimum threshold in standard deviations of the background; `BACKGROUND_SHARE` of normal scores lie above it."""
SAME_PHOTO = 0.01
"""Maximum distance, relative to the length of the features, at which a background photo counts as an example."""
STRENGTH = 0.1
SLOPE = 1.5
"""Slope of the provisional probability, for scores in standard deviations of the background.

The median over the classes of Caltech-101 (EfficientNet-Lite0): a handful of photos cannot give the class's own."""


@dataclass(frozen=True)
class Learned:
    """A learned class."""

    content: BankContent
    """The whole bank, with the classes that were learned before."""
    found: int
    """Number of examples above the threshold, by leave-one-out cross-validation."""
    examples: int
    background: int
    """Number of photos that the class was compared with."""
    above: int
    """Number of background photos above the threshold."""


def learn(
    training_set: TrainingSet, bundle: Bundle, class_id: str, name: str, features: NDArray[np.float32]
) -> Learned:
    """Learn a class from these examples; takes a second or two.

    Args:
        bundle: the bundle in use; the classes of its bank `LEARNED` stay, except one of the same id.
        features: float32 [n, d], of the examples; equal ones count once.

    Raises:
        JobError: there are too few examples or no saved sums, or another bank has the class.
        InputError: the training set cannot be read.
    """
    examples = np.unique(features, axis=0) if len(features) else features
    if len(examples) < LEAST_EXAMPLES:
        raise JobError(
            f"{name!r} needs at least {LEAST_EXAMPLES} different, readable examples, better 5 or more. "
            f"Given: {len(examples)}"
        )
    if others := [bank.name for bank in bundle.banks if bank.name != LEARNED and class_id in bank.ids]:
        raise JobError(f"{name!r} is a class of bank {others[0]!r} already: correct its photos, and train")
    sums = latest(training_set)
    if sums is None or not len(sums.snapshot):
        raise JobError(
            f"{training_set.folder}: has not been trained yet: join some thousand photos of the kind that will be "
            "tagged (`autotag join --photos FOLDER`), then run `autotag train`"
        )
    moments = sums.statistics.arranged(()).moments(training_set.scale, np.zeros(0, np.bool_))
    # The mean of all examples, then the means without each one in turn.
    total, count = examples.astype(np.float64).sum(axis=0), len(examples)
    means = np.vstack([total / count, (total - examples) / (count - 1)])
    made = Solver(_against_all(moments, means, count)).classifiers(STRENGTH)
    background = _without(_background(training_set, sums.snapshot, class_id), examples)
    if len(background) < 2:
        raise JobError(f"{training_set.folder}: has no other photos to compare with: join some, and train")
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
    """Return moments of classes whose negatives are all photos."""
    classes = len(means)
    return replace(
        moments,
        positives=np.full(classes, count),
        negatives=np.full(classes, moments.photos),
        positive_means=means,
        negative_means=np.repeat(moments.mean[None], classes, axis=0),
    )


def _background(training_set: TrainingSet, snapshot: Snapshot, class_id: str) -> NDArray[np.float32]:
    """Return the features of photos that are not labelled TRUE for the class; whole files, chosen by hash."""
    positives = np.zeros(len(snapshot), np.bool_)
    if class_id in snapshot.class_ids:
        place = snapshot.class_ids.index(class_id)
        positives[snapshot.rows[(snapshot.classes == place) & (snapshot.values == 1)]] = True
    first = np.full(len(snapshot.parts), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, snapshot.part, snapshot.hashes())
    blocks: list[NDArray[np.float32]] = []
    for part in np.argsort(first, kind="stable"):
        if sum(map(len, blocks)) >= BACKGROUND:
            break
        for rows in part_rows(snapshot, np.flatnonzero((snapshot.part == part) & ~positives)):
            blocks.append(from_fixed(read_features(training_set, rows), training_set.scale))
    return np.concatenate(blocks) if blocks else np.zeros((0, training_set.dim), np.float32)


def _without(background: NDArray[np.float32], examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the background without the examples, which may be in the training set too."""
    lengths = (examples**2).sum(axis=1)
    distances = (background**2).sum(axis=1)[:, None] + lengths - 2 * background @ examples.T
    return np.asarray(background[(distances > SAME_PHOTO**2 * lengths).all(axis=1)])


def _beside(bundle: Bundle, one: BankContent) -> BankContent:
    """Return the class together with those that were learned before."""
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
