"""ClassifierBank: thousands of linear classifiers in one matrix that is mapped, never loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import map_array
from models.bank_product import Bf16Product
from models.errors import ModelError

FORMAT, FORMAT_VERSION = "autotag-bank", 1
WEIGHTS, HEADER, CALIBRATION = "weights.npy", "bank.json", "calibration.npy"

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Places in `ClassifierBank.ids` of one photo, ascending, and their probabilities."""


@dataclass(frozen=True)
class Softmax:
    """Exclusive classes: the probabilities of a photo's leaves sum to 1, and a parent's is the sum over its leaves."""

    temperature: float
    """Divides the scores; more than 1 makes the probabilities less sure."""
    leaf_threshold: float
    parent_threshold: float
    parents: Mapping[str, Sequence[int]]
    """Parent's id -> the places of the leaves that it contains, ascending, each once."""


@dataclass(frozen=True)
class Sigmoid:
    """Independent classes: p = 1 / (1 + exp(-(a * z + b))), each with its own a > 0, b and threshold, float32 [n]."""

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    thresholds: NDArray[np.float32]


class ClassifierBank:
    """Linear classifiers over one network's features, opened from a folder. Safe for many threads.

    The matrix is float32 [d + 1, n], its last row -b, so that a score is z = w.x - b. It is mapped into memory: pages
    are read when first used, and the processes of a host share them. A score's last digits (1e-6 of it) depend on how
    many photos are scored at once, because BLAS adds in another order. `use_bf16` changes to a faster product.
    """

    def __init__(
        self,
        name: str,
        network: str,
        classifiers: Sequence[str],
        weights: NDArray[np.float32],
        rule: Softmax | Sigmoid,
    ) -> None:
        self.name = name
        self.network = network
        """Key of the network whose features the classifiers were trained on."""
        self.dim = len(weights) - 1
        """Length of a feature vector."""
        self.classifiers = tuple(classifiers)
        """The class id of each column."""
        self.rule = rule
        self.ids = (*self.classifiers, *rule.parents) if isinstance(rule, Softmax) else self.classifiers
        """All class ids that `predict` may return: the classifiers', then the parents'."""
        # Plain arrays: numpy's memmap class adds work to each slice and product.
        self._weights, self._bias = np.asarray(weights[:-1]), np.asarray(weights[-1])
        self._product: Callable[[NDArray[np.float32]], NDArray[np.float32]] = self._exact_product
        if isinstance(rule, Softmax):
            self._inverse_temperature = np.float32(1 / rule.temperature)
            self._thresholds = np.full(len(self.ids), rule.parent_threshold, np.float32)
            self._thresholds[: len(self.classifiers)] = rule.leaf_threshold
            self._leaves, self._starts = _flat(rule.parents)
        else:
            self._thresholds = least_scores(rule, rule.thresholds)

    @classmethod
    def open(cls, folder: Path) -> ClassifierBank:
        """Map the bank in a folder; under 50 ms for 20,000 classifiers. The weights themselves are not read.

        Raises:
            ModelError: a file is missing or malformed, or header and matrix do not agree; the message names the file.
        """
        header, where = _read_header(folder / HEADER), folder / HEADER
        weights = _map(folder / WEIGHTS)
        try:
            name, network, ids = header["name"], header["network"], header["classes"]
            features, kind = header["features"], header["kind"]
            if not all(isinstance(text, str) and text for text in (name, network, *ids)):
                raise ModelError(f"{where}: name, network and classes must be text")
            _check_shape(folder / WEIGHTS, weights, (features + 1, len(ids)))
            rule = _softmax(header, len(ids), where) if kind == "softmax" else _sigmoid(folder, len(ids), kind)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{where}: a fact is missing or malformed: {error!r}") from error
        if len(set(ids)) < len(ids) or (isinstance(rule, Softmax) and not rule.parents.keys().isdisjoint(ids)):
            raise ModelError(f"{where}: a class occurs twice")
        return cls(name, network, ids, weights, rule)

    def use_bf16(self, threads: int = 1) -> None:
        """Compute scores in bf16 from now on; the CPU must have it. Costs memory; see bank_product.py.

        Args:
            threads: number of cores that one product may use.
        """
        self._product = Bf16Product(self._weights, self._bias, threads)

    @property
    def weights(self) -> NDArray[np.float32]:
        """float32 [dim, classifiers], mapped."""
        return self._weights

    @property
    def biases(self) -> NDArray[np.float32]:
        """float32 [classifiers], added to the products."""
        return self._bias

    @staticmethod
    def write(
        folder: Path,
        name: str,
        network: str,
        classifiers: Sequence[str],
        weights: NDArray[np.float32],
        biases: NDArray[np.float32],
        rule: Softmax | Sigmoid,
    ) -> ClassifierBank:
        """Write a bank to a new folder, and open it.

        Args:
            network: key of the network that the features came from.
            classifiers: a class id for each column.
            weights: float32 [d, n].
            biases: float32 [n], added to the products.

        Raises:
            ModelError: a value is not finite, or the shapes do not agree; the folder that was written cannot be opened.
        """
        matrix = np.ascontiguousarray(np.vstack([weights, biases[None]]), np.float32)
        if not np.isfinite(matrix).all():
            raise ModelError(f"{folder}: weights and biases must be finite")
        folder.mkdir(parents=True)
        np.save(folder / WEIGHTS, matrix)
        header: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION, "name": name, "network": network}
        header |= {"kind": type(rule).__name__.lower(), "features": len(weights), "classes": list(classifiers)}
        if isinstance(rule, Softmax):
            parents = {id_: [int(leaf) for leaf in leaves] for id_, leaves in rule.parents.items()}
            thresholds = {"leaf_threshold": rule.leaf_threshold, "parent_threshold": rule.parent_threshold}
            header |= {"temperature": rule.temperature, **thresholds, "parents": parents}
        else:
            np.save(folder / CALIBRATION, np.stack([rule.a, rule.b, rule.thresholds]).astype(np.float32))
        (folder / HEADER).write_text(json.dumps(header) + "\n", encoding="utf-8")
        return ClassifierBank.open(folder)

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return z = w.x - b of every classifier: float32 [n, classifiers].

        Args:
            features: float32 [n, dim], finite.

        Raises:
            ModelError: the features have another shape or type, or a feature or score is not finite.
        """
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != self.dim:
            shape = list(features.shape)
            raise ModelError(
                f"bank {self.name!r}: features must be float32 [n, {self.dim}]. Given: {features.dtype} {shape}"
            )
        if not np.isfinite(features).all():
            rows = np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist()
            raise ModelError(f"bank {self.name!r}: the features of photos {rows} are not finite")
        with np.errstate(over="ignore", invalid="ignore"):
            scores = self._product(features)
        if not np.isfinite(scores).all():
            raise ModelError(f"bank {self.name!r}: the features are finite, but too large to score")
        return scores

    def _exact_product(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = features @ self._weights
        scores += self._bias
        return np.asarray(scores)

    @np.errstate(over="ignore")
    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the calibrated probability of each of `ids`: float32 [n, ids]. Raises as `scores` does."""
        return self._probabilities(self.scores(features))

    @np.errstate(over="ignore")  # a score that becomes infinite is a probability of 0 or 1
    def predict(self, features: NDArray[np.float32], min_score: float | None = None) -> list[Found]:
        """Return the classes that reach their threshold on each photo: place in `ids`, and probability.

        A probability equal to the threshold reaches it. Raises as `scores` does.

        Args:
            features: float32 [n, dim], finite.
            min_score: a probability from 0 to 1 in place of every threshold; 0 gives all classes.
        """
        if min_score is not None and not 0 <= min_score <= 1:
            raise ModelError(f"min_score must be from 0 to 1. Given: {min_score!r}")
        scores = self.scores(features)
        if isinstance(self.rule, Softmax):
            values = self._probabilities(scores)
            rows, columns = np.nonzero(values >= (self._thresholds if min_score is None else np.float32(min_score)))
            found = values[rows, columns]
        else:
            # Scores are compared, so that an exponential is computed only for classes that pass.
            least = self._thresholds if min_score is None else least_scores(self.rule, np.float32(min_score))
            rows, columns = np.nonzero(scores >= least)
            found = _sigmoid_of(self.rule.a[columns] * scores[rows, columns] + self.rule.b[columns])
        ends = np.searchsorted(rows, np.arange(1, len(scores)))
        return list(zip(np.split(columns, ends), np.split(found, ends), strict=True))[: len(scores)]

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(self.rule, Sigmoid):
            return _sigmoid_of(self.rule.a * scores + self.rule.b)
        probabilities = np.empty((len(scores), len(self.ids)), np.float32)
        leaves = probabilities[:, : len(self.classifiers)]
        # The largest becomes exp(0), so that nothing overflows.
        np.subtract(scores, scores.max(axis=1, keepdims=True), out=leaves)
        leaves *= self._inverse_temperature
        np.exp(leaves, out=leaves)
        leaves /= leaves.sum(axis=1, keepdims=True)
        if self._starts.size:
            parents = probabilities[:, len(self.classifiers) :]
            np.add.reduceat(leaves[:, self._leaves], self._starts, axis=1, out=parents)
            np.minimum(parents, 1, out=parents)  # rounding may make the sum a little more than 1
        return probabilities


