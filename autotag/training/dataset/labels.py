"""Labels of one input: whose classes they name, and one value for each photo and class."""

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
"""The values of a label, as they are kept."""
WORDS = {
    TRUE: ("true", "t", "yes", "y", "1", "+1", "positive"),
    FALSE: ("false", "f", "no", "n", "0", "-1", "negative"),
    UNKNOWN: ("", "unknown", "?", "null", "none", "na"),
}
"""What people write for each, in any case."""
NAMES = {"TRUE": TRUE, "FALSE": FALSE, "unknown": UNKNOWN}
_VALUES = {word: value for value, words in WORDS.items() for word in words}


def label_value(text: str) -> int:
    """TRUE, FALSE or UNKNOWN; raises FaultError for any other word."""
    value = _VALUES.get(text.strip().casefold())
    if value is None:
        own_names = "; ".join(f"{name}: {', '.join(filter(None, WORDS[value]))}" for name, value in NAMES.items())
        raise FaultError(Fault.LABEL, f"the label must be empty or one of {own_names}. Given: {text[:80]!r}")
    return value


class ClassNames:
    """Resolves names of classes to ids: a class of the bundle, or one of people's own; case does not matter.

    Args:
        classes: the bundle's.
        known: names of people's own classes by id, as they were spelled first.
    """

    def __init__(self, classes: ClassTable, own_names: Mapping[str, str]) -> None:
        self._classes = classes
        self.names = dict(own_names)
        """Of every class that was named: id to display name."""
        self._ids: dict[str, str] = {}

    def id(self, text: str) -> str:
        """The id of the class that goes by a name or id; raises FaultError where the text can be no name."""
        spellings = self._ids.get(text)
        return spellings if spellings is not None else self._resolved(text)

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
        """The id of the class that a tag in the store is; `name` is what it is called there.

        A tag of people's own is the bundle's class that has got its name since.
        """
        class_id = self._classes.find(tag_id)
        if class_id is None:
            self.names.setdefault(tag_id, name)
            return tag_id
        self.names[class_id] = self._classes.name(class_id)
        return class_id

    @property
    def spellings(self) -> dict[str, list[str]]:
        """Classes that were spelled in several ways: id to the sorted spellings."""
        spellings: dict[str, set[str]] = {}
        for text, class_id in self._ids.items():
            spellings.setdefault(class_id, set()).add(text.strip())
        return {class_id: sorted(texts) for class_id, texts in spellings.items() if len(texts) > 1}


@dataclass(frozen=True)
class LabelTable:
    """Labels, each photo and class once, in the order of photo and class: equal tables have equal content."""

    photo_ids: list[str]
    """Sorted."""
    class_ids: list[str]
    """Sorted."""
    photos: NDArray[np.int32]
    """[n], places in `photo_ids`."""
    classes: NDArray[np.int32]
    """[n], places in `class_ids`."""
    values: NDArray[np.int8]
    """[n], `TRUE`, `FALSE` or `UNKNOWN`."""

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits of the content."""
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
    """A photo that one input says to show a class, and not to; the numbers of the lines that say so."""

    photo_id: str
    class_id: str
    lines: list[int]


class LabelCollector:
    """Takes an input's labels one at a time, and keeps 13 bytes of each.

    At the end, 5 million labels of 1 million photos take 500 MB.
    """

    def __init__(self) -> None:
        self._photos: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._columns = (array("i"), array("i"), array("b"), array("i"))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, photo_id: str, class_id: str, value: int, number: int = 0) -> None:
        """Take a label; `number` is its line's."""
        photos, classes, values, numbers = self._columns
        photos.append(self._photos.setdefault(photo_id, len(self._photos)))
        classes.append(self._classes.setdefault(class_id, len(self._classes)))
        values.append(value)
        numbers.append(number)

    def table(self) -> tuple[LabelTable, list[Contradiction]]:
        """Return the labels without repetitions: TRUE and FALSE stand over unknown; a contradiction becomes unknown."""
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
    """The texts sorted, and of each old place the new one."""
    texts = sorted(places)
    moved = np.empty(len(texts), np.int64)
    moved[[places[text] for text in texts]] = np.arange(len(texts))
    return texts, moved
