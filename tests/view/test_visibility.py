"""Visibility: which runs and models count, the classes of all models; and how the table of runs holds it."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotag.errors import RunError, StoreError
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.stores.runs import RunState
from autotag.stores.tables import RUNS
from autotag.view.visibility import Visibility, join_classes
from models.classes import ClassTable
from tests.worlds import CLASSES, Killed, dying, model, tagged


@pytest.fixture
def store(store_settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(store_settings)
    yield store
    store.close()


def loaded(store: PhotoStore, name: str = "run-1") -> None:
    store.runs.begin(name, "file", "ann")
    store.runs.finish(name, 1, 0)


# As of one moment


def test_real_time_always_counts_and_a_run_from_its_publication_to_its_end() -> None:
    now = Visibility(published=frozenset({"a", "b"}), ended=frozenset({"b", "c"}))
    assert [now.sees(run) for run in (None, "a", "b", "c", "d", "")] == [True, True, False, False, False, False]


def test_a_withdrawn_model_is_trusted_no_more_and_others_are() -> None:
    now = Visibility(withdrawn=frozenset({str(model(2))}))
    assert now.trusts(tagged(sequence=1))
    assert not now.trusts(tagged(sequence=2))


def test_names_and_parents_are_those_of_the_newest_model_that_has_the_class() -> None:
    older = ClassTable([("a", "Dog", []), ("b", "beagle", ["a"]), ("c", "cat", [])])
    newer = ClassTable([("a", "dog", ["d"]), ("d", "animal", []), ("e", "Cat", [])])
    now = Visibility(models={model(2): newer, model(1): older})
    assert now.classes.name("a") == "dog"
    assert now.ancestors("b") == {"a", "d"}
    assert now.classes.find("cat") == "e"  # the name is the newer's
    assert now.ancestors("c") == frozenset()
    assert now.ancestors("a tag of people's own") == frozenset()


_tables = st.lists(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.tuples(st.sampled_from(["x", "X", "y", "z", "v", "w"]), st.sets(st.sampled_from("abcde"))),
        max_size=5,
    ),
    max_size=4,
)


def test_a_class_that_comes_back_under_another_name_contains_nobody_it_is_in() -> None:
    newest = ClassTable([("b", "x", [])])
    middle = ClassTable([("c", "X", []), ("a", "y", ["c"])])  # c's name is b's now
    oldest = ClassTable([("a", "y", []), ("c", "z", ["a"])])
    joined = join_classes([newest, middle, oldest])
    assert joined.ancestors("c") == {"a"}
    assert joined.ancestors("a") == frozenset()


@given(_tables)
def test_the_classes_of_any_models_can_be_joined(drawn: list[dict[str, tuple[str, set[str]]]]) -> None:
    tables = []
    for number, rows in enumerate(drawn):
        order = sorted(
            rows, key=lambda id_: (zlib.crc32(f"{id_}{number}".encode()), id_)
        )  # some other order in every table
        named: dict[str, tuple[str, set[str]]] = {}
        for id_ in order:
            if rows[id_][0].casefold() not in {name.casefold() for name, _ in named.values()}:
                named[id_] = (rows[id_][0], rows[id_][1] & named.keys())
        tables.append(ClassTable((id_, name, sorted(parents)) for id_, (name, parents) in named.items()))
    joined = join_classes(tables)
    for table in tables[:1]:
        assert set(table.ids) <= set(joined.ids)
        assert all(joined.parents[id_] == table.parents[id_] for id_ in table.ids)
    assert set(joined.ids) <= {id_ for table in tables for id_ in table.ids}


# In the store


def test_a_model_and_its_classes_are_known_to_everyone_from_then_on(
    store: PhotoStore, store_settings: Settings
) -> None:
    assert store.runs.read() == Visibility()
    other = open_store(store_settings)
    other.runs.add_model(model(1), CLASSES)
    other.runs.add_model(model(1), CLASSES)
    now = store.runs.read()
    assert list(now.models) == [model(1)]
    assert now.ancestors("n-beagle") == {"n-dog", "n-animal"}
    other.runs.add_model(model(2), CLASSES)
    assert set(store.runs.read().models) == {model(1), model(2)}
    other.close()


def test_a_model_that_nobody_knows_cannot_be_withdrawn(store: PhotoStore) -> None:
    store.runs.add_model(model(1), CLASSES)
    with pytest.raises(StoreError, match="no model 'x'"):
        store.runs.withdraw("x", "ann")
    store.runs.withdraw(str(model(1)), "ann")
    assert store.runs.read().withdrawn == {str(model(1))}


def test_a_model_is_known_with_its_classes_or_not_at_all_wherever_its_writer_is_killed(store: PhotoStore) -> None:
    for calls in range(4):
        with contextlib.suppress(Killed):
            PhotoStore(dying(store.tables, calls)).runs.add_model(model(calls + 1), CLASSES)
        now = PhotoStore(store.tables).runs.read()
        assert all(now.models[known] is not None for known in now.models)
        assert now.ancestors("n-beagle") == ({"n-dog", "n-animal"} if now.models else frozenset())
    assert len(PhotoStore(store.tables).runs.read().models) == 2


def test_a_run_goes_from_loading_to_its_end_and_its_name_is_never_used_again(store: PhotoStore) -> None:
    runs = store.runs
    begun = runs.begin("run-1", "file", "ann")
    assert (begun.state, begun.begun_by, begun.input, begun.photos) == (RunState.LOADING, "ann", "file", 0)
    runs.save_bookmark("run-1", {"photos": 3, "refused": 1, "place": "x"})
    assert runs.begin("run-1", "file", "bob").photos == 3
    assert runs.bookmark("run-1")["place"] == "x"
    with pytest.raises(RunError, match="is loading"):
        runs.publish("run-1", "ann")
    runs.finish("run-1", 4, 1)
    runs.finish("run-1", 9, 9)
    assert (runs.run("run-1").state, runs.run("run-1").photos) == (RunState.LOADED, 4)
    first = runs.publish("run-1", "ann")
    assert (first.state, first.published_by) == (RunState.PUBLISHED, "ann")
    assert runs.publish("run-1", "bob") == first
    assert runs.read().visible == {"run-1"}
    with pytest.raises(RunError, match="retract it instead"):
        runs.drop("run-1", "ann")
    ended = runs.retract("run-1", "ann")
    assert ended.state is RunState.RETRACTED
    assert runs.retract("run-1", "bob") == ended
    assert runs.read().visible == frozenset()
    with pytest.raises(RunError, match="only a loaded run"):
        runs.publish("run-1", "ann")
    with pytest.raises(RunError, match="never used again"):
        runs.begin("run-1", "file", "ann")


def test_a_run_that_is_dropped_can_neither_be_loaded_nor_published(store: PhotoStore) -> None:
    runs = store.runs
    runs.begin("run-1", "file", "ann")
    with pytest.raises(RunError, match="only a published run"):
        runs.retract("run-1", "ann")
    assert runs.drop("run-1", "ann").state is RunState.DROPPED
    with pytest.raises(RunError, match="was dropped"):
        runs.save_bookmark("run-1", {})
    runs.finish("run-1", 1, 0)
    with pytest.raises(RunError, match="is dropped"):
        runs.publish("run-1", "ann")


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".a", "a" * 101, "ä", "\ud800", "a\n"])
def test_a_name_that_is_none_is_refused(store: PhotoStore, name: str) -> None:
    with pytest.raises(RunError):
        store.runs.begin(name, "file", "ann")
    with pytest.raises(RunError, match="there is no run"):
        store.runs.run(name)


def test_a_load_is_continued_with_the_same_input_only(store: PhotoStore) -> None:
    store.runs.begin("run-1", "file", "ann")
    with pytest.raises(RunError, match="other files"):
        store.runs.begin("run-1", "other", "ann")


def test_what_is_said_of_a_run_that_was_never_begun_spoils_no_list(store: PhotoStore) -> None:
    loaded(store)
    with pytest.raises(RunError, match="there is no run 'run-2'"):
        store.runs.finish("run-2", 1, 0)
    with pytest.raises(RunError, match="there is no run 'run-2'"):
        store.runs.save_bookmark("run-2", {})
    assert [run.name for run in store.runs.runs()] == ["run-1"]


def test_all_runs_are_listed_the_latest_first(store: PhotoStore) -> None:
    for name in ("b", "a", "c"):
        loaded(store, name)
    assert [run.name for run in store.runs.runs()] == ["c", "a", "b"]


def test_a_publication_is_one_cell(store: PhotoStore) -> None:
    loaded(store)
    before = dict(store.tables.scan(RUNS, b"", None, 100))
    store.runs.publish("run-1", "ann")
    after = dict(store.tables.scan(RUNS, b"", None, 100))
    changed = {
        (row, column) for row, columns in after.items() for column in columns if column not in before.get(row, {})
    }
    assert changed == {(b"standing", b"r:published/run-1")}
    assert json.loads(after[b"standing"][b"r:published/run-1"].value)["by"] == "ann"
