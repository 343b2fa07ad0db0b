"""``autotag retrain``: the whole chain against a real registry; killed, failed, taken back, and on two hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from autotag.bundles.registry import ModelRegistry
from autotag.cli.join import JoinOptions
from autotag.cli.retrain import RetagOptions, tagging_steps
from autotag.localcluster.processes import processes_with
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from autotag.stores import PhotoStore
from models.bundle import Bundle, install
from models.bundle_folder import make_current
from models.folders import locked
from tests.cli.test_train import COLOURS, config_of, draw_photos
from tests.command_line import run_command
from tests.model_files import write_colour_bundle
from tests.stream import autotag, stored, wait
from tests.zookeeper import ZooKeeper

PHOTOS_OF_A_CLASS = 12


@pytest.fixture
def settings(settings: Settings, zookeeper: ZooKeeper, tmp_path: Path) -> Settings:
    """A registry of the test's own, and a folder in which one bundle is published already."""
    write_colour_bundle(tmp_path / "built")
    bundle = install(tmp_path / "built", tmp_path / "bundles")
    make_current(tmp_path / "bundles", bundle.folder.name)
    return replace(settings, model="bundles", training="set", model_registry=f"{zookeeper.url}/{tmp_path.name}")


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Path:
    return config_of(settings, tmp_path)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A dozen photos of each of three colours."""
    for at, (name, colour) in enumerate(COLOURS.items()):
        draw_photos(tmp_path / "album" / name, colour, PHOTOS_OF_A_CLASS, at)
    return tmp_path / "album"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A list of two photos, of which neither list nor store says more than where they are."""
    colours = {"red": (220, 40, 30), "blue": (60, 120, 230)}
    photos = {
        name: next(draw_photos(tmp_path / "corpus" / name, colour, 1).iterdir()) for name, colour in colours.items()
    }
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{name} {photo_uri(str(photo))}\n" for name, photo in photos.items()))
    return path


def train_arguments(album: Path) -> list[str]:
    return ["retrain", "--photos", str(album), "--by-folder", "--workers", "1", "--least-recall", "0", "--by", "ann"]


def tag_arguments(corpus: Path) -> list[str]:
    return ["--corpus", str(corpus), "--owner", "bob", "--content-time", "2026-01-31T12:00:00Z"]


def steps(stderr: str) -> list[str]:
    """The commands that were run, by their names."""
    names = ("join", "train", "diff", "publish", "package", "backfill")
    shown = [line.split() for line in stderr.splitlines() if line.startswith("$ autotag")]
    return [next(word for word in words if word in names) for words in shown]


def runs(config: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run_command(config, "bulk", "list", "--json").stdout.splitlines()]


def known(settings: Settings) -> list[str]:
    with ModelRegistry(settings).connect() as registry:
        return [str(one.model) for one in registry.published()]


def test_the_whole_chain_ends_with_the_corpus_tagged_and_is_not_done_again(
    settings: Settings, config: Path, store: PhotoStore, album: Path, corpus: Path
) -> None:
    done = autotag(config, *train_arguments(album), *tag_arguments(corpus))
    assert done.returncode == 0, done.stderr
    assert steps(done.stderr) == ["join", "train", "diff", "publish", "backfill"]
    _, model = known(settings)
    (run,) = runs(config)
    assert run["name"].startswith(model.replace("/", "-") + "-")
    assert (run["state"], run["photos"]) == ("loaded", 2)
    assert f"publish it: autotag bulk publish {run['name']}" in done.stdout
    assert (settings.path("build/backfills") / run["name"]).is_dir()
    assert run_command(config, "bulk", "publish", run["name"]).returncode == 0
    tagged = {name: {tag.name for tag in stored(store, name).view.tags} for name in ("red", "blue")}
    assert "Poppy" in tagged["red"] - tagged["blue"]
    assert stored(store, "red").view.owner == "bob"
    again = autotag(config, *train_arguments(album), *tag_arguments(corpus))
    assert "0 computed, 36 in the set already" in again.stdout
    assert (known(settings)[1:], len(runs(config))) == ([model], 1)


def test_another_corpus_is_another_job_and_another_run(settings: Settings, corpus: Path, tmp_path: Path) -> None:
    options = RetagOptions(corpus_list=str(corpus), from_store=False, owner="", content_time="", jobs="jobs")
    more = tmp_path / "more.txt"
    more.write_text(corpus.read_text() + "third file:///nowhere.jpg\n")
    others = (replace(options, owner="bob"), replace(options, corpus_list=str(more)))
    digests = {one.digest(settings) for one in (options, *others)}
    assert len(digests) == 3
    assert options.digest(settings) in digests


def test_a_step_that_fails_ends_the_chain_with_its_exit_code(config: Path, album: Path, tmp_path: Path) -> None:
    wrong = autotag(config, "retrain", "--photos", str(tmp_path / "nowhere"), "--workers", "1")
    assert (wrong.returncode, steps(wrong.stderr)) == (2, ["join"])
    unreachable = autotag(config, *train_arguments(album), "--least-recall", "1", "--precision", "0.999")
    assert (unreachable.returncode, steps(unreachable.stderr)) == (1, ["join", "train"])


