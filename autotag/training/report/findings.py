"""Findings of a training, for its report, the bank's ``quality.json`` and the output of the command."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from autotag.events.times import iso_time, now_us
from autotag.training.fit.candidate import BankContent, ClassQuality, read_quality
from autotag.training.fit.fit import Training, Wanted
from autotag.training.fit.scoring import Extremes
from autotag.training.fit.thresholds import At, MovedClass, moved_classes
from models.bank import Sigmoid
from models.bundle import Bundle
from models.compare import WORSE

MOVED = 50
"""Maximum number of classes that are listed because their threshold moved."""


class ReliabilityBin(NamedTuple):
    """Photos and classes whose predicted probabilities are about equal."""

    predicted: float | None
    """Mean probability."""
    observed: float | None
    """Share that is TRUE."""
    total: float
    """Number of photos and classes, weighted as the sample is."""


@dataclass(frozen=True)
class Mistake:
    """A photo that a class was badly wrong about, with the probability that it gave."""

    photo_id: str
    uri: str
    probability: float | None


@dataclass(frozen=True, kw_only=True)
class ClassFindings:
    """One class: its quality now and in the bundle in use, and its worst mistakes."""

    id: str
    name: str
    quality: ClassQuality
    left_out: str | None
    """The reason why the class is left out; None if it is kept."""
    reliability: list[ReliabilityBin]
    false: list[Mistake]
    """Photos that do not show the class and scored highest."""
    missed: list[Mistake]
    """Photos that show the class and scored lowest."""
    before: ClassQuality | None
    """Quality in the bundle in use; None if its bank does not have the class."""
    trained_frequency: float | None = None
    """The share of TRUE among the labelled training photos; `quality.frequency` is that for which the quality holds."""

    @property
    def average_precision(self) -> float | None:
        return self.quality.average_precision

    @property
    def difference(self) -> float | None:
        """Gain in average precision; None if one of the two was not measured."""
        now, before = self.average_precision, self.before.average_precision if self.before else None
        return None if now is None or before is None else now - before

    @property
    def worse(self) -> bool:
        """True if the average precision fell by more than `WORSE`."""
        now, before = self.average_precision, self.before.average_precision if self.before else None
        return now is not None and before is not None and now < before - WORSE

    @property
    def change(self) -> str:
        """The change in a word: new, lost, worse, better or same; empty for a left-out class that was in no bank."""
        if self.before is None:
            return "" if self.left_out else "new"
        if self.left_out:
            return "lost"
        if self.worse:
            return "worse"
        return "better" if self.difference is not None and self.difference > WORSE else "same"

    @property
    def mistakes(self) -> list[Mistake]:
        return [*self.false, *self.missed]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {
            "id": self.id,
            "name": self.name,
            **self.quality.to_dict(),
            "trained_frequency": self.trained_frequency,
            "left_out": self.left_out,
            "reliability": self.reliability,
            "false": [asdict(one) for one in self.false],
            "missed": [asdict(one) for one in self.missed],
            "before": self.before and self.before.to_dict(),
            "worse": self.worse,
        }


@dataclass(frozen=True)
class GoneClass:
    """A class of the bundle in use that nothing is labelled with any more."""

    id: str
    name: str
    quality: ClassQuality
    """As it was measured for the bundle in use."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {"id": self.id, "name": self.name, **self.quality.to_dict()}


