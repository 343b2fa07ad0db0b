"""The snapshot of a training set: the place of each photo's features, and its labels."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from autotag.errors import InputError, JobError
from autotag.training.dataset.label_log import Ancestors, LabelLog, index_in, standing_labels, with_implied
from autotag.training.dataset.training_set import TrainingSet
from models.moments import FOLDS, Labels

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


class StaleStatisticsError(InputError):
    """The saved sums are stale; read all photos again. `fit.train` does so once."""


@dataclass(frozen=True)
class Snapshot:
    """Photos with features, sorted by id, and their labels; independent of the order in which they were joined."""

    photo_ids: pa.Array
    """string [n], ascending."""
    parts: tuple[str, ...]
    """Names of the pieces that were read, ascending; a piece may have no photo here any more."""
    part: NDArray[np.int32]
    """[n]: each photo's position in `parts`."""
    computed_us: NDArray[np.int64]
    exhaustive: NDArray[np.bool_]
    """[n]: True if a photo without a label for a closed class is FALSE for it; otherwise it is unknown."""
    offsets: NDArray[np.int64]
    """[n + 1]: a photo's labels are `classes[offsets[i]:offsets[i + 1]]`, ascending, and `values`."""
    classes: NDArray[np.int32]
    """[m]: positions in `class_ids`."""
    values: NDArray[np.int8]
    """[m]: 1 TRUE, -1 FALSE, 0 unknown."""
    class_ids: tuple[str, ...]
    """Ascending."""
    closed: NDArray[np.bool_]
    """[classes]: True for a class that exhaustive labels name."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name of each class, by id."""

    def __len__(self) -> int:
        return len(self.photo_ids)

    @property
    def rows(self) -> NDArray[np.int64]:
        """[m]: the position of each label's photo."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def labels_of(self, photos: NDArray[np.int64]) -> Labels:
        """Return the labels of the photos at these positions; `Labels.rows` are positions in `photos`."""
        counts = self.offsets[photos + 1] - self.offsets[photos]
        rows = np.repeat(np.arange(len(photos)), counts)
        ends = np.cumsum(counts)
        at = np.arange(len(rows)) - np.repeat(ends - counts, counts) + np.repeat(self.offsets[photos], counts)
        classes = self.classes[at].astype(np.int64)
        return Labels(rows, classes, self.values[at], self.exhaustive[photos][rows] & self.closed[classes])

    def hashes(self, photos: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """Return a hash of each photo's id; it never changes, and folds and samples are drawn by it.

        Args:
            photos: positions of photos; None for all.
        """
        ids = self.photo_ids if photos is None else self.photo_ids.take(pa.array(photos))
        digests = b"".join(hashlib.sha256(id_.encode()).digest()[:8] for id_ in ids.to_pylist())
        return np.frombuffer(digests, "<u8")

    def folds(self, photos: NDArray[np.int64] | None = None) -> NDArray[np.int8]:
        """Return the fold of each photo, which never changes; `photos` as for `hashes`."""
        return (self.hashes(photos) % FOLDS).astype(np.int8)

    def write(self) -> bytes:
        """Write the snapshot as a Parquet file; `read` reads it back."""
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
        facts["closed"] = self.closed.tolist()
        schema = _SCHEMA.with_metadata({_METADATA: json.dumps(facts).encode()})
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink)
        return sink.getvalue()

    @classmethod
    def read(cls, data: bytes) -> Snapshot:
        """Read a snapshot from the bytes of `write`."""
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
            closed=np.array(facts["closed"], np.bool_),
            names=facts["names"],
        )

    @classmethod
    def empty(cls) -> Snapshot:
        """Return a snapshot without photos or labels."""
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
            closed=np.zeros(0, np.bool_),
        )


def take_snapshot(training_set: TrainingSet, earlier: Snapshot, ancestors: Ancestors) -> Snapshot:
    """Return the snapshot of the training set as it is now.

    Args:
        earlier: an earlier snapshot; only pieces that it does not list are read.
        ancestors: a photo that is TRUE for a class is TRUE for the classes that contain it; a photo that is FALSE for a
            class is FALSE for the classes that it contains. The photo's own labels for those classes win; where both
            TRUE and FALSE would follow, it is unknown.

    Raises:
        StaleStatisticsError: a piece that `earlier` uses is missing.
    """
    log = LabelLog(training_set)
    parts = tuple(training_set.parts())
    used = {earlier.parts[part] for part in np.unique(earlier.part)}
    if gone := sorted(used.difference(parts)):
        raise StaleStatisticsError(f"{training_set.folder}: features {gone[0]} are missing: train again")
    photos = _photos(training_set, earlier, log, parts)
    photo_ids = _chunk(photos["photo_id"])
    class_ids = tuple(sorted(log.names))
    standing = with_implied(standing_labels(log, photo_ids), class_ids, ancestors)
    counts = np.bincount(standing.rows, minlength=len(photos))
    return Snapshot(
        photo_ids=photo_ids,
        parts=parts,
        part=np.array(photos["part"]),
        computed_us=np.array(photos["computed_us"]),
        exhaustive=standing.exhaustive,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        classes=standing.classes.astype(np.int32),
        values=standing.values,
        class_ids=class_ids,
        closed=np.array([id_ in log.closed for id_ in class_ids], np.bool_),
        names=log.names,
    )


def changes(old: Snapshot, new: Snapshot) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the difference of two snapshots: positions in `old` to subtract, and positions in `new` to add."""
    place = index_in(old.photo_ids, new.photo_ids)
    common = np.flatnonzero(place >= 0)
    there = place[common]
    same = (
        (_signatures(old)[common] == _signatures(new)[there])
        & (old.exhaustive[common] == new.exhaustive[there])
        & (old.computed_us[common] == new.computed_us[there])
        & (np.array(old.parts, object)[old.part[common]] == np.array(new.parts, object)[new.part[there]])
    )
    stays_old, stays_new = np.zeros(len(old), np.bool_), np.zeros(len(new), np.bool_)
    stays_old[common[same]] = stays_new[there[same]] = True
    return np.flatnonzero(~stays_old), np.flatnonzero(~stays_new)


