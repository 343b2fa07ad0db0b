"""Findings of a training as JSON: for its report, the bank's ``quality.json`` and the command's output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from autotag.events.times import iso_time, now_us
from autotag.training.fit.candidate import BankContent, read_quality
from autotag.training.fit.fit import Training
from autotag.training.fit.scoring import Extremes
from models.bank import Sigmoid
from models.bundle import Bundle
from models.compare import WORSE


def findings(training: Training, base: Bundle, bank: str) -> dict[str, Any]:
    """Everything that is worth telling.

    Args:
        base: the bundle in use, whose bank of that name the classes are compared with.
    """
    joined, quality = training.joined, training.quality
    uris = _uris(training)
    before = read_quality(base, bank)
    in_base = [base.classes.find(id_) or id_ for id_ in joined.class_ids]
    classes = [_class(training, at, uris, before.get(id_)) for at, id_ in enumerate(in_base)]
    gone = sorted(before.keys() - set(in_base))
    kept = training.kept
    values = joined.values
    return {
        "made": iso_time(now_us()),
        "bank": bank,
        "training_set": training.training_set.folder.url,
        "network": training.training_set.network,
        "base": f"{base.name}/{base.sequence:06d}-{base.version[:12]}",
        "photos": len(joined),
        "exhaustive": int(joined.exhaustive.sum()),
        "changed": {"added": training.update.added, "taken_away": training.update.taken_away},
        "labels": {
            "true": int((values == 1).sum()),
            "false": int((values == -1).sum()),
            "unknown": int((values == 0).sum()),
        },
        "wanted": {"precision": training.wanted.precision, "least_recall": training.wanted.least_recall},
        "strength": training.strength,
        "strengths": {str(strength): _number(score) for strength, score in training.strengths.items()},
        "seconds": {name: round(seconds, 3) for name, seconds in training.seconds.items()},
        "calibration_error": {"before": _number(training.error_before), "after": _number(training.error_after)},
        "reliability": _reliability(
            quality.weights.sum(axis=0),
            (quality.weights * quality.predicted).sum(axis=0),
            (quality.weights * quality.observed).sum(axis=0),
        ),
        "kept": len(kept),
        "mean": {name: _mean(getattr(quality, name)[kept]) for name in ("average_precision", "precision", "recall")},
        "classes": classes,
        "gone": [{"id": id_, "name": base.classes.name(id_), **before[id_]} for id_ in gone],
    }


def bank_content(training: Training, found: Mapping[str, Any]) -> BankContent:
    """The classes that are good enough, as a bank."""
    kept = training.kept
    ids = [training.joined.class_ids[at] for at in kept]
    quality = {one["id"]: {name: one[name] for name in _QUALITY} for one in found["classes"]}
    calibration = training.calibration
    return BankContent(
        class_ids=ids,
        names=training.joined.names,
        weights=training.classifiers.weights[:, kept],
        biases=training.classifiers.biases[kept],
        rule=Sigmoid(
            *(
                array[kept].astype(np.float32)
                for array in (calibration.slopes, calibration.offsets, calibration.thresholds)
            )
        ),
        quality={id_: quality[id_] for id_ in ids},
    )


_QUALITY = ("positives", "negatives", "average_precision", "threshold", "precision", "recall", "calibration_error")


def _class(training: Training, at: int, uris: Mapping[int, str], before: Mapping[str, Any] | None) -> dict[str, Any]:
    joined, quality, calibration = training.joined, training.quality, training.calibration
    id_ = joined.class_ids[at]
    average_precision = _number(quality.average_precision[at])
    # Of a class learned from a handful of photos none is known.
    was = before["average_precision"] if before else None
    return {
        "id": id_,
        "name": joined.names.get(id_, id_),
        "positives": int(training.positives[at]),
        "negatives": int(training.negatives[at]),
        "average_precision": average_precision,
        "threshold": _number(calibration.thresholds[at]) if math.isfinite(calibration.least_scores[at]) else None,
        "precision": _number(quality.precision[at]),
        "recall": _number(quality.recall[at]),
        "calibration_error": _number(quality.calibration_errors[at]),
        "left_out": training.left_out.get(id_),
        "reliability": _reliability(
            quality.weights[at],
            quality.weights[at] * quality.predicted[at],
            quality.weights[at] * quality.observed[at],
        ),
        "false": _photos(training, at, training.scores.false, 1, uris),
        "missed": _photos(training, at, training.scores.missed, -1, uris),
        "before": before,
        "worse": average_precision is not None and was is not None and average_precision < was - WORSE,
    }


def _reliability(weights: NDArray[np.float64], predicted: NDArray[np.float64], true: NDArray[np.float64]) -> list[Any]:
    """Return mean probability, share of TRUE and number for each bin that is not empty."""
    return [
        [_number(p / many), _number(t / many), round(float(many), 1)]
        for many, p, t in zip(weights, predicted, true, strict=True)
        if many > 0
    ]


def _photos(
    training: Training, at: int, extremes: Extremes, sign: int, uris: Mapping[int, str]
) -> list[dict[str, Any]]:
    """The photos that scored highest (`sign` 1) or lowest (-1), with their probabilities."""
    found = []
    for score, photo in zip(extremes.scores[at].tolist(), extremes.photos[at].tolist(), strict=True):
        if photo >= 0:
            logit = training.calibration.slopes[at] * sign * score + training.calibration.offsets[at]
            probability = 1 / (1 + math.exp(-min(max(logit, -700), 700)))
            id_ = training.joined.photo_ids[photo].as_py()
            found.append({"photo_id": id_, "uri": uris.get(photo, ""), "probability": _number(probability)})
    return found


def _uris(training: Training) -> dict[int, str]:
    """Return the URIs of the photos with the worst mistakes, by their places."""
    joined = training.joined
    photos = np.unique(np.concatenate([training.scores.false.photos.ravel(), training.scores.missed.photos.ravel()]))
    photos = photos[photos >= 0]
    found: dict[int, str] = {}
    for part in np.unique(joined.part[photos]):
        here = photos[joined.part[photos] == part]
        table = training.training_set.read_part(joined.parts[part], ["photo_id", "uri"])
        rows = pc.index_in(joined.photo_ids.take(here), value_set=table["photo_id"].combine_chunks())
        found |= dict(zip(here.tolist(), table["uri"].take(rows).to_pylist(), strict=True))
    return found


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = values[~np.isnan(values)]
    return _number(known.mean()) if len(known) else None


def _number(value: Any) -> float | None:
    """A number for JSON, of six digits; None for what is none."""
    return round(float(value), 6) if math.isfinite(value) else None
