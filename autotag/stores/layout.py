"""How the facts about photos lie in the tables: rows, columns and values. See tables.py for what tables are.

Nothing is ever changed: a fact is a cell of its own, named by what it says, so that writes never meet, a repetition
writes the same cell again, and what they come to is decided by whoever reads (merge.py). Times are microseconds.

``photos``, a row for each photo, by the digest of its id: spread evenly however the ids run, found by one get

    sha256("p1")[:16]  m:t.00065f1d9c2a4000.5d41402abc4b2a76   {"kind":"Tagged","photo_id":"p1","owner":"ann",...}
                       m:r.00065f1d9c2a4000.7d793037a0760186   {"kind":"Rejected",...}
                       o:d.00065f1d9c2a4000                    (empty: a deletion leaves nothing of the photo)
                       o:p.00065f1da0b3c111.0cc175b9c0f1b6a8   {"kind":"Decision","tag_id":"n02084071","by":"bob",...}

    Family m is what machines wrote, o what overrides it. t, r: content version, digest of the value. d: the deletion's
    time. p: time of the decision, digest. A writer reads o back after it wrote m, and whoever writes o reads m: so one
    of the two sees the other's, and the index misses nothing. Facts are written before their entries and removed after
    them, and who finds that his came too late removes his own: so an erased photo leaves no entry without a fact.

``owners``, an index that a reader checks against the photo: an entry too many costs one look, and clean removes it

    sha256("ann")[:16] "p" sha256("p1")[:16]                          e:       one of ann's photos
    sha256("ann")[:16] "t" sha256("n02084071")[:8] (2^63-1-content version) sha256("p1")[:16]
                                                                      e:       may have the tag, by stream or people
                                                                      e:RUN    may have it, by a bulk run

``runs``, what is common to all photos; readers get the row "standing" with every answer, so a run's publication is
one cell, and one moment

    "standing"      r:published/RUN  r:ended/RUN  r:withdrawn/MODEL  r:model/MODEL
    "run/" RUN      r:begun  r:loaded  r:progress, and once all of it is cleaned away r:published  r:ended
    "models"        c:MODEL   the model's class table, zlib
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from functools import lru_cache

from autotag.stores.tables import Cell, Columns
from autotag.view import results
from autotag.view.decisions import Action, Decision
from autotag.view.merge import Write, canonical
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from models.classes import ClassTable

EVERYONE = bytes(16)
"""Stands for the owner in an index over all owners' photos, where there is one."""
POSITION_BYTES = 24
"""Of an entry's row: what follows owner and tag."""
STANDING, MODELS, CLOCK = b"standing", b"models", b"clock"
_LAST = 2**63 - 1


def photo_row(photo_id: str) -> bytes:
    """The row of a photo, 16 bytes."""
    return _digest(photo_id)


@lru_cache(4096)
def owner_part(owner: str) -> bytes:
    """What the rows of an owner begin with, 16 bytes."""
    return _digest(owner)


def _digest(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        # Two halves of a surrogate pair become one character in JSON, and so when they are read back.
        data = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).digest()[:16]


@lru_cache(65536)
def _tag_part(tag_id: str) -> bytes:
    return _digest(tag_id)[:8]


# Facts


def fact_cell(write: Write) -> Cell:
    """The cell of table ``photos`` that a write is."""
    row = photo_row(write.photo_id)
    if isinstance(write, Deleted):
        return Cell(row, b"o:d.%016x" % write.content_us, b"")
    value = canonical(write).encode("ascii")
    digest = hashlib.sha256(value).hexdigest()[:16].encode()
    if isinstance(write, Decision):
        return Cell(row, b"o:p.%016x.%s" % (write.decided_us, digest), value)
    kind = b"t" if isinstance(write, Tagged) else b"r"
    return Cell(row, b"m:%s.%016x.%s" % (kind, write.content_us, digest), value)


def read_fact(column: bytes, value: bytes, photo_id: str = "") -> Write:
    """The write in a cell of table ``photos``; a deletion's cell does not hold the id."""
    if column.startswith(b"o:d."):
        return Deleted(photo_id=photo_id, content_us=int(column[4:20], 16))
    values = json.loads(value)
    if values["kind"] == "Decision":
        del values["kind"]
        return Decision(**{**values, "action": Action(values["action"]), "implied": tuple(values["implied"])})
    return results.from_dict(values)


