"""TrainingSet: photos' features and people's labels, in a folder whose files are written once.

    set.json                    the network that computed the features, and their scale
    features/<name>.parquet     photo_id, uri, features, computed_us: one piece of the photos
    failures/<name>.jsonl       the photos of that piece without features, with reasons
    labels/NNNNNN.parquet       the log of labels: photo_id, class_id, value; later files win
    joins/NNNNNN/               the report of each join: counts, bad lines, bad photos

Any number of joins may write at once: the name of a piece is a digest of its photos, and creating a file of the log
takes its number. Features are little-endian int16 (models/fixed_point.py), as fixed-size binary.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autotag.errors import InputError, JobError
from autotag.events.times import now_us
from autotag.storage import parquet
from autotag.storage.folder import Folder
from autotag.training.dataset.labels import LabelTable
from models.bundle import Bundle
from models.fixed_point import feature_scale

FORMAT, FORMAT_VERSION = "autotag-training-set", 1
ABOUT = "set.json"
LABELS = pa.schema([("photo_id", pa.string()), ("class_id", pa.string()), ("value", pa.int8())])
BATCH_LABELS = 1_000_000
_PART = re.compile(r"([0-9a-f]{32})\.(parquet|jsonl)")
_LOG = re.compile(r"(\d{6})\.parquet")


class PhotoFailure(NamedTuple):
    """A photo whose extraction failed at `at_us`, microseconds since 1970."""

    photo_id: str
    uri: str
    reason: str
    detail: str
    permanent: bool
    at_us: int


@dataclass(frozen=True)
class TrainingSet:
    """An open training set. Several processes may use the folder at once.

    Every method raises InputError with the file's name if a file cannot be read or written.
    """

    folder: Folder
    network: str
    """The key of the network that computed the features."""
    dim: int
    scale: int
    """Fixed-point steps per unit of a feature."""
    model: str
    """The bundle that the set was created with; any bundle with the same network can be used."""

    @classmethod
    def open(cls, folder: Folder) -> TrainingSet:
        """Open the training set in a folder.

        Raises:
            JobError: the folder holds no training set.
            InputError: ``set.json`` cannot be read or is invalid.
        """
        if not folder.exists(ABOUT):
            raise JobError(f"{folder}: there is no training set here; `autotag join --set {folder}` makes one")
        try:
            facts = json.loads(folder.read(ABOUT))
            if (facts["format"], facts["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise ValueError(f"its format is {facts['format']!r}, version {facts['format_version']!r}")
            training_set = cls(
                folder, str(facts["network"]), int(facts["dim"]), int(facts["scale"]), str(facts["model"])
            )
            if training_set.dim < 1 or training_set.scale < 1:
                raise ValueError(f"dim and scale must be above 0. They are {training_set.dim} and {training_set.scale}")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}/{ABOUT}: is not the description of a training set, version {FORMAT_VERSION}: {error}"
            ) from error
        return training_set

    @classmethod
    def open_or_create(cls, folder: Folder, bundle: Bundle) -> TrainingSet:
        """Open the training set in a folder, or create one for the bundle's network.

        Raises:
            JobError: the training set is of another network.
            InputError: the folder cannot be written.
        """
        if not folder.exists(ABOUT):
            facts = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "network": bundle.network_key,
                "dim": bundle.probe.shape[1],
                "scale": feature_scale(bundle.probe),
                "model": f"{bundle.name} {bundle.version[:12]}",
                "created_us": now_us(),
            }
            try:
                folder.create(ABOUT, json.dumps(facts, indent=1).encode() + b"\n")
            except InputError as error:
                why = error.__cause__ or error
                raise InputError(f"{folder}: no training set can be made here ({why}): name another folder") from error
        training_set = cls.open(folder)
        training_set.check(bundle)
        return training_set

    def check(self, bundle: Bundle) -> None:
        """Check that a bundle has the training set's network; features of two networks cannot be compared.

        Raises:
            JobError: the bundle has another network.
        """
        if bundle.network_key != self.network:
            raise JobError(
                f"{self.folder}: holds features of network {self.network} (bundle {self.model}), but bundle "
                f"{bundle.name} {bundle.version[:12]} has network {bundle.network_key}: name another training set, "
                "or use a bundle of the same network"
            )

    # Features

    def parts(self) -> list[str]:
        """Return the names of all pieces, for `read_part`."""
        return _names(self.folder.folder("features"), _PART)

    def has_part(self, name: str) -> bool:
        """Return True if the features of a piece were written."""
        return self.folder.exists(_part(name))

    def read_part(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a piece, or some of its columns: photo_id, uri, features (fixed-size binary), computed_us."""
        where = f"{self.folder}/{_part(name)}"
        try:
            table, facts = parquet.read_table(self.folder.open(_part(name)), where, columns)
            if (facts.get("network"), facts.get("dim"), facts.get("scale")) != (self.network, self.dim, self.scale):
                raise InputError(f"{where}: holds features of another network or scale than {ABOUT} says")
        except InputError as error:
            raise InputError(f"{error}; remove the file, and the next join computes its photos again") from error
        return table

    def fixed_features(self, table: pa.Table) -> NDArray[np.int16]:
        """Return the features of a table of `read_part`: int16 [n, dim]; see `models.fixed_point.from_fixed`."""
        width = 2 * self.dim
        column = table.column("features").combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
        if len(column) == 0:
            return np.zeros((0, self.dim), np.int16)
        data = np.frombuffer(column.buffers()[1], "<i2", len(column) * self.dim, column.offset * width)
        return data.reshape(-1, self.dim)

    def write_part(
        self, name: str, photos: Sequence[tuple[str, str]], fixed: NDArray[np.int16], computed_us: int | Sequence[int]
    ) -> None:
        """Write a piece; replaces a piece of the same name.

        Args:
            photos: id and URI of each photo.
            fixed: int16 [n, dim].
            computed_us: the time of each photo, or one time for all.
        """
        times = [computed_us] * len(photos) if isinstance(computed_us, int) else list(computed_us)
        width = 2 * self.dim
        data = np.ascontiguousarray(fixed, "<i2").tobytes()
        fields = {"photo_id": pa.string(), "uri": pa.string(), "features": pa.binary(width), "computed_us": pa.int64()}
        schema = pa.schema(list(fields.items()))
        columns = [
            pa.array([id_ for id_, _ in photos], pa.string()),
            pa.array([uri for _, uri in photos], pa.string()),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(photos), [None, pa.py_buffer(data)]),
            pa.array(times, pa.int64()),
        ]
        facts = {"network": self.network, "dim": self.dim, "scale": self.scale}
        batch = pa.record_batch(columns, schema=schema)
        self.folder.write(_part(name), parquet.write_table(iter([batch]), schema, facts))

    # Failures

    def failures(self) -> list[str]:
        """Return the names of all pieces that have failures, for `read_failures`."""
        return _names(self.folder.folder("failures"), _PART)

    def read_failures(self, name: str) -> list[PhotoFailure]:
        """Return the failures of a piece; an empty list if there are none."""
        if not self.folder.exists(f"failures/{name}.jsonl"):
            return []
        text = self.folder.read(f"failures/{name}.jsonl").decode()
        try:
            return [PhotoFailure(**json.loads(line)) for line in text.splitlines()]
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.folder}/failures/{name}.jsonl: is no list of failures: {error}") from error

    def write_failures(self, name: str, failures: Iterable[PhotoFailure]) -> None:
        """Write the failures of a piece, before the piece itself; replaces those of an interrupted join."""
        if lines := [json.dumps(one._asdict()) for one in failures]:
            self.folder.write(f"failures/{name}.jsonl", "".join(f"{line}\n" for line in lines).encode())
        else:
            self.folder.remove(f"failures/{name}.jsonl")

    # The log of labels

    def label_files(self) -> list[str]:
        """Return the names of the log's files, oldest first, for `read_labels`."""
        return _names(self.folder.folder("labels"), _LOG)

    def read_labels(self, name: str) -> tuple[pa.Table, dict[str, Any]]:
        """Read a file of the log: its table (photo_id, class_id, value), and the facts of `add_labels`."""
        return parquet.read_table(self.folder.open(_log(name)), f"{self.folder}/{_log(name)}")

    def read_label_facts(self, name: str) -> dict[str, Any]:
        """Read the facts of a file of the log, without the labels."""
        return parquet.read_facts(self.folder.open(_log(name)), f"{self.folder}/{_log(name)}")

    def log(self) -> list[dict[str, Any]]:
        """Return the facts of each file of the log, oldest first, with its `name`."""
        return [{**self.read_label_facts(name), "name": name} for name in self.label_files()]

    def add_labels(
        self, labels: LabelTable, facts: Mapping[str, Any], coming: Collection[str] = ()
    ) -> tuple[str, bool]:
        """Append labels to the log, unless they would change nothing.

        Args:
            facts: `kind` (labels, corrections or removal), `exhaustive`, `names`, `source` and `by`; `at_us` and
                `digest` are added.
            coming: sources whose labels the caller adds next; that they override these labels is not a change.

        Returns:
            The name of the file with these labels, and True if it is new.
        """
        while True:
            log = self.log()
            if existing := self._existing(log, labels, facts, coming):
                return existing, False
            at_us = max([now_us(), facts.get("at_us", 0), *(one["at_us"] + 1 for one in log)])
            data = _written(labels, {**facts, "digest": labels.digest, "at_us": at_us})
            name = f"{int(log[-1]['name']) + 1 if log else 1:06d}"
            if self.folder.create(_log(name), data):
                return name, True

    def _existing(
        self, log: Sequence[Mapping[str, Any]], labels: LabelTable, facts: Mapping[str, Any], coming: Collection[str]
    ) -> str | None:
        """Return the name of the log's file that gives these labels already; None if they would change something."""
        later: list[Mapping[str, Any]] = []
        for one in reversed(log):
            if one["kind"] == "removal":  # earlier labels of the removed photos do not count any more
                return None
            if one["kind"] != facts["kind"]:
                continue
            if (one["digest"], one["exhaustive"]) == (labels.digest, facts["exhaustive"]):
                is_hidden = any(labels.differ_from(self.read_labels(newer["name"])[0]) for newer in later)
                return None if is_hidden else str(one["name"])
            if one["kind"] == "corrections":  # only the last file of corrections counts
                return None
            if one["source"] not in coming:
                later.append(one)
        return None

    def add_report(self, files: Mapping[str, bytes]) -> str:
        """Write the report of a join, ``summary.json`` among its files, to a new numbered folder; return its name."""
        for number in itertools.count(len(self.folder.folder("joins").names()) + 1):
            name = f"joins/{number:06d}"
            if self.folder.create(f"{name}/summary.json", files["summary.json"]):
                break
        for file, data in files.items():
            self.folder.write(f"{name}/{file}", data)
        return name


def _written(labels: LabelTable, facts: Mapping[str, Any]) -> bytes:
    def batches() -> Iterator[pa.RecordBatch]:
        photo_ids, class_ids = pa.array(labels.photo_ids, pa.string()), pa.array(labels.class_ids, pa.string())
        for start in range(0, len(labels.values), BATCH_LABELS):
            rows = slice(start, start + BATCH_LABELS)
            yield pa.record_batch(
                [
                    photo_ids.take(pa.array(labels.photos[rows])),
                    class_ids.take(pa.array(labels.classes[rows])),
                    pa.array(labels.values[rows]),
                ],
                schema=LABELS,
            )

    return parquet.write_table(batches(), LABELS, facts)


def _names(folder: Folder, pattern: re.Pattern[str]) -> list[str]:
    return [match[1] for name in folder.names() if (match := pattern.fullmatch(name))]


def _part(name: str) -> str:
    return f"features/{name}.parquet"


def _log(name: str) -> str:
    return f"labels/{name}.parquet"
