"""What a training set comes to: of every photo where its features are, and what it is labelled with."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from autotag.errors import JobError
from autotag.training.trainingset import TrainingSet
from models.training import FOLDS, Labels

Ancestors = Callable[[str], Iterable[str]]
"""The ids of the classes that contain a class; nothing for an unknown one."""

_METADATA = b"autotag"
_SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("part", pa.int32()),
        ("computed_us", pa.int64()),
        ("exhaustive", pa.bool_()),
        ("classes", pa.list_(pa.int32())),
        ("values", pa.list_(pa.int8())),
    ]
)


@dataclass(frozen=True)
class Joined:
    """Photos that have features, in the order of their ids, with their labels; the same whatever order they came in."""

    photo_ids: pa.Array
    """string [n], ascending."""
    parts: tuple[str, ...]
    """The features' files that were looked at, ascending; some may have nothing here any more."""
    part: NDArray[np.int32]
    """[n]: the place in `parts`."""
    computed_us: NDArray[np.int64]
    exhaustive: NDArray[np.bool_]
    """[n]: FALSE for every class that there is no label of; else unknown."""
    offsets: NDArray[np.int64]
    """[n + 1]: a photo's labels are `classes[offsets[i]:offsets[i + 1]]`, ascending, and `values`."""
    classes: NDArray[np.int32]
    """[m]: the place in `class_ids`."""
    values: NDArray[np.int8]
    """[m]: 1 TRUE, -1 FALSE, 0 unknown."""
    class_ids: tuple[str, ...]
    """Ascending."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What each class is called."""

    def __len__(self) -> int:
        return len(self.photo_ids)

    @property
    def rows(self) -> NDArray[np.int64]:
        """[m]: the photo of each label."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def labels_of(self, photos: NDArray[np.int64]) -> Labels:
        """The labels of some photos, by their places; `Labels.rows` are places in `photos`."""
        counts = self.offsets[photos + 1] - self.offsets[photos]
        rows = np.repeat(np.arange(len(photos)), counts)
        ends = np.cumsum(counts)
        at = np.arange(len(rows)) - np.repeat(ends - counts, counts) + np.repeat(self.offsets[photos], counts)
        return Labels(rows, self.classes[at].astype(np.int64), self.values[at])

    def hashes(self, photos: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """[n]: of each photo's id, the same for ever; `folds` and samples go by it. Of some by their places, or all."""
        ids = self.photo_ids if photos is None else self.photo_ids.take(pa.array(photos))
        digests = b"".join(hashlib.sha256(id_.encode()).digest()[:8] for id_ in ids.to_pylist())
        return np.frombuffer(digests, "<u8")

    def folds(self, photos: NDArray[np.int64] | None = None) -> NDArray[np.int8]:
        """[n]: the fold that each photo is in for ever; of some by their places, or all."""
        return (self.hashes(photos) % FOLDS).astype(np.int8)

    def write(self) -> bytes:
        """As a Parquet file; `read` reads it back."""
        offsets = pa.array(self.offsets, pa.int32()) if self.offsets[-1] < 2**31 else None
        if offsets is None:
            raise JobError("a training set holds 2**31 labels at most")
        columns = [
            self.photo_ids,
            pa.array(self.part),
            pa.array(self.computed_us),
            pa.array(self.exhaustive),
            pa.ListArray.from_arrays(offsets, pa.array(self.classes)),
            pa.ListArray.from_arrays(offsets, pa.array(self.values)),
        ]
        facts = {"parts": self.parts, "class_ids": self.class_ids, "names": dict(self.names)}
        schema = _SCHEMA.with_metadata({_METADATA: json.dumps(facts).encode()})
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink)
        return sink.getvalue()

    @classmethod
    def read(cls, data: bytes) -> Joined:
        """What `write` wrote."""
        table = pq.read_table(io.BytesIO(data)).combine_chunks()
        facts = json.loads(table.schema.metadata[_METADATA])
        lists = [_chunk(table[name]) for name in ("classes", "values")]
        return cls(
            photo_ids=_chunk(table["photo_id"]),
            parts=tuple(facts["parts"]),
            part=np.array(table["part"]),
            computed_us=np.array(table["computed_us"]),
            exhaustive=np.array(table["exhaustive"]),
            offsets=np.array(lists[0].offsets, np.int64),
            classes=np.array(lists[0].values),
            values=np.array(lists[1].values),
            class_ids=tuple(facts["class_ids"]),
            names=facts["names"],
        )

    @classmethod
    def nothing(cls) -> Joined:
        """No photos and no labels."""
        empty = np.zeros(0, np.int32)
        return cls(
            photo_ids=pa.array([], pa.string()),
            parts=(),
            part=empty,
            computed_us=np.zeros(0, np.int64),
            exhaustive=np.zeros(0, np.bool_),
            offsets=np.zeros(1, np.int64),
            classes=empty,
            values=np.zeros(0, np.int8),
            class_ids=(),
        )


