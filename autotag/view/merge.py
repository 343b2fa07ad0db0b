"""The one rule by which all that was ever written about a photo becomes what readers see of it.

`merge` is a pure function of a set: the order, the repetition and the delay of writes change nothing.

1. The photo's content version is the latest of what the stream and the visible bulk runs wrote of it. Only what was
   computed from that version counts.
2. A deletion at that version or later: there is no photo.
3. Of the tags that count, of models that are not withdrawn, those of the highest `rank` stand.
4. People's decisions win over them (decisions.py), unless a deletion came since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii

from autotag.events import PhotoVersion
from autotag.view import results
from autotag.view.decisions import Decision, verdicts
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from autotag.view.visibility import Visibility

Write = Tagged | Rejected | Deleted | Decision
"""What can be written about a photo."""
PERSONS_SCORE = 1.0
"""The score of a tag that a person added: that is a statement, not an estimate."""


@dataclass(frozen=True)
class ViewTag:
    """A tag that a reader sees, and where it comes from."""

    id: str
    name: str
    score: float
    """Probability, from 0 to 1."""
    origin: Tagged | Decision
    """What says so. A decision about a class adds the classes that contain it too."""
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
    """What a reader sees of one photo."""

    tags: tuple[ViewTag, ...]
    """Best first."""
    machine: Tagged | Rejected | None
    """What stands of the machines' writes; None when all of it is by withdrawn models."""

    @property
    def origins(self) -> list[Tagged | Rejected | Decision]:
        """Every write that a reader sees something of; none where all models are withdrawn and nobody decided."""
        return [*([self.machine] if self.machine else []), *(tag.origin for tag in self.tags)]

    @property
    def rejected(self) -> Rejected | None:
        """Why no machine can tag the photo, if so."""
        return self.machine if isinstance(self.machine, Rejected) else None


def merge(writes: Iterable[Write], visibility: Visibility) -> View | None:
    """What a reader sees after these writes about one photo; None when there is nothing, or it was deleted."""
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
    located = described if described.uri else _highest([one for one in newest if one.uri] or newest)  # runs may not say
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
    """Orders what machines wrote about one content version of a photo: the highest stands.

    Tags stand over a rejection (the pixels were there once); then the model's sequence number; the time of the
    computation; real time over bulk; the run's name. What is still equal then - two machines' last digit may differ -
    is ordered by its `canonical` text.
    """
    if isinstance(result, Rejected):
        return (0, 0, result.computed_us, 1, "")
    return (1, result.model.sequence, result.computed_us, result.run is None, result.run or "")


def _highest(found: Sequence[Tagged | Rejected]) -> Tagged | Rejected:
    if len(found) == 1:
        return found[0]
    top = max(map(rank, found))
    return max((result for result in found if rank(result) == top), key=canonical)


def canonical(write: Write) -> str:
    """A write as one JSON text; equal exactly for equal writes, halves of surrogate pairs and all."""
    if isinstance(write, Tagged):
        return _canonical_tagged(write)
    return _encode({**vars(write), "kind": "Decision"} if isinstance(write, Decision) else results.to_dict(write))


def _canonical_tagged(tagged: Tagged) -> str:
    """What `_encode` would give, in a third of the time: nearly every write is one, of well-known tags and model."""
    tags = ",".join([f"{_tag_start(tag.bank, tag.id, tag.name)}{float(tag.score)!r}}}" for tag in tagged.tags])
    return (
        f'{{"computed_us":{tagged.computed_us},"content_us":{tagged.content_us},"kind":"Tagged",'
        f'"model":{_model_text(tagged.model)},"owner":{_text(tagged.owner)},"photo_id":{_text(tagged.photo_id)},'
        f'"run":{_text(tagged.run)},"tags":[{tags}],"taken":{_text(tagged.taken)},"uri":{_text(tagged.uri)}}}'
    )


@lru_cache(65536)
def _tag_start(bank: str, id_: str, name: str) -> str:
    return f'{{"bank":{_text(bank)},"id":{_text(id_)},"name":{_text(name)},"score":'


@lru_cache(64)
def _model_text(model: ModelVersion) -> str:
    return _encode(vars(model))


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


# Made once: `json.dumps` would make an encoder for every write.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True).encode


def _decided(shown: list[ViewTag], decisions: list[Decision], visibility: Visibility) -> list[ViewTag]:
    """The tags after people's decisions: added ones first, in the order of their names."""
    stand = verdicts(decisions, visibility.ancestors)
    people = [ViewTag(tag_id, _name(tag_id, by, visibility), PERSONS_SCORE, by) for tag_id, by in stand.added.items()]
    machines = [tag for tag in shown if tag.id not in stand.added and not stand.hides(tag.id, visibility.ancestors)]
    return sorted(people, key=lambda tag: (tag.name, tag.id)) + machines


def _name(tag_id: str, decision: Decision, visibility: Visibility) -> str:
    if tag_id in visibility.classes:
        return visibility.classes.name(tag_id)
    return decision.name if tag_id == decision.tag_id else tag_id


def last_deletion_us(writes: Iterable[Write]) -> int:
    """The time of the photo's last deletion; -1 where there was none."""
    return max((write.content_us for write in writes if isinstance(write, Deleted)), default=-1)


def stream_content_us(writes: Iterable[Write]) -> int:
    """The latest content version that the stream wrote of, which nothing takes back; -1 where there is none."""
    return max((write.content_us for write in writes if _is_streams(write)), default=-1)


def _is_streams(write: Write) -> bool:
    return isinstance(write, Rejected) or (isinstance(write, Tagged) and write.run is None)


def unreachable(writes: Sequence[Write], visibility: Visibility) -> list[Write]:
    """Those of all the writes about one photo that no reader can ever see any more, whatever else is written.

    Without them, every later view is the same. What a run's retraction or a model's withdrawal could bring back is not
    among them, nor are decisions about a photo that lives: who and when is kept.
    """
    deleted_us = last_deletion_us(writes)
    # The stream's own are never taken back: what they outdo stays outdone, if no withdrawal can change that.
    content_us = stream_content_us(writes)
    best: dict[str | None, Tagged | Rejected] = {}
    for result in writes:
        if isinstance(result, Tagged | Rejected) and _is_streams(result) and result.content_us == content_us:
            known = best.get(_model(result))
            best[_model(result)] = _highest([known, result]) if known else result

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
