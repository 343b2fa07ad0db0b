"""State of each photo in a training set; removal of photos."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from autotag.training.dataset.labels import LabelCollector
from autotag.training.dataset.training_set import PhotoFailure, TrainingSet

LEFTOVER_S = 24 * 3600.0
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{32}")
"""Name of a file that `Folder.write` has not finished."""
ROW_FACTS = ("photo_id", "uri", "computed_us")
"""Columns of a file of features."""


class State(Enum):
    """The state of a photo in a training set."""

    FEATURES = "features"
    """It has features."""
    FAILED = "failed"
    """Its last extraction failed, but may succeed later."""
    BAD = "bad"
    """Its last extraction failed permanently."""
    REMOVED = "removed"


class PhotoState(NamedTuple):
    """The latest state of a photo, since `at_us`, microseconds since 1970."""

    at_us: int
    state: State
    uri: str
    failure: PhotoFailure | None = None
    """Set if the state is FAILED or BAD."""

    @classmethod
    def failed(cls, failure: PhotoFailure) -> PhotoState:
        """Return the state of a photo whose extraction failed."""
        return cls(failure.at_us, State.BAD if failure.permanent else State.FAILED, failure.uri, failure)


def read_photo_states(training_set: TrainingSet) -> dict[str, PhotoState]:
    """Return the latest state of each photo, by id, removed ones included.

    Reads no features. Takes about 300 bytes of memory per photo.
    """
    states: dict[str, PhotoState] = {}

    def learn(photo_id: str, now: PhotoState) -> None:
        before = states.get(photo_id)
        # Two joins at once may give one photo features and a failure of the same time; the features win.
        if before is None or (now.at_us, now.state is State.FEATURES) >= (before.at_us, before.state is State.FEATURES):
            states[photo_id] = now

    for _, rows in _rows(training_set):
        for photo_id, uri, at_us in rows:
            learn(photo_id, PhotoState(at_us, State.FEATURES, uri))
    for name in training_set.failures():
        for one in training_set.read_failures(name):
            learn(one.photo_id, PhotoState.failed(one))
    for photo_id, at_us in removals(training_set).items():
        if photo_id not in states or states[photo_id].at_us <= at_us:
            states[photo_id] = PhotoState(at_us, State.REMOVED, "")
    return states


def removals(training_set: TrainingSet) -> dict[str, int]:
    """Return the time of the last removal of each removed photo; its labels and features up to then do not count."""
    times: dict[str, int] = {}
    for facts in training_set.log():
        if facts["kind"] == "removal":
            table, _ = training_set.read_labels(facts["name"])
            times.update(dict.fromkeys(table.column("photo_id").to_pylist(), facts["at_us"]))
    return times


class Removal(NamedTuple):
    """The result of a removal."""

    photos: list[str]
    """Ids of photos that were in the set."""
    unknown: list[str]
    """Ids without a state in the set; their labels, if there are any, are removed too."""
    before: list[str]
    """Ids of photos that had been removed before."""


def remove(training_set: TrainingSet, photo_ids: Iterable[str], by: str) -> Removal:
    """Remove the present labels and features of these photos; later ones count again.

    Their rows stay in the files until `compact`.
    """
    states = read_photo_states(training_set)
    removed = Removal([], [], [])
    for photo_id in dict.fromkeys(photo_ids):
        state = states.get(photo_id)
        group = removed.unknown if state is None else removed.photos
        (removed.before if state and state.state is State.REMOVED else group).append(photo_id)
    collector = LabelCollector()
    for photo_id in removed.photos + removed.unknown:
        collector.add(photo_id, "", 0)
    if len(collector):
        # Not earlier than the removed features, whichever machine's clock timed them.
        at_us = max((states[photo_id].at_us for photo_id in removed.photos), default=0)
        facts = {"kind": "removal", "exhaustive": False, "names": {}, "source": "", "by": by, "at_us": at_us}
        training_set.add_labels(collector.table()[0], facts)
    return removed


def compact(training_set: TrainingSet) -> int:
    """Rewrite the files of features and failures without outdated rows; return the number of dropped rows.

    Drops the rows of removed photos, and all but the latest row of each other photo. Each file is replaced atomically
    under its own name, so call this again after an interruption. Files that a join writes at the same time stay.
    """
    states, removed = read_photo_states(training_set), removals(training_set)
    latest: dict[str, tuple[int, str]] = {}
    for name, rows in _rows(training_set):
        for photo_id, _, at_us in rows:
            # Among rows of the same time the last part's counts, as in `snapshot.take_snapshot`.
            latest[photo_id] = max((at_us, name), latest.get(photo_id, (-1, "")))

    def counts(name: str, photo_id: str, at_us: int) -> bool:
        # A photo that was not listed above is new, so none of its rows is outdated.
        return at_us > removed.get(photo_id, -1) and (at_us, name) >= latest.get(photo_id, (-1, ""))

    gone = 0
    for name, rows in _rows(training_set):
        if not all(counts(name, photo_id, at_us) for photo_id, _, at_us in rows):
            gone += _rewrite(training_set, name, counts)
    for name in training_set.failures():
        failures = training_set.read_failures(name)
        left = [one for one in failures if one.photo_id not in states or states[one.photo_id].at_us <= one.at_us]
        if len(left) < len(failures):
            training_set.write_failures(name, left)
            gone += len(failures) - len(left)
    return gone


def remove_leftovers(training_set: TrainingSet) -> None:
    """Remove unfinished files of killed writers: hidden files without a write for a day.

    Does nothing unless the set is on this machine: object stores show no unfinished files.
    """
    if not training_set.folder.is_local:
        return
    for path in training_set.folder.path.rglob(".*"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if _LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFTOVER_S:
                path.unlink()


def _rewrite(training_set: TrainingSet, name: str, counts: Callable[[str, str, int], bool]) -> int:
    """Rewrite a piece without outdated rows; return the number of dropped rows."""
    table = training_set.read_part(name)
    rows = _facts(table)
    left = [at for at, (photo_id, _, at_us) in enumerate(rows) if counts(name, photo_id, at_us)]
    fixed = training_set.fixed_features(table)[left]
    training_set.write_part(name, [rows[at][:2] for at in left], fixed, [rows[at][2] for at in left])
    return len(rows) - len(left)


def _rows(training_set: TrainingSet) -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """Yield the name of each piece, and id, URI and time of each of its rows."""
    for name in training_set.parts():
        yield name, _facts(training_set.read_part(name, ROW_FACTS))


def _facts(table: Any) -> list[tuple[str, str, int]]:
    return list(zip(*(table.column(name).to_pylist() for name in ROW_FACTS), strict=True))
