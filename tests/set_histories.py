"""Random histories of a training set: joins, labels, corrections and removals in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import strategies as st

from autotag.events.times import now_us
from autotag.storage.folder import Folder
from autotag.training.dataset.photo_states import compact, remove
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from models.fixed_point import LARGEST
from models.moments import Statistics
from tests.training_sets import facts, label_table

DIM = 2
PHOTOS = [f"photo {number}" for number in range(7)]
CLASSES = ["animal", "dog", "pet", "spaniel", "teapot"]
ABOVE = {"spaniel": ("dog", "pet", "animal"), "dog": ("animal",)}
"""A spaniel is a dog and a pet, and a dog is an animal; a pet is no animal, so that contradictions occur."""

Step = Callable[[TrainingSet], None]


def ancestors(class_id: str) -> tuple[str, ...]:
    return ABOVE.get(class_id, ())


def some_set(path: Path, dim: int = DIM) -> TrainingSet:
    """Return a training set of a network that does not exist."""
    return TrainingSet(Folder(str(path)), "network", dim, 64, "small")


@contextmanager
def new_set() -> Iterator[TrainingSet]:
    """Give a new training set to one example."""
    with TemporaryDirectory() as folder:
        yield some_set(Path(folder))


def joined_photos(photos: list[str], seed: int) -> Step:
    """Return a step that writes a file of features, computed now; two files may have the same time."""

    def step(training_set: TrainingSet) -> None:
        features = np.random.default_rng(seed).integers(-LARGEST, LARGEST + 1, (len(photos), training_set.dim))
        pairs = [(id_, f"file:///{id_}") for id_ in photos]
        name = f"{now_us():032x}"
        training_set.write_part(name, pairs, features.astype(np.int16), now_us() // 1000 * 1000)

    return step


def labelled(rows: list[tuple[str, str, int]], kind: str, exhaustive: bool) -> Step:
    """Return a step that appends a file to the log."""

    def step(training_set: TrainingSet) -> None:
        names = {class_id: class_id.title() for _, class_id, _ in rows}
        said = facts(kind, f"{now_us()}", exhaustive and kind == "labels", names=names)
        training_set.add_labels(label_table(*rows), said)

    return step


def removed(photos: list[str]) -> Step:
    return lambda training_set: (remove(training_set, photos, "ann"), None)[1]


def compacted(training_set: TrainingSet) -> None:
    """Compact, as a training does at its end, after the removed photos were subtracted from the sums."""
    compact(training_set)


_photos = st.lists(st.sampled_from(PHOTOS), max_size=5, unique=True)
_rows = st.lists(
    st.tuples(st.sampled_from(PHOTOS), st.sampled_from(CLASSES), st.sampled_from([-1, 0, 1])), min_size=1, max_size=8
)
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(joined_photos, _photos, st.integers(0, 99)),
    st.builds(joined_photos, _photos, st.integers(0, 99)),
    st.builds(labelled, _rows, st.sampled_from(["labels", "labels", "corrections"]), st.booleans()),
    st.builds(labelled, _rows, st.sampled_from(["labels", "labels", "corrections"]), st.booleans()),
    st.builds(removed, _photos),
)
histories = st.lists(steps, max_size=8)


def assert_same_statistics(one: Statistics, other: Statistics) -> None:
    """Compare byte for byte."""
    assert one.classes == other.classes
    first, second = one.arrays(), other.arrays()
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name


def assert_same_snapshot(one: Snapshot, other: Snapshot) -> None:
    """Compare everything that counts."""
    assert one.photo_ids.to_pylist() == other.photo_ids.to_pylist()
    assert [one.parts[part] for part in one.part] == [other.parts[part] for part in other.part]
    for name in ("computed_us", "exhaustive", "offsets", "classes", "values"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    assert (one.class_ids, one.names) == (other.class_ids, other.names)
    assert one.closed.tolist() == other.closed.tolist()