def least_scores(rule: Sigmoid, probability: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    """Return the z of each class at which its probability is `probability`, float32 [n]; infinity for 1."""
    wide = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore"):
        logit = np.log(wide) - np.log1p(-wide)
    return np.asarray((logit - rule.b) / rule.a, np.float32)


def _sigmoid_of(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)), in a form whose exponential cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, np.float32(1), small) / (1 + small), np.float32)


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelError(f"{path}: is not a classifier bank ({FORMAT!r})")
    if header.get("version") != FORMAT_VERSION:
        raise ModelError(f"{path}: has version {header.get('version')!r}; this program reads version {FORMAT_VERSION}")
    return header


def _map(path: Path) -> NDArray[Any]:
    try:
        return map_array(path)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path}: cannot be read as a matrix: {error}") from error


def _check_shape(path: Path, array: NDArray[Any], shape: tuple[int, int]) -> None:
    if array.dtype != np.dtype("<f4") or array.shape != shape or not array.flags.c_contiguous:
        raise ModelError(
            f"{path}: must be float32 {list(shape)} in rows, as {HEADER} says. It is {array.dtype} {list(array.shape)}"
        )


def _softmax(header: Mapping[str, Any], count: int, where: Path) -> Softmax:
    rule = Softmax(
        temperature=float(header["temperature"]),
        leaf_threshold=float(header["leaf_threshold"]),
        parent_threshold=float(header["parent_threshold"]),
        parents=header["parents"],
    )
    if not (math.isfinite(rule.temperature) and rule.temperature > 0):
        raise ModelError(f"{where}: the temperature must be more than 0. It is {rule.temperature!r}")
    for threshold in (rule.leaf_threshold, rule.parent_threshold):
        if not 0 <= threshold <= 1:
            raise ModelError(f"{where}: a threshold must be from 0 to 1. It is {threshold!r}")
    if not all(rule.parents.values()):
        raise ModelError(f"{where}: a parent has no leaves")
    leaves, starts = _flat(rule.parents)
    ascends = np.diff(leaves, prepend=-1) > 0
    ascends[starts] = True
    # A leaf that is reached in two ways counts once.
    if not ascends.all() or ((leaves < 0) | (leaves >= count)).any():
        raise ModelError(f"{where}: every parent's leaves must be places below {count}, ascending, each once")
    return rule


