"""Helpers for tests of the store: short names for writes, the merge rule told a second time, and databases that count,
die, or let another process act in between.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from autotag.progress import Progress
from autotag.settings import Settings
from autotag.stores import PhotoStore, layout, open_tables
from autotag.stores.photo_row import PhotoRow
from autotag.stores.tables import FAMILIES, OWNERS, Stored, Tables
from autotag.view.decisions import Action, Decision
from autotag.view.merge import View, Write
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable, is_category

CLASSES = ClassTable(
    [
        ("n-animal", "animal", []),
        ("n-dog", "dog", ["n-animal"]),
        ("n-beagle", "beagle", ["n-dog"]),
        ("n-poodle", "poodle", ["n-dog"]),
        ("n-cat", "domestic cat", ["n-animal"]),
    ]
)
CATEGORISED = ClassTable(
    [
        ("category:animals", "Animals", []),
        ("category:pets", "Cats and dogs", []),
        ("n-animal", "animal", ["category:animals"]),
        ("n-dog", "dog", ["n-animal", "category:pets"]),
        ("n-beagle", "beagle", ["n-dog"]),
        ("n-poodle", "poodle", ["n-dog"]),
        ("n-cat", "domestic cat", ["n-animal", "category:pets"]),
    ]
)
"""The same classes in categories."""
DOG = Tag("n-dog", "dog", 0.97, "imagenet")
CAT = Tag("n-cat", "domestic cat", 0.5, "imagenet")
BEAGLE = Tag("n-beagle", "beagle", 0.9, "imagenet")
POODLE = Tag("n-poodle", "poodle", 0.25, "imagenet")
PETS = Tag("category:pets", "Cats and dogs", 0.97, "imagenet")
ANIMALS = Tag("category:animals", "Animals", 0.97, "imagenet")


def model(sequence: int = 1) -> ModelVersion:
    """Return a model; the higher the sequence number, the lower its digest."""
    return ModelVersion("default", f"{99 - sequence:02d}" * 32, sequence)


MODELS = {model(sequence): CLASSES for sequence in (1, 2, 3)}
CATEGORISED_MODELS = dict.fromkeys(MODELS, CATEGORISED)


def tagged(
    photo_id: str = "p",
    content: int = 1,
    sequence: int = 1,
    computed: int = 1,
    tags: tuple[Tag, ...] = (DOG,),
    run: str | None = None,
    owner: str = "ann",
) -> Tagged:
    return Tagged(
        photo_id=photo_id,
        content_us=content,
        owner=owner,
        uri=f"file:///{photo_id}",
        model=model(sequence),
        tags=tags,
        computed_us=computed,
        run=run,
    )


def rejected(
    content: int = 1, reason: str = "not_found", photo_id: str = "p", computed: int = 1, owner: str = "ann"
) -> Rejected:
    return Rejected(
        photo_id=photo_id, content_us=content, owner=owner, reason=reason, detail="gone", computed_us=computed
    )


def deleted(content: int = 1, photo_id: str = "p") -> Deleted:
    return Deleted(photo_id=photo_id, content_us=content)


def decided(
    action: str,
    name: str,
    at: int = 1,
    content: int = 1,
    by: str = "bob",
    photo_id: str = "p",
    classes: ClassTable = CLASSES,
    **more: Any,
) -> Decision:
    """Return a decision as the store would make it, about one of `classes` or a made-up tag."""
    tag_id = classes.find(name) or name
    implied = tuple(sorted(classes.ancestors(tag_id))) if action == "add" and tag_id in classes else ()
    values = {"photo_id": photo_id, "tag_id": tag_id, "name": name, "by": by, "decided_us": at, "content_us": content}
    return Decision(**{**values, "action": Action(action), "implied": implied, **more})


def visibility_of(
    published: str = "",
    ended: str = "",
    withdrawn: Iterable[int] = (),
    models: Mapping[ModelVersion, ClassTable] = MODELS,
) -> Visibility:
    """Return a visibility; runs have names of one letter."""
    gone = frozenset(str(model(sequence)) for sequence in withdrawn)
    return Visibility(frozenset(published), frozenset(ended), gone, models)


# The rule, told a second time, in the plainest way


def plain(view: View | None) -> dict[str, Any] | None:
    """Return a view in the form of `expected`."""
    if view is None:
        return None
    return {
        "content": view.content_us,
        "owner": view.owner,
        "reason": view.rejected.reason if view.rejected else None,
        "tags": {
            tag.id: (tag.source, tag.origin.by, tag.origin.decided_us)
            if isinstance(tag.origin, Decision)
            else (tag.source, tag.score, tag.origin.model.sequence, tag.origin.run, tag.origin.computed_us)
            for tag in view.tags
        },
    }


def expected(writes: Iterable[Write], now: Visibility) -> dict[str, Any] | None:
    """Return what readers should see; decisions need different times, and machines' writes no complete ties."""
    writes = list(writes)
    deletions = [write.content_us for write in writes if isinstance(write, Deleted)]
    visible = []
    for write in writes:
        in_run = isinstance(write, Tagged) and write.run is not None
        if isinstance(write, Rejected | Tagged) and (
            not in_run or (write.run in now.published and write.run not in now.ended)
        ):
            visible.append(write)
    if not visible:
        return None
    content = max(write.content_us for write in visible)
    if any(deletion >= content for deletion in deletions):
        return None
    newest = [write for write in visible if write.content_us == content]
    machine: Tagged | Rejected | None = None
    for write in newest:
        withdrawn = isinstance(write, Tagged) and str(write.model) in now.withdrawn
        if not withdrawn and (machine is None or _beats(write, machine)):
            machine = write
    decisions = [
        write
        for write in writes
        if isinstance(write, Decision) and not any(deletion >= write.content_us for deletion in deletions)
    ]
    latest: dict[str, Decision] = {}
    for decision in sorted(decisions, key=lambda one: one.decided_us):
        latest[decision.tag_id] = decision
    tags: dict[str, Any] = {}
    if isinstance(machine, Tagged):
        for tag in machine.tags:
            own_and_above = [latest[id_] for id_ in {tag.id, *_classes_above(tag.id)} if id_ in latest]
            if not any(one.action == "remove" for one in own_and_above):
                source = "bulk" if machine.run else "realtime"
                tags[tag.id] = (source, tag.score, machine.model.sequence, machine.run, machine.computed_us)
    standing = []
    for one in latest.values():
        above = [latest[id_] for id_ in _classes_above(one.tag_id) if id_ in latest]
        if one.action == "add" and not any(
            other.action == "remove" and other.decided_us > one.decided_us for other in above
        ):
            standing.append(one)
    for one in sorted(standing, key=lambda one: one.decided_us):
        for id_ in _above(one.tag_id):
            taken_out = is_category(id_) and id_ in latest and latest[id_].action == "remove"
            if not taken_out or latest[id_].decided_us < one.decided_us:
                tags[id_] = ("person", one.by, one.decided_us)
    for one in standing:
        tags[one.tag_id] = ("person", one.by, one.decided_us)
    if isinstance(machine, Tagged):
        hidden = {tag.id for tag in machine.tags} - tags.keys()
        for id_ in [one for one in tags if is_category(one) and tags[one][0] != "person"]:
            if any(id_ in _above(one) for one in hidden) and not any(id_ in _above(one) for one in tags):
                del tags[id_]
    return {
        "content": content,
        "owner": newest[0].owner,
        "reason": machine.reason if isinstance(machine, Rejected) else None,
        "tags": tags,
    }


