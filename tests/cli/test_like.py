"""Thresholds for the photos that are tagged: ``autotag train --like``, and ``autotag model fit-thresholds``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image

from autotag.cli.fit_thresholds import fit_thresholds
from autotag.cli.like import MOST, LikeOptions
from autotag.cli.model import model
from autotag.cli.train import TrainOptions, train
from autotag.errors import JobError
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from autotag.training.fit.candidate import read_histogram, read_quality
from models.bank import Sigmoid
from models.bundle import BANKS, Bundle, install
from models.bundle_folder import make_current
from models.errors import ModelError
from models.score_counts import COUNTS
from tests.cli.test_options import parse
from tests.cli.test_train import Runner, config_of
from tests.command_line import run_command
from tests.model_files import write_colour_bundle
from tests.worlds import rejected, tagged

LEAF, OTHER = (130, 140, 120), (107, 117, 97)
"""Mean colours: 4 standard deviations apart, which are 10 in each channel."""
WANTED, NEARLY = 0.9, 0.87
"""600 negatives tell a threshold above which some three of them may be no better than that."""
RARE = 0.05
"""Share of leaves among the photos as they come; of the training photos half are leaves."""


def drawn(count: int, share: float, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Colours of photos, and whether each is a leaf."""
    draw = np.random.default_rng(seed)
    shows = draw.random(count) < share
    colours = np.where(shows[:, None], LEAF, OTHER) + draw.normal(0, 10, (count, 3))
    return colours.round().clip(0, 255).astype(np.uint8), shows


