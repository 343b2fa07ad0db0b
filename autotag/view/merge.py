"""The rule by which all writes about a photo become the one view that readers get.

`merge` is a pure function of a set: the order, the repetition and the delay of writes change nothing.

1. The photo's content version is the latest that the stream or a visible bulk run wrote about. Only results of that
   version count.
2. A deletion at that version or later: there is no photo.
3. Of the results that count, those of withdrawn models left out, the one of the highest `rank` wins.
4. People's decisions override it (decisions.py), unless a deletion came since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from autotag.events import PhotoVersion
from autotag.view.decisions import Decision, verdicts
from autotag.view.results import Deleted, Rejected, Tagged
from autotag.view.visibility import Visibility
from models.classes import is_category
from models.pixels import Colour

Write = Tagged | Rejected | Deleted | Decision
"""A write about a photo."""
PERSONS_SCORE = 1.0
"""The score of a tag that a person added: a statement, not an estimate."""


@dataclass(frozen=True)
class ViewTag:
    """A tag that readers see, with its provenance."""

    id: str
    name: str
    score: float
    """Probability, from 0 to 1."""
    origin: Tagged | Decision
    """The write that the tag comes from. A decision about a class adds the classes that contain it too."""
    bank: str | None = None
    """The classifier bank; None for a person's tag."""

    @property
    def source(self) -> str:
        """``realtime``, ``bulk`` or ``person``."""
        if isinstance(self.origin, Decision):
            return "person"
        return "bulk" if self.origin.run else "realtime"


@dataclass(frozen=True, kw_only=True)
class View(PhotoVersion):
    """A photo as readers see it."""

    tags: tuple[ViewTag, ...]
    """Best first."""
    machine: Tagged | Rejected | None
    """The winning machine result; None if every model that tagged this content version was withdrawn."""

    @property
    def origins(self) -> list[Tagged | Rejected | Decision]:
        """Every write that readers see a part of; empty where all models are withdrawn and there are no decisions."""
        return [*([self.machine] if self.machine else []), *(tag.origin for tag in self.tags)]

    @property
    def colours(self) -> tuple[Colour, ...]:
        """The dominant colours that the winning machine result has; people decide about tags only."""
        return self.machine.colours if isinstance(self.machine, Tagged) else ()

    @property
    def rejected(self) -> Rejected | None:
        """The rejection that won, with the reason why the photo cannot be tagged; None if a machine tagged it."""
        return self.machine if isinstance(self.machine, Rejected) else None


def merge(writes: Iterable[Write], visibility: Visibility) -> View | None:
    """Return what readers see after these writes about one photo; None when there are none, or it was deleted."""
    decisions: list[Decision] = []
    seen: list[Tagged | Rejected] = []
    deleted_us = -1
    for write in writes:
        if isinstance(write, Decision):
            decisions.append(write)
        elif isinstance(write, Deleted):
            deleted_us = max(deleted_us, write.content_us)
        elif isinstance(write, Rejected) or visibility.sees(write.run):
            seen.append(write)
    content_us = max((result.content_us for result in seen), default=-1)
    if content_us <= deleted_us:
        return None
    newest = [result for result in seen if result.content_us == content_us]
    counting = [result for result in newest if not isinstance(result, Tagged) or visibility.trusts(result)]
    machine = _highest(counting) if counting else None
    described = machine or _highest(newest)
    located = described if described.uri else _highest([one for one in newest if one.uri] or newest)  # runs may lack it
    shown: list[ViewTag] = []
    if isinstance(machine, Tagged):
        shown = [ViewTag(tag.id, tag.name, tag.score, machine, tag.bank) for tag in machine.tags]
    alive = [decision for decision in decisions if decision.content_us > deleted_us]
    return View(
        photo_id=described.photo_id,
        content_us=content_us,
        owner=described.owner,
        uri=located.uri,
        taken=located.taken,
        tags=tuple(_decided(shown, alive, visibility) if alive else shown),
        machine=machine,
    )


def rank(result: Tagged | Rejected) -> tuple[int, int, int, int, str]:
    """Return the sort key of machine results of one content version of a photo: the highest wins.

    Tags win over a rejection (the pixels were readable once). Then decide, in this order, the model's sequence number,
    the time of the computation, the stream over bulk, and the run's name. Results that are still equal, such as two
    machines' scores that differ in the last digit, are ordered by their `canonical` text.
    """
    if isinstance(result, Rejected):
        return (0, 0, result.computed_us, 1, "")
    return (1, result.model.sequence, result.computed_us, result.run is None, result.run or "")


