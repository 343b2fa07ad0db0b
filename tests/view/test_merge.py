"""The merge rule: by hand, exhaustively over small worlds, and against the same rule told a second time."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autotag.errors import ResultError
from autotag.view import results
from autotag.view.decisions import Decision
from autotag.view.merge import Write, canonical, merge, unreachable
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged, check_result
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.pixels import Colour
from tests.worlds import (
    ANIMALS,
    BEAGLE,
    CAT,
    CATEGORISED,
    CATEGORISED_MODELS,
    DOG,
    MODELS,
    PETS,
    POODLE,
    decided,
    deleted,
    expected,
    plain,
    rejected,
    tagged,
    visibilities,
    visibility_of,
    with_different_times,
    worlds,
)

NOTHING = visibility_of()
COLOURS = (Colour("green", 0.45), Colour("blue", 0.3))


def tags(*writes: Write, now: Visibility = NOTHING) -> list[str]:
    view = merge(writes, now)
    assert view is not None
    return [tag.name for tag in view.tags]


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (tagged(content=1), tagged(content=2)),
        (tagged(content=1, sequence=9, computed=9), tagged(content=2)),
        (tagged(sequence=1, computed=9), tagged(sequence=2)),
        (tagged(sequence=9), tagged(sequence=10)),
        (tagged(computed=1), tagged(computed=2, tags=())),
        (tagged(run="a"), tagged()),
        (tagged(), tagged(run="a", computed=2)),
        (tagged(), tagged(run="a", sequence=2)),
        (tagged(run="a"), tagged(run="b")),
        (rejected(computed=9), tagged()),
        (rejected(computed=1), rejected(computed=2)),
        (tagged(content=1), rejected(content=2)),
        (deleted(content=1), tagged(content=2)),
        (tagged(content=1, run="a", sequence=9), tagged(content=2)),
        (tagged(content=1), tagged(content=2, run="a")),
    ],
)
def test_the_higher_stands_in_either_order(loser: Write, winner: Tagged | Rejected) -> None:
    for order in ([loser, winner], [winner, loser], [winner, loser, winner]):
        view = merge(order, visibility_of("ab"))
        assert view is not None
        assert view.machine == winner


def test_a_models_digest_orders_nothing_but_complete_ties() -> None:
    low, high = (
        replace(tagged(computed=at), model=ModelVersion("m", digest, 1)) for at, digest in ((1, "ff"), (2, "00"))
    )
    view = merge([low, high], NOTHING)
    assert view is not None
    assert view.machine == high


@pytest.mark.parametrize("deletion", [1, 2])
def test_a_photo_deleted_at_its_content_or_later_is_gone_and_a_newer_upload_brings_it_back(deletion: int) -> None:
    writes = [tagged(content=1), deleted(deletion), tagged(content=1, sequence=7), decided("add", "dog")]
    assert merge(writes, NOTHING) is None
    view = merge([*writes, tagged(content=3, tags=(CAT,))], NOTHING)
    assert view is not None
    assert [tag.name for tag in view.tags] == ["domestic cat"]


def test_no_writes_or_only_decisions_or_unpublished_ones_are_no_photo() -> None:
    assert merge([], NOTHING) is None
    assert merge([decided("add", "dog"), tagged(run="a"), deleted()], NOTHING) is None


def test_tags_of_replaced_pixels_never_show_whatever_stands_of_the_new_ones() -> None:
    old = tagged(content=1, sequence=3, run="a")
    new = tagged(content=2, sequence=1, tags=(CAT,))
    assert tags(old, new, now=visibility_of("a")) == ["domestic cat"]
    assert tags(old, new, now=visibility_of("a", withdrawn=[1])) == []
    assert tags(old, rejected(content=2), now=visibility_of("a")) == []


def test_a_withdrawn_models_tags_give_way_to_the_next_best() -> None:
    writes = [tagged(sequence=1, tags=(CAT,)), tagged(sequence=2, tags=(DOG,)), rejected()]
    assert tags(*writes) == ["dog"]
    assert tags(*writes, now=visibility_of(withdrawn=[2])) == ["domestic cat"]
    view = merge(writes, visibility_of(withdrawn=[1, 2]))
    assert view is not None
    assert view.rejected is not None
    view = merge(writes[:2], visibility_of(withdrawn=[1, 2]))
    assert view is not None
    assert (view.machine, view.tags, view.owner, view.uri) == (None, (), "ann", "file:///p")


# The cases of the published sample of this architecture: a view from a table of bulk results and one of real time


def test_real_time_only() -> None:
    assert tags(tagged()) == ["dog"]


def test_bulk_only() -> None:
    assert tags(tagged(run="a"), now=visibility_of("a")) == ["dog"]


def test_both_and_the_bulk_run_is_older() -> None:
    writes = [tagged(content=1, run="a", tags=(CAT,)), tagged(content=2)]
    assert tags(*writes, now=visibility_of("a")) == ["dog"]


def test_both_and_the_bulk_run_is_newer() -> None:
    """The sample throws."""
    assert tags(tagged(content=1), tagged(content=2, run="a", tags=(CAT,)), now=visibility_of("a")) == ["domestic cat"]
    assert tags(tagged(), tagged(sequence=2, run="a", tags=(CAT,)), now=visibility_of("a")) == ["domestic cat"]


def test_a_later_bulk_run_stands_over_an_earlier_one_until_it_is_retracted() -> None:
    writes = [tagged(run="a", tags=(CAT,)), tagged(run="b", computed=2, tags=(BEAGLE,)), tagged(computed=0)]
    assert tags(*writes, now=visibility_of("a")) == ["domestic cat"]
    assert tags(*writes, now=visibility_of("ab")) == ["beagle"]
    assert tags(*writes, now=visibility_of("ab", "b")) == ["domestic cat"]
    assert tags(*writes, now=visibility_of("ab", "ab")) == ["dog"]


def test_cleaning_brings_no_older_version_back() -> None:
    """The sample does: it compares with what is left."""
    writes = [tagged(content=1, run="a"), tagged(content=2, tags=(CAT,))]
    now = visibility_of("a")
    left = [write for write in writes if write not in unreachable(writes, now)]
    assert left == [writes[1]]
    assert tags(*left, now=visibility_of("a", "a")) == ["domestic cat"]


# People


def test_peoples_decisions_win_over_machines_through_every_model_and_replacement() -> None:
    decisions = [decided("remove", "dog", 1), decided("add", "domestic cat", 2), decided("add", "rex", 3)]
    for machine in (tagged(), tagged(sequence=9), tagged(content=8, tags=(DOG, BEAGLE, POODLE)), rejected(content=9)):
        view = merge([*decisions, machine, tagged()], NOTHING)
        assert view is not None
        assert [tag.name for tag in view.tags] == ["animal", "domestic cat", "rex"]
        assert [(tag.source, tag.score, tag.bank) for tag in view.tags] == [("person", 1.0, None)] * 3
        origins = [tag.origin for tag in view.tags]
        assert origins == [decisions[1], decisions[1], decisions[2]]


def test_every_tag_says_where_it_comes_from() -> None:
    bulk = tagged(content=7, sequence=2, computed=9, run="a")
    view = merge([bulk, decided("add", "rex", at=5, by="eve")], visibility_of("a"))
    assert view is not None
    person, machine = view.tags
    assert isinstance(person.origin, Decision)
    assert (person.source, person.origin.by, person.origin.decided_us) == ("person", "eve", 5)
    assert (machine.source, machine.score, machine.bank, machine.origin) == ("bulk", 0.97, "imagenet", bulk)
    assert [tag.source for tag in merge([tagged()], NOTHING).tags] == ["realtime"]  # type: ignore[union-attr]


# Categories


def albums(*writes: Write) -> set[str]:
    """Return the names of the photo's tags and categories."""
    return set(tags(*writes, now=visibility_of(models=CATEGORISED_MODELS)))