@dataclass(frozen=True)
class ChangedPhotos:
    """Photos that were added to the sums, and taken away from them, since the last training."""

    added: int
    taken_away: int


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of labels, those that follow from others included."""

    true: int
    false: int
    unknown: int


@dataclass(frozen=True)
class CalibrationErrors:
    """Expected calibration error over all classes, before calibration and after."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class MeanQuality:
    """Means over the classes that are kept; None if no class has the figure."""

    average_precision: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class LikePhotos:
    """The unlabelled photos for which calibration, thresholds and quality hold."""

    source: str
    photos: int
    """Number of those that could be read."""
    moved: list[MovedClass]
    """The classes whose threshold moved most, `MOVED` at most."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of a training that its report shows."""

    made: str
    """Time of the training, RFC 3339."""
    bank: str
    training_set: str
    network: str
    base: str
    """The bundle in use, ``name/number-version``."""
    photos: int
    exhaustive: int
    """Photos with exhaustive labels."""
    changed: ChangedPhotos
    labels: LabelCounts
    wanted: Wanted
    strength: float
    strengths: Mapping[float, float | None]
    """Mean average precision of each regulariser that was compared."""
    seconds: Mapping[str, float]
    """Duration of each step."""
    calibration_error: CalibrationErrors
    reliability: list[ReliabilityBin]
    """Over all classes."""
    mean: MeanQuality
    classes: list[ClassFindings]
    gone: list[GoneClass]
    like: LikePhotos | None = None
    """None: calibration, thresholds and quality hold for photos like the training photos."""
    bundle: str | None = None
    """Folder of the candidate bundle; None if no class is good enough, or before it is written."""
    version: str | None = None
    """Version of the candidate bundle."""

    @property
    def kept(self) -> int:
        """The number of classes that are good enough."""
        return sum(one.left_out is None for one in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values; the content of ``findings.json``."""
        return {
            "made": self.made,
            "bank": self.bank,
            "training_set": self.training_set,
            "network": self.network,
            "base": self.base,
            "photos": self.photos,
            "exhaustive": self.exhaustive,
            "changed": asdict(self.changed),
            "labels": asdict(self.labels),
            "wanted": {"precision": self.wanted.precision, "least_recall": self.wanted.least_recall},
            "strength": self.strength,
            "strengths": {str(strength): score for strength, score in self.strengths.items()},
            "seconds": dict(self.seconds),
            "calibration_error": asdict(self.calibration_error),
            "reliability": self.reliability,
            "kept": self.kept,
            "mean": asdict(self.mean),
            "classes": [one.to_dict() for one in self.classes],
            "gone": [one.to_dict() for one in self.gone],
            **({"like": self.like.to_dict()} if self.like else {}),
            "bundle": self.bundle,
            **({"version": self.version} if self.version else {}),
        }


def make_findings(training: Training, base: Bundle, bank: str, like: str | None = None) -> Findings:
    """Return the findings of a training.

    Args:
        base: the bundle in use, with whose bank of that name the classes are compared.
        like: where the unlabelled photos came from, for people; None if the training had none.

    Raises:
        InputError: a file of the training set or of `base` cannot be read.
    """
    snapshot, quality = training.snapshot, training.quality
    uris = _uris(training)
    before = read_quality(base, bank)
    in_base = [base.classes.find(id_) or id_ for id_ in snapshot.class_ids]
    kept, values = training.kept_classes, snapshot.values
    return Findings(
        made=iso_time(now_us()),
        bank=bank,
        training_set=training.training_set.folder.url,
        network=training.training_set.network,
        base=f"{base.name}/{base.sequence:06d}-{base.version[:12]}",
        photos=len(snapshot),
        exhaustive=int(snapshot.exhaustive.sum()),
        changed=ChangedPhotos(training.update.added, training.update.taken_away),
        labels=LabelCounts(*(int((values == value).sum()) for value in (1, -1, 0))),
        wanted=training.wanted,
        strength=training.strength,
        strengths={strength: _number(score) for strength, score in training.strengths.items()},
        seconds={name: round(seconds, 3) for name, seconds in training.seconds.items()},
        calibration_error=CalibrationErrors(_number(training.error_before), _number(training.error_after)),
        reliability=_reliability(
            quality.weights.sum(axis=0),
            (quality.weights * quality.predicted).sum(axis=0),
            (quality.weights * quality.observed).sum(axis=0),
        ),
        mean=MeanQuality(
            *(_mean(each[kept]) for each in (quality.average_precision, quality.precision, quality.recall))
        ),
        classes=[_class(training, at, uris, before.get(id_)) for at, id_ in enumerate(in_base)],
        gone=[GoneClass(id_, base.classes.name(id_), before[id_]) for id_ in sorted(before.keys() - set(in_base))],
        like=LikePhotos(like, training.unlabelled, _moved(training)) if like and training.unlabelled else None,
    )


def bank_content(training: Training, findings: Findings) -> BankContent:
    """Return a bank of the classes that are good enough."""
    kept = training.kept_classes
    ids = [training.snapshot.class_ids[at] for at in kept]
    calibration = training.calibration
    return BankContent(
        class_ids=ids,
        names=training.snapshot.names,
        weights=training.classifiers.weights[:, kept],
        biases=training.classifiers.biases[kept],
        rule=Sigmoid(
            *(
                array[kept].astype(np.float32)
                for array in (calibration.slopes, calibration.offsets, calibration.thresholds)
            )
        ),
        quality={one.id: one.quality for one in findings.classes if one.left_out is None},
        histogram=training.histogram.take(kept),
    )


def _moved(training: Training) -> list[MovedClass]:
    """Return the classes whose threshold moved most from that for the training photos."""
    ids, trained, quality = training.snapshot.class_ids, training.trained, training.quality
    names = [training.snapshot.names.get(id_, id_) for id_ in ids]
    before = At.before(training.histogram, trained.frequencies, trained.calibration, training.frequencies)
    after = At(training.frequencies, training.calibration, quality.precision, quality.recall)
    return moved_classes(ids, names, before, after)[:MOVED]


def _class(training: Training, at: int, uris: Mapping[int, str], before: ClassQuality | None) -> ClassFindings:
    snapshot, quality, calibration = training.snapshot, training.quality, training.calibration
    id_ = snapshot.class_ids[at]
    return ClassFindings(
        id=id_,
        name=snapshot.names.get(id_, id_),
        quality=ClassQuality(
            positives=int(training.positives[at]),
            negatives=int(training.negatives[at]),
            average_precision=_number(quality.average_precision[at]),
            threshold=_number(calibration.thresholds[at]) if math.isfinite(calibration.least_scores[at]) else None,
            precision=_number(quality.precision[at]),
            recall=_number(quality.recall[at]),
            calibration_error=_number(quality.calibration_errors[at]),
            frequency=_number(training.frequencies[at]),
        ),
        left_out=training.left_out.get(id_),
        reliability=_reliability(
            quality.weights[at],
            quality.weights[at] * quality.predicted[at],
            quality.weights[at] * quality.observed[at],
        ),
        false=_mistakes(training, at, training.scores.false, 1, uris),
        missed=_mistakes(training, at, training.scores.missed, -1, uris),
        before=before,
        trained_frequency=_number(training.trained.frequencies[at]),
    )


def _reliability(
    weights: NDArray[np.float64], predicted: NDArray[np.float64], true: NDArray[np.float64]
) -> list[ReliabilityBin]:
    """Return the bins that are not empty."""
    return [
        ReliabilityBin(_number(p / many), _number(t / many), round(float(many), 1))
        for many, p, t in zip(weights, predicted, true, strict=True)
        if many > 0
    ]


def _mistakes(training: Training, at: int, extremes: Extremes, sign: int, uris: Mapping[int, str]) -> list[Mistake]:
    """Return the photos that scored highest (`sign` 1) or lowest (-1), with their probabilities."""
    mistakes = []
    for score, photo in zip(extremes.scores[at].tolist(), extremes.photos[at].tolist(), strict=True):
        if photo >= 0:
            logit = training.calibration.slopes[at] * sign * score + training.calibration.offsets[at]
            probability = 1 / (1 + math.exp(-min(max(logit, -700), 700)))
            id_ = training.snapshot.photo_ids[photo].as_py()
            mistakes.append(Mistake(id_, uris.get(photo, ""), _number(probability)))
    return mistakes


def _uris(training: Training) -> dict[int, str]:
    """Return the URIs of the photos with the worst mistakes, by their places."""
    snapshot = training.snapshot
    photos = np.unique(np.concatenate([training.scores.false.photos.ravel(), training.scores.missed.photos.ravel()]))
    photos = photos[photos >= 0]
    uris: dict[int, str] = {}
    for part in np.unique(snapshot.part[photos]):
        here = photos[snapshot.part[photos] == part]
        table = training.training_set.read_part(snapshot.parts[part], ["photo_id", "uri"])
        rows = pc.index_in(snapshot.photo_ids.take(here), value_set=table["photo_id"].combine_chunks())
        uris |= dict(zip(here.tolist(), table["uri"].take(rows).to_pylist(), strict=True))
    return uris


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean of the values that are not NaN; None if there are none."""
    measured = values[~np.isnan(values)]
    return _number(measured.mean()) if len(measured) else None


def _number(value: Any) -> float | None:
    """Return a number for JSON, rounded to six digits; None for NaN and infinity."""
    return round(float(value), 6) if math.isfinite(value) else None
