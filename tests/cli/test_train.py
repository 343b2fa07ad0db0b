"""``autotag train`` and ``autotag learn`` as a person uses them: photos in, a bundle and a report out."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from autotag.cli import CommandLine
from autotag.cli.learn import learn
from autotag.cli.train import train
from autotag.errors import JobError
from autotag.settings import Settings
from autotag.storage.folder import Folder
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.candidate import read_quality
from autotag.training.fit.saved_sums import latest
from models.bundle import Bundle
from tests.model_files import write_colour_bundle

PROGRAM = str(Path(sys.executable).parent / "autotag")
COLOURS = {"Leaf": (30, 200, 40), "Poppy": (220, 40, 30), "Sky": (60, 120, 230)}


def draw_photos(folder: Path, colour: tuple[int, int, int], count: int, seed: int = 0) -> Path:
    """Photos of about that colour."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    for number in range(count):
        near = np.clip(draw.normal(colour, 20), 0, 255).astype(int)
        Image.new("RGB", (16, 12), tuple(near.tolist())).save(folder / f"{seed}-{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 photos of each of three colours, and one that is none."""
    folder = tmp_path_factory.mktemp("album")
    for at, (name, colour) in enumerate(COLOURS.items()):
        draw_photos(folder / name, colour, 30, at)
    (folder / "Sky" / "broken.png").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_colour_bundle(tmp_path_factory.mktemp("bundle") / "colours")


@pytest.fixture
def settings(settings: Settings, bundle: Bundle, tmp_path: Path) -> Settings:
    return replace(settings, model=str(bundle.folder), training=str(tmp_path / "set"))


def config_of(settings: Settings, folder: Path) -> Path:
    options = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items()}
    (folder / "config.json").write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return folder / "config.json"