def says(action: str, name: str, at: int = 1) -> Decision:
    return decided(action, name, at, classes=CATEGORISED)


PHOTO = tagged(tags=(Tag("n-animal", "animal", 0.98, "imagenet"), ANIMALS, DOG, PETS))


def test_an_added_tag_brings_its_categories() -> None:
    assert albums(tagged(tags=()), says("add", "dog")) == {"dog", "animal", "Animals", "Cats and dogs"}


def test_a_removed_category_leaves_its_tags_and_the_other_categories() -> None:
    assert albums(PHOTO, says("remove", "Animals")) == {"dog", "animal", "Cats and dogs"}
    assert albums(PHOTO, says("remove", "Animals"), says("add", "Animals", 2)) == albums(PHOTO)


def test_a_category_goes_with_the_last_of_its_tags() -> None:
    assert albums(PHOTO, says("remove", "dog")) == {"animal", "Animals"}
    assert albums(PHOTO, says("remove", "animal")) == set()
    with_cat = replace(PHOTO, tags=(*PHOTO.tags, CAT))
    assert albums(with_cat, says("remove", "dog")) == {"animal", "Animals", "domestic cat", "Cats and dogs"}
    assert albums(PHOTO, says("remove", "animal"), says("add", "Animals", 2)) == {"Animals"}


def test_a_category_that_no_tag_brought_stays() -> None:
    assert albums(tagged(tags=(DOG, ANIMALS)), says("remove", "domestic cat")) == {"dog", "Animals"}
    assert albums(tagged(tags=(ANIMALS,)), says("remove", "dog")) == {"Animals"}


