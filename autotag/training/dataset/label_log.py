"""The labels in force: the last label of each photo and class in the log, and labels implied by the class hierarchy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autotag.training.dataset.training_set import TrainingSet

_PHOTOS = 100_000
"""Photos whose implied labels are computed at once: one label may imply a label for each class."""

Ancestors = Callable[[str], Iterable[str]]
"""Returns the ids of the classes that contain a class; none for an unknown class."""


class LabelLog:
    """Reads the log of labels; opens only the files whose labels count."""

    def __init__(self, training_set: TrainingSet) -> None:
        self._set = training_set
        self._facts = training_set.log()
        self.removed: dict[str, tuple[int, int]] = {}
        """By id of a removed photo: the number of the file with its last removal, and the time."""
        for number, facts in enumerate(self._facts):
            if facts["kind"] == "removal":
                table, _ = training_set.read_labels(facts["name"])
                self.removed |= dict.fromkeys(table["photo_id"].to_pylist(), (number, facts["at_us"]))
        self.names: dict[str, str] = {}
        """Name of every class that was ever labelled, by id, even if none of its labels counts any more."""
        self.closed: set[str] = set()
        """Classes named in exhaustive files: a photo without a label there is FALSE for these classes only."""
        for facts in self._facts:
            self.names |= facts["names"]
            if facts["exhaustive"]:
                self.closed |= facts["names"].keys()

    def in_order(self) -> Iterator[tuple[int, bool, pa.Table]]:
        """Yield the files whose labels count, the strongest last: number, True if exhaustive, and the labels."""
        kinds = [facts["kind"] for facts in self._facts]
        labels = [number for number, kind in enumerate(kinds) if kind == "labels"]
        corrections = [number for number, kind in enumerate(kinds) if kind == "corrections"]
        for number in [*labels, *corrections[-1:]]:
            facts = self._facts[number]
            yield number, facts["exhaustive"], self._set.read_labels(facts["name"])[0]


@dataclass(frozen=True)
class Standing:
    """The labels in force, sorted by photo and class; each pair occurs once."""

    rows: NDArray[np.int64]
    """[m]: positions of photos."""
    classes: NDArray[np.int64]
    """[m]: positions of classes."""
    values: NDArray[np.int8]
    """[m]: 1 TRUE, -1 FALSE, 0 unknown."""
    exhaustive: NDArray[np.bool_]
    """[photos]"""


def standing_labels(log: LabelLog, photo_ids: pa.Array) -> Standing:
    """Return the labels of these photos; classes are positions in the sorted ids of all classes of the log."""
    exhaustive = np.zeros(len(photo_ids), np.bool_)
    removed_in = np.full(len(photo_ids), -1, np.int64)
    if log.removed:
        gone = index_in(pa.array(list(log.removed), pa.string()), photo_ids)
        numbers = np.array([number for number, _ in log.removed.values()])
        removed_in[gone[gone >= 0]] = numbers[gone >= 0]
    class_ids = pa.array(sorted(log.names), pa.string())
    count = max(len(class_ids), 1)
    all_keys, all_values = [np.zeros(0, np.int64)], [np.zeros(0, np.int8)]
    for number, is_exhaustive, table in log.in_order():
        places = index_in(table["photo_id"], photo_ids)
        counts = (places >= 0) & (removed_in[places] < number) if len(photo_ids) else places >= 0
        if is_exhaustive:
            exhaustive[places[counts]] = True
        all_keys.append(places[counts] * count + index_in(table["class_id"], class_ids)[counts])
        all_values.append(np.array(table["value"], np.int8)[counts])
    keys, values = np.concatenate(all_keys), np.concatenate(all_values)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.flatnonzero(np.append(keys[1:] != keys[:-1], np.True_)) if len(keys) else order
    return Standing(keys[last] // count, keys[last] % count, values[order[last]], exhaustive)


def with_implied(standing: Standing, class_ids: tuple[str, ...], ancestors: Ancestors) -> Standing:
    """Return the labels with those implied by the class hierarchy; see `snapshot.take_snapshot`."""
    place = {id_: index for index, id_ in enumerate(class_ids)}
    above = [[place[one] for one in ancestors(id_) if one in place] for id_ in class_ids]
    if not any(above) or not len(standing.rows):
        return standing
    below: list[list[int]] = [[] for _ in class_ids]
    for low, places in enumerate(above):
        for high in places:
            below[high].append(low)
    follows = {1: _PlaceLists(above), -1: _PlaceLists(below)}
    cuts = np.searchsorted(standing.rows, np.arange(0, len(standing.exhaustive) + _PHOTOS, _PHOTOS))
    pieces = [_imply(standing, slice(*ends), follows, len(class_ids)) for ends in itertools.pairwise(cuts.tolist())]
    keys, values = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    return replace(standing, rows=keys // len(class_ids), classes=keys % len(class_ids), values=values)


class _PlaceLists:
    """Lists of positions, stored in one array."""

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        self._counts = np.array([len(one) for one in lists])
        self._starts = np.cumsum(self._counts) - self._counts
        self._all = np.array([one for some in lists for one in some], np.int64)

    def expanded(self, rows: NDArray[np.int64], lists: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return each row once for each element of its list, and those elements."""
        counts = self._counts[lists]
        starts = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(self._starts[lists] - starts, counts)
        return np.repeat(rows, counts), self._all[at]


def _imply(
    standing: Standing, labels: slice, follows: Mapping[int, _PlaceLists], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Return these labels and those they imply: keys (photo's position times `count` plus class's), and values."""
    rows, classes, values = standing.rows[labels], standing.classes[labels], standing.values[labels]
    own = rows * count + classes
    new: list[NDArray[np.int64]] = []
    for value, lists in follows.items():
        # An exhaustive photo is FALSE already for every class that it has no label for.
        telling = (values == value) if value == 1 else (values == value) & ~standing.exhaustive[rows]
        their_rows, targets = lists.expanded(rows[telling], classes[telling])
        keys = np.unique(their_rows * count + targets)
        new.append(keys[~np.isin(keys, own, assume_unique=True)])
    true, false = new
    both = np.intersect1d(true, false, assume_unique=True)
    false = np.setdiff1d(false, both, assume_unique=True)
    true_values = np.where(np.isin(true, both, assume_unique=True), 0, 1).astype(np.int8)
    keys = np.concatenate([own, true, false])
    all_values = np.concatenate([values, true_values, np.full(len(false), -1, np.int8)])
    order = np.argsort(keys)
    return keys[order], all_values[order]


def index_in(ids: pa.ChunkedArray | pa.Array, among: pa.Array) -> NDArray[np.int64]:
    """Return for each id its place in `among`; -1 if it is not there."""
    return np.array(pc.fill_null(pc.index_in(ids, value_set=among), -1), np.int64)