def draw_photos(folder: Path, colours: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(colours.tolist()):
        Image.new("RGB", (6, 6), tuple(colour)).save(folder / f"{number:04d}.png")
    return folder


def precision(bundle: Bundle, share: float = RARE) -> float:
    """The share of the leaf tags that are right, among many other photos of that mix."""
    colours, shows = drawn(200_000, share, seed=9)
    bank = next(one for one in bundle.banks if one.name == "trained")
    found = bank.predict(colours.astype(np.float32) / 255)
    said = np.array([bool(len(places)) for places, _ in found])
    return float(shows[said].mean())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    write_colour_bundle(tmp_path_factory.mktemp("base") / "colours")
    return Bundle.open(tmp_path_factory.getbasetemp() / "base0" / "colours")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 leaves and 600 others, in folders of these names."""
    folder = tmp_path_factory.mktemp("album")
    for name, share in (("leaf", 1.0), ("other", 0.0)):
        draw_photos(folder / name, drawn(600, share, seed=int(share))[0])
    (folder / "labels.csv").write_text(
        "".join(f"leaf,{path.parent.name}/{path.name},{path.parent.name == 'leaf'}\n" for path in folder.rglob("*.png"))
    )
    return folder


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 photos as they come, and one that cannot be read."""
    folder = draw_photos(tmp_path_factory.mktemp("usual"), drawn(1000, RARE, seed=5)[0])
    (folder / "broken.png").write_bytes(b"no photo")
    return folder


@pytest.fixture
def settings(settings: Settings, base: Bundle, usual: Path, tmp_path: Path) -> Settings:
    return replace(
        settings, model=str(base.folder), training=str(tmp_path / "set"), photo_roots=(str(tmp_path), str(usual))
    )


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Iterator[Runner]:
    with closing(Runner(settings, tmp_path)) as runner:
        yield runner


@pytest.fixture
def trained(run: Runner, album: Path, settings: Settings, tmp_path: Path) -> Bundle:
    """A bundle trained without other photos, in use: the current one of a folder of bundles."""
    found = run.train("--photos", str(album), "--labels", str(album / "labels.csv"), "--precision", str(WANTED))
    made = Bundle.open(Path(found["bundle"]))
    installed = install(made.folder, tmp_path / "bundles")
    make_current(tmp_path / "bundles", installed.folder.name)
    run.config = config_of(replace(settings, model=str(tmp_path / "bundles")), tmp_path)
    return installed


def store_photos(store: PhotoStore, folder: Path) -> None:
    """Store photos as if they had been tagged; the later its name, the newer its content."""
    photos = [
        replace(tagged(path.name, content=number), uri=photo_uri(str(path)))
        for number, path in enumerate(sorted(folder.glob("*.png")), 1)
    ]
    store.write([*photos, rejected(photo_id="bad", content=99_999), replace(tagged("odd", content=99_998), uri="")])


def refused(result: Result) -> str:
    assert isinstance(result.exception, JobError), result.output
    return str(result.exception)


# Training


def test_thresholds_of_a_training_hold_where_a_class_is_ten_times_rarer(
    run: Runner, album: Path, usual: Path, tmp_path: Path
) -> None:
    before = run.train("--photos", str(album), "--labels", str(album / "labels.csv"), "--precision", str(WANTED))
    made = run(train, "--json", "--workers", "1", "--precision", str(WANTED), "--like", str(usual))
    assert made.exit_code == 0, made.exception
    assert "left out: broken.png" in made.stderr
    after = json.loads(made.stdout)
    assert precision(Bundle.open(Path(before["bundle"]))) < 0.6
    assert precision(Bundle.open(Path(after["bundle"]))) > NEARLY
    assert "like" not in before
    assert after["like"]["photos"] == 1000
    (moved,) = after["like"]["moved"]
    assert moved["before"]["precision"] < 0.6
    assert moved["after"]["precision"] > NEARLY
    findings = json.loads((Path(after["report"]).parent / "findings.json").read_text())
    (leaf,) = findings["classes"]
    assert leaf["trained_frequency"] == pytest.approx(0.5, abs=0.01)
    assert leaf["frequency"] == pytest.approx(RARE, abs=0.02)
    assert "Thresholds for your photos" in Path(after["report"]).read_text()
    bundle = Bundle.open(Path(after["bundle"]))
    assert read_quality(bundle, "trained")["leaf"].frequency == leaf["frequency"]
    # A list says the same as the folder; without photos the training is that of before.
    listed = tmp_path / "usual.txt"
    listed.write_text("".join(f"{path.name} {path}\n" for path in usual.iterdir()) + "no address\n\n")
    again = run(train, "--workers", "1", "--precision", str(WANTED), "--like", str(listed))
    assert f"thresholds and figures hold for photos like 1000 photos of {listed}" in again.stdout
    assert bundle.version[:12] in again.stdout
    assert run.train("--precision", str(WANTED))["version"] == before["version"]


def test_photos_of_the_store_are_read_as_events_are(
    run: Runner, album: Path, usual: Path, settings: Settings, store: PhotoStore, tmp_path: Path
) -> None:
    store_photos(store, usual)
    newest = store.newest_photos(3)
    assert [one.photo_id for one in newest] == ["broken.png", "0999.png", "0998.png"]
    found = run.train(
        *("--photos", str(album), "--labels", str(album / "labels.csv"), "--like-store", "500", "--precision", "0.9")
    )
    assert (found["like"]["source"], found["like"]["photos"]) == ("the store's newest 500", 499)
    run.config = config_of(replace(settings, photo_roots=(str(tmp_path),)), tmp_path)
    said = refused(run(train, "--workers", "1", "--like-store"))
    assert "the store's newest 1000: 0 of 1000 photos can be read" in said


# A bundle in use


def test_thresholds_of_a_bundle_in_use_are_fitted_and_published(run: Runner, trained: Bundle, usual: Path) -> None:
    done = run(fit_thresholds, "--json", "--like", str(usual))
    assert done.exit_code == 0, done.exception
    assert "left out: broken.png" in done.stderr
    found = json.loads(done.stdout)
    assert (found["photos"], found["without_counts"]) == (1000, ["colours"])
    ((moved,),) = found["banks"].values()
    fitted = Bundle.open(Path(found["bundle"]))
    assert precision(trained) < 0.6
    assert precision(fitted) > NEARLY
    assert moved["before"]["precision"] == pytest.approx(precision(trained), abs=0.15)
    assert moved["after"]["frequency"] == pytest.approx(RARE, abs=0.02)
    quality, before = read_quality(fitted, "trained")["leaf"], read_quality(trained, "trained")["leaf"]
    assert {"threshold": quality.threshold, "frequency": quality.frequency}.items() <= moved["after"].items()
    assert quality.average_precision == before.average_precision
    old, new = (next(bank for bank in one.banks if bank.name == "trained") for one in (trained, fitted))
    np.testing.assert_array_equal(old.weights, new.weights)
    assert isinstance(old.rule, Sigmoid) and isinstance(new.rule, Sigmoid)  # noqa: PT018
    assert (new.rule.a == old.rule.a).all()
    assert (new.rule.b < old.rule.b).all()
    assert fitted.classes.ids == trained.classes.ids
    published = run_command(run.config, "model", "publish", found["bundle"], "--local")
    assert published.returncode == 0, published.stderr
    # What is in use holds for these photos already: their frequency is known, and little moves.
    again = run(fit_thresholds, "--json", "--like", str(usual))
    (settled,) = json.loads(again.stdout)["banks"]["trained"]
    assert settled["before"]["frequency"] == moved["after"]["frequency"]
    assert settled["after"]["frequency"] == pytest.approx(moved["after"]["frequency"], rel=0.1)


def test_what_a_person_reads_of_fitted_thresholds(run: Runner, trained: Bundle, usual: Path, store: PhotoStore) -> None:
    store_photos(store, usual)
    lines = run(fit_thresholds).stdout.splitlines()
    assert lines[0] == "thresholds for photos like 999 photos of the store's newest 1000"
    assert lines[1] == "bank trained: 1 class; those that moved most:"
    assert lines[2].split() == ["class", "frequency", "threshold", "precision", "here", "recall"]
    assert lines[3].startswith("leaf   0.50")
    assert lines[4].startswith("bank colours: stays as it is")
    assert lines[5].startswith(f"bundle  {run.out}/thresholds-")
    assert lines[6] == f"publish it: autotag model publish {lines[5].split()[-1]}"
    assert "fit-thresholds" in model.commands


def test_photos_that_show_no_class_end_its_tags_or_make_them_rare(run: Runner, trained: Bundle, tmp_path: Path) -> None:
    folder = draw_photos(tmp_path / "none", np.zeros((150, 3), np.uint8))
    (moved,) = json.loads(run(fit_thresholds, "--json", "--like", str(folder)).stdout)["banks"]["trained"]
    assert 0 < moved["after"]["frequency"] < 0.03
    assert moved["after"]["recall"] < moved["before"]["recall"]


# Wrong use


def test_photos_that_tell_nothing_are_refused(run: Runner, trained: Bundle, tmp_path: Path) -> None:
    few = draw_photos(tmp_path / "few", np.zeros((99, 3), np.uint8))
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(120):
        (broken / f"{number}.jpg").write_bytes(b"no photo")
    for command, arguments in ((train, ["--workers", "1"]), (fit_thresholds, [])):
        wrong = run(command, *arguments, "--like", str(tmp_path / "nowhere"))
        assert (wrong.exit_code, "nowhere: " in wrong.output) == (2, True)
        assert run(command, *arguments, "--like", str(few), "--like-store", "200").exit_code == 2
        assert run(command, *arguments, "--like-store", "99").exit_code == 2
        assert run(command, *arguments, "--like-store", str(MOST + 1)).exit_code == 2
        assert f"{few}: has 99 photos; from fewer than 100" in refused(run(command, *arguments, "--like", str(few)))
        assert "has 0 photos" in refused(run(command, *arguments, "--like", str(empty)))
        assert "has 0 photos" in refused(run(command, *arguments, "--like-store"))
        unreadable = run(command, *arguments, "--like", str(broken))
        assert "0 of 120 photos can be read" in refused(unreadable)
        assert "left out: 110 more" in unreadable.stderr
    assert not list(run.out.glob("thresholds-*"))


def test_a_bundle_without_counts_says_what_makes_them(run: Runner, usual: Path) -> None:
    said = refused(run(fit_thresholds, "--like", str(usual)))
    assert "none of its banks (colours) has the scores" in said
    assert "`autotag train` keeps them" in said


def test_counts_that_are_no_counts_are_told_by_their_file(trained: Bundle) -> None:
    bank = next(one for one in trained.banks if one.name == "trained")
    path = trained.folder / BANKS / "trained" / COUNTS
    path.write_bytes(b"?")
    with pytest.raises(ModelError, match=rf"{COUNTS}: cannot be read"):
        read_histogram(trained, bank)
    path.unlink()
    assert read_histogram(trained, bank) is None


def test_at_most_5000_photos_are_taken_and_always_the_same(settings: Settings, tmp_path: Path) -> None:
    ids = [f"{number} file:///{number}.jpg\n" for number in range(MOST + 20)]
    chosen = []
    for name, lines in (("up", ids), ("down", ids[::-1])):
        (tmp_path / name).write_text("".join(lines) + lines[0])
        photos = LikeOptions(like=str(tmp_path / name), like_store=None).photos(settings)
        assert photos is not None
        chosen.append({one.id for one in photos.photos})
    assert len(chosen[0]) == MOST
    assert chosen[0] == chosen[1]


def test_the_options_are_passed_on() -> None:
    assert parse(TrainOptions, "--like", "x").arguments(LikeOptions) == ["--like", "x"]
    assert parse(TrainOptions, "--like-store").arguments(LikeOptions) == ["--like-store", "1000"]
    assert parse(TrainOptions, "--like-store", "300").arguments()[-2:] == ["--like-store", "300"]
    assert parse(TrainOptions).arguments(LikeOptions) == []


def test_a_bank_knows_the_frequencies_that_its_thresholds_hold_for(trained: Bundle) -> None:
    quality = read_quality(trained, "trained")["leaf"]
    histogram = read_histogram(trained, next(one for one in trained.banks if one.name == "trained"))
    assert histogram is not None
    assert histogram.frequencies[0] == pytest.approx(quality.frequency, abs=1e-6)
    assert histogram.precision.tolist() == [WANTED]