def test_of_a_category_and_a_tag_in_it_the_later_decision_stands() -> None:
    nothing = tagged(tags=())
    earlier, later = says("add", "dog", 1), says("add", "beagle", 3)
    removal = says("remove", "Cats and dogs", 2)
    assert albums(nothing, earlier, removal) == {"dog", "animal", "Animals"}
    assert albums(nothing, earlier, removal, later) == {"beagle", "dog", "animal", "Animals", "Cats and dogs"}


# All of a small world


POOL: list[Write] = [
    tagged(),
    tagged(content=2, tags=(CAT,)),
    tagged(sequence=2, tags=(BEAGLE, DOG, PETS)),
    tagged(sequence=3, run="a", tags=(POODLE,)),
    tagged(content=2, sequence=2, run="b"),
    rejected(content=2),
    deleted(1),
    decided("remove", "dog", 1),
    decided("add", "beagle", 2, content=2, classes=CATEGORISED),
    decided("remove", "Cats and dogs", 3, classes=CATEGORISED),
]
STATES = [
    visibility_of(published, ended, withdrawn, CATEGORISED_MODELS)
    for published, ended in itertools.product(["", "a", "ab"], ["", "a"])
    for withdrawn in ([], [2])
]


@pytest.mark.parametrize("now", STATES, ids=range(len(STATES)))
def test_every_order_of_every_few_writes_ends_in_the_view_of_the_rule(now: Visibility) -> None:
    for size in range(5):
        for chosen in itertools.combinations(POOL, size):
            wanted = expected(chosen, now)
            for order in itertools.permutations(chosen):
                assert plain(merge(order, now)) == wanted


@pytest.mark.parametrize("now", STATES, ids=range(len(STATES)))
def test_cleaning_every_few_writes_changes_no_view_after_any_other_write(now: Visibility) -> None:
    for size in range(1, 5):
        for writes in itertools.combinations(POOL, size):
            lost = unreachable(writes, now)
            if not lost:
                continue
            kept = [write for write in writes if write not in lost]
            later = [
                Visibility(now.published | {"a"}, now.ended, now.withdrawn, now.models),
                visibility_of("ab", "ab", [1, 2, 3], now.models),
            ]
            for then in [now, *later] if not now.ended else [now, later[1]]:
                for more in [[], *([write] for write in POOL)]:
                    assert merge([*kept, *more], then) == merge([*writes, *more], then)


# Any world


@given(worlds, visibilities)
@hypothesis_settings(max_examples=300)
def test_the_view_is_that_of_the_rule(writes: list[Write], now: Visibility) -> None:
    writes = with_different_times(writes)
    assert plain(merge(writes, now)) == expected(writes, now)


@given(worlds, visibilities, st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=200)
def test_any_order_and_repetition_ends_in_the_same_view(
    writes: list[Write], now: Visibility, chance: random.Random
) -> None:
    again = writes + chance.choices(writes, k=3) if writes else []
    chance.shuffle(again)
    assert merge(again, now) == merge(writes, now)


@given(
    st.lists(st.tuples(st.integers(1, 2), st.sampled_from(["00", "ff"]), st.sampled_from([None, "a"]), st.booleans()))
)
def test_complete_ties_are_decided_alike_in_any_order(ties: list[tuple[int, str, str | None, bool]]) -> None:
    writes: list[Write] = [
        replace(tagged(tags=(DOG,) if dog else (CAT,), run=run), model=ModelVersion("m", digest, sequence))
        for sequence, digest, run, dog in ties
    ]
    writes += [decided("add", "rex", name, by="x") for name in (1, 1)]
    assert merge(writes, visibility_of("a")) == merge(writes[::-1], visibility_of("a"))


def test_decisions_of_one_moment_are_ordered_alike_in_any_order() -> None:
    same = [
        decided("add", "rex", content=1),
        decided("add", "rex", content=2),
        decided("add", "Rex", tag_id="rex"),
        decided("remove", "rex"),
        decided("add", "rex", by="eve"),
        decided("add", "rex", implied=("n-dog",)),
    ]
    for size in (2, 3):
        for chosen in itertools.combinations(same, size):
            views = [merge([tagged(), *order], NOTHING) for order in itertools.permutations(chosen)]
            assert all(view == views[0] for view in views)


