"""Prior shift: how often classes occur among the users' photos, estimated without labels, and what follows from it.

A calibrated probability and a threshold hold where a class is as frequent as among the photos that they were fitted on.
If a class is ten times rarer where the photos come from, most of its tags are wrong. What stays the same is how its
positives and its negatives score; so the frequency alone moves probabilities and thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KNOWN_PHOTOS, KNOWN_SHOWN = 50.0, 2.0
"""Number of photos that the earlier frequency counts for in an estimate: the fewer photos speak, the less it moves.

So many at most, and so few that no more than two of them show the class, or do not: 50 photos of a class that half of
the training photos show would be 25 that show it, more than a class has that is rare among the users' photos."""
_STEPS = 200
_TOGETHER = 256
"""Classes that are estimated together: their probabilities of some thousand photos stay in a core's cache."""


def estimate_frequencies(probabilities: NDArray[np.floating], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of photos that show each class, estimated from unlabelled photos; float64 [classes].

    Expectation maximisation: the mean of the probabilities is the next frequency, and the frequency corrects the
    probabilities (Saerens, Latinne, Decaestecker, Adjusting the Outputs of a Classifier to New a Priori Probabilities,
    2002). `known` counts as some further photos (`KNOWN_PHOTOS`), which bounds what a few photos can change.

    Args:
        probabilities: float [n, classes], calibrated where the frequencies are `known`.
        known: float64 [classes], more than 0 and less than 1.
    """
    found = np.empty(len(known))
    for start in range(0, len(known), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        found[some] = _estimated(probabilities[:, some].astype(np.float64), known[some])
    return found


def _estimated(probabilities: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    further = np.minimum(KNOWN_PHOTOS, KNOWN_SHOWN / np.minimum(known, 1 - known))
    odds = probabilities / np.maximum(1 - probabilities, 1e-12)
    frequencies = known
    for _ in range(_STEPS):
        moved = odds * _odds(frequencies) / _odds(known)
        shown = (moved / (1 + moved)).sum(axis=0)
        earlier, frequencies = frequencies, (shown + further * known) / (len(probabilities) + further)
        if np.abs(frequencies - earlier).max(initial=0) < 1e-9:
            break
    return np.asarray(frequencies)


def offset_shift(known: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to add to the offset of a logistic calibration that holds at `known`, for it to hold at another."""
    return np.asarray(np.log(_odds(frequencies) / _odds(known)))


def negative_weight(known: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many negatives each negative of a sample with `known` frequencies stands for, beside its positives."""
    return np.asarray(_odds(known) / _odds(frequencies))


def _odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(share, 1e-9, 1 - 1e-9)
    return np.asarray(share / (1 - share))
