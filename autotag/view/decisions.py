"""People's decisions about tags, which override every classifier for good, and the rule of which of them stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from models.classes import is_category

Ancestors = Callable[[str], frozenset[str]]
"""Returns the ids of the classes that contain a class, itself left out; empty for an unknown class."""


class Action(StrEnum):
    """A decision's kind."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A person's addition or removal of one tag of one photo."""

    photo_id: str
    tag_id: str
    name: str
    """The tag's display name at the time."""
    action: Action
    by: str
    decided_us: int
    """Microseconds since 1970, and later than every earlier decision about the photo that the store had then."""
    content_us: int
    """The content version that the person saw. A deletion at or after it erases the decision with the photo. So the
    clock of a person's machine is never compared with an event's."""
    implied: tuple[str, ...] = ()
    """For an addition: the ids of the classes that contained the tag at the time. They are added with it and stay
    added whatever a later model's classes are. So the index follows from the writes alone."""

    @property
    def order(self) -> tuple[int, str, str, str, str, int, tuple[str, ...]]:
        """The sort key; a later decision has a higher one. The parts after the time only make the order total."""
        return (self.decided_us, self.by, self.tag_id, self.action, self.name, self.content_us, self.implied)


@dataclass(frozen=True)
class Verdicts:
    """The decisions about one photo that stand."""

    added: Mapping[str, Decision]
    """By tag id: the decision that adds the tag; its own, or that about a class that the tag contains."""
    _removed: Mapping[str, Decision]

    def hides(self, tag_id: str, ancestors: Ancestors) -> bool:
        """Return True if a classifier's tag is hidden: it, or a class that contains it, was removed.

        A category hides itself alone: who takes a photo of a dog out of the animals does not say that there is no dog.
        """
        if not self._removed or tag_id in self.added:
            return False
        return tag_id in self._removed or any(
            above in self._removed and not is_category(above) for above in ancestors(tag_id)
        )


def verdicts(decisions: Iterable[Decision], ancestors: Ancestors) -> Verdicts:
    """Return the decisions that stand; their order and repetition change nothing.

    The latest decision about each tag counts. Adding a tag adds the classes that contained it, unless a class that
    contains it was removed later: then the whole addition is overruled. Removing a tag hides the classes in it, unless
    one of them was added later. Removing a category overrules no addition of a class in it: the earlier ones only do
    not bring the category any more.
    """
    latest: dict[str, Decision] = {}
    for decision in decisions:
        before = latest.get(decision.tag_id)
        if before is None or decision.order > before.order:
            latest[decision.tag_id] = decision
    removed = {tag_id: one for tag_id, one in latest.items() if one.action is Action.REMOVE}
    added: dict[str, Decision] = {}
    for one in latest.values():
        if one.action is Action.ADD and not _is_overruled(one, removed, ancestors):
            for tag_id in (one.tag_id, *one.implied):
                if tag_id in removed and removed[tag_id].order > one.order:
                    continue  # a category that was removed later
                if tag_id not in added or (one.tag_id == tag_id, one.order) > (
                    added[tag_id].tag_id == tag_id,
                    added[tag_id].order,
                ):
                    added[tag_id] = one
    return Verdicts(added, removed)


def _is_overruled(addition: Decision, removed: Mapping[str, Decision], ancestors: Ancestors) -> bool:
    above = ancestors(addition.tag_id).union(addition.implied)
    return any(
        one.order > addition.order for tag_id, one in removed.items() if tag_id in above and not is_category(tag_id)
    )