def join_labels(training_set: TrainingSet, known: Joined, ancestors: Ancestors) -> Joined:
    """What the training set comes to now.

    Args:
        known: what it came to once; only the features' files that are new since are looked into.
        ancestors: a photo that is TRUE for a class is so for the classes that contain it, and one that is FALSE is so
            for the classes in it, where it has no label of its own for those.
    """
    log = _Log(training_set)
    parts = tuple(sorted({*known.parts, *training_set.parts()}))
    photos = _photos(training_set, known, log, parts)
    found = _merged(log, photos["photo_id"])
    class_ids = tuple(sorted(log.names))
    rows, classes, values = _implied(found, class_ids, ancestors)
    order = np.argsort(rows * len(class_ids) + classes)
    rows, classes, values = rows[order], classes[order], values[order]
    counts = np.bincount(rows, minlength=len(photos))
    return Joined(
        photo_ids=_chunk(photos["photo_id"]),
        parts=parts,
        part=np.array(photos["part"]),
        computed_us=np.array(photos["computed_us"]),
        exhaustive=found.exhaustive,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        classes=classes.astype(np.int32),
        values=values.astype(np.int8),
        class_ids=class_ids,
        names=log.names,
    )


def changes(old: Joined, new: Joined) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What to take away and what to add to come from one to the other: places in `old`, and in `new`."""
    place = _index_in(old.photo_ids, new.photo_ids)
    kept = np.flatnonzero(place >= 0)
    there = place[kept]
    same = (
        (_signatures(old)[kept] == _signatures(new)[there])
        & (old.exhaustive[kept] == new.exhaustive[there])
        & (old.computed_us[kept] == new.computed_us[there])
        & (np.array(old.parts, object)[old.part[kept]] == np.array(new.parts, object)[new.part[there]])
    )
    stays_old, stays_new = np.zeros(len(old), np.bool_), np.zeros(len(new), np.bool_)
    stays_old[kept[same]] = stays_new[there[same]] = True
    return np.flatnonzero(~stays_old), np.flatnonzero(~stays_new)


def _signatures(joined: Joined) -> NDArray[np.uint64]:
    """Of each photo's labels a number that is the same for the same labels, whatever else there is."""
    texts = [f"{id_}\0{value}" for id_ in joined.class_ids for value in (-1, 0, 1)]
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    hashes = np.frombuffer(digests, "<u8")[joined.classes.astype(np.int64) * 3 + joined.values + 1]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    return np.asarray(sums[joined.offsets[1:]] - sums[joined.offsets[:-1]])


class _Log:
    """The log of labels, read once."""

    def __init__(self, training_set: TrainingSet) -> None:
        self.files = [
            (number, *training_set.read_labels(name)) for number, name in enumerate(training_set.label_files())
        ]
        self.removed: dict[str, tuple[int, int]] = {}
        """Of each removed photo, the file of its last removal and the time."""
        for number, table, facts in self.files:
            if facts["kind"] == "removal":
                for photo_id in table["photo_id"].to_pylist():
                    self.removed[photo_id] = (number, facts["at_us"])
        corrections = [number for number, _, facts in self.files if facts["kind"] == "corrections"]
        self.latest_corrections = corrections[-1] if corrections else -1
        self.names: dict[str, str] = {}
        """Of every class that was ever labelled, whether or not such a label counts still."""
        for _, _, facts in self.files:
            self.names |= facts["names"]

    def in_order(self) -> list[tuple[int, pa.Table, dict[str, Any]]]:
        """The files whose labels count, the strongest last."""
        labels = [one for one in self.files if one[2]["kind"] == "labels"]
        return [*labels, *(one for one in self.files if one[0] == self.latest_corrections)]