def _above(tag_id: str) -> set[str]:
    found: set[str] = set()
    waiting = list(CATEGORISED.parents.get(tag_id, ()))
    while waiting:
        found.add(parent := waiting.pop())
        waiting += CATEGORISED.parents[parent]
    return found


def _classes_above(tag_id: str) -> set[str]:
    return {one for one in _above(tag_id) if not is_category(one)}


def _beats(one: Tagged | Rejected, other: Tagged | Rejected) -> bool:
    if isinstance(one, Tagged) != isinstance(other, Tagged):
        return isinstance(one, Tagged)
    if isinstance(one, Rejected) or isinstance(other, Rejected):
        return one.computed_us > other.computed_us
    if one.model.sequence != other.model.sequence:
        return one.model.sequence > other.model.sequence
    if one.computed_us != other.computed_us:
        return one.computed_us > other.computed_us
    if (one.run is None) != (other.run is None):
        return one.run is None
    return (one.run or "") > (other.run or "")


# Worlds, for Hypothesis

NAMES = ("animal", "dog", "beagle", "poodle", "domestic cat", "rex", "Animals", "Cats and dogs")
_TAGS = [(), (DOG,), (CAT, ANIMALS, PETS), (DOG, CAT), (BEAGLE, DOG, ANIMALS, PETS), (POODLE, DOG, CAT, PETS), (PETS,)]


