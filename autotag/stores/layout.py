"""The layout of the store: rows, columns and values of its tables. tables.py says what tables are.

Nothing is ever changed. A fact, one write about a photo, is a cell of its own, named by its content: writes never meet,
and a repeated write writes the same cell again. Readers work out what the facts come to (view/merge.py). Times are
microseconds since 1970.

``photos``: a row for each photo, by the digest of its id. Rows are spread evenly whatever the ids are; one get reads a
photo.

    sha256("p1")[:16]  m:t.00065f1d9c2a4000.5d41402abc4b2a76   {"kind":"Tagged","photo_id":"p1",...}
                       m:r.00065f1d9c2a4000.7d793037a0760186   {"kind":"Rejected",...}
                       o:d.00065f1d9c2a4000                    (empty: a deletion leaves nothing of the photo)
                       o:p.00065f1da0b3c111.0cc175b9c0f1b6a8   {"kind":"Decision","photo_id":"p1",...}

    Family m holds what machines wrote, family o what overrides it. Columns t and r: content version, digest of the
    value. d: the deletion's time. p: the decision's time, digest. A writer reads family o after it wrote to m, and a
    writer to o reads m; so at least one of two concurrent writers sees the other, and the index misses nothing.
    Facts are written before their entries and removed after them, and a writer that finds a later deletion removes its
    own cells: so an erased photo leaves no entry without a fact.

``owners``: an index. Readers check every entry against the photo; an entry too many costs one look, until clean removes
it.

    sha256("ann")[:16] "p" sha256("p1")[:16]                          e:       one of ann's photos
    sha256("ann")[:16] "t" sha256("n02084071")[:8] (2^63-1-content version) sha256("p1")[:16]
                                                                      e:       may have the tag, by stream or people
                                                                      e:RUN    may have it, by a bulk run

``runs``: bulk runs and models. Readers read the row "standing" for every answer, so a run is published by one cell, at
one moment.

    "standing"      r:published/RUN  r:ended/RUN  r:withdrawn/MODEL  r:model/MODEL
    "run/" RUN      r:begun  r:loaded  r:bookmark, and once the run is cleaned away r:published  r:ended
    "models"        c:MODEL   the model's class table, zlib
"""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import lru_cache

import orjson

from autotag.errors import ResultError
from autotag.stores.tables import Cell, Columns
from autotag.view import results
from autotag.view.decisions import Action, Decision
from autotag.view.merge import Write, canonical
from autotag.view.results import Deleted, ModelVersion, Tagged
from models.classes import ClassTable

ALL_OWNERS = bytes(16)
"""Stands for the owner in an index over all owners' photos, where there is one."""
ENTRY = b"e:"
"""The column of an entry by the stream, by people, or of a member."""
DELETION, DECISION = b"o:d.", b"o:p."
"""Beginnings of the columns of family o."""
OVERRIDES = b"o"
"""The family of deletions and decisions."""
POSITION_BYTES = 24
"""The last bytes of an entry's row: content version, photo."""
STANDING, MODELS, CLOCK = b"standing", b"models", b"clock"
_LAST = 2**63 - 1


def photo_row(photo_id: str) -> bytes:
    """Return the row of a photo, 16 bytes."""
    return _digest(photo_id)


@lru_cache(4096)
def owner_part(owner: str) -> bytes:
    """Return the first 16 bytes of an owner's rows."""
    return _digest(owner)


def _digest(text: str) -> bytes:
    # A name from the command line may have bytes that are no text; nothing is stored under it, but it can be looked up.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


@lru_cache(65536)
def _tag_part(tag_id: str) -> bytes:
    return _digest(tag_id)[:8]


def part_before(row: bytes, parts: int) -> int:
    """Return how many of `parts` equal parts of a table lie before a row: rows begin with a digest."""
    return int.from_bytes(row[:4], "big") * parts >> 32


# Facts