def test_a_corpus_that_is_not_there_is_wrong_use_before_anything_is_done(
    settings: Settings, config: Path, album: Path
) -> None:
    for wrong in (
        ["--corpus", "nowhere.txt"],
        ["--owner", "bob"],
        ["--from-store", "--corpus", "x"],
        ["--like", "nowhere"],
    ):
        done = autotag(config, *train_arguments(album), *wrong)
        assert (done.returncode, steps(done.stderr)) == (2, [])
    assert not settings.path(settings.training).exists()


def test_what_was_taken_back_is_not_published_again(settings: Settings, config: Path, album: Path) -> None:
    assert autotag(config, *train_arguments(album)).returncode == 0
    assert run_command(config, "model", "rollback").returncode == 0
    done = autotag(config, *train_arguments(album))
    assert (done.returncode, steps(done.stderr)[-1]) == (1, "publish")
    assert "which was withdrawn; to publish it again, give --again" in done.stderr
    assert len(known(settings)) == 2
    assert Bundle.open(settings.path(settings.model)).sequence == 1


def test_a_chain_that_is_killed_takes_its_step_along_and_goes_on_when_it_is_started_again(
    settings: Settings, config: Path, album: Path, tmp_path: Path
) -> None:
    def running() -> list[Any]:
        return processes_with("AUTOTAG_TEST_CHAIN", str(tmp_path))

    program = [str(Path(sys.executable).parent / "autotag"), "--config", str(config)]
    environment = {**os.environ, "AUTOTAG_TEST_CHAIN": str(tmp_path)}
    bundles = settings.path(settings.model)
    with locked(bundles / ".lock"):  # which publishing waits for
        with subprocess.Popen([*program, *train_arguments(album)], env=environment, stderr=subprocess.DEVNULL) as chain:
            try:
                wait(lambda: list(bundles.glob(".publishing-*")) or chain.poll() is not None, running)
                assert chain.returncode is None
            finally:
                chain.kill()
        wait(lambda: not running(), running, 30)
    done = autotag(config, *train_arguments(album))
    assert done.returncode == 0, done.stderr
    assert len(known(settings)) == 2


def join_options(**values: Any) -> JoinOptions:
    given = {field.name: () if field.type.startswith("tuple") else None for field in fields(JoinOptions)}
    return JoinOptions(**{**given, **values})


def test_spark_gets_an_archive_with_the_new_bundle(settings: Settings, tmp_path: Path) -> None:
    options = join_options(spark="spark://here:7077", archive="before.tar.gz")
    corpus = RetagOptions(corpus_list=None, from_store=True, owner="", content_time="", jobs="s3://bucket/jobs/")
    package, backfill = tagging_steps(tmp_path / "new", "run", options, corpus, settings)
    archive = str(tmp_path / "build/backfills/run.tar.gz")
    model = ["--model", str(tmp_path / "new")]
    assert package == ["package", archive, *model]
    job = ["--job", "s3://bucket/jobs/run", "--load", "run"]
    spark = ["--spark", "spark://here:7077", "--archive", archive]
    assert backfill == ["backfill", "--from-store", *job, *model, *spark]


def test_jobs_lie_below_home_wherever_the_chain_is_started(settings: Settings, tmp_path: Path) -> None:
    corpus = RetagOptions(corpus_list=None, from_store=True, owner="", content_time="", jobs="jobs")
    (backfill,) = tagging_steps(tmp_path / "new", "run", join_options(workers=2), corpus, settings)
    assert backfill[backfill.index("--job") + 1] == str(tmp_path / "jobs/run")
    assert backfill[-2:] == ["--workers", "2"]


def test_a_class_is_learned_beside_those_that_another_host_has_published_meanwhile(
    settings: Settings, config: Path, album: Path, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "bundles", tmp_path / "other")
    assert autotag(config, *train_arguments(album)).returncode == 0
    other = ("-o", "autotag.model=other")
    shown = draw_photos(tmp_path / "shown", (60, 60, 60), 6)
    learned = run_command(config, *other, "learn", "night", str(shown), "--json")
    assert learned.returncode == 0, learned.stderr
    candidate = json.loads(learned.stdout)["bundle"]
    assert [bank.name for bank in Bundle.open(Path(candidate)).banks] == ["colours", "learned", "trained"]
    assert run_command(config, *other, "model", "publish", candidate).returncode == 0


def test_without_a_registry_that_answers_a_class_is_learned_from_what_this_host_has(
    config: Path, album: Path, tmp_path: Path
) -> None:
    assert run_command(config, "join", "--photos", str(album), "--by-folder", "--workers", "1").returncode == 0
    assert run_command(config, "train", "--workers", "1", "--least-recall", "0").returncode == 0
    away = ("-o", "autotag.model.registry=zookeeper:127.0.0.1:1/autotag")
    shown = draw_photos(tmp_path / "shown", (60, 60, 60), 6)
    learned = run_command(config, *away, "learn", "night", str(shown))
    assert learned.returncode == 0, learned.stderr
    assert "using this host's own bundle; the registry did not tell which one is current" in learned.stderr