@given(worlds, worlds, worlds, visibilities, visibilities, visibilities)
@hypothesis_settings(max_examples=300)
def test_cleaning_at_any_time_changes_no_view_then_or_later(
    first: list[Write], second: list[Write], third: list[Write], one: Visibility, two: Visibility, three: Visibility
) -> None:
    """A visibility only grows; the cleaner's may be behind (a run that ended lately counts as not ended)."""
    two = Visibility(one.published | two.published, one.ended | two.ended, one.withdrawn | two.withdrawn, MODELS)
    three = Visibility(
        two.published | three.published, two.ended | three.ended, two.withdrawn | three.withdrawn, MODELS
    )
    whole = first
    kept = [write for write in first if write not in unreachable(first, one)]
    assert merge(kept, one) == merge(whole, one)
    whole, kept = whole + second, kept + second
    assert merge(kept, two) == merge(whole, two)
    kept = [write for write in kept if write not in unreachable(kept, two)]
    for now in (two, three):
        assert merge(kept, now) == merge(whole, now)
    assert merge(kept + third, three) == merge(whole + third, three)


@given(worlds, visibilities)
def test_cleaning_twice_cleans_nothing_more(writes: list[Write], now: Visibility) -> None:
    kept = [write for write in writes if write not in unreachable(writes, now)]
    assert unreachable(kept, now) == []


def test_cleaning_keeps_what_a_retraction_or_withdrawal_could_bring_back_and_who_decided() -> None:
    writes = [
        tagged(sequence=1),
        tagged(sequence=2),
        tagged(sequence=3, run="a"),
        tagged(sequence=2, run="b"),
        rejected(),
        decided("add", "dog", 1),
        decided("remove", "dog", 2),
    ]
    assert unreachable(writes, visibility_of("a")) == [writes[3]]
    assert unreachable([*writes, tagged(sequence=2, computed=2)], visibility_of("a")) == [writes[1], writes[3]]
    assert unreachable([*writes, deleted(1)], visibility_of("a")) == writes
    assert unreachable([tagged(content=9, run="a"), deleted(3), deleted(5)], visibility_of("", "a")) == [
        tagged(content=9, run="a"),
        deleted(3),
    ]


# Writes as text


@pytest.mark.parametrize(
    "result", [replace(tagged(tags=(DOG, CAT), run="a"), colours=COLOURS), tagged(), rejected(), deleted()]
)
def test_results_read_back_equal_from_their_dict(result: Tagged | Rejected | Deleted) -> None:
    assert results.from_dict(json.loads(json.dumps(results.to_dict(result)))) == result


def test_a_result_that_was_stored_before_there_were_colours_has_none() -> None:
    stored = json.loads(canonical(tagged()))
    del stored["colours"]
    assert results.from_dict(stored) == tagged()


@pytest.mark.parametrize(
    ("colours", "message"),
    [
        ([Colour("mauve", 0.5)], "a colour is one of black, .*, brown. Given: 'mauve'"),
        ([Colour("red", 1.5)], "colour 'red': its share must be from 0 to 1. Given: 1.5"),
        ([Colour("red", math.nan)], "colour 'red': its share must be from 0 to 1. Given: nan"),
        ([Colour("red", 0.5), Colour("red", 0.2)], "a colour is listed twice: red, red"),
    ],
)
def test_colours_out_of_their_bounds_are_not_written(colours: list[Colour], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        check_result(replace(tagged(), colours=tuple(colours)))


def test_a_view_has_the_colours_of_the_result_that_wins_whatever_people_decide() -> None:
    older = replace(tagged(), colours=(Colour("red", 1.0),))
    newer = replace(tagged(), computed_us=older.computed_us + 1, colours=COLOURS)
    view = merge([older, newer, decided("remove", "dog")], NOTHING)
    assert view is not None
    assert view.colours == COLOURS
    refused = merge([rejected()], NOTHING)
    assert refused is not None
    assert refused.colours == ()


any_text = st.text(st.characters(codec="utf-8"), max_size=8)


@given(
    texts=st.lists(any_text, min_size=8, max_size=8),
    score=st.floats(0, 1),
    numbers=st.lists(st.integers(0, 2**62), min_size=3, max_size=3),
    run=st.one_of(st.none(), any_text),
)
def test_the_bytes_of_tags_are_the_json_of_their_dict_and_read_back_equal(
    texts: list[str], score: float, numbers: list[int], run: str | None
) -> None:
    tag = Tag(texts[0], texts[1], score, texts[2])
    write = Tagged(
        photo_id=texts[3],
        owner=texts[4],
        uri=texts[5],
        taken=run and texts[6],
        run=run,
        content_us=numbers[0],
        computed_us=numbers[1],
        model=ModelVersion(texts[6], texts[7], numbers[2]),
        tags=(tag, replace(tag, id="other")),
        partial=run is None,
        colours=COLOURS if run else (),
    )
    assert json.loads(canonical(write)) == json.loads(json.dumps(results.to_dict(write)))
    assert results.from_dict(json.loads(canonical(write))) == write


@pytest.mark.parametrize("text", ["a\ud800b", "\udc00"])
def test_halves_of_surrogate_pairs_have_no_bytes(text: str) -> None:
    with pytest.raises(orjson.JSONEncodeError):
        canonical(tagged(text))