def _flat(parents: Mapping[str, Sequence[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The parents' leaves one after another, and the place where each parent's leaves begin.

    A tenth of the memory of a matrix of 0 and 1, and as fast to sum over.
    """
    leaves = np.array([leaf for leaves in parents.values() for leaf in leaves] or np.empty(0, np.intp))
    if leaves.dtype.kind != "i":
        raise ValueError("a leaf is not a whole number")
    ends = np.cumsum([len(leaves) for leaves in parents.values()], dtype=np.intp)
    return leaves.astype(np.intp), np.concatenate([np.zeros(1, np.intp), ends])[: len(parents)]


def _sigmoid(folder: Path, count: int, kind: object) -> Sigmoid:
    if kind != "sigmoid":
        raise ModelError(f"{folder / HEADER}: the kind must be 'softmax' or 'sigmoid'. It is {kind!r}")
    calibration = _map(folder / CALIBRATION)
    _check_shape(folder / CALIBRATION, calibration, (3, count))
    a, b, thresholds = np.array(calibration)
    if not np.isfinite(calibration).all() or (a <= 0).any() or (thresholds < 0).any() or (thresholds > 1).any():
        raise ModelError(f"{folder / CALIBRATION}: needs finite a > 0, b and thresholds from 0 to 1")
    return Sigmoid(a, b, thresholds)
