"""Joins of photos and labels of every kind: repeated, at the same time, and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from autotag.cli import CommandLine
from autotag.cli.join import join as join_command
from autotag.errors import InputError, JobError
from autotag.jobs import worker_tagger
from autotag.jobs.workers import LocalWorkers
from autotag.settings import Settings
from autotag.storage.folder import Folder
from autotag.tagging.tagger import Tagger
from autotag.training.dataset.features import PIECE_PHOTOS, pieces
from autotag.training.dataset.join import Inputs, join
from autotag.training.dataset.join_summary import JoinSummary
from autotag.training.dataset.label_files import TrainingPhoto
from autotag.training.dataset.photo_states import PhotoState, State, compact, read_photo_states, remove
from autotag.training.dataset.training_set import TrainingSet
from models.bundle import Bundle
from models.fixed_point import from_fixed
from tests.model_files import write_colour_bundle
from tests.object_store import object_store
from tests.photo_server import PhotoServer
from tests.training_sets import BLUE, GREEN, RED, features_of, labels_of, write_photo

PROGRAM = str(Path(sys.executable).parent / "autotag")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture
def settings(settings: Settings, bundle: Bundle) -> Settings:
    return replace(settings, model=str(bundle.folder), training="set")


@pytest.fixture
def training_set(settings: Settings, bundle: Bundle) -> TrainingSet:
    return TrainingSet.open_or_create(Folder(str(settings.path(settings.training))), bundle)


Join = Callable[..., JoinSummary]


@pytest.fixture
def joined(settings: Settings, bundle: Bundle, training_set: TrainingSet) -> Join:
    """Return a function that joins in this process."""

    def joined(**inputs: Any) -> JoinSummary:
        return join(settings, bundle, training_set, Inputs(**inputs), LocalWorkers(1))

    return joined


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Return a folder of three folders with two photos each, each of one colour."""
    for name, colour in (("Dog", RED), ("teapot", BLUE), ("lawn", GREEN)):
        for number in (1, 2):
            write_photo(tmp_path / "album" / name / f"{number}.png", colour)
    return tmp_path / "album"


