"""Leaves come first, best first, each with its parents; every tag is there once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autotag.view.decisions import Action, Decision
from autotag.view.merge import merge
from autotag.view.tag_order import leaf_ids, specific_first, top_tags, view_ancestors
from autotag.view.visibility import Visibility
from models.bundle import Tag
from models.classes import ClassTable
from tests.worlds import BEAGLE, CAT, CLASSES, DOG, MODELS, POODLE, tagged

ANIMAL = Tag("n-animal", "animal", 0.99, "imagenet")
OWN = Tag("our garden", "our garden", 0.6, "trained")
ABOVE = Visibility(models=MODELS).ancestors


def test_a_leaf_comes_before_its_parents_and_leaves_by_score() -> None:
    order = specific_first([ANIMAL, DOG, BEAGLE, OWN, CAT], ABOVE)
    assert [(one.leaf, one.parents) for one in order] == [(BEAGLE, (DOG, ANIMAL)), (OWN, ()), (CAT, ())]
    assert leaf_ids([ANIMAL, DOG, BEAGLE, CAT], ABOVE) == {"n-beagle", "n-cat"}
    assert leaf_ids([ANIMAL, BEAGLE], ABOVE) == {"n-beagle"}  # the dog between them has no tag
    assert specific_first([], ABOVE) == []


def test_the_nearest_parent_comes_first_where_there_are_several() -> None:
    classes = ClassTable(
        [("a", "animal", []), ("pet", "pet", []), ("d", "dog", ["a", "pet"]), ("h", "hound", ["d"]), ("b", "b", ["h"])]
    )
    tags = [
        Tag(id_, id_, score, "x") for id_, score in (("pet", 0.99), ("a", 0.98), ("d", 0.97), ("h", 0.9), ("b", 0.8))
    ]
    ((leaf, parents),) = [(one.leaf, one.parents) for one in specific_first(tags, classes.ancestors)]
    assert [leaf.id, *(tag.id for tag in parents)] == ["b", "h", "d", "a", "pet"]


def test_top_counts_the_leaves_and_keeps_the_tags_that_contain_them() -> None:
    tags = [ANIMAL, DOG, BEAGLE, OWN, CAT, POODLE]
    assert top_tags(tags, ABOVE, 1) == (ANIMAL, DOG, BEAGLE)
    assert top_tags(tags, ABOVE, 2) == (ANIMAL, DOG, BEAGLE, OWN)
    assert top_tags(tags, ABOVE, 9) == tuple(tags)


@given(st.permutations([ANIMAL, DOG, BEAGLE, POODLE, OWN, CAT]), st.integers(0, 6))
def test_every_tag_is_there_once_whatever_tags_a_photo_has(tags: list[Tag], count: int) -> None:
    order = specific_first(tags[:count], ABOVE)
    listed = [tag.id for one in order for tag in (one.leaf, *one.parents)]
    assert sorted(listed) == sorted(tag.id for tag in tags[:count])
    assert {one.leaf.id for one in order} == leaf_ids(tags[:count], ABOVE)


def added(tag_id: str, *implied: str) -> Decision:
    return Decision(
        photo_id="p",
        tag_id=tag_id,
        name=tag_id,
        action=Action.ADD,
        by="bob",
        decided_us=2,
        content_us=1,
        implied=implied,
    )


def test_peoples_tags_are_ordered_like_the_others() -> None:
    view = merge(
        [tagged(tags=(CAT,)), added("n-beagle", "n-dog", "n-animal"), added("mine")], Visibility(models=MODELS)
    )
    assert view is not None
    order = specific_first(view.tags, view_ancestors(view, Visibility(models=MODELS)))
    assert [one.leaf.id for one in order] == ["n-beagle", "mine", "n-cat"]
    assert [tag.id for tag in order[0].parents] == ["n-dog", "n-animal"]


def test_a_class_that_no_model_has_any_more_keeps_the_parents_that_it_had() -> None:
    gone = Visibility()
    view = merge([tagged(tags=()), added("n-beagle", "n-dog")], gone)
    assert view is not None
    (one,) = specific_first(view.tags, view_ancestors(view, gone))
    assert (one.leaf.id, [tag.id for tag in one.parents]) == ("n-beagle", ["n-dog"])


def test_parents_that_contradict_one_another_hide_no_tag() -> None:
    above = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a")}
    tags = [Tag(id_, id_, 0.5, "x") for id_ in above]
    listed = [tag.id for one in specific_first(tags, above.__getitem__) for tag in (one.leaf, *one.parents)]
    assert sorted(listed) == ["a", "b", "c"]


def test_the_classes_of_these_tests_are_those_of_the_models() -> None:
    assert ABOVE("n-beagle") == CLASSES.ancestors("n-beagle") == {"n-dog", "n-animal"}