def _computed(content: int, sequence: int, computed: int, run: str | None) -> Tagged:
    """Return a result: a machine gives the same tags again for the same pixels, model, time and run."""
    chosen = _TAGS[hash((content, sequence, computed, run == "a", run == "b")) % len(_TAGS)]
    return tagged(content=content, sequence=sequence, computed=computed, run=run, tags=chosen)


machines = st.one_of(
    st.builds(_computed, st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.sampled_from([None, "a", "b"])),
    st.builds(_computed, st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.sampled_from([None, "a", "b"])),
    st.builds(
        lambda content, computed: rejected(content, f"reason{computed}", computed=computed),
        st.integers(1, 4),
        st.integers(1, 2),
    ),
)
deletions = st.builds(deleted, st.integers(1, 4))
people = st.builds(
    lambda action, name, at, content: decided(action, name, at, content, by=f"person{at}", classes=CATEGORISED),
    st.sampled_from(["add", "remove"]),
    st.sampled_from(NAMES),
    st.integers(1, 50),
    st.integers(1, 4),
)
worlds = st.lists(st.one_of(machines, machines, deletions, people), max_size=9)
visibilities = st.builds(
    visibility_of,
    *[st.sets(st.sampled_from("ab")).map("".join)] * 2,
    st.sets(st.sampled_from([1, 2, 3])),
    st.just(CATEGORISED_MODELS),
)


def with_different_times(writes: Sequence[Write]) -> list[Write]:
    """Return the same writes, with no two decisions at one time."""
    return [
        replace(write, decided_us=write.decided_us * 100 + place) if isinstance(write, Decision) else write
        for place, write in enumerate(writes)
    ]


# Stores


@contextlib.contextmanager
def hbase_prefix(hbase_settings: Settings) -> Iterator[str]:
    """Create tables on the session's HBase, give their URL, and drop them afterwards."""
    import happybase

    assert hbase_settings.store_address is not None
    host, port, _ = hbase_settings.store_address
    prefix = f"test{secrets.token_hex(4)}"
    url = f"hbase://{host}:{port}/{prefix}"
    tables = open_tables(replace(hbase_settings, store=url))
    tables.create()
    tables.close()
    yield url
    connection = happybase.Connection(host, port, timeout=60_000)
    for name in connection.tables():
        if name.startswith(prefix.encode()):
            connection.delete_table(name, disable=True)
    connection.close()


