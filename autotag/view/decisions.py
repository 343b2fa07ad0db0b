"""People's decisions about tags, and which of them stand. They win over every classifier, for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

Ancestors = Callable[[str], frozenset[str]]
"""The ids of the classes that contain a class, without itself; nothing for an unknown one."""


class Action(StrEnum):
    """What a person did to a tag."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One person's act on one tag of one photo."""

    photo_id: str
    tag_id: str
    name: str
    """What the tag was called then."""
    action: Action
    by: str
    decided_us: int
    """Microseconds since 1970, but later than every decision about the photo that was known then."""
    content_us: int
    """The content version that the person saw. A deletion at or after it erases the decision with the photo; this way
    no clock of a person's is ever compared with one of an event."""
    implied: tuple[str, ...] = ()
    """Of an addition: the ids of the classes that contained the tag then. They are added with it and, like it, stay so
    whatever a later model's classes are; thus the index follows from the writes alone."""

    @property
    def order(self) -> tuple[int, str, str, str, str, int, tuple[str, ...]]:
        """The higher is the later: first by time; what comes after it only makes the order total."""
        return (self.decided_us, self.by, self.tag_id, self.action, self.name, self.content_us, self.implied)


@dataclass(frozen=True)
class Verdicts:
    """What people's decisions about one photo come to."""

    added: Mapping[str, Decision]
    """By tag: the decision that it is there by; its own, or that about one of the classes in it."""
    _removed: Mapping[str, Decision]

    def hides(self, tag_id: str, ancestors: Ancestors) -> bool:
        """Whether a classifier's tag is hidden: it, or a class that contains it, was removed."""
        if not self._removed or tag_id in self.added:
            return False
        return tag_id in self._removed or not ancestors(tag_id).isdisjoint(self._removed)


def verdicts(decisions: Iterable[Decision], ancestors: Ancestors) -> Verdicts:
    """What stands, in whatever order the decisions come and however often.

    Of each tag the latest decision counts. Adding a tag adds the classes that contained it, unless one that contains
    it was removed later: then the addition is outdone as a whole. Removing a tag hides the classes in it, unless one
    of them was added later.
    """
    latest: dict[str, Decision] = {}
    for decision in decisions:
        known = latest.get(decision.tag_id)
        if known is None or decision.order > known.order:
            latest[decision.tag_id] = decision
    removed = {tag_id: one for tag_id, one in latest.items() if one.action is Action.REMOVE}
    added: dict[str, Decision] = {}
    for one in latest.values():
        if one.action is Action.ADD and not _outdone(one, removed, ancestors):
            for tag_id in (one.tag_id, *one.implied):
                if tag_id not in added or (one.tag_id == tag_id, one.order) > (
                    added[tag_id].tag_id == tag_id,
                    added[tag_id].order,
                ):
                    added[tag_id] = one
    return Verdicts(added, removed)


def _outdone(addition: Decision, removed: Mapping[str, Decision], ancestors: Ancestors) -> bool:
    above = ancestors(addition.tag_id).union(addition.implied)
    return any(one.order > addition.order for tag_id, one in removed.items() if tag_id in above)