def _photos(training_set: TrainingSet, known: Joined, log: _Log, parts: tuple[str, ...]) -> pa.Table:
    """photo_id, part and computed_us of every photo, in the order of ids."""
    place = {name: index for index, name in enumerate(parts)}
    moved = np.array([place[name] for name in known.parts], np.int32)[known.part]
    tables = [_places(known.photo_ids, moved, pa.array(known.computed_us))]
    before = set(known.parts)
    for name in parts:
        if name not in before:
            part = training_set.read_part(name, ["photo_id", "computed_us"])
            tables.append(_places(part["photo_id"], np.full(len(part), place[name], np.int32), part["computed_us"]))
    photos = pa.concat_tables(tables).sort_by(
        [("photo_id", "ascending"), ("computed_us", "descending"), ("part", "ascending")]
    )
    if log.removed:
        gone = pa.array(list(log.removed), pa.string())
        times = np.array([at_us for _, at_us in log.removed.values()], np.int64)
        at = _index_in(photos["photo_id"], gone)
        lives = (at < 0) | (np.array(photos["computed_us"]) > times[at])
        photos = photos.filter(pa.array(lives))
    ids = photos["photo_id"].combine_chunks()
    if len(ids) > 1:
        first = np.concatenate([[True], np.array(pc.not_equal(_chunk(ids)[1:], _chunk(ids)[:-1]))])
        photos = photos.filter(pa.array(first))
    return photos.combine_chunks()


def _places(photo_ids: Any, part: NDArray[np.int32], computed_us: Any) -> pa.Table:
    return pa.table({"photo_id": photo_ids, "part": pa.array(part), "computed_us": computed_us})


@dataclass(frozen=True)
class _Found:
    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    values: NDArray[np.int8]
    exhaustive: NDArray[np.bool_]


def _merged(log: _Log, photo_ids: pa.ChunkedArray) -> _Found:
    """The labels of these photos: of each photo and class the last that counts."""
    exhaustive = np.zeros(len(photo_ids), np.bool_)
    ids = _chunk(photo_ids)
    removed_in = np.full(len(ids), -1, np.int64)
    if log.removed:
        gone = np.array(
            pc.fill_null(pc.index_in(pa.array(list(log.removed), pa.string()), value_set=ids), -1), np.int64
        )
        for place, (number, _) in zip(gone.tolist(), log.removed.values(), strict=True):
            if place >= 0:
                removed_in[place] = number
    class_ids = np.array(sorted(log.names), object)
    listed = pa.array(class_ids, pa.string())
    all_rows, all_classes, all_values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int8)]
    for number, table, facts in log.in_order():
        places = _index_in(table["photo_id"], ids)
        counts = (places >= 0) & (removed_in[places] < number)
        if facts["exhaustive"]:
            exhaustive[places[counts]] = True
        all_rows.append(places[counts])
        all_classes.append(_index_in(table["class_id"], listed)[counts])
        all_values.append(np.array(table["value"], np.int8)[counts])
    rows, classes, values = np.concatenate(all_rows), np.concatenate(all_classes), np.concatenate(all_values)
    keys = rows * max(len(class_ids), 1) + classes
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = order[np.concatenate([keys[1:] != keys[:-1], [True]])] if len(keys) else order
    return _Found(rows[last], classes[last], values[last], exhaustive)


def _implied(
    found: _Found, class_ids: tuple[str, ...], ancestors: Ancestors
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The labels with those that follow from which class contains which: rows, places in `class_ids`, values."""
    place = {id_: index for index, id_ in enumerate(class_ids)}
    rows, classes, values = found.rows, found.classes, found.values.astype(np.int64)
    pairs = [(place[id_], place[above]) for id_ in class_ids for above in ancestors(id_) if above in place]
    count = len(class_ids)
    for low, high in pairs:
        for value, source, target in ((1, low, high), (-1, high, low)):
            photos = rows[(classes == source) & (values == value)]
            new = photos[~np.isin(photos * count + target, rows * count + classes)]
            rows = np.concatenate([rows, new])
            classes = np.concatenate([classes, np.full(len(new), target)])
            values = np.concatenate([values, np.full(len(new), value)])
    return rows, classes, values


def _index_in(ids: pa.ChunkedArray | pa.Array, among: pa.Array) -> NDArray[np.int64]:
    """Of each id its place in `among`; -1 where it is not there."""
    return np.array(pc.fill_null(pc.index_in(ids, value_set=among), -1), np.int64)


def _chunk(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A chunked array as one."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
