"""Compares two bundles: classes, banks, thresholds, network, and quality where it was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.arrays import map_array
from models.bank import WEIGHTS, ClassifierBank, Softmax
from models.bundle import BANKS, Bundle
from models.errors import ModelError

QUALITY = "quality.json"
"""File of a bank whose quality was measured: ``{class id: {"average_precision": 0.9, ...}}``."""
MEASURE = "average_precision"
WORSE = 0.02
"""Fall of the average precision from which on a class counts as worse."""
SHOWN = 10
"""Classes named in a line of text, at most."""


@dataclass
class BankDifference:
    """Changes of a bank that both bundles have, as class ids."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    """Classifiers whose weights or bias differ."""
    calibration: list[str] = field(default_factory=list)
    """Classes whose scores give other probabilities; a softmax bank has one temperature for all classes."""
    thresholds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Class id -> its threshold before and after, where it differs."""
    better: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Class id -> its average precision before and after, where it is higher."""
    worse: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Difference:
    """All changes. Without any, the two bundles give the same tags."""

    network: tuple[str, str] | None
    """The networks' keys before and after, if they differ; then all scores differ."""
    classes_added: dict[str, str]
    """Class id -> name."""
    classes_removed: dict[str, str]
    classes_renamed: dict[str, tuple[str, str]]
    banks_added: dict[str, int]
    """Bank -> number of its classifiers."""
    banks_removed: dict[str, int]
    banks: dict[str, BankDifference]
    """Banks that both bundles have, and that differ."""

    def lines(self) -> Iterator[str]:
        """Yield the changes as lines of text."""
        if self.network:
            yield f"network    {self.network[0][:12]} -> {self.network[1][:12]}: every score may be another"
        for what, classes in (("added", self.classes_added), ("removed", self.classes_removed)):
            if classes:
                yield f"classes    {len(classes)} {what}: {_shown(classes.values())}"
        if self.classes_renamed:
            yield f"classes    {len(self.classes_renamed)} renamed: {_shown(_pairs(self.classes_renamed))}"
        for name, count in self.banks_added.items():
            yield f"bank {name}  added, {count} classifiers"
        for name, count in self.banks_removed.items():
            yield f"bank {name}  removed, {count} classifiers"
        for name, bank in self.banks.items():
            for what, found in vars(bank).items():
                if found:
                    shown = _shown(_pairs(found) if isinstance(found, dict) else found)
                    yield f"bank {name}  {len(found)} {what}: {shown}"


def compare(before: Bundle, after: Bundle) -> Difference:
    """Return the changes from `before` to `after`; reads the banks' matrices.

    Raises:
        ModelError: a bank's quality.json is malformed; the message names it.
    """
    old, new = before.classes, after.classes
    old_banks, new_banks = ({bank.name: bank for bank in bundle.banks} for bundle in (before, after))
    banks = {
        name: _compare_banks(
            before.folder / BANKS / name, old_banks[name], after.folder / BANKS / name, new_banks[name]
        )
        for name in old_banks
        if name in new_banks
    }
    return Difference(
        network=None if before.network_key == after.network_key else (before.network_key, after.network_key),
        classes_added={id_: new.name(id_) for id_ in new.ids if id_ not in old},
        classes_removed={id_: old.name(id_) for id_ in old.ids if id_ not in new},
        classes_renamed={
            id_: (old.name(id_), new.name(id_)) for id_ in old.ids if id_ in new and old.name(id_) != new.name(id_)
        },
        banks_added={name: len(bank.classifiers) for name, bank in new_banks.items() if name not in old_banks},
        banks_removed={name: len(bank.classifiers) for name, bank in old_banks.items() if name not in new_banks},
        banks={name: bank for name, bank in banks.items() if bank != BankDifference()},
    )


def share_worse(before: Bundle, after: Bundle) -> float:
    """Return the share of classes that `after` lacks or has worse, of those whose quality `before` states.

    0 if `before` states none.

    Raises:
        ModelError: as `compare`.
    """
    known = worse = 0
    for bank in before.banks:
        old, new = (_quality(bundle.folder / BANKS / bank.name) for bundle in (before, after))
        known += len(old)
        worse += sum(id_ not in new or new[id_] < quality - WORSE for id_, quality in old.items())
    return worse / known if known else 0.0


def _compare_banks(old_folder: Path, old: ClassifierBank, new_folder: Path, new: ClassifierBank) -> BankDifference:
    places = {id_: place for place, id_ in enumerate(old.classifiers)}
    both = [(id_, places[id_], place) for place, id_ in enumerate(new.classifiers) if id_ in places]
    found = BankDifference(
        added=[id_ for id_ in new.classifiers if id_ not in places],
        removed=sorted(places.keys() - set(new.classifiers)),
    )
    old_weights, new_weights = (map_array(folder / WEIGHTS) for folder in (old_folder, new_folder))
    if len(old_weights) != len(new_weights):
        found.weights = [id_ for id_, _, _ in both]
    elif both:
        same = (old_weights[:, [a for _, a, _ in both]] == new_weights[:, [b for _, _, b in both]]).all(axis=0)
        found.weights = [id_ for (id_, _, _), equal in zip(both, same, strict=True) if not equal]
    old_rules, new_rules = _rules(old), _rules(new)
    for id_, (calibration, threshold) in new_rules.items():
        if id_ in old_rules and old_rules[id_][0] != calibration:
            found.calibration.append(id_)
        if id_ in old_rules and old_rules[id_][1] != threshold:
            found.thresholds[id_] = (old_rules[id_][1], threshold)
    old_quality, new_quality = _quality(old_folder), _quality(new_folder)
    for id_ in old_quality.keys() & new_quality.keys():
        pair = (old_quality[id_], new_quality[id_])
        if pair[0] != pair[1]:
            (found.better if pair[1] > pair[0] else found.worse)[id_] = pair
    return found


def _rules(bank: ClassifierBank) -> dict[str, tuple[tuple[float, ...], float]]:
    """Return class id -> calibration and threshold, of all classes that the bank may give."""
    rule = bank.rule
    if isinstance(rule, Softmax):
        thresholds = dict.fromkeys(bank.classifiers, rule.leaf_threshold) | dict.fromkeys(
            rule.parents, rule.parent_threshold
        )
        return {id_: ((rule.temperature,), threshold) for id_, threshold in thresholds.items()}
    values = np.stack([rule.a, rule.b, rule.thresholds], axis=1).tolist()
    return {id_: ((a, b), threshold) for id_, (a, b, threshold) in zip(bank.classifiers, values, strict=True)}


def _quality(folder: Path) -> dict[str, float]:
    """Return class id -> average precision of a bank, where it was measured; 0 for a class that gives no tag now."""
    path = folder / QUALITY
    if not path.exists():
        return {}
    try:
        measured: Mapping[str, Any] = json.loads(path.read_bytes())
        return {
            id_: 0.0 if facts.get("threshold", 0.0) is None else float(facts[MEASURE])
            for id_, facts in measured.items()
            if facts.get(MEASURE) is not None
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: should give the {MEASURE} of each class: {error!r}") from error


def _pairs(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{id_} {_figure(before)} -> {_figure(after)}" for id_, (before, after) in found.items()]


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shown(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