def _highest(candidates: Sequence[Tagged | Rejected]) -> Tagged | Rejected:
    if len(candidates) == 1:
        return candidates[0]
    top = max(map(rank, candidates))
    return max((result for result in candidates if rank(result) == top), key=canonical)


def canonical(write: Write) -> bytes:
    """Return a write as JSON, its fields in the order of their declaration; equal writes give equal bytes.

    Raises:
        orjson.JSONEncodeError: a text has half a surrogate pair, or a number is no float or int of 64 bits.
    """
    return orjson.dumps({"kind": type(write).__name__, **vars(write)})


def _decided(shown: list[ViewTag], decisions: list[Decision], visibility: Visibility) -> list[ViewTag]:
    """Return the tags after people's decisions: added tags first, by name.

    A classifier's category goes with the last of its tags: no dog, no photo among the dogs.
    """
    stand = verdicts(decisions, visibility.ancestors)
    people = [ViewTag(tag_id, _name(tag_id, by, visibility), PERSONS_SCORE, by) for tag_id, by in stand.added.items()]
    machines = [tag for tag in shown if tag.id not in stand.added]
    gone = [tag for tag in machines if stand.hides(tag.id, visibility.ancestors)]
    machines = [tag for tag in machines if tag not in gone]
    emptied = _categories(gone, visibility) - _categories(people + machines, visibility)
    machines = [tag for tag in machines if tag.id not in emptied]
    return sorted(people, key=lambda tag: (tag.name, tag.id)) + machines


def _categories(tags: Iterable[ViewTag], visibility: Visibility) -> set[str]:
    """Return the ids of the categories that contain any of these tags."""
    return {above for tag in tags for above in visibility.ancestors(tag.id) if is_category(above)}


def _name(tag_id: str, decision: Decision, visibility: Visibility) -> str:
    if tag_id in visibility.classes:
        return visibility.classes.name(tag_id)
    return decision.name if tag_id == decision.tag_id else tag_id


def last_deletion_us(writes: Iterable[Write]) -> int:
    """Return the time of the photo's last deletion, microseconds since 1970; -1 where there was none."""
    return max((write.content_us for write in writes if isinstance(write, Deleted)), default=-1)


def stream_content_us(writes: Iterable[Write]) -> int:
    """Return the latest content version that the stream wrote about, which nothing retracts; -1 where there is none."""
    return max((write.content_us for write in writes if _is_streams(write)), default=-1)


def _is_streams(write: Write) -> bool:
    return isinstance(write, Rejected) or (isinstance(write, Tagged) and write.run is None)


def unreachable(writes: Sequence[Write], visibility: Visibility) -> list[Write]:
    """Return those of all writes about one photo that no reader can ever see any more, whatever else is written.

    Without them, every later view is the same. A result that a run's retraction or a model's withdrawal could show
    again is not among them. Nor is a decision about a photo that exists: who decided what, and when, stays recorded.
    """
    deleted_us = last_deletion_us(writes)
    # The stream's results are never retracted. A result that one of them superseded stays superseded, unless the
    # superseding model can be withdrawn: so the best result of each model is kept.
    content_us = stream_content_us(writes)
    best: dict[str | None, Tagged | Rejected] = {}
    for result in writes:
        if isinstance(result, Tagged | Rejected) and _is_streams(result) and result.content_us == content_us:
            best_of_model = best.get(_model(result))
            best[_model(result)] = _highest([best_of_model, result]) if best_of_model else result

    def is_unreachable(write: Write) -> bool:
        if isinstance(write, Deleted):
            return write.content_us < deleted_us
        if write.content_us <= deleted_us:
            return True
        if isinstance(write, Decision):
            return False
        if write.content_us != content_us:
            return write.content_us < content_us or _has_ended(write, visibility)
        over = best.get(_model(write), write)
        return _has_ended(write, visibility) or (over != write and _highest([over, write]) == over)

    return [write for write in writes if is_unreachable(write)]


def _has_ended(result: Tagged | Rejected, visibility: Visibility) -> bool:
    return isinstance(result, Tagged) and result.run in visibility.ended


def _model(result: Tagged | Rejected) -> str | None:
    return str(result.model) if isinstance(result, Tagged) else None
