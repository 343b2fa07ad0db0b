"""Visibility: which bulk runs and models count for readers, and the classes of all models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from autotag.view.results import ModelVersion, Tagged
from models.classes import ClassTable


@dataclass(frozen=True)
class Visibility:
    """As of one moment. Every part of it only ever grows, so registries too are the same in whatever order written."""

    published: frozenset[str] = frozenset()
    """Names of bulk runs."""
    ended: frozenset[str] = frozenset()
    """Names of bulk runs that were retracted or dropped, for good."""
    withdrawn: frozenset[str] = frozenset()
    """Models (``str(ModelVersion)``) that were rolled back, for good."""
    models: Mapping[ModelVersion, ClassTable] = field(default_factory=dict)
    """The classes of every model whose tags are here."""

    @cached_property
    def visible(self) -> frozenset[str]:
        """Names of the bulk runs that readers see."""
        return self.published - self.ended

    def sees(self, run: str | None) -> bool:
        """Whether what a run wrote counts; real time always does."""
        return run is None or run in self.visible

    def trusts(self, tagged: Tagged) -> bool:
        """Whether the model that gave these tags is in use still."""
        return not self.withdrawn or str(tagged.model) not in self.withdrawn

    @cached_property
    def classes(self) -> ClassTable:
        """All models' classes in one; see `join_classes`."""
        newest_first = sorted(self.models, key=lambda model: (model.sequence, model.version), reverse=True)
        return join_classes(self.models[model] for model in newest_first)

    def ancestors(self, tag_id: str) -> frozenset[str]:
        """The ids of the classes that contain a class; nothing for a tag of people's own."""
        return self.classes.ancestors(tag_id) if tag_id in self.classes else frozenset()


def join_classes(newest_first: Iterable[ClassTable]) -> ClassTable:
    """One table of all classes: name and parents as the newest table has them.

    A class of an older table is left out when a newer one gave its name to another. No class can come to contain
    itself: parents are only taken from a class's own table and newer ones, never from one that comes later here.
    """
    rows: dict[str, tuple[str, str, list[str]]] = {}
    names: set[str] = set()
    for table in newest_first:
        new = [
            (id_, name)
            for id_, name in zip(table.ids, table.names, strict=True)
            if id_ not in rows and name.casefold() not in names
        ]
        known = rows.keys() | {id_ for id_, _ in new}
        for id_, name in new:
            rows[id_] = (id_, name, [parent for parent in table.parents[id_] if parent in known])
            names.add(name.casefold())
    return ClassTable(rows.values())
