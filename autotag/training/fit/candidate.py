"""The candidate bundle of `train` and `learn`: the bundle in use with one more classifier bank."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotag.errors import InputError, JobError
from models.bank import CALIBRATION, ClassifierBank, Sigmoid, Softmax
from models.bundle import BANKS, CLASSES, MANIFEST, Bundle, move_into_place, open_if_intact
from models.classes import ClassTable
from models.compare import QUALITY
from models.folders import staged
from models.score_counts import COUNTS, ScoreHistogram

LEARNED = "learned"
"""Name of the bank of provisional classes, each learned from a handful of examples."""
_MAKING = ".making-"
_BANK = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class ClassQuality:
    """The quality of a class, measured on photos that it was not trained on; None where nothing was measured."""

    provisional: bool = False
    """True if the class was learned from a handful of photos."""
    positives: int
    negatives: int
    average_precision: float | None
    threshold: float | None
    """Minimum probability for a tag."""
    precision: float | None
    """At the threshold, as is `recall`."""
    recall: float | None
    calibration_error: float | None
    frequency: float | None = None
    """The share of photos that show the class where threshold and precision hold."""

    def to_dict(self) -> dict[str, Any]:
        """Return the quality as JSON-safe values; `provisional` only where it is true."""
        values = asdict(self)
        return values if self.provisional else {name: value for name, value in values.items() if name != "provisional"}


@dataclass(frozen=True)
class BankContent:
    """Content of a bank of independent classes. Arrays are in the order of `class_ids`."""

    class_ids: Sequence[str]
    names: Mapping[str, str]
    weights: NDArray[np.float32]
    """[d, classes]"""
    biases: NDArray[np.float32]
    rule: Sigmoid
    quality: Mapping[str, ClassQuality]
    """By class id."""
    histogram: ScoreHistogram | None = None
    """From which thresholds for other photos are chosen; None for provisional classes."""


@dataclass(frozen=True)
class BankThresholds:
    """New thresholds of a bank that is in use; the classes and their order stay."""

    rule: Sigmoid
    quality: Mapping[str, ClassQuality]
    histogram: ScoreHistogram


def check_bank(base: Bundle, bank: str) -> None:
    """Check the name of a bank of independent classes for a bundle made from `base`.

    Raises:
        InputError: the name is invalid, or that of a bank of exclusive classes, which came with the network.
    """
    if not _BANK.fullmatch(bank):
        raise InputError(
            f"a bank's name has letters, digits, '_', '-' and '.', and begins with a letter or digit. Given: {bank!r}"
        )
    if any(one.name == bank and isinstance(one.rule, Softmax) for one in base.banks):
        raise InputError(
            f"bank {bank!r} came with the network of {base.folder} and cannot be replaced: name another bank"
        )


def write_candidate(base: Bundle, bank: str, content: BankContent, made: Mapping[str, Any], root: Path) -> Bundle:
    """Write a bundle with the network and banks of `base` and a new bank, which replaces a bank of the same name.

    A class is matched with a class of `base` by its id, or by the name that people gave it. Its provisional version in
    the bank `LEARNED` is dropped.

    Args:
        made: facts about the training, for the manifest.
        root: folder for the bundle, which becomes a folder named by bank and version. Equal content is written once.

    Raises:
        InputError: see `check_bank`.
        JobError: two of the classes match the same class of `base`.
        ModelError: the new bundle is invalid.
    """
    check_bank(base, bank)
    ids = _ids(base, content.class_ids)

    def change(folder: Path) -> None:
        _class_table(base, bank, ids, content).write(folder / CLASSES)
        if learned := learned_without(base, ids):
            _write_bank(folder, LEARNED, base, learned.class_ids, learned)
        _write_bank(folder, bank, base, ids, content)

    return _changed(base, bank, change, made, root)


def write_thresholds(base: Bundle, fitted: Mapping[str, BankThresholds], made: Mapping[str, Any], root: Path) -> Bundle:
    """Write a bundle that differs from `base` in calibration and thresholds alone.

    Args:
        fitted: by bank; the others stay as they are.
        made: facts about the fitting, for the manifest.
        root: as for `write_candidate`.

    Raises:
        ModelError: the new bundle is invalid.
    """

    def change(folder: Path) -> None:
        for name, bank in fitted.items():
            target = folder / BANKS / name
            np.save(target / CALIBRATION, np.stack([bank.rule.a, bank.rule.b, bank.rule.thresholds]))
            _write_quality(target, {id_: quality.to_dict() for id_, quality in bank.quality.items()})
            (target / COUNTS).write_bytes(bank.histogram.to_bytes())

    return _changed(base, "thresholds", change, made, root)


def _changed(base: Bundle, name: str, change: Callable[[Path], None], made: Mapping[str, Any], root: Path) -> Bundle:
    """Write a changed copy of a bundle to a folder of `root`, which is named by `name` and version."""
    with staged(root, _MAKING) as folder:
        shutil.copytree(base.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        change(folder)
        sealed = Bundle.seal(folder, base.name, base.network_key, base.precision, base.preprocessing, made)
        target = root / f"{name}-{sealed.version[:12]}"
        there = open_if_intact(target, sealed.version)
        # A bundle with the same content but an older base could not be published now.
        stays = base.version == sealed.version or (there and there.made.get("base") == made.get("base"))
        return there if there and stays else move_into_place(folder, target)


def read_quality(bundle: Bundle, bank: str) -> dict[str, ClassQuality]:
    """Return the measured quality of each class of a bank, by id; empty if none was measured.

    Raises:
        InputError: the file holds something else.
    """
    path = bundle.folder / BANKS / bank / QUALITY
    if not path.exists():
        return {}
    try:
        return {id_: ClassQuality(**values) for id_, values in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no table of classes' quality ({error}); make the bundle again") from error


def read_histogram(bundle: Bundle, bank: ClassifierBank) -> ScoreHistogram | None:
    """Return the scores that a bank was calibrated on; None if they were not kept.

    Raises:
        InputError: the file cannot be read.
        ModelError: it holds something else.
    """
    path = bundle.folder / BANKS / bank.name / COUNTS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return ScoreHistogram.from_bytes(data, str(path), len(bank.classifiers))


def learned_without(base: Bundle, ids: Sequence[str]) -> BankContent | None:
    """Return the bank of provisional classes without these; None if the bundle has no such bank."""
    bank = next((one for one in base.banks if one.name == LEARNED), None)
    if bank is None or not isinstance(bank.rule, Sigmoid):
        return None
    stay = [at for at, id_ in enumerate(bank.classifiers) if id_ not in ids]
    left = [bank.classifiers[at] for at in stay]
    quality = read_quality(base, LEARNED)
    return BankContent(
        class_ids=left,
        names={id_: base.classes.name(id_) for id_ in left},
        weights=bank.weights[:, stay],
        biases=bank.biases[stay],
        rule=Sigmoid(*(array[stay] for array in (bank.rule.a, bank.rule.b, bank.rule.thresholds))),
        quality={id_: quality[id_] for id_ in left if id_ in quality},
    )


def _ids(base: Bundle, class_ids: Sequence[str]) -> list[str]:
    """Return the ids of the classes in the new bundle."""
    given_as: dict[str, str] = {}
    for given in class_ids:
        id_ = base.classes.find(given) or given
        if id_ in given_as:
            raise JobError(
                f"classes {given_as[id_]!r} and {given!r} are both class {base.classes.name(id_)!r} of {base.folder}: "
                "join their labels under one name into a new training set"
            )
        given_as[id_] = given
    return list(given_as)


def _class_table(base: Bundle, bank: str, ids: Sequence[str], content: BankContent) -> ClassTable:
    """Return the classes of the new bundle: those of `base` that another bank needs, and the new ones."""
    base_classes = base.classes
    needed = {id_ for one in base.banks if one.name != bank for id_ in one.ids} | (set(ids) & set(base_classes.ids))
    needed |= {above for id_ in needed for above in base_classes.ancestors(id_)}
    replaced = {id_ for one in base.banks if one.name == bank for id_ in one.ids} - needed
    rows = [(id_, base_classes.name(id_), base_classes.parents[id_]) for id_ in base_classes.ids if id_ not in replaced]
    names = dict(zip(ids, (content.names[given] for given in content.class_ids), strict=True))
    return ClassTable([*rows, *((id_, name, ()) for id_, name in names.items() if id_ not in base_classes)])


def _write_bank(folder: Path, bank: str, base: Bundle, ids: Sequence[str], content: BankContent) -> None:
    """Write a bank into a new bundle, in place of one of the same name; a bank without classes is only removed."""
    target = folder / BANKS / bank
    shutil.rmtree(target, ignore_errors=True)
    if not content.class_ids:
        return
    ClassifierBank.write(target, bank, base.network_key, ids, content.weights, content.biases, content.rule)
    quality = {
        id_: content.quality[given].to_dict()
        for id_, given in zip(ids, content.class_ids, strict=True)
        if given in content.quality
    }
    _write_quality(target, quality)
    if content.histogram:
        (target / COUNTS).write_bytes(content.histogram.to_bytes())


def _write_quality(target: Path, quality: Mapping[str, Any]) -> None:
    (target / QUALITY).write_text(json.dumps(quality, indent=1) + "\n", encoding="utf-8")