def read_facts(columns: Columns, photo_id: str = "") -> list[Write]:
    """All writes in a row of table ``photos``."""
    return [read_fact(column, stored.value, photo_id) for column, stored in columns.items()]


# The index


def member_row(owner: str, photo: bytes) -> bytes:
    """The row that says that the photo of row `photo` is one of `owner`'s."""
    return owner_part(owner) + b"p" + photo


def is_member(row: bytes) -> bool:
    """Whether a row of the index is a member's, not a tag's."""
    return row[16:17] == b"p"


def member_range(owner: str) -> tuple[bytes, bytes]:
    """From which row to before which the members of `owner` are."""
    return owner_part(owner) + b"p", owner_part(owner) + b"q"


def owner_range(owner: str) -> tuple[bytes, bytes]:
    """From which row to before which all about `owner` is."""
    return owner_part(owner), owner_part(owner) + b"\xff"


def entry_range(owner: str | None, tag_id: str) -> tuple[bytes, bytes]:
    """From which row to before which the entries of a tag are, of one owner or all, newest content first."""
    prefix = (EVERYONE if owner is None else owner_part(owner)) + b"t" + _tag_part(tag_id)
    return prefix, prefix + b"\xff"


def entry_photo(row: bytes) -> bytes:
    """The photo's row that an entry or a member names."""
    return row[-16:]


def entry_content_us(row: bytes) -> int:
    """The content version that an entry names."""
    return _LAST - int.from_bytes(row[-24:-16], "big")


def index_cells(result: Tagged | Rejected, decisions: Iterable[Decision], *, everyone: bool) -> list[Cell]:
    """The cells of table ``owners`` that one result calls for, people's additions to that photo among them.

    They follow from the writes alone, so whoever removes a write knows which were its own.
    """
    photo = photo_row(result.photo_id)
    position = (_LAST - result.content_us).to_bytes(8, "big") + photo
    owner = owner_part(result.owner)
    cells = [Cell(owner + b"p" + photo, b"e:", b"")]
    for prefix in (owner + b"t", EVERYONE + b"t") if everyone else (owner + b"t",):
        if isinstance(result, Tagged):
            column = b"e:" + result.run.encode() if result.run else b"e:"
            cells += [Cell(prefix + _tag_part(tag.id) + position, column, b"") for tag in result.tags]
        cells += [
            Cell(prefix + _tag_part(tag_id) + position, b"e:", b"")
            for decision in decisions
            if decision.action is Action.ADD
            for tag_id in (decision.tag_id, *decision.implied)
        ]
    return cells


def entries(writes: Iterable[Write], *, everyone: bool) -> set[tuple[bytes, bytes]]:
    """Row and column of each cell of table ``owners`` that these writes about one photo call for."""
    writes = list(writes)
    decisions = [write for write in writes if isinstance(write, Decision)]
    return {
        (cell.row, cell.column)
        for write in writes
        if isinstance(write, Tagged | Rejected)
        for cell in index_cells(write, decisions, everyone=everyone)
    }


def run_of(column: bytes) -> str | None:
    """The bulk run that an entry is of; None: the stream or people."""
    return column[2:].decode() or None


# The table of runs


def run_row(run: str) -> bytes:
    """The row of a bulk run's own."""
    return b"run/" + run.encode()


def model_column(model: ModelVersion) -> bytes:
    return b"c:" + str(model).encode()


def write_classes(model: ModelVersion, classes: ClassTable) -> bytes:
    """A model and its class table as a cell's value, some 15 KB for 1,300 classes."""
    rows = [[id_, name, classes.parents[id_]] for id_, name in zip(classes.ids, classes.names, strict=True)]
    return zlib.compress(json.dumps({"model": vars(model), "classes": rows}).encode())


def read_classes(value: bytes) -> tuple[ModelVersion, ClassTable]:
    """What `write_classes` wrote."""
    values = json.loads(zlib.decompress(value))
    model = ModelVersion(**values["model"])
    return model, ClassTable(((id_, name, parents) for id_, name, parents in values["classes"]), str(model))


def names_after(columns: Columns, prefix: bytes) -> frozenset[str]:
    """What follows `prefix` in the columns that begin with it."""
    return frozenset(column[len(prefix) :].decode() for column in columns if column.startswith(prefix))
