"""Labels of one input: the ids of their classes, and one value for each photo and class."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autotag.errors import TagError
from autotag.storage.text_lines import Fault, FaultError
from autotag.stores.tag_names import own_tag
from models.classes import ClassTable

TRUE, FALSE, UNKNOWN = 1, -1, 0
"""The values of a label, as they are stored."""
WORDS = {
    TRUE: ("true", "t", "yes", "y", "1", "+1", "positive"),
    FALSE: ("false", "f", "no", "n", "0", "-1", "negative"),
    UNKNOWN: ("", "unknown", "?", "null", "none", "na"),
}
"""Words for each value, in any case."""
NAMES = {"TRUE": TRUE, "FALSE": FALSE, "unknown": UNKNOWN}
_VALUES = {word: value for value, words in WORDS.items() for word in words}


def label_value(text: str) -> int:
    """Return TRUE, FALSE or UNKNOWN; raise FaultError for any other word."""
    value = _VALUES.get(text.strip().casefold())
    if value is None:
        words = "; ".join(f"{name}: {', '.join(filter(None, WORDS[value]))}" for name, value in NAMES.items())
        raise FaultError(Fault.LABEL, f"the label must be empty or one of {words}. Given: {text[:80]!r}")
    return value


class ClassNames:
    """Resolves names of classes to ids: a class of the bundle, or one of people's own; case does not matter.

    Args:
        classes: the bundle's classes.
        own_names: names of people's own classes by id, as they were spelled first.
    """

    def __init__(self, classes: ClassTable, own_names: Mapping[str, str]) -> None:
        self._classes = classes
        self.names = dict(own_names)
        """Display name of every class that was named, by id."""
        self._ids: dict[str, str] = {}

    def id(self, text: str) -> str:
        """Return the id of the class with a name or id; raise FaultError if the text cannot be a name."""
        class_id = self._ids.get(text)
        return self._resolved(text) if class_id is None else class_id

    def _resolved(self, text: str) -> str:
        given = text.strip()
        class_id = self._classes.find(given) or self._classes.find(given.replace("_", " "))
        if class_id is not None:
            self.names[class_id] = self._classes.name(class_id)
        else:
            try:
                class_id, name = own_tag(given, called="class")
            except TagError as error:
                raise FaultError(Fault.CLASS, str(error)) from error
            self.names.setdefault(class_id, name)
        self._ids[text] = class_id
        return class_id

    def of_tag(self, tag_id: str, name: str) -> str:
        """Return the id of the class that a tag in the store means; `name` is the tag's name in the store.

        A tag that a person made up means the bundle's class of that name, if the bundle has one by now.
        """
        class_id = self._classes.find(tag_id)
        if class_id is None:
            self.names.setdefault(tag_id, name)
            return tag_id
        self.names[class_id] = self._classes.name(class_id)
        return class_id

    @property
    def spellings(self) -> dict[str, list[str]]:
        """The sorted spellings of each class that was spelled in several ways, by id."""
        spellings: dict[str, set[str]] = {}
        for text, class_id in self._ids.items():
            spellings.setdefault(class_id, set()).add(text.strip())
        return {class_id: sorted(texts) for class_id, texts in spellings.items() if len(texts) > 1}


@dataclass(frozen=True)
class LabelTable:
    """Labels sorted by photo and class, each pair once: tables of the same labels are equal."""

    photo_ids: list[str]
    """Sorted."""
    class_ids: list[str]
    """Sorted."""
    photos: NDArray[np.int32]
    """[n], positions in `photo_ids`."""
    classes: NDArray[np.int32]
    """[n], positions in `class_ids`."""
    values: NDArray[np.int8]
    """[n], `TRUE`, `FALSE` or `UNKNOWN`."""

    @cached_property
    def digest(self) -> str:
        """A digest of the content, 32 hexadecimal digits."""
        digest = hashlib.sha256()
        for ids in (self.photo_ids, self.class_ids):
            digest.update("\n".join(ids).encode("utf-8", "surrogatepass") + b"\0")
        for numbers in (self.photos, self.classes, self.values):
            digest.update(numbers.tobytes())
        return digest.hexdigest()[:32]

    def differ_from(self, table: pa.Table) -> bool:
        """Return True if a file's labels (photo_id, class_id, value) contradict one of these."""
        if not len(self.values):
            return False
        photos, classes = (
            np.array(pc.fill_null(pc.index_in(table[name], value_set=pa.array(ids, pa.string())), -1), np.int64)
            for name, ids in (("photo_id", self.photo_ids), ("class_id", self.class_ids))
        )
        both = (photos >= 0) & (classes >= 0)
        keys, values = (photos * len(self.class_ids) + classes)[both], np.array(table["value"], np.int8)[both]
        own = self.photos.astype(np.int64) * len(self.class_ids) + self.classes
        places = np.minimum(np.searchsorted(own, keys), len(own) - 1)
        return bool(np.any((own[places] == keys) & (self.values[places] != values)))


@dataclass(frozen=True)
class Contradiction:
    """A photo and class that one input labels both TRUE and FALSE, with the numbers of these lines."""

    photo_id: str
    class_id: str
    lines: list[int]


class LabelCollector:
    """Collects the labels of an input one at a time; each takes 13 bytes.

    `table` takes 500 MB for 5 million labels of 1 million photos.
    """

    def __init__(self) -> None:
        self._photos: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._columns = (array("i"), array("i"), array("b"), array("i"))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, photo_id: str, class_id: str, value: int, number: int = 0) -> None:
        """Add a label; `number` is the number of its line."""
        photos, classes, values, numbers = self._columns
        photos.append(self._photos.setdefault(photo_id, len(self._photos)))
        classes.append(self._classes.setdefault(class_id, len(self._classes)))
        values.append(value)
        numbers.append(number)

    def table(self) -> tuple[LabelTable, list[Contradiction]]:
        """Return the labels, each pair once, and the contradictions.

        TRUE and FALSE win over unknown; a contradiction becomes unknown.
        """
        photo_ids, photo_places = _sorted(self._photos)
        class_ids, class_places = _sorted(self._classes)
        photos, classes, values, numbers = (
            np.frombuffer(column, column.typecode) if len(column) else np.zeros(0, column.typecode)
            for column in self._columns
        )
        keys = photo_places[photos] * len(class_ids) + class_places[classes]
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        highest, lowest = (of.reduceat(values, starts) if len(keys) else values for of in (np.maximum, np.minimum))
        table = LabelTable(
            photo_ids,
            class_ids,
            (keys[starts] // max(1, len(class_ids))).astype(np.int32),
            (keys[starts] % max(1, len(class_ids))).astype(np.int32),
            highest + lowest * (highest != lowest),
        )
        both = np.flatnonzero((highest == TRUE) & (lowest == FALSE))
        ends = np.append(starts[1:], len(keys))
        return table, [
            Contradiction(
                photo_ids[table.photos[at]],
                class_ids[table.classes[at]],
                numbers[order[starts[at] : ends[at]]].tolist(),
            )
            for at in both.tolist()
        ]


def _sorted(places: Mapping[str, int]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the sorted texts, and the new position of each old one."""
    texts = sorted(places)
    moved = np.empty(len(texts), np.int64)
    moved[[places[text] for text in texts]] = np.arange(len(texts))
    return texts, moved
