"""Visibility: which bulk runs and models count for readers, and the classes of all models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from autotag.view.results import ModelVersion, Tagged
from models.classes import ClassTable


@dataclass(frozen=True)
class Visibility:
    """A snapshot. All its sets are append-only, so it does not depend on the order of writes."""

    published: frozenset[str] = frozenset()
    """Names of bulk runs."""
    ended: frozenset[str] = frozenset()
    """Names of bulk runs that were retracted or dropped, for good."""
    withdrawn: frozenset[str] = frozenset()
    """Models (``str(ModelVersion)``) that were rolled back, for good."""
    models: Mapping[ModelVersion, ClassTable] = field(default_factory=dict)
    """The class table of every model whose tags the store has."""

    @cached_property
    def visible(self) -> frozenset[str]:
        """Names of the bulk runs that readers see."""
        return self.published - self.ended

    def sees(self, run: str | None) -> bool:
        """Return True for the stream (None) and for published runs."""
        return run is None or run in self.visible

    def trusts(self, tagged: Tagged) -> bool:
        """Return True unless the model that gave these tags was withdrawn."""
        return not self.withdrawn or str(tagged.model) not in self.withdrawn

    @cached_property
    def classes(self) -> ClassTable:
        """The classes of all models in one table; see `join_classes`."""
        newest_first = sorted(self.models, key=lambda model: (model.sequence, model.version), reverse=True)
        return join_classes(self.models[model] for model in newest_first)

    def ancestors(self, tag_id: str) -> frozenset[str]:
        """Return the ids of the classes that contain a class; empty for a tag that a person made up."""
        return self.classes.ancestors(tag_id) if tag_id in self.classes else frozenset()


def join_classes(newest_first: Iterable[ClassTable]) -> ClassTable:
    """Return one table of all classes; each has the name and the parents of the newest table that has it.

    A class of an older table is left out when a newer table gives its name to another class. No class can come to
    contain itself: its parents are taken from its own table and newer ones, never from an older one.
    """
    rows: dict[str, tuple[str, str, list[str]]] = {}
    names: set[str] = set()
    for table in newest_first:
        new = [
            (id_, name)
            for id_, name in zip(table.ids, table.names, strict=True)
            if id_ not in rows and name.casefold() not in names
        ]
        ids = rows.keys() | {id_ for id_, _ in new}
        for id_, name in new:
            rows[id_] = (id_, name, [parent for parent in table.parents[id_] if parent in ids])
            names.add(name.casefold())
    return ClassTable(rows.values())
