"""People's decisions as labels, over every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from autotag.jobs.workers import LocalWorkers
from autotag.settings import Settings
from autotag.storage.folder import Folder
from autotag.stores import PhotoStore, base, open_store
from autotag.training.dataset.corrections import corrected, corrections
from autotag.training.dataset.join import Inputs, join
from autotag.training.dataset.join_summary import JoinSummary
from autotag.training.dataset.label_files import row_uri
from autotag.training.dataset.labels import FALSE, TRUE
from autotag.training.dataset.photo_states import remove
from autotag.training.dataset.training_set import TrainingSet
from autotag.view.decisions import Action, Decision
from autotag.view.merge import Write
from autotag.view.results import Deleted
from autotag.view.visibility import Visibility
from models.bundle import Bundle
from models.classes import is_category
from tests.model_files import write_colour_bundle
from tests.training_sets import add_photos, features_of, labels_of, write_photo
from tests.worlds import (
    BEAGLE,
    CAT,
    CLASSES,
    DOG,
    expected,
    model,
    photo_row,
    recorded,
    tagged,
    visibilities,
    with_different_times,
    worlds,
)


@pytest.fixture
def store(store_settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(store_settings)
    store.runs.add_model(model(), CLASSES)
    yield store
    store.close()


def values(store: PhotoStore) -> dict[str, dict[str, int]]:
    return {one.photo_id: one.values for one in corrections(store)}


def test_what_a_person_added_is_true_with_what_contains_it(store: PhotoStore) -> None:
    store.write([tagged("p", tags=(CAT,))])
    store.decide("p", "beagle", Action.ADD, "bob")
    (found,) = corrections(store)
    assert found.values == {"n-beagle": TRUE, "n-dog": TRUE, "n-animal": TRUE}
    assert found.names == {"n-beagle": "beagle", "n-dog": "dog", "n-animal": "animal"}
    assert found.uri == "file:///p"


def test_what_a_person_removed_is_false(store: PhotoStore) -> None:
    store.write([tagged("p", tags=(CAT, DOG))])
    store.decide("p", "dog", Action.REMOVE, "bob")
    assert values(store) == {"p": {"n-dog": FALSE}}


def test_the_latest_decision_about_a_tag_counts(store: PhotoStore) -> None:
    store.write([tagged("p", tags=(DOG,)), tagged("q", tags=(DOG,))])
    for photo_id, actions in {"p": (Action.REMOVE, Action.ADD), "q": (Action.ADD, Action.REMOVE)}.items():
        for action in actions:
            store.decide(photo_id, "dog", action, "bob")
    assert values(store) == {"p": {"n-dog": TRUE, "n-animal": TRUE}, "q": {"n-dog": FALSE}}


def test_an_addition_is_outdone_by_the_removal_of_what_contains_it(store: PhotoStore) -> None:
    store.write([tagged("p", tags=(BEAGLE,))])
    store.decide("p", "beagle", Action.ADD, "bob")
    store.decide("p", "animal", Action.REMOVE, "eve")
    assert values(store) == {"p": {"n-animal": FALSE}}


def test_a_tag_of_peoples_own_is_a_class(store: PhotoStore) -> None:
    store.write([tagged("p")])
    store.decide("p", "My Rex", Action.ADD, "bob", new=True)
    (found,) = corrections(store)
    assert (found.values, found.names) == ({"my rex": TRUE}, {"my rex": "My Rex"})


def test_photos_that_nobody_decided_about_or_that_are_deleted_are_left_out(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PAGE_ROWS", 3)
    ids = [f"p{number}" for number in range(10)]
    store.write([tagged(id_) for id_ in ids])
    for id_ in ids[2:]:
        store.decide(id_, "dog", Action.REMOVE, "bob")
    store.write([Deleted(photo_id=id_, content_us=2) for id_ in ids[5:]])
    told: list[float] = []
    assert {one.photo_id for one in corrections(store, recorded(told))} == set(ids[2:5])
    assert told == sorted(told)
    assert len(told) == 6


@given(worlds, visibilities)
def test_true_is_what_readers_see_of_people_and_false_is_what_they_do_not_see(
    writes: list[Write], now: Visibility
) -> None:
    writes = with_different_times(writes)
    seen = expected(writes, now)
    tags = seen["tags"] if seen else {}
    photo = photo_row(writes).decided(now)
    found = photo and corrected(photo, now)
    said = found.values if found else {}
    assert {id_ for id_, value in said.items() if value == TRUE} == {
        id_ for id_, (source, *_) in tags.items() if source == "person" and not is_category(id_)
    }
    assert not any(map(is_category, said))
    assert tags.keys().isdisjoint(id_ for id_, value in said.items() if value == FALSE)
    removed = {one.tag_id for one in writes if isinstance(one, Decision) and one.action is Action.REMOVE}
    assert {id_ for id_, value in said.items() if value == FALSE} <= removed


# Joined


@pytest.fixture
def joined(settings: Settings, bundle: Bundle, training_set: TrainingSet) -> Callable[..., JoinSummary]:
    """Return a function that joins the corrections of a store in this process."""
    settings = replace(settings, model=str(bundle.folder))

    def joined(store: PhotoStore, **inputs: Any) -> JoinSummary:
        return join(settings, bundle, training_set, Inputs(**inputs), LocalWorkers(1), store)

    return joined


@pytest.fixture
def training_set(tmp_path: Path, bundle: Bundle) -> TrainingSet:
    return TrainingSet.open_or_create(Folder(str(tmp_path / "set")), bundle)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture
def embedded(settings: Settings) -> Iterator[PhotoStore]:
    store = open_store(settings)
    store.runs.add_model(model(), CLASSES)
    yield store
    store.close()


Joined = Callable[..., JoinSummary]


def test_corrections_are_joined_with_the_features_of_their_photos(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet, tmp_path: Path
) -> None:
    uri = write_photo(tmp_path / "p.png").as_uri()
    embedded.write([replace(tagged("p", tags=(CAT,)), uri=uri)])
    embedded.decide("p", "teapot", Action.ADD, "bob", new=True)
    embedded.decide("p", "domestic cat", Action.REMOVE, "bob")
    summary = joined(embedded)
    assert (summary.photos, summary.new) == (1, 1)
    assert list(features_of(training_set)) == ["p"]
    # The bundle has a class of that name since.
    assert labels_of(training_set, "000001") == {("p", "n3", 1), ("p", "n-cat", -1)}
    (facts,) = training_set.log()
    assert (facts["kind"], facts["exhaustive"], facts["names"]["n3"]) == ("corrections", False, "Teapot")


def test_the_same_corrections_again_add_nothing_and_all_of_them_are_said_when_one_changes(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet, tmp_path: Path
) -> None:
    uri = write_photo(tmp_path / "p.png").as_uri()
    embedded.write([replace(tagged(id_, tags=(CAT, DOG)), uri=uri) for id_ in ("p", "q")])
    for id_ in ("p", "q"):
        embedded.decide(id_, "dog", Action.REMOVE, "bob")
    assert [joined(embedded).labels[0].is_new for _ in range(2)] == [True, False]
    embedded.decide("q", "domestic cat", Action.REMOVE, "bob")
    assert joined(embedded).labels[0].file == "000002"
    assert labels_of(training_set, "000002") == {("p", "n-dog", -1), ("q", "n-dog", -1), ("q", "n-cat", -1)}
    embedded.write([Deleted(photo_id=id_, content_us=2) for id_ in ("p", "q")])
    assert joined(embedded).labels[0].is_new
    assert labels_of(training_set, "000003") == set()


def test_a_photo_of_a_folder_that_people_corrected_in_the_store_is_one_photo(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet, tmp_path: Path
) -> None:
    uri = write_photo(tmp_path / "album/p.png").as_uri()
    joined(embedded, photos=str(tmp_path / "album"))
    embedded.write([replace(tagged(uri, tags=(DOG,)), uri=uri)])
    embedded.decide(uri, "dog", Action.REMOVE, "bob")
    summary = joined(embedded)
    assert summary.new == 0
    assert list(features_of(training_set)) == ["p.png"]
    assert labels_of(training_set, "000001") == {("p.png", "n-dog", -1)}


def test_a_store_without_corrections_adds_nothing(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet
) -> None:
    embedded.write([tagged("p")])
    assert joined(embedded).labels[0].file == ""
    assert training_set.label_files() == []


def test_a_listed_photos_own_address_comes_first(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet, tmp_path: Path
) -> None:
    path = write_photo(tmp_path / "album/p.png")
    embedded.write([tagged("p.png", tags=(DOG,))])  # at an address that is not there
    embedded.decide("p.png", "dog", Action.ADD, "bob")
    summary = joined(embedded, photos=str(path.parent))
    assert (summary.photos, summary.new, summary.failed) == (1, 1, {})


def test_an_address_in_the_store_leads_only_where_photos_may_be(
    joined: Joined, embedded: PhotoStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_photo(tmp_path_factory.mktemp("elsewhere") / "p.png")
    embedded.write([replace(tagged("p", tags=(DOG,)), uri=path.as_uri())])
    embedded.decide("p", "dog", Action.ADD, "bob")
    assert joined(embedded).failed == {"forbidden": 1}


def test_a_removed_photo_that_people_decided_about_stays_out(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet, tmp_path: Path
) -> None:
    embedded.write([replace(tagged("p", tags=(DOG,)), uri=write_photo(tmp_path / "p.png").as_uri())])
    embedded.decide("p", "dog", Action.ADD, "bob")
    joined(embedded)
    remove(training_set, ["p"], "ann")
    assert (joined(embedded).photos, joined(embedded, restore=True).new) == (0, 1)


def test_an_address_that_looks_like_a_row_of_parquet_leads_nowhere_and_ends_no_join(
    joined: Joined, embedded: PhotoStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("elsewhere")
    rows = folder / "rows.parquet"
    pq.write_table(pa.table({"photo_id": ["a"], "bytes": [write_photo(folder / "p.png").read_bytes()]}), rows)
    uris = {"p": f"file://{rows}#row=1", "q": "http://127.0.0.1:9/p.parquet#row=2", "r": row_uri(str(rows), 1)}
    for id_, uri in uris.items():
        embedded.write([replace(tagged(id_, tags=(DOG,)), uri=uri)])
        embedded.decide(id_, "dog", Action.ADD, "bob")
    summary = joined(embedded)
    assert (summary.new, summary.failed.total()) == (0, 2)
    assert summary.labels[0].unknown_first == ["r"]


def test_of_a_photo_that_nobody_knows_the_address_of_the_set_needs_the_features(
    joined: Joined, embedded: PhotoStore, training_set: TrainingSet
) -> None:
    add_photos(training_set, ["known"])
    embedded.runs.begin("r", "-", "ann")
    embedded.write([replace(tagged(id_, tags=(DOG,), run="r"), uri="") for id_ in ("known", "unknown")])
    embedded.runs.finish("r", 2, 0)
    embedded.runs.publish("r", "ann")
    for id_ in ("known", "unknown"):
        embedded.decide(id_, "dog", Action.REMOVE, "bob")
    summary = joined(embedded)
    assert (summary.photos, summary.labels[0].unknown_photos) == (0, 1)
    assert labels_of(training_set, "000001") == {("known", "n-dog", -1)}