def fact_cell(write: Write) -> Cell:
    """Return a write as a cell of table ``photos``.

    Raises:
        ResultError: the write has a value that JSON cannot hold, such as half a surrogate pair.
    """
    row = photo_row(write.photo_id)
    if isinstance(write, Deleted):
        return Cell(row, DELETION + b"%016x" % write.content_us, b"")
    try:
        value = canonical(write)
    except orjson.JSONEncodeError as error:
        raise ResultError(f"a value cannot be stored as JSON: {error}") from error
    digest = hashlib.sha256(value).hexdigest()[:16].encode()
    if isinstance(write, Decision):
        return Cell(row, DECISION + b"%016x.%s" % (write.decided_us, digest), value)
    kind = b"t" if isinstance(write, Tagged) else b"r"
    return Cell(row, b"m:%s.%016x.%s" % (kind, write.content_us, digest), value)


def read_fact(column: bytes, value: bytes, photo_id: str = "") -> Write:
    """Return the write in a cell of table ``photos``; a deletion's cell does not hold the photo's id."""
    if column.startswith(DELETION):
        return Deleted(photo_id=photo_id, content_us=int(column[4:20], 16))
    values = orjson.loads(value)
    if column.startswith(DECISION):
        del values["kind"]
        return Decision(**{**values, "action": Action(values["action"]), "implied": tuple(values["implied"])})
    return results.from_dict(values)


# The index


def position(content_us: int, photo: bytes) -> bytes:
    """Return the last 24 bytes of an entry's row, of the photo of row `photo`; newer content sorts first."""
    return (_LAST - content_us).to_bytes(8, "big") + photo


def entry_row(owner: bytes, tag_id: str, position: bytes) -> bytes:
    """Return the row of an entry; `owner` is an `owner_part`, or `ALL_OWNERS`."""
    return owner + b"t" + _tag_part(tag_id) + position


def entry_column(run: str | None) -> bytes:
    """Return the column of an entry that a bulk run needs, or for None the stream."""
    return ENTRY + run.encode() if run else ENTRY


def entry_run(column: bytes) -> str | None:
    """Return the bulk run that needs an entry; None for the stream and people."""
    return column[2:].decode() or None


def member_row(owner: bytes, photo: bytes) -> bytes:
    """Return the row by which the photo of row `photo` is one of the owner's; `owner` is an `owner_part`."""
    return owner + b"p" + photo


def is_member(row: bytes) -> bool:
    """Return True for a row that names an owner's photo, False for a tag's entry."""
    return row[16:17] == b"p"


def member_range(owner: str) -> tuple[bytes, bytes]:
    """Return the first row of an owner's members, and the row behind the last."""
    return owner_part(owner) + b"p", owner_part(owner) + b"q"


def owner_range(owner: str) -> tuple[bytes, bytes]:
    """Return the first row of an owner, and the row behind the last."""
    return owner_part(owner), owner_part(owner) + b"\xff"


def entry_range(owner: str | None, tag_id: str) -> tuple[bytes, bytes]:
    """Return the first row of a tag's entries, of one owner or all, and the row behind the last."""
    prefix = (ALL_OWNERS if owner is None else owner_part(owner)) + b"t" + _tag_part(tag_id)
    return prefix, prefix + b"\xff"


def entry_photo(row: bytes) -> bytes:
    """Return the photo's row that an entry or a member names."""
    return row[-16:]


def entry_content_us(row: bytes) -> int:
    """Return the content version that an entry names."""
    return _LAST - int.from_bytes(row[-24:-16], "big")


# The table of runs


def run_row(run: str) -> bytes:
    """Return the row of one bulk run."""
    return b"run/" + run.encode()


def model_column(model: ModelVersion) -> bytes:
    """Return the column of a model's class table."""
    return b"c:" + str(model).encode()


def write_classes(model: ModelVersion, classes: ClassTable) -> bytes:
    """Return a model and its class table as a cell's value, some 15 KB for 1,300 classes."""
    rows = [[id_, name, classes.parents[id_]] for id_, name in zip(classes.ids, classes.names, strict=True)]
    return zlib.compress(json.dumps({"model": vars(model), "classes": rows}).encode())


def read_classes(value: bytes) -> tuple[ModelVersion, ClassTable]:
    """Return the model and the class table that `write_classes` wrote."""
    values = json.loads(zlib.decompress(value))
    model = ModelVersion(**values["model"])
    return model, ClassTable(((id_, name, parents) for id_, name, parents in values["classes"]), str(model))


def names_after(columns: Columns, prefix: bytes) -> frozenset[str]:
    """Return the rest of the name of each column that begins with `prefix`."""
    return frozenset(column[len(prefix) :].decode() for column in columns if column.startswith(prefix))