class Runner:
    """Runs the commands in this process, and in others."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.config = config_of(settings, folder)
        self.out = folder / "out"
        self._started: list[subprocess.Popen[str]] = []

    def __call__(self, command: Any, *arguments: str) -> Result:
        line = CommandLine("local", self.config, {})
        return CliRunner().invoke(command, ["--out", str(self.out), *arguments], obj=line)

    def train(self, *arguments: str) -> dict[str, Any]:
        done = self(train, "--json", "--workers", "1", *arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return {**json.loads(done.stdout), "exit": done.exit_code}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A training in a process of its own."""
        command = [PROGRAM, "--config", str(self.config), "train", "--workers", "1", "--out", str(self.out), *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.out.parent
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Iterator[Runner]:
    with contextlib.closing(Runner(settings, tmp_path)) as runner:
        yield runner


def training_set(settings: Settings) -> TrainingSet:
    return TrainingSet.open(Folder(settings.training))


def tags_of(bundle: Bundle, colour: tuple[int, int, int], bank: str = "trained") -> list[str]:
    features = np.array([colour], np.float32) / 255
    return [tag.name for tag in bundle.tags(features)[0] if tag.bank == bank]


# Training


def test_photos_in_folders_become_a_bundle_that_tags_such_photos(run: Runner, album: Path, bundle: Bundle) -> None:
    found = run.train("--photos", str(album), "--by-folder")
    assert (found["exit"], found["kept"], found["photos"]) == (0, 3, 90)
    assert found["mean"]["recall"] > 0.9
    assert Path(found["report"]).is_file()
    made = Bundle.open(Path(found["bundle"]))
    assert made.version == found["version"]
    assert made.network_key == bundle.network_key
    assert [bank.name for bank in made.banks] == ["colours", "trained"]
    for name, colour in COLOURS.items():
        assert tags_of(made, colour) == [name]
    quality = read_quality(made, "trained")
    assert quality.keys() == {"leaf", "poppy", "sky"}
    assert quality["sky"].positives == 30


def test_what_a_person_reads(run: Runner, album: Path) -> None:
    labels = run.out.parent / "labels.csv"
    labels.write_text("rare,Sky/2-000.png,true\nrare,Sky/2-002.png,false\nnever,Sky/2-001.png,false\n")
    done = run(train, "--photos", str(album), "--by-folder", "--labels", str(labels), "--workers", "1")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "90 photos, of which 90 were added and 0 taken away; 5 classes, 3 good enough"
    assert lines[1].startswith("mean average precision ")
    assert "left out: never: no photo is labelled TRUE" in done.stderr
    assert "left out: rare: precision 0.9 is never reached, with 1 positives" in done.stderr
    assert lines[-1] == f"publish it: autotag model publish {lines[-2].split()[-1]}"


def test_nothing_new_makes_the_same_bundle_and_more_photos_another(run: Runner, album: Path, tmp_path: Path) -> None:
    first = run.train("--photos", str(album), "--by-folder")
    again = run.train()
    assert again["changed"] == {"added": 0, "taken_away": 0}
    assert again["version"] == first["version"]
    more = draw_photos(tmp_path / "more" / "Poppy", COLOURS["Poppy"], 5, seed=9).parent
    later = run.train("--photos", str(more), "--by-folder")
    assert later["changed"] == {"added": 5, "taken_away": 0}
    assert later["version"] != first["version"]


def test_a_bundle_that_was_trained_is_trained_on(run: Runner, album: Path, settings: Settings, tmp_path: Path) -> None:
    first = run.train("--photos", str(album), "--by-folder")
    run.config = config_of(replace(settings, model=first["bundle"]), tmp_path)
    second = run.train(
        "--photos", str(draw_photos(tmp_path / "more" / "Sea", (10, 60, 120), 30, 9).parent), "--by-folder"
    )
    made = Bundle.open(Path(second["bundle"]))
    assert [bank.name for bank in made.banks] == ["colours", "trained"]
    assert set(made.banks[1].ids) == {"leaf", "poppy", "sky", "sea"}
    assert second["gone"] == []


def test_a_photo_that_is_removed_is_in_no_sum_and_no_file(run: Runner, album: Path, settings: Settings) -> None:
    run.train("--photos", str(album), "--by-folder")
    found = run.train("--remove", "Sky/2-000.png")
    assert found["changed"] == {"added": 0, "taken_away": 1}
    kept = training_set(settings)
    rows = [id_ for name in kept.parts() for id_ in kept.read_part(name, ["photo_id"])["photo_id"].to_pylist()]
    assert len(rows) == 89
    assert "Sky/2-000.png" not in rows
    statistics = latest(kept)
    assert statistics is not None
    assert statistics.statistics.counts[:, 0].sum() == 89


def test_no_class_that_is_good_enough_exits_with_1_and_reports_why(run: Runner, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_photos(tmp_path / "noise" / name, (120, 120, 120), 20, seed=ord(name))
    found = run.train("--photos", str(tmp_path / "noise"), "--by-folder")
    assert (found["exit"], found["kept"], found["bundle"]) == (1, 0, None)
    assert Path(found["report"]).is_file()
    assert not list(run.out.glob("trained-*/manifest.json"))


def test_classes_of_too_few_positives_to_be_judged_are_kept_if_that_is_wanted(run: Runner, tmp_path: Path) -> None:
    for at, (name, colour) in enumerate(COLOURS.items()):
        draw_photos(tmp_path / "few" / name, colour, 10, at)
    # Ten are as right as that, beside an imagined negative; those that cross-fitting leaves never are.
    wanted = ("--precision", "0.905")
    assert run.train("--photos", str(tmp_path / "few"), "--by-folder", *wanted)["kept"] == 0
    found = run.train("--least-recall", "0", *wanted)
    assert (found["kept"], found["mean"]["precision"], found["mean"]["recall"]) == (3, None, 0)
    assert "precision - and recall 0.000" in run(train, "--least-recall", "0", "--workers", "1", *wanted).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bank", ".."], "a bank's name has letters"),
        (["--bank", "learned"], "name another bank"),
        (["--precision", "1"], "--precision"),
        (["--sample", "10"], "--sample"),
        (["--photos", "nowhere"], "nowhere: does not exist"),
        (["--photos", ".", "--out", "/proc/out"], "--out /proc/out: cannot be written"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(
    run: Runner, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(train, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not Path(settings.training).exists()


def test_without_a_set_it_is_said_how_to_make_one(run: Runner) -> None:
    with pytest.raises(JobError, match="there is no training set here; `autotag join"):
        raise run(train).exception or AssertionError


def test_features_of_another_network_are_refused(run: Runner, album: Path, settings: Settings, tmp_path: Path) -> None:
    run.train("--photos", str(album), "--by-folder")
    other = write_colour_bundle(tmp_path / "other", size=6)
    run.config = config_of(replace(settings, model=str(other.folder)), tmp_path)
    for command, arguments in ((train, []), (learn, ["rose", str(album / "Poppy")])):
        with pytest.raises(JobError, match="use a bundle of the same network"):
            raise run(command, *arguments).exception or AssertionError


# Kills, and others at the same time


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.parametrize("step", ["set/statistics/*/arrays.npz", "out/.making-*", "out/trained-*"])
def test_a_training_that_is_killed_comes_to_the_same_when_started_again(
    run: Runner, album: Path, tmp_path: Path, step: str
) -> None:
    arguments = ("--photos", str(album), "--by-folder")
    process = run.start(*arguments)
    wait_for(process, tmp_path, step)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = run.train(*arguments)
    assert (found["exit"], found["kept"], found["photos"]) == (0, 3, 90)
    for name in ("set", "out"):
        (tmp_path / name).rename(tmp_path / f"killed {name}")
    assert run.train(*arguments)["version"] == found["version"]


def test_two_trainings_at_once_make_the_same_bundle(run: Runner, album: Path) -> None:
    run.train("--photos", str(album), "--by-folder")
    found = []
    for process in [run.start("--json"), run.start("--json")]:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        found.append(json.loads(out))
    assert found[0]["bundle"] == found[1]["bundle"]
    assert found[0]["kept"] == 3


# Learning


def test_a_class_is_learned_and_later_trained(run: Runner, album: Path, settings: Settings, tmp_path: Path) -> None:
    run.train("--photos", str(album), "--by-folder")
    shown = draw_photos(tmp_path / "shown", (60, 60, 60), 6)
    (shown / "broken.jpg").write_bytes(b"no photo")
    done = run(learn, "Night ", str(shown), "--json")
    assert done.exit_code == 0, done.exception
    assert "left out: " in done.stderr
    assert "broken.jpg" in done.stderr
    found = json.loads(done.stdout)
    assert (found["class"], found["name"], found["examples"], found["provisional"]) == ("night", "Night", 6, True)
    assert found["background"] == 90
    made = Bundle.open(Path(found["bundle"]))
    assert tags_of(made, (60, 60, 60), "learned") == ["Night"]
    assert tags_of(made, COLOURS["Sky"], "learned") == []
    assert read_quality(made, "learned")["night"].provisional
    run.config = config_of(replace(settings, model=found["bundle"]), tmp_path)
    more = draw_photos(tmp_path / "more" / "NIGHT", (60, 60, 60), 30, 9).parent
    trained = Bundle.open(Path(run.train("--photos", str(more), "--by-folder")["bundle"]))
    assert [bank.name for bank in trained.banks] == ["colours", "trained"]
    assert tags_of(trained, (60, 60, 60)) == ["Night"]


def test_what_a_person_reads_of_a_learned_class(run: Runner, album: Path, tmp_path: Path) -> None:
    run.train("--photos", str(album), "--by-folder")
    lines = run(learn, "night", str(draw_photos(tmp_path / "shown", (60, 60, 60), 6))).stdout.splitlines()
    assert lines[0].startswith("learned 'night' from 6 photos, provisionally: it finds ")
    assert lines[0].endswith("of 90 other photos get its tag")
    assert lines[1].startswith(f"bundle  {run.out}/learned-")


def test_what_cannot_be_learned_is_told(run: Runner, album: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no training set here"):
        raise run(learn, "night", str(album / "Sky")).exception or AssertionError
    run.train("--photos", str(album), "--by-folder")
    assert run(learn, "night", str(tmp_path / "nowhere-at-all")).exit_code != 0
    assert run(learn, "\x07", str(album / "Sky")).exit_code == 2
    with pytest.raises(JobError, match="'Teapot' is a class of bank 'colours'"):
        raise run(learn, "teapot", str(album / "Sky")).exception or AssertionError
    with pytest.raises(JobError, match="needs at least 2 different, readable examples"):
        raise run(learn, "night", str(album / "Sky" / "2-001.png")).exception or AssertionError