def written(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def report(training_set: TrainingSet, summary: JoinSummary, name: str) -> list[dict[str, Any]]:
    lines = training_set.folder.read(f"{summary.report}/{name}.jsonl").splitlines()
    return [json.loads(line) for line in lines]


# What comes of photos


def test_a_folder_of_folders_is_joined(joined: Join, album: Path, training_set: TrainingSet) -> None:
    summary = joined(photos=str(album), by_folder=True, by="ann")
    assert (summary.photos, summary.new, summary.reused, summary.classes) == (6, 6, 0, 3)
    (told,) = summary.labels
    assert (told.lines, told.kept, told.file, told.is_new) == (6, 6, "000001", True)
    assert labels_of(training_set, "000001") == {
        (f"{folder}/{number}.png", class_id, 1)
        for folder, class_id in (("Dog", "n11"), ("teapot", "n3"), ("lawn", "lawn"))
        for number in (1, 2)
    }
    (facts,) = training_set.log()
    assert facts["names"] == {"n11": "dog", "n3": "Teapot", "lawn": "lawn"}
    assert (facts["kind"], facts["exhaustive"], facts["source"], facts["by"]) == ("labels", True, str(album), "ann")


def test_features_are_the_taggers_own_to_half_a_step(
    joined: Join, album: Path, settings: Settings, training_set: TrainingSet
) -> None:
    assert joined(photos=str(album)).clipped == 0
    fixed = np.array([features_of(training_set)[f"{name}/1.png"] for name in ("Dog", "lawn")], np.int16)
    with Tagger.open(settings) as tagger:
        wanted = np.stack([row for _, row in tagger.features((album / f"{n}/1.png").as_uri() for n in ("Dog", "lawn"))])
    assert np.abs(from_fixed(fixed, training_set.scale) - wanted).max() <= 0.5 / training_set.scale
    assert np.abs(wanted * 255 - [RED, GREEN]).max() < 0.01


def test_photos_that_the_set_has_are_not_read_again(joined: Join, album: Path, tmp_path: Path) -> None:
    photos = written(tmp_path / "photos.txt", *(f"{path.name} {path}" for path in [album / "Dog/1.png"]))
    joined(photos=photos)
    (album / "Dog/1.png").unlink()
    summary = joined(photos=photos)
    assert (summary.photos, summary.new, summary.reused, summary.failed) == (1, 0, 1, {})


def test_a_photo_that_is_elsewhere_now_is_read_again(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    for name in ("Dog", "lawn", "Dog"):  # there, elsewhere, and back
        summary = joined(photos=written(tmp_path / "photos.txt", f"one {album}/{name}/1.png"))
        assert summary.new == 1
        red, green, _ = features_of(training_set)["one"]
        assert (red > green) == (name == "Dog")
    assert len(training_set.parts()) == 3
    assert compact(training_set) == 2
    assert joined(photos=str(tmp_path / "photos.txt")).reused == 1


def test_photos_in_parquet_give_the_features_of_their_bytes(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    files = sorted(album.rglob("*.png"))
    data = [*(path.read_bytes() for path in files), b"no photo", None]
    table = pa.table({"photo_id": [*(str(path.relative_to(album)) for path in files), "bad", "null"], "bytes": data})
    pq.write_table(table, tmp_path / "photos.parquet", row_group_size=3)
    summary = joined(photos=str(tmp_path / "photos.parquet"))
    assert (summary.new, summary.failed) == (6, {"not_an_image": 2})
    by_bytes = features_of(training_set)
    joined(photos=str(album))
    assert features_of(training_set) == by_bytes
    assert joined(photos=str(tmp_path / "photos.parquet")).new == 6  # they are elsewhere once more


def test_rows_that_cannot_be_read_any_more_are_failed_photos_and_end_no_join(
    settings: Settings, bundle: Bundle, training_set: TrainingSet, album: Path, tmp_path: Path
) -> None:
    data = [path.read_bytes() for path in album.rglob("*.png")]
    for name in ("a", "b"):
        table = pa.table({"photo_id": [f"{name}{at}" for at in range(6)], "bytes": data})
        pq.write_table(table, tmp_path / f"{name}.parquet")

    class Later(LocalWorkers):
        def map(self, *work: Any) -> Iterator[Any]:
            pq.write_table(table.slice(0, 4), tmp_path / "b.parquet")
            return super().map(*work)

    inputs = Inputs(photos=str(tmp_path))
    summary = join(settings, bundle, training_set, inputs, Later(1))
    assert (summary.new, summary.failed) == (10, {"interrupted": 2})
    assert join(settings, bundle, training_set, inputs, LocalWorkers(1)).reused == 10


def test_a_photo_that_is_too_large_in_parquet_is_told(
    settings: Settings, bundle: Bundle, training_set: TrainingSet, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"photo_id": ["a"], "bytes": [bytes(2000)]}), tmp_path / "photos.parquet")
    inputs = Inputs(photos=str(tmp_path / "photos.parquet"))
    summary = join(replace(settings, photo_max_bytes=1000), bundle, training_set, inputs, LocalWorkers(1))
    assert summary.failed == {"too_large": 1}


def test_bad_photos_are_listed_with_reasons_and_are_not_fatal(
    joined: Join, album: Path, training_set: TrainingSet
) -> None:
    (album / "Dog/text.jpg").write_text("no photo")
    whole = (album / "Dog/1.png").read_bytes()
    (album / "Dog/cut.png").write_bytes(whole[: len(whole) // 2])
    summary = joined(photos=str(album), by_folder=True)
    assert (summary.photos, summary.new, summary.failed) == (8, 6, {"not_an_image": 1, "truncated": 1})
    listed = {one["photo_id"]: one for one in report(training_set, summary, "bad_photos")}
    assert listed.keys() == {"Dog/text.jpg", "Dog/cut.png"}
    assert listed["Dog/text.jpg"]["reason"] == "not_an_image"
    assert listed["Dog/text.jpg"]["permanent"]
    told = json.loads(training_set.folder.read(f"{summary.report}/summary.json"))
    assert told["failed"] == {"not_an_image": 1, "truncated": 1}
    assert told["inputs"]["photos"] == str(album)


def test_bad_photos_are_tried_again_only_when_asked(joined: Join, album: Path) -> None:
    bad = album / "Dog/1.png"
    good = bad.read_bytes()
    bad.write_bytes(b"no photo")
    assert joined(photos=str(album)).failed == {"not_an_image": 1}
    bad.write_bytes(good)
    again = joined(photos=str(album))
    assert (again.new, again.reused, again.failed) == (0, 5, {"not_an_image": 1})
    retried = joined(photos=str(album), retry_failed=True)
    assert (retried.new, retried.reused, retried.failed) == (1, 5, {})
    assert joined(photos=str(album)).reused == 6


def test_photos_that_may_work_later_are_tried_by_the_next_join(joined: Join, album: Path, tmp_path: Path) -> None:
    data = (album / "Dog/1.png").read_bytes()
    with PhotoServer() as server:
        uris = [f"{server.url}/status/503", server.add("/b.png", data)]
        photos = written(tmp_path / "photos.txt", f"a {uris[0]}", f"b {uris[1]}")
        first, second = joined(photos=photos), joined(photos=photos)
        assert (first.new, first.failed, second.new, second.failed) == (1, {"server_error": 1}, 0, {"server_error": 1})
        server.add("/status/503", data)
        third = joined(photos=photos)
        assert (third.new, third.reused, third.failed) == (1, 1, {})
        assert sorted(server.requests) == ["/b.png", *["/status/503"] * 3]


def test_a_photo_that_is_listed_twice_counts_once(joined: Join, album: Path, tmp_path: Path) -> None:
    one, other = album / "Dog/1.png", album / "lawn/1.png"
    summary = joined(photos=written(tmp_path / "photos.txt", f"a {one}", f"a {one}", f"a {other}", "b"))
    assert (summary.photos, summary.new, summary.bad_photos) == (1, 1, {"twice": 1, "fields": 1})


def test_photos_labels_and_the_set_may_all_be_in_an_object_store(
    settings: Settings, bundle: Bundle, album: Path, tmp_path: Path
) -> None:
    with object_store() as store:
        photos = Folder(f"{store.url}/album")
        for path in album.rglob("*.png"):
            photos.write(path.relative_to(album).as_posix(), path.read_bytes())
        photos.write("Dog/bad.png", b"no photo")
        Folder(store.url).write("labels.csv", b"dog,Dog/1.png,0\n")
        training_set = TrainingSet.open_or_create(Folder(f"{store.url}/sets/one"), bundle)
        inputs = Inputs(photos=photos.url, by_folder=True, labels=(f"{store.url}/labels.csv",))
        summaries = [join(settings, bundle, training_set, inputs, LocalWorkers(1)) for _ in range(2)]
        assert [(one.new, one.reused, one.failed) for one in summaries] == [
            (6, 0, {"not_an_image": 1}),
            (0, 6, {"not_an_image": 1}),
        ]
        assert [one.is_new for summary in summaries for one in summary.labels] == [True, True, False, False]
        assert labels_of(training_set, "000002") == {("Dog/1.png", "n11", -1)}
        assert sorted(features_of(training_set)) == sorted(
            path.relative_to(album).as_posix() for path in album.rglob("*.png")
        )


# What comes of labels


def test_labels_that_contradict_each_other_are_unknown_and_listed(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    lines = ["dog,Dog/1.png,TRUE", "dog,Dog/2.png,TRUE", "DOG,Dog/1.png,FALSE", "dog,Dog/2.png,TRUE"]
    summary = joined(photos=str(album), labels=(written(tmp_path / "labels.csv", *lines),))
    (told,) = summary.labels
    assert (told.contradictions, told.kept) == (1, 2)
    assert labels_of(training_set, told.file) == {("Dog/1.png", "n11", 0), ("Dog/2.png", "n11", 1)}
    (listed,) = report(training_set, summary, "bad_lines")
    assert (listed["reason"], listed["lines"]) == ("contradiction", [1, 3])
    assert "'Dog/1.png' is TRUE and FALSE for 'dog'" in listed["detail"]


def test_classes_named_alike_but_for_case_are_one_and_that_is_told(joined: Join, album: Path, tmp_path: Path) -> None:
    lines = ["My Pet,Dog/1.png,1", "my pet,Dog/2.png,1", "Golden_Dog,lawn/1.png,0"]
    summary = joined(photos=str(album), labels=(written(tmp_path / "labels.csv", *lines),))
    assert summary.classes == 2
    assert summary.spellings == {"my pet": ["My Pet", "my pet"]}


def test_the_first_spelling_ever_stays_a_classes_name(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    joined(photos=str(album), labels=(written(tmp_path / "1.csv", "My Pet,Dog/1.png,1"),))
    joined(labels=(written(tmp_path / "2.csv", "MY PET,Dog/2.png,1"),))
    assert [facts["names"] for facts in training_set.log()] == [{"my pet": "My Pet"}] * 2


def test_a_class_with_one_positive_and_one_with_none_are_kept(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    labels = written(tmp_path / "labels.csv", "one,Dog/1.png,1", "none,Dog/1.png,0", "what,Dog/1.png,")
    summary = joined(photos=str(album), labels=(labels,))
    assert summary.classes == 3
    assert {row[1:] for row in labels_of(training_set, "000001")} == {("one", 1), ("none", -1), ("what", 0)}


def test_labels_of_photos_that_are_nowhere_are_counted_and_not_kept(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    lines = [f"dog,nobody-{number},1" for number in range(100_000)]
    summary = joined(photos=str(album), labels=(written(tmp_path / "labels.csv", "dog,Dog/1.png,1", *lines),))
    (told,) = summary.labels
    assert (told.lines, told.unknown_photos, told.kept) == (100_001, 100_000, 1)
    assert told.unknown_first == [f"nobody-{number}" for number in range(5)]
    assert labels_of(training_set, told.file) == {("Dog/1.png", "n11", 1)}


def test_of_two_files_that_contradict_each_other_the_one_that_was_joined_last_wins(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    one, two = (written(tmp_path / f"{at}.csv", f"dog,Dog/1.png,{at}") for at in (0, 1))
    joined(photos=str(album))
    said = [joined(labels=labels).labels for labels in ((one,), (two,), (one,), (one, two), (one, two), (two, one))]
    assert [[of.is_new for of in labels] for labels in said] == [
        [True],
        [True],
        [True],
        [False, True],
        [False, False],
        [False, True],
    ]
    assert labels_of(training_set, training_set.label_files()[-1]) == {("Dog/1.png", "n11", -1)}


def test_labels_count_once_their_photos_are_there(joined: Join, album: Path, tmp_path: Path) -> None:
    labels = (written(tmp_path / "labels.csv", "dog,Dog/1.png,1", "dog,lawn/1.png,0"),)
    photos = written(tmp_path / "photos.txt", f"Dog/1.png {album}/Dog/1.png")
    assert [one.kept for one in joined(photos=photos, labels=labels).labels] == [1]
    assert [(one.kept, one.is_new) for one in joined(photos=str(album), labels=labels).labels] == [(2, True)]
    assert [(one.kept, one.is_new) for one in joined(labels=labels).labels] == [(2, False)]


def test_bad_lines_are_listed_with_number_and_reason(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    labels = written(tmp_path / "labels.csv", "dog,Dog/1.png,1", "dog,Dog/1.png", f"{'x' * 101},Dog/1.png,1")
    summary = joined(photos=str(album), labels=(labels,))
    assert summary.labels[0].bad == {"fields": 1, "class": 1}
    listed = report(training_set, summary, "bad_lines")
    assert [(one["source"], one["number"], one["reason"]) for one in listed] == [
        (labels, 2, "fields"),
        (labels, 3, "class"),
    ]


def test_a_file_that_cannot_be_read_to_its_end_ends_the_join_and_keeps_nothing_of_it(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    (tmp_path / "labels.csv.gz").write_bytes(b"\x1f\x8b rubbish")
    with pytest.raises(InputError, match=r"labels\.csv\.gz: cannot be read"):
        joined(photos=str(album), labels=(str(tmp_path / "labels.csv.gz"),))
    assert training_set.label_files() == []


def test_another_networks_bundle_is_refused(
    settings: Settings, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    other = write_colour_bundle(tmp_path / "other", size=5)
    with pytest.raises(JobError, match=f"network {training_set.network}.*network {other.network_key}"):
        join(settings, other, training_set, Inputs(photos=str(album)), LocalWorkers(1))
    assert training_set.parts() == []


def test_a_removed_photo_stays_out_though_it_is_listed(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    inputs = {"photos": str(album), "labels": (written(tmp_path / "labels.csv", "dog,Dog/1.png,1"),)}
    joined(**inputs)
    remove(training_set, ["Dog/1.png"], "ann")
    again = joined(**inputs, by_folder=True)
    assert (again.photos, again.new, again.reused, again.left_out) == (5, 0, 5, 1)
    assert [(one.kept, one.unknown_first) for one in again.labels] == [(5, []), (0, ["Dog/1.png"])]
    assert read_photo_states(training_set)["Dog/1.png"].state is State.REMOVED


def test_a_removed_photo_comes_back_with_its_labels_when_it_is_restored(
    joined: Join, album: Path, tmp_path: Path, training_set: TrainingSet
) -> None:
    inputs = {"photos": str(album), "labels": (written(tmp_path / "labels.csv", "dog,Dog/1.png,1"),)}
    joined(**inputs)
    remove(training_set, ["Dog/1.png"], "ann")
    compact(training_set)
    assert "Dog/1.png" not in features_of(training_set)
    again = joined(**inputs, restore=True)
    assert (again.new, again.reused) == (1, 5)
    assert [(one.file, one.is_new) for one in again.labels] == [("000003", True)]
    assert "Dog/1.png" in features_of(training_set)


def test_a_piece_that_has_lost_photos_is_computed_again(joined: Join, album: Path, training_set: TrainingSet) -> None:
    joined(photos=str(album))
    before = features_of(training_set)
    (name,) = training_set.parts()
    training_set.write_part(name, [], np.zeros((0, training_set.dim), np.int16), 1)
    assert joined(photos=str(album)).new == 6
    assert features_of(training_set) == before


def test_a_join_removes_what_killed_ones_left_long_ago(
    joined: Join, album: Path, training_set: TrainingSet, tmp_path: Path
) -> None:
    left = tmp_path / f"set/features/.part.parquet.{'1' * 32}"
    left.parent.mkdir()
    left.touch()
    os.utime(left, (1, 1))
    joined(photos=str(album))
    assert not left.exists()


# Pieces


def test_what_is_done_is_in_no_piece_and_what_is_tried_again_has_another_name() -> None:
    photos = [TrainingPhoto(f"p{number:04d}", f"file:///{number}") for number in range(2 * PIECE_PHOTOS + 10)]
    first = pieces(photos, {}, retry_failed=False)
    assert [len(piece.photos) for piece in first] == [PIECE_PHOTOS, PIECE_PHOTOS, 10]
    assert pieces(photos, {}, retry_failed=False) == first
    known = {photo.id: PhotoState(1, State.FEATURES, photo.uri) for photo in first[1].photos}
    assert pieces(photos, known, retry_failed=False) == [first[0], first[2]]
    failed = {photo.id: PhotoState(1, State.FAILED, photo.uri) for photo in first[0].photos}
    last = pieces(photos, known | failed, retry_failed=False)
    assert last[0] == first[2]
    assert last[1].photos == first[0].photos
    assert last[1].name != first[0].name
    bad = {photo.id: PhotoState(1, State.BAD, photo.uri) for photo in photos}
    assert pieces(photos, bad, retry_failed=False) == []
    assert [piece.photos for piece in pieces(photos, bad, retry_failed=True)] == [piece.photos for piece in first]


def test_a_process_lets_go_of_what_it_loaded(joined: Join, album: Path) -> None:
    joined(photos=str(album))
    assert not worker_tagger._open


# The command


Run = Callable[..., subprocess.Popen[str]]


def write_config(settings: Settings, folder: Path) -> Path:
    options = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items()}
    (folder / "config.json").write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return folder / "config.json"


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Run]:
    """Return a function that runs ``autotag join`` in the test's folder."""
    config = write_config(settings, tmp_path)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [PROGRAM, "--config", str(config), "join", *arguments]
        environment = {**os.environ, "JOIN_TESTED": str(tmp_path)}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 20
    while left := processes_of(tmp_path):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


def processes_of(tmp_path: Path) -> list[int]:
    """Return the living processes that a test's joins have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"JOIN_TESTED={tmp_path}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended, or is another's
    return found


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_the_command_prints_json_and_what_it_did(start: Run, album: Path, tmp_path: Path) -> None:
    labels = written(tmp_path / "labels.csv", "dog,Dog/1.png,1", "dog,nobody,1", "rubbish")
    code, out, err = outcome(start("--photos", "album", "--labels", labels, "--json", "--workers", "1"))
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["photos"], told["new"], told["set"]) == (6, 6, str(tmp_path / "set"))
    assert told["labels"][0]["bad"] == {"fields": 1}
    code, out, err = outcome(
        start("--photos", "album", "--labels", labels, "--remove", "lawn/1.png", "--remove", "no", "--workers", "1")
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "removed 1 photo, 1 that are not in the set ('no')",
        f"{labels}: 1 label of 3 lines; 1 bad (1 fields); "
        '1 of photos that are neither listed nor in the set, ignored ("nobody"...)',
        "5 photos: 0 computed, 5 in the set already, 0 not usable",
        "1 photo stayed out: removed before; --restore takes them in again",
        f"{tmp_path / 'set'}: 1 class named; see joins/000002",
    ]


def test_photos_are_removed_by_a_file_of_ids(start: Run, joined: Join, album: Path, tmp_path: Path) -> None:
    joined(photos=str(album))
    written(tmp_path / "ids.txt", "Dog/1.png", "Dog/2.png", "")
    code, out, _ = outcome(start("--remove", "@ids.txt", "--json"))
    assert code == 0
    assert json.loads(out)["removed"] == {"photos": ["Dog/1.png", "Dog/2.png"], "unknown": [], "before": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to join"),
        (["--photos", "nothing"], "nothing: does not exist"),
        (["--labels", "nothing.csv"], "nothing.csv: does not exist"),
        (["--photos", "list.txt", "--by-folder"], "--by-folder needs --photos to be a folder of photos"),
        (["--labels", "labels.csv", "--by-folder"], "--by-folder goes with --photos"),
        (["--photos", "album", "--exhaustive"], "--exhaustive goes with --labels"),
        (["--photos", "album", "--workers", "2", "--spark", "local"], "give one of the two"),
        (["--photos", "album", "--archive", "a.tar.gz"], "go with --spark"),
        (["--remove", "@nothing"], "nothing: cannot be read"),
    ],
)
def test_wrong_use_is_told_and_exits_with_2(
    settings: Settings, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    written(tmp_path / "labels.csv", "dog,Dog/1.png,1")
    written(tmp_path / "list.txt", f"a {album}/Dog/1.png")
    monkeypatch.chdir(tmp_path)
    line = CommandLine("local", write_config(settings, tmp_path), {})
    done = CliRunner().invoke(join_command, arguments, obj=line)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "set").exists()


def test_nothing_that_can_be_used_exits_with_1(start: Run, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/text.jpg").write_text("no photo")
    code, out, _ = outcome(start("--photos", "bad", "--workers", "1"))
    assert code == 1
    assert "1 photo: 0 computed, 0 in the set already, 1 not usable (1 not_an_image)" in out


def test_another_networks_bundle_exits_with_1(start: Run, joined: Join, album: Path, tmp_path: Path) -> None:
    joined(photos=str(album))
    about = json.loads((tmp_path / "set/set.json").read_text())
    (tmp_path / "set/set.json").write_text(json.dumps({**about, "network": "f" * 64}))
    code, _, err = outcome(start("--photos", "album"))
    assert code == 1
    assert "name another training set, or use a bundle of the same network" in err


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return photos of four pieces, some of them bad, in two classes."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(3 * PIECE_PHOTOS + 10):
        path = folder / ("dog" if number % 2 else "lawn") / f"{number:05d}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 6), (number % 256, number // 256, 99)).save(path)
        if number % 100 == 0:
            path.write_bytes(b"no photo")
    return folder


def check_complete(training_set: TrainingSet, many: Path) -> None:
    """Check that every photo is bad or has the features of its own pixels, and that each label occurs once."""
    photos = {path.relative_to(many).as_posix(): int(path.stem) for path in many.rglob("*.bmp")}
    wanted = {photo_id: (n % 256, n // 256, 99) for photo_id, n in photos.items() if n % 100}
    found = from_fixed(np.array(list(features_of(training_set).values()), np.int16), training_set.scale) * 255
    rows = dict(zip(features_of(training_set), np.rint(found).astype(int).tolist(), strict=True))
    assert {photo_id: tuple(row) for photo_id, row in rows.items()} == wanted
    failed = {one.photo_id for name in training_set.failures() for one in training_set.read_failures(name)}
    assert failed == photos.keys() - wanted.keys()
    assert training_set.label_files() == ["000001"]
    assert len(labels_of(training_set, "000001")) == len(photos)
    total = sum(len(training_set.read_part(name, ["photo_id"])) for name in training_set.parts())
    assert total == len(wanted), "a photo was computed twice"


@pytest.mark.parametrize(
    ("step", "workers"),
    [("set.json", 1), ("labels/*.parquet", 1), ("failures/*.jsonl", 1), ("features/*.parquet", 2)],
)
def test_a_join_that_is_killed_goes_on_where_it_was(
    start: Run, tmp_path: Path, many: Path, step: str, workers: int
) -> None:
    arguments = ("--photos", str(many), "--by-folder", "--workers", str(workers))
    process = start(*arguments)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "set").glob(step)):
        assert process.poll() is None, outcome(process)
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    training_set = TrainingSet.open(Folder(str(tmp_path / "set")))
    done = len(features_of(training_set))
    code, out, err = outcome(start(*arguments, "--json"))
    assert (code, err) == (0, "")
    assert json.loads(out)["reused"] >= done
    check_complete(training_set, many)


def test_two_joins_at_once_do_each_photo_once_and_say_each_label_once(start: Run, tmp_path: Path, many: Path) -> None:
    arguments = ("--photos", str(many), "--by-folder", "--workers", "1", "--json")
    told = []
    for process in [start(*arguments), start(*arguments)]:
        code, out, err = outcome(process)
        assert (code, err) == (0, "")
        told.append(json.loads(out))
    training_set = TrainingSet.open(Folder(str(tmp_path / "set")))
    check_complete(training_set, many)
    assert {one["report"] for one in told} == {"joins/000001", "joins/000002"}
    assert sorted(one["labels"][0]["is_new"] for one in told) == [False, True]
    assert {one["new"] + one["reused"] for one in told} == {len(features_of(training_set))}
