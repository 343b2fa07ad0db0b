"""ClassTable: the names of the classes and categories, and which of them contain which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from models.errors import ModelError
from models.text_tables import read_text_table

CLASSES = Path(__file__).with_name("classes.tsv")
"""ImageNet's 1,000 classes in index order, then the everyday classes, all those above them, and the categories; written
by tools/make_classes.py."""
CATEGORY = "category:"
"""Begins the id of a category: a class that people browse by, and that is no tag."""


def is_category(id_: str) -> bool:
    """Return True for the id of a category."""
    return id_.startswith(CATEGORY)


class ClassTable:
    """Classes in a fixed order, each with a stable id, a display name and the ids of its parents.

    A class may have several parents (WordNet is a graph), but is never its own ancestor. Display names are unique
    whatever their case.
    """

    def __init__(self, rows: Iterable[tuple[str, str, Sequence[str]]], where: str = "class table") -> None:
        """Make a table of rows of id, name and parents; `where` names their file in messages.

        Raises:
            ModelError: an id or name is empty or occurs twice, a parent is not in the table, or contains itself.
        """
        self._where = where
        self.parents: Mapping[str, tuple[str, ...]]
        """Class id -> the ids of its direct parents."""
        rows = list(rows)
        self.ids = tuple(row[0] for row in rows)
        self.names = tuple(row[1] for row in rows)
        self.parents = {id_: tuple(parents) for id_, _, parents in rows}
        self._names = dict(zip(self.ids, self.names, strict=True))
        self._ancestors: dict[str, frozenset[str]] = {}
        self._check()

    @classmethod
    def open(cls, path: Path) -> ClassTable:
        """Read a table that `write` wrote, some 10 ms for 20,000 classes.

        Raises:
            ModelError: the file cannot be read or is not such a table; the message names the line.
        """
        rows = read_text_table(path, "id, name and parents")
        return cls(((id_, name, parents.split(",") if parents else []) for id_, name, parents in rows), str(path))

    def write(self, path: Path, comment: str = "") -> None:
        """Write `comment`, then a line for each class: id, name and parents (with commas), separated by tabs."""
        lines = [f"# {line}".rstrip() for line in comment.splitlines()]
        lines += ["\t".join((id_, self._names[id_], ",".join(self.parents[id_]))) for id_ in self.ids]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._names

    def name(self, id_: str) -> str:
        """Return the display name of a class; raise ModelError if there is no such class."""
        try:
            return self._names[id_]
        except KeyError:
            raise ModelError(f"{self._where}: there is no class {id_!r}") from None

    def find(self, text: str) -> str | None:
        """Return the id of the class whose id or display name, in any case, is `text`; None if there is none."""
        return text if text in self._names else self._by_name.get(text.casefold())

    def ancestors(self, id_: str) -> frozenset[str]:
        """Return the ids of the classes that contain a class, without its own."""
        if id_ not in self._ancestors:
            parents = self.parents[id_]
            self._ancestors[id_] = frozenset(parents).union(*(self.ancestors(parent) for parent in parents))
        return self._ancestors[id_]

    def members(self, leaves: Sequence[str]) -> dict[str, list[int]]:
        """Return class -> the leaves that it contains, ascending, each once, for all classes above `leaves` in order.

        Raises:
            ModelError: a leaf is not in the table.
        """
        members: dict[str, list[int]] = {}
        for index, leaf in enumerate(leaves):
            self.name(leaf)
            for ancestor in self.ancestors(leaf):
                members.setdefault(ancestor, []).append(index)
        return {id_: members[id_] for id_ in self.ids if id_ in members}

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {name.casefold(): id_ for id_, name in self._names.items()}

    def _check(self) -> None:
        if len(self._names) < len(self.ids):
            self._refuse_twice("id", self.ids)
        if len(self._by_name) < len(self.ids):
            self._refuse_twice("name", [name.casefold() for name in self.names])
        if "" in self._names or "" in self._by_name:
            raise ModelError(f"{self._where}: a class has no id or no name")
        for id_, parents in self.parents.items():
            for parent in parents:
                if parent not in self._names:
                    raise ModelError(f"{self._where}: class {id_!r} has an unknown parent {parent!r}")
        self._check_acyclic()

    def _check_acyclic(self) -> None:
        """Remove classes without parents again and again; each class that remains contains itself, or is below one."""
        children: dict[str, list[str]] = {}
        missing = {id_: len(parents) for id_, parents in self.parents.items()}
        for id_, parents in self.parents.items():
            for parent in parents:
                children.setdefault(parent, []).append(id_)
        free = [id_ for id_, count in missing.items() if not count]
        for id_ in free:
            for child in children.get(id_, ()):
                missing[child] -= 1
                if not missing[child]:
                    free.append(child)
        if len(free) < len(self.ids):
            raise ModelError(f"{self._where}: classes contain themselves: {sorted(set(self.ids) - set(free))[:5]}")

    def _refuse_twice(self, what: str, values: Sequence[str]) -> None:
        seen: set[str] = set()
        for value in values:
            if value in seen:
                raise ModelError(f"{self._where}: the {what} {value!r} occurs twice")
            seen.add(value)
