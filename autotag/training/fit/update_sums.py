"""Update of the saved sums of a training set: only changed photos are read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from autotag.jobs.workers import Workers
from autotag.progress import Progress, silent
from autotag.training.dataset.label_log import Ancestors
from autotag.training.dataset.snapshot import Snapshot, StaleStatisticsError, changes, take_snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.saved_sums import SavedSums, latest, save, sums_from_bytes, sums_to_bytes
from autotag.training.fit.scratch import work_folder
from models.moments import Labels, Statistics

_TOGETHER = 16384
"""Minimum number of photos added at once; a file of features may have few."""
_FEW = 20_000
"""Up to this number of changed photos no workers are used: each would return sums of all classes."""


@dataclass(frozen=True)
class Update:
    """The updated sums, and the number of photos that were read for them."""

    sums: SavedSums
    taken_away: int
    """Number of photos that were subtracted: removed, or changed and added again."""
    added: int


@dataclass(frozen=True)
class PartRows:
    """Photos of one file of features, with their labels."""

    part: str
    photo_ids: tuple[str, ...]
    places: NDArray[np.int64]
    """Positions of the photos in the `Snapshot`."""
    folds: NDArray[np.int8]
    exhaustive: NDArray[np.bool_]
    labels: Labels
    """`Labels.rows` are positions in `photo_ids`."""


@dataclass(frozen=True)
class _Sum:
    """A task of one worker: photos to subtract and photos to add."""

    training_set: TrainingSet
    class_ids: tuple[str, ...]
    taken_away: tuple[PartRows, ...]
    added: tuple[PartRows, ...]
    result: str
    """The file that gets the sums."""


def update(
    training_set: TrainingSet,
    ancestors: Ancestors,
    workers: Workers,
    progress: Progress = silent,
    *,
    afresh: bool = False,
) -> Update:
    """Update the saved sums and write them; reads the features of changed photos only.

    Args:
        ancestors: see `take_snapshot`.
        afresh: True to ignore the saved sums and read all photos.

    Raises:
        StaleStatisticsError: the files do not fit the saved sums any more; call again with `afresh`.
        InputError: a file cannot be read or written.
        JobError: a worker was killed. The saved sums stay as they were.
    """
    before = None if afresh else latest(training_set)
    before = before or SavedSums(Snapshot.empty(), Statistics(training_set.dim, ()))
    snapshot = take_snapshot(training_set, before.snapshot, ancestors)
    taken_away, added = changes(before.snapshot, snapshot)
    statistics = before.statistics.arranged(snapshot.class_ids)
    away = list(part_rows(_with_classes(before.snapshot, snapshot.class_ids), taken_away))
    new = list(part_rows(snapshot, added))
    if len(taken_away) + len(added) <= _FEW or workers.count == 1:
        counts = _add_up(statistics, training_set, away, new)
    else:
        counts = _add_pieces(statistics, training_set, away, new, workers)
    done, changed = 0, len(taken_away) + len(added)
    progress("adding up", done, changed)
    with closing(counts):  # its scratch folder is removed at once, should `progress` raise
        for photos in counts:
            done += photos
            progress("adding up", done, changed)
    sums = SavedSums(snapshot, statistics)
    if (
        afresh
        or away
        or new
        or snapshot.parts != before.snapshot.parts
        or snapshot.class_ids != before.snapshot.class_ids
    ):
        save(training_set, sums)
    return Update(sums, len(taken_away), len(added))


def part_rows(snapshot: Snapshot, photos: NDArray[np.int64]) -> Iterator[PartRows]:
    """Yield the photos at these positions, one file of features at a time, sorted by the files' names."""
    order = photos[np.argsort(snapshot.part[photos], kind="stable")]
    folds = snapshot.folds(order)
    cuts = np.flatnonzero(np.diff(snapshot.part[order])) + 1
    for some, their_folds in zip(np.split(order, cuts), np.split(folds, cuts), strict=True):
        if len(some):
            yield PartRows(
                part=snapshot.parts[snapshot.part[some[0]]],
                photo_ids=tuple(snapshot.photo_ids.take(some).to_pylist()),
                places=some,
                folds=their_folds,
                exhaustive=snapshot.exhaustive[some],
                labels=snapshot.labels_of(some),
            )


def read_features(training_set: TrainingSet, rows: PartRows) -> NDArray[np.int16]:
    """Return the features of these photos, int16 [n, dim], in their order.

    Raises:
        StaleStatisticsError: the file is missing, or lacks one of the photos.
        InputError: the file cannot be read.
    """
    if not training_set.has_part(rows.part):
        raise StaleStatisticsError(f"{training_set.folder}: features {rows.part} are missing: train again")
    table = training_set.read_part(rows.part, ["photo_id", "features"])
    ids = table["photo_id"].to_pylist()
    fixed = training_set.fixed_features(table)
    if tuple(ids) == rows.photo_ids:
        return fixed
    place = {id_: index for index, id_ in enumerate(ids)}
    try:
        return fixed[[place[id_] for id_ in rows.photo_ids]]
    except KeyError as error:
        raise StaleStatisticsError(
            f"{training_set.folder}: features {rows.part} have no photo {error} any more: train again"
        ) from error