def settings_of(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Return the settings of an empty store; `request` belongs to a fixture with the parameters sqlite and hbase."""
    if request.param == "sqlite":
        return settings
    hbase: Settings = request.getfixturevalue("hbase_settings")
    url = request.getfixturevalue("hbase_url")
    settings = replace(settings, store=url, store_hbase_timeout_s=hbase.store_hbase_timeout_s)
    empty(open_tables(settings))
    return settings


def empty(tables: Tables) -> None:
    """Remove everything."""
    for table in FAMILIES:
        while rows := tables.scan(table, b"", None, 1000):
            cells = [(row, column) for row, columns in rows for column in columns]
            tables.delete(table, cells, max(one.stored_us for _, columns in rows for one in columns.values()))


class Wrapped:
    """Tables that call `before` ahead of every call; nothing is atomic in them, as on many machines."""

    def __init__(self, tables: Tables, before: Callable[[str], None] = lambda _: None) -> None:
        self._tables = tables
        self._before = before
        self.calls = 0
        self.rows = 0
        """Rows that were read."""

    def put_then_get(self, puts: Any, table: str, rows: Any, family: bytes) -> Any:
        """Do the steps one by one: the process may end between them."""
        refused: dict[bytes, str] = {}
        for where, cells in puts:
            refused |= self.put(where, cells)
        return refused, self.get(table, rows, family)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tables, name)
        if not callable(found):
            return found
        if name == "atomically":
            return contextlib.nullcontext

        def call(*args: Any, **named: Any) -> Any:
            self._before(name)
            self.calls += 1
            answer = found(*args, **named)
            self.rows += len(answer) if isinstance(answer, list | dict) else 0
            return answer

        return call


class Killed(BaseException):
    """The process ended here."""


def dying(tables: Tables, calls: int) -> Wrapped:
    """Return tables that end the process after so many calls."""

    def die(name: str) -> None:
        if wrapped.calls == calls:
            raise Killed

    wrapped = Wrapped(tables, die)
    return wrapped


def interrupted(tables: Tables, calls: int, act: Callable[[], object]) -> Wrapped:
    """Return tables in which another process acts after so many calls."""

    def interrupt(name: str) -> None:
        if wrapped.calls == calls:
            act()

    wrapped = Wrapped(tables, interrupt)
    return wrapped


def recorded(done: list[float]) -> Progress:
    """Return a progress that appends to `done` the part, from 0 to 1, or without a total the number."""
    return lambda step, number=0, total=None: done.append(number / total if total else number)


def photo_row(writes: Iterable[Write]) -> PhotoRow:
    """Return the row that holds these writes about one photo."""
    cells = [layout.fact_cell(write) for write in writes]
    return PhotoRow(layout.photo_row("p"), {cell.column: Stored(cell.value, 1) for cell in cells}, "p")


def publish(store: PhotoStore, run: str) -> None:
    """Begin, finish and publish a run."""
    store.runs.begin(run, "file", "ann")
    store.runs.finish(run, 1, 0)
    store.runs.publish(run, "ann")


def search_all(store: PhotoStore, tag: str, owner: str = "ann", limit: int = 50) -> list[str]:
    """Return the ids of all photos that a search finds, page after page."""
    found: list[str] = []
    cursor = None
    while True:
        page = store.search(tag, owner, limit, cursor)
        found += [photo.view.photo_id for photo in page.photos]
        if page.cursor is None:
            return found
        cursor = page.cursor


def check_index(store: PhotoStore, photo_ids: Iterable[str], owners: Iterable[str] = ("ann", "eve")) -> None:
    """Check that searches and counts agree with the views."""
    views = [stored.view for photo_id in photo_ids if (stored := store.get(photo_id))]
    for owner in owners:
        counts: dict[str, int] = {}
        for tag_id in {*CLASSES.ids, "rex", *(tag.id for view in views for tag in view.tags)}:
            having = [view for view in views if view.owner == owner and any(tag.id == tag_id for tag in view.tags)]
            found = search_all(store, tag_id, owner)
            assert sorted(found) == sorted(view.photo_id for view in having), (tag_id, owner)
            if having:
                counts[tag_id] = len(having)
        told = store.owner(owner)
        assert {tag.id: tag.photos for tag in (*told.categories, *told.tags)} == counts
        assert [is_category(tag.id) for tag in (*told.categories, *told.tags)] == (
            [True] * len(told.categories) + [False] * len(told.tags)
        )
        assert told.photos == sum(view.owner == owner for view in views)


def contents(tables: Tables) -> dict[str, Any]:
    """Return all values, by table, row and column."""
    return {
        table: {
            (row, column): one.value
            for row, columns in tables.scan(table, b"", None, 10_000)
            for column, one in columns.items()
        }
        for table in FAMILIES
    }


def index_size(tables: Tables) -> int:
    return sum(len(columns) for _, columns in tables.scan(OWNERS, b"", None, 10_000))
