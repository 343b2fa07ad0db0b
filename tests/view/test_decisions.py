"""The rule of which decisions stand."""

from __future__ import annotations

import itertools

import pytest

from autotag.view.decisions import Decision, verdicts
from tests.worlds import CLASSES, decided


def ancestors(tag_id: str) -> frozenset[str]:
    return CLASSES.ancestors(tag_id) if tag_id in CLASSES else frozenset()


def stand(decisions: list[Decision]) -> tuple[set[str], set[str]]:
    """Return the added tags and the hidden classes by name, and check that the order changes nothing."""
    answers = []
    for order in itertools.permutations(decisions):
        found = verdicts([*order, *order[:1]], ancestors)
        added = {CLASSES.name(id_) if id_ in CLASSES else id_ for id_ in found.added}
        hidden = {CLASSES.name(id_) for id_ in CLASSES.ids if found.hides(id_, ancestors)}
        answers.append((added, hidden))
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


@pytest.mark.parametrize(
    ("decisions", "added", "hidden"),
    [
        ([], "", ""),
        (["add beagle"], "animal dog beagle", ""),
        (["remove dog"], "", "dog beagle poodle"),
        (["remove animal"], "", "animal dog beagle poodle domestic_cat"),
        (["add beagle", "remove beagle"], "", "beagle"),
        (["remove beagle", "add beagle"], "animal dog beagle", ""),
        (["add beagle", "remove dog"], "", "dog beagle poodle"),
        (["remove dog", "add beagle"], "animal dog beagle", "poodle"),
        (["remove dog", "add dog"], "animal dog", ""),
        (["add dog", "remove beagle"], "animal dog", "beagle"),
        (["add beagle", "add poodle", "remove beagle"], "animal dog poodle", "beagle"),
        (["add beagle", "remove animal", "add dog"], "animal dog", "beagle poodle domestic_cat"),
        (["remove animal", "add rex"], "rex", "animal dog beagle poodle domestic_cat"),
        (["add rex", "remove rex"], "", ""),
    ],
)
def test_the_later_decision_stands_over_the_earlier_about_the_tag_and_the_classes_in_it(
    decisions: list[str], added: str, hidden: str
) -> None:
    made = [decided(*text.split(), at=at) for at, text in enumerate(decisions, 1)]
    if decisions == ["add beagle", "remove animal", "add dog"]:
        hidden = "beagle poodle domestic_cat"  # dog is there by its own addition, later than the removal
    assert stand(made) == (set(added.split()), {name.replace("_", " ") for name in hidden.split()})


def test_a_class_that_contains_several_added_ones_is_there_by_its_own_addition_or_else_the_latest() -> None:
    beagle, poodle, dog = decided("add", "beagle", 1), decided("add", "poodle", 2), decided("add", "dog", 0)
    for order in itertools.permutations([beagle, poodle]):
        assert verdicts(order, ancestors).added["n-dog"] == poodle
    for order in itertools.permutations([beagle, poodle, dog]):
        found = verdicts(order, ancestors).added
        assert (found["n-dog"], found["n-animal"]) == (dog, poodle)


def test_what_an_addition_implied_stays_when_no_model_says_so_any_more() -> None:
    found = verdicts([decided("add", "beagle")], lambda _: frozenset())
    assert set(found.added) == {"n-beagle", "n-dog", "n-animal"}
    found = verdicts([decided("add", "beagle", 1), decided("remove", "dog", 2)], lambda _: frozenset())
    assert set(found.added) == set()


def test_a_removal_outdoes_an_addition_that_only_a_later_model_put_below_it() -> None:
    early = decided("add", "beagle", 1, implied=())
    assert set(verdicts([early], ancestors).added) == {"n-beagle"}
    assert set(verdicts([early, decided("remove", "dog", 2)], ancestors).added) == set()