def split(rows: Sequence[PartRows], count: int) -> list[list[PartRows]]:
    """Split into `count` lists of about equal numbers of photos, in order; fewer lists if there are few files."""
    total = sum(len(one.photo_ids) for one in rows)
    lists: list[list[PartRows]] = [[] for _ in range(count)]
    before = 0
    for one in rows:
        lists[min(before * count // max(total, 1), count - 1)].append(one)
        before += len(one.photo_ids)
    return [one for one in lists if one]


def together(rows: Sequence[PartRows], photos: int) -> Iterator[list[PartRows]]:
    """Yield lists of at least `photos` photos each; the last may have fewer."""
    some: list[PartRows] = []
    count = 0
    for one in rows:
        some.append(one)
        count += len(one.photo_ids)
        if count >= photos:
            yield some
            some, count = [], 0
    if some:
        yield some


def concatenated(training_set: TrainingSet, rows: Sequence[PartRows]) -> tuple[NDArray[np.int16], PartRows]:
    """Return the features of photos of several files, and the photos as if they were from one file."""
    features = np.concatenate([read_features(training_set, one) for one in rows])
    starts = np.cumsum([0, *(len(one.photo_ids) for one in rows)])
    labels = Labels(
        np.concatenate([one.labels.rows + start for one, start in zip(rows, starts, strict=False)]),
        np.concatenate([one.labels.classes for one in rows]),
        np.concatenate([one.labels.values for one in rows]),
        np.concatenate([one.labels.closed for one in rows]),
    )
    return features, PartRows(
        part="",
        photo_ids=tuple(id_ for one in rows for id_ in one.photo_ids),
        places=np.concatenate([one.places for one in rows]),
        folds=np.concatenate([one.folds for one in rows]),
        exhaustive=np.concatenate([one.exhaustive for one in rows]),
        labels=labels,
    )


def _add_pieces(
    statistics: Statistics,
    training_set: TrainingSet,
    away: list[PartRows],
    new: list[PartRows],
    workers: Workers,
) -> Generator[int, None, None]:
    """Add up in the workers; yield the number of photos of each piece that is done."""
    # One piece per worker: each result holds the sums of all classes, however few its photos.
    lists: Iterable[tuple[list[PartRows], list[PartRows]]] = zip_longest(
        split(away, workers.count), split(new, workers.count), fillvalue=[]
    )
    with work_folder(training_set.folder) as work:
        pieces = [
            _Sum(training_set, statistics.classes, tuple(taken_away), tuple(added), f"{work}/{index}.npz")
            for index, (taken_away, added) in enumerate(lists)
        ]
        photos = {
            piece.result: sum(len(rows.photo_ids) for rows in (*piece.taken_away, *piece.added)) for piece in pieces
        }
        for result in workers.map(_sum_piece, pieces):
            statistics.merge(sums_from_bytes(statistics.classes, training_set.folder.read(result)))
            training_set.folder.remove(result)
            yield photos[result]


def _sum_piece(piece: _Sum) -> str:
    """Write the sums of a piece to its file; return the file's name."""
    statistics = Statistics(piece.training_set.dim, piece.class_ids)
    for _ in _add_up(statistics, piece.training_set, piece.taken_away, piece.added):
        pass
    piece.training_set.folder.write(piece.result, sums_to_bytes(statistics))
    return piece.result


def _add_up(
    statistics: Statistics, training_set: TrainingSet, taken_away: Sequence[PartRows], added: Sequence[PartRows]
) -> Generator[int, None, None]:
    """Subtract photos from the sums and add others; yield the number of photos of each block that is done."""
    for photos, sign in ((taken_away, -1), (added, 1)):
        for some in together(photos, _TOGETHER):
            features, rows = concatenated(training_set, some)
            statistics.add(features, rows.folds, rows.exhaustive, rows.labels, sign)
            yield len(features)


def _with_classes(snapshot: Snapshot, class_ids: tuple[str, ...]) -> Snapshot:
    """Return the snapshot with the positions of its classes in `class_ids`."""
    if snapshot.class_ids == class_ids:
        return snapshot
    place = {id_: index for index, id_ in enumerate(class_ids)}
    missing = [id_ for id_ in snapshot.class_ids if id_ not in place]
    if missing:
        raise StaleStatisticsError(f"the log of labels has lost class {missing[0]!r}: train again")
    moved = np.array([place[id_] for id_ in snapshot.class_ids], np.int32)
    closed = np.zeros(len(class_ids), np.bool_)
    closed[moved] = snapshot.closed
    classes = moved[snapshot.classes] if len(moved) else snapshot.classes
    return replace(snapshot, classes=classes, class_ids=class_ids, closed=closed)
