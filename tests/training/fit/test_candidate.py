"""Candidate bundles: the bundle in use with one bank added or replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotag.errors import InputError, JobError
from autotag.training.fit.candidate import BankContent, ClassQuality, read_quality, write_candidate
from models import folders
from models.bank import Sigmoid
from models.bundle import Bundle
from tests.model_files import CLASS_ROWS, write_small_bundle

QUALITY = ClassQuality(
    positives=10,
    negatives=90,
    average_precision=0.5,
    threshold=0.4,
    precision=0.9,
    recall=None,
    calibration_error=0.01,
)


@pytest.fixture
def base(tmp_path: Path) -> Bundle:
    return write_small_bundle(tmp_path / "base")


def content(ids: Sequence[str], weight: float = 1.0, names: dict[str, str] | None = None) -> BankContent:
    count = len(ids)
    rule = Sigmoid(np.ones(count, np.float32), np.zeros(count, np.float32), np.full(count, 0.5, np.float32))
    weights = np.full((3, count), weight, np.float32)
    quality = dict.fromkeys(ids, QUALITY)
    return BankContent(
        ids, names or {id_: id_.title() for id_ in ids}, weights, np.zeros(count, np.float32), rule, quality
    )


def made(base: Bundle, root: Path, ids: Sequence[str], bank: str = "trained", **more: Any) -> Bundle:
    return write_candidate(base, bank, content(ids, **more), {"command": "test"}, root)


def test_a_candidate_has_what_its_base_has_and_the_new_bank(base: Bundle, tmp_path: Path) -> None:
    new = made(base, tmp_path / "out", ["corgi", "n3"])
    assert [bank.name for bank in new.banks] == ["imagenet", "trained"]
    assert new.network_key == base.network_key
    assert new.network_path.read_bytes() == base.network_path.read_bytes()
    assert new.banks[1].ids == ("corgi", "n3")
    assert new.classes.ids == (*base.classes.ids, "corgi")
    assert new.classes.name("corgi") == "Corgi"
    assert new.classes.name("n3") == "Teapot"
    assert read_quality(new, "trained") == {"corgi": QUALITY, "n3": QUALITY}
    assert read_quality(new, "imagenet") == {}
    assert new.made == {"command": "test"}


def test_a_class_that_the_base_calls_so_is_that_class(base: Bundle, tmp_path: Path) -> None:
    new = made(base, tmp_path / "out", ["teapot"])
    assert new.banks[1].ids == ("n3",)
    assert list(read_quality(new, "trained")) == ["n3"]


def test_two_labelled_classes_that_are_one_in_the_base_are_told(base: Bundle, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="'n3' and 'teapot' are both class 'Teapot'"):
        made(base, tmp_path / "out", ["n3", "teapot"])
    assert not (tmp_path / "out").exists()


def test_the_same_content_is_one_candidate(base: Bundle, tmp_path: Path) -> None:
    first, second = (made(base, tmp_path / "out", ["corgi"]) for _ in range(2))
    assert first.folder == second.folder
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.folder.name]


def test_the_same_content_from_another_base_says_so(base: Bundle, tmp_path: Path) -> None:
    first, second = (
        write_candidate(base, "trained", content(["corgi"]), {"base": name}, tmp_path / "out") for name in ("a", "b")
    )
    assert first.folder == second.folder
    assert Bundle.open(first.folder).made == {"base": "b"}


@pytest.mark.parametrize("damaged", ["banks/trained/weights.npy", "manifest.json"])
def test_a_candidate_that_is_damaged_is_made_anew(base: Bundle, tmp_path: Path, damaged: str) -> None:
    first = made(base, tmp_path / "out", ["corgi"])
    (first.folder / damaged).write_bytes(b"?")
    second = made(base, tmp_path / "out", ["corgi"])
    assert (second.folder, second.version) == (first.folder, first.version)


def test_a_bank_takes_the_place_of_one_of_its_name(base: Bundle, tmp_path: Path) -> None:
    first = made(base, tmp_path / "out", ["corgi", "pug"])
    second = made(first, tmp_path / "out", ["corgi", "boxer"], weight=2)
    assert [bank.name for bank in second.banks] == ["imagenet", "trained"]
    assert second.banks[1].ids == ("corgi", "boxer")
    assert second.banks[1].weights[0, 0] == 2
    assert second.classes.ids == (*base.classes.ids, "corgi", "boxer")  # nothing knows pugs any more


def test_a_class_of_the_base_keeps_its_place_and_its_parents(base: Bundle, tmp_path: Path) -> None:
    first = made(base, tmp_path / "out", ["n1", "n12"])
    second = made(first, tmp_path / "out", ["n1"])
    rows = [(id_, second.classes.name(id_), list(second.classes.parents[id_])) for id_ in second.classes.ids]
    assert rows == CLASS_ROWS


def test_a_learned_class_that_is_trained_now_is_learned_no_more(base: Bundle, tmp_path: Path) -> None:
    learned = made(base, tmp_path / "out", ["corgi", "pug"], bank="learned", weight=3)
    trained = made(learned, tmp_path / "out", ["corgi"])
    assert {bank.name: bank.ids for bank in trained.banks if bank.name != "imagenet"} == {
        "learned": ("pug",),
        "trained": ("corgi",),
    }
    assert trained.banks[1].weights.tolist() == [[3.0]] * 3
    assert list(read_quality(trained, "learned")) == ["pug"]
    all_trained = made(trained, tmp_path / "out", ["corgi", "pug"])
    assert [bank.name for bank in all_trained.banks] == ["imagenet", "trained"]


@pytest.mark.parametrize("bank", ["imagenet", "", ".", "..", "../x", "a/b", "a b", ".hidden"])
def test_a_bank_that_is_no_folder_of_its_own_or_that_of_the_network_is_refused(
    base: Bundle, tmp_path: Path, bank: str
) -> None:
    with pytest.raises(InputError, match="bank"):
        made(base, tmp_path / "out", ["corgi"], bank=bank)


def test_a_candidate_that_cannot_be_made_leaves_nothing(base: Bundle, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="finite"):
        made(base, tmp_path / "out", ["corgi"], weight=np.nan)
    assert not list((tmp_path / "out").iterdir())


def test_what_a_killed_making_left_goes_a_day_later(
    base: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "out" / ".making-left"
    left.mkdir(parents=True)
    made(base, tmp_path / "out", ["corgi"])
    assert left.exists()  # another may be at work there
    monkeypatch.setattr(folders, "ABANDONED_S", -1)
    made(base, tmp_path / "out", ["corgi"])
    assert not left.exists()


def test_a_quality_that_is_damaged_is_told_by_its_file(base: Bundle, tmp_path: Path) -> None:
    new = made(base, tmp_path / "out", ["corgi"])
    path = new.folder / "banks" / "trained" / "quality.json"
    assert json.loads(path.read_text()) == {"corgi": QUALITY.to_dict()}
    assert "provisional" not in QUALITY.to_dict()
    for text in ("[1]", "{", '{"corgi": 1}', '{"corgi": {"positives": 1}}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"quality\.json"):
            read_quality(new, "trained")
