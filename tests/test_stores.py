"""The contract of every PhotoStore."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autotag import results
from autotag.errors import StoreError
from autotag.results import Deleted, ModelVersion, Rejected, Result, Tagged
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from models.bundle import Tag

DOG = Tag("n02084071", "dog", 0.97, "imagenet")
CAT = Tag("n02121808", "domestic cat", 0.5, "imagenet")


def tagged(
    photo_id: str = "p", content: int = 1, sequence: int = 1, computed: int = 1, tags: tuple[Tag, ...] = (DOG,)
) -> Tagged:
    model = ModelVersion("default", f"digest{sequence}", sequence)
    return Tagged(
        photo_id=photo_id,
        content_us=content,
        owner="ann",
        uri=f"file:///{photo_id}",
        model=model,
        tags=tags,
        computed_us=computed,
    )


def rejected(content: int = 1, reason: str = "not_found", photo_id: str = "p") -> Rejected:
    return Rejected(photo_id=photo_id, content_us=content, owner="ann", reason=reason, detail="gone", computed_us=1)


def deleted(content: int = 1) -> Deleted:
    return Deleted(photo_id="p", content_us=content)


def stored(store: PhotoStore, photo_id: str = "p") -> Result | None:
    photo = store.get(photo_id)
    return photo and photo.result


def test_tags_are_read_back_with_their_provenance(store: PhotoStore) -> None:
    written = tagged(tags=(DOG, CAT))
    store.write([written])
    photo = store.get("p")
    assert photo is not None
    assert photo.result == written
    assert photo.stored_us > 0
    assert store.get("q") is None


def test_a_rejection_is_read_back_with_its_reason(store: PhotoStore) -> None:
    store.write([rejected()])
    assert stored(store) == rejected()


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (tagged(content=1), tagged(content=2)),
        (tagged(content=1, sequence=9, computed=9), tagged(content=2)),
        (tagged(sequence=1, computed=9), tagged(sequence=2)),
        (tagged(computed=1), tagged(computed=2, tags=())),
        (rejected(), tagged()),
        (tagged(content=1), rejected(content=2)),
        (deleted(content=1), tagged(content=2)),
    ],
)
def test_the_higher_rank_stands_in_either_order(store: PhotoStore, loser: Result, winner: Result) -> None:
    store.write([loser, winner])
    assert stored(store) == winner
    store.write([loser])
    assert stored(store) == winner


@pytest.mark.parametrize("deletion", [1, 2])
def test_a_deleted_photo_is_nowhere_and_no_late_write_brings_it_back(store: PhotoStore, deletion: int) -> None:
    store.write([tagged(content=1)])
    store.write([deleted(content=deletion)])
    store.write([tagged(content=1, sequence=7)])
    assert store.get("p") is None
    assert store.search("dog").photos == ()
    assert store.status().tagged == 0


@given(
    writes=st.lists(
        st.one_of(
            st.builds(
                tagged,
                content=st.integers(1, 3),
                sequence=st.integers(1, 2),
                computed=st.integers(1, 2),
                tags=st.sampled_from([(), (DOG,), (CAT,), (DOG, CAT)]),
            ),
            st.builds(rejected, content=st.integers(1, 3), reason=st.sampled_from(["not_found", "truncated"])),
            st.builds(deleted, content=st.integers(1, 3)),
        ),
        min_size=1,
        max_size=5,
    )
)
@hypothesis_settings(max_examples=25)
def test_any_order_and_repetition_of_writes_ends_in_the_same_answers(
    tmp_path_factory: pytest.TempPathFactory, writes: list[Result]
) -> None:
    answers = set()
    for order in itertools.islice(itertools.permutations(writes), 12):
        store = open_store(Settings(home=str(tmp_path_factory.mktemp("store")), store="sqlite:store.db"))
        for write in order:
            store.write([write])
        store.write([order[0]])
        found = [photo.photo_id for photo in store.search("dog").photos]
        answers.add((str(stored(store)), str(found), str(store.status())))
        store.close()
    assert len(answers) == 1


def test_a_search_is_by_name_in_any_case_or_by_id_of_one_owner_or_all(store: PhotoStore) -> None:
    store.write([tagged("a", content=1), tagged("b", content=2, tags=(CAT,)), tagged("c", content=3)])
    assert [photo.photo_id for photo in store.search("Dog").photos] == ["c", "a"]
    assert [photo.photo_id for photo in store.search("n02084071", owner="ann").photos] == ["c", "a"]
    assert store.search("dog", owner="bob").photos == ()
    assert store.search("unicorn").photos == ()
    (found,) = store.search("domestic cat").photos
    assert (found.tag, found.owner, found.uri) == (CAT, "ann", "file:///b")


def test_a_photo_tagged_again_is_found_by_its_new_tags_only(store: PhotoStore) -> None:
    store.write([tagged(tags=(DOG,))])
    store.write([tagged(sequence=2, tags=(CAT,))])
    assert store.search("dog").photos == ()
    assert len(store.search("domestic cat").photos) == 1


def test_pages_follow_each_other_without_gap_or_repetition(store: PhotoStore) -> None:
    store.write([tagged(f"p{i}", content=1 + i // 3) for i in range(10)])
    seen: list[str] = []
    cursor = None
    while True:
        page = store.search("dog", limit=4, cursor=cursor)
        seen += [photo.photo_id for photo in page.photos]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == 10
    assert sorted(seen) == [f"p{i}" for i in range(10)]


def test_a_cursor_that_no_search_gave_is_refused(store: PhotoStore) -> None:
    with pytest.raises(StoreError, match="cursor"):
        store.search("dog", cursor="x")


def test_the_status_counts_photos_as_readers_see_them(store: PhotoStore) -> None:
    store.write([tagged("a"), tagged("b"), rejected(photo_id="c"), rejected(photo_id="d", reason="truncated")])
    store.write([Deleted(photo_id="a", content_us=5)])
    status = store.status()
    assert (status.tagged, status.rejected) == (1, {"not_found": 1, "truncated": 1})


def test_a_strange_photo_id_is_only_a_name(store: PhotoStore) -> None:
    photo_id = ("a/b c 🐈 '\"%_" * 200)[:1000]
    store.write([tagged(photo_id)])
    assert stored(store, photo_id) == tagged(photo_id)
    assert store.search("dog").photos[0].photo_id == photo_id


def test_a_batch_that_fails_writes_nothing(store: PhotoStore) -> None:
    broken = tagged("b", content=2**70)  # beyond SQLite's integers
    with pytest.raises(StoreError):
        store.write([tagged("a"), broken])
    assert store.get("a") is None


def test_what_was_written_is_there_after_opening_again(settings: Settings) -> None:
    store = open_store(settings)
    store.write([tagged()])
    store.close()
    assert stored(open_store(settings)) == tagged()


def test_a_file_of_another_schema_is_refused(settings: Settings, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="has schema 99"):
        open_store(settings).status()


@pytest.mark.parametrize("result", [tagged(tags=(DOG, CAT)), rejected(), deleted()])
def test_results_read_back_equal_from_their_dict(result: Result) -> None:
    import json

    assert results.from_dict(json.loads(json.dumps(results.to_dict(result)))) == result