def _signatures(snapshot: Snapshot) -> NDArray[np.uint64]:
    """Return for each photo a digest of its labels alone."""
    # The contribution of a label to the sums depends on its class being closed.
    classes = zip(snapshot.class_ids, snapshot.closed.tolist(), strict=True)
    texts = [f"{id_}\0{closed}\0{value}" for id_, closed in classes for value in (-1, 0, 1)]
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    hashes = np.frombuffer(digests, "<u8")[snapshot.classes.astype(np.int64) * 3 + snapshot.values + 1]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    return np.asarray(sums[snapshot.offsets[1:]] - sums[snapshot.offsets[:-1]])


def _photos(training_set: TrainingSet, earlier: Snapshot, log: LabelLog, parts: tuple[str, ...]) -> pa.Table:
    """Return photo_id, part and computed_us of every photo, sorted by id."""
    place = {name: index for index, name in enumerate(parts)}
    moved = np.array([place.get(name, -1) for name in earlier.parts], np.int32)[earlier.part]
    tables = [_places(earlier.photo_ids, moved, pa.array(earlier.computed_us))]
    before = set(earlier.parts)
    for name in parts:
        if name not in before:
            part = training_set.read_part(name, ["photo_id", "computed_us"])
            tables.append(_places(part["photo_id"], np.full(len(part), place[name], np.int32), part["computed_us"]))
    # Of rows of the same time the last file's counts, as in `photo_states.compact`.
    photos = pa.concat_tables(tables).sort_by(
        [("photo_id", "ascending"), ("computed_us", "descending"), ("part", "descending")]
    )
    if log.removed:
        times = np.array([at_us for _, at_us in log.removed.values()], np.int64)
        at = index_in(photos["photo_id"], pa.array(list(log.removed), pa.string()))
        lives = (at < 0) | (np.array(photos["computed_us"]) > times[at])
        photos = photos.filter(pa.array(lives))
    ids = _chunk(photos["photo_id"])
    if len(ids) > 1:
        first = np.concatenate([[True], np.array(pc.not_equal(ids[1:], ids[:-1]))])
        photos = photos.filter(pa.array(first))
    return photos.combine_chunks()


def _places(photo_ids: Any, part: NDArray[np.int32], computed_us: Any) -> pa.Table:
    return pa.table({"photo_id": photo_ids, "part": pa.array(part), "computed_us": computed_us})


def _chunk(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a chunked array as one chunk."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
