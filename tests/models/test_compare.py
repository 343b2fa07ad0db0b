"""Difference: what another bundle changes, by class, and nothing where the bundles give the same tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bank import ClassifierBank, Sigmoid
from models.bundle import BANKS, CLASSES, Bundle
from models.classes import ClassTable
from models.compare import compare, share_worse
from models.errors import ModelError
from tests.model_files import CLASS_ROWS, write_small_bundle


def rewritten(bundle: Bundle, quality: Any = None, **changes: Any) -> Bundle:
    """The bundle, sealed again, with some of what its bank "more" is made of changed."""
    bank = next(bank for bank in bundle.banks if bank.name == "more")
    rule = bank.rule
    assert isinstance(rule, Sigmoid)
    facts = {"classifiers": list(bank.classifiers), "a": rule.a, "b": rule.b, "thresholds": rule.thresholds} | changes
    weights = facts.get("weights", np.array([[0, 1], [0, 0], [1, 0]], np.float32))
    folder = bundle.folder / BANKS / "more"
    sealed = Sigmoid(*(np.array(facts[name], np.float32) for name in ("a", "b", "thresholds")))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    biases = np.zeros(len(facts["classifiers"]), np.float32)
    ClassifierBank.write(folder, "more", bank.network, facts["classifiers"], weights, biases, sealed)
    if quality is not None:
        (folder / "quality.json").write_text(json.dumps(quality))
    return Bundle.seal(bundle.folder, bundle.name, bundle.network_key, bundle.precision, bundle.preprocessing, {})


def pair(folder: Path) -> tuple[Bundle, Bundle]:
    return tuple(write_small_bundle(folder / name, banks=["imagenet", "more"]) for name in "ab")  # type: ignore[return-value]


def test_the_same_has_no_difference(tmp_path: Path) -> None:
    difference = compare(*pair(tmp_path))
    assert list(difference.lines()) == []
    assert (difference.network, difference.banks) == (None, {})


def test_thresholds_calibration_and_weights_are_told_by_class(tmp_path: Path) -> None:
    before, after = pair(tmp_path)
    weights = np.array([[0, 1], [0, 0], [2, 0]], np.float32)
    after = rewritten(after, thresholds=[0.5, 0.75], a=[1, 2], weights=weights)
    bank = compare(before, after).banks["more"]
    assert bank.thresholds == {"n11": (0.5, 0.75)}
    assert (bank.calibration, bank.weights) == (["n11"], ["n3"])
    assert "bank more  1 thresholds: n11 0.500 -> 0.750" in list(compare(before, after).lines())


def test_classes_that_come_go_and_change_their_name_are_told(tmp_path: Path) -> None:
    before, after = pair(tmp_path)
    rows = [("n1", "spaniel", ["n11"]), ("n2", "grey wolf", []), *CLASS_ROWS[2:], ("n4", "kettle", [])]
    ClassTable(rows).write(after.folder / CLASSES)
    after = rewritten(after, classifiers=["n4", "n11"])
    difference = compare(before, after)
    assert difference.classes_added == {"n4": "kettle"}
    assert difference.classes_renamed == {"n2": ("wolf", "grey wolf")}
    assert (difference.banks["more"].added, difference.banks["more"].removed) == (["n4"], ["n3"])
    assert compare(after, before).classes_removed == {"n4": "kettle"}


def test_other_banks_and_another_network_are_told(tmp_path: Path) -> None:
    before = write_small_bundle(tmp_path / "a")
    after = write_small_bundle(tmp_path / "b", precision="bf16", banks=["more"])
    difference = compare(before, after)
    assert difference.network == (before.network_key, after.network_key)
    assert (difference.banks_added, difference.banks_removed) == ({"more": 2}, {"imagenet": 3})
    assert [line.split()[0] for line in difference.lines()] == ["network", "bank", "bank"]


def test_quality_is_compared_where_both_were_measured(tmp_path: Path) -> None:
    before, after = pair(tmp_path)
    before = rewritten(before, {"n3": {"average_precision": 0.5}, "n11": {"average_precision": 0.75}})
    after = rewritten(after, {"n3": {"average_precision": 0.625}, "n11": {"average_precision": 0.5}, "n4": {}})
    bank = compare(before, after).banks["more"]
    assert (bank.better, bank.worse) == ({"n3": (0.5, 0.625)}, {"n11": (0.75, 0.5)})


def test_a_class_without_a_threshold_has_become_worse(tmp_path: Path) -> None:
    before, after = pair(tmp_path)
    measured = {"average_precision": 0.9, "threshold": 0.5}
    before = rewritten(before, {"n3": measured})
    assert share_worse(before, rewritten(after, {"n3": measured})) == 0.0
    assert share_worse(before, rewritten(after, {"n3": {**measured, "threshold": None}})) == 1.0


@pytest.mark.parametrize("quality", [[], {"n3": 1}, {"n3": {"average_precision": "good"}}])
def test_a_quality_that_is_none_is_named(tmp_path: Path, quality: Any) -> None:
    before, after = pair(tmp_path)
    after = rewritten(after, quality)
    with pytest.raises(ModelError, match=r"banks/more/quality\.json: should give the average_precision"):
        compare(before, after)
