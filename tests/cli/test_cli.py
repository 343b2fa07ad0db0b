"""The command line as a person uses it: what the commands print, and their exit codes."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autotag.cli import CommandLine, demo
from autotag.cli.show import stored_id
from autotag.events import EventType
from autotag.queues import open_queue
from autotag.queues.retry import Verdict
from autotag.settings import PROJECT, Settings
from autotag.stores import PhotoStore
from models.bundle import Tag
from models.pixels import Colour
from tests import worlds
from tests.command_line import run_command
from tests.conftest import free_ports, make_event
from tests.photo_server import PhotoServer
from tests.worlds import ANIMALS, BEAGLE, CAT, CATEGORISED, CLASSES, DOG, PETS, rejected, tagged

PROGRAM = str(Path(sys.executable).parent / "autotag")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(config: Path) -> Run:
    """Runs a command in this process, from a folder that is not the project's."""
    return functools.partial(run_command, config)


def test_tag_prints_a_line_of_json_a_photo_and_fails_when_one_has_none(
    run: Run, tmp_path: Path, draw: Callable[..., Path]
) -> None:
    draw("photos/a.jpg", 1)
    draw("photos/deep/b.png", 2)
    (tmp_path / "photos/c.jpg").write_text("no photo")
    done = run("tag", "--json", "--min-score", "0.01", "--top", "3", "photos", "missing.jpg", cwd=tmp_path)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["photo"] for line in lines] == ["photos/a.jpg", "photos/c.jpg", "photos/deep/b.png", "missing.jpg"]
    assert [line.get("error") for line in lines] == [None, "not_an_image", None, "not_found"]
    for line in (lines[0], lines[2]):
        assert line["model"].startswith("default/")
        assert sum(tag["leaf"] for tag in line["tags"]) == 3
        above = {parent for tag in line["tags"] for parent in tag["parents"]}
        assert {tag["id"] for tag in line["tags"] if not tag["leaf"]} <= above
        assert line["tags"][0].keys() >= {"name", "score"}
        assert line["colours"][0].keys() == {"name", "share"}
        scores = [tag["score"] for tag in line["tags"]]
        assert scores == sorted(scores, reverse=True)


def test_tag_writes_a_page_beside_what_it_prints(run: Run, tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw("photos/a.jpg", 1)
    draw("photos/b.png", 2)
    (tmp_path / "photos/c.jpg").write_text("no photo")
    printed = run("tag", "--json", "photos", cwd=tmp_path)
    done = run("tag", "--json", "photos", "--sheet", "out.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, printed.stdout)
    assert done.stderr.endswith("the page is out.html\n")
    page = (tmp_path / "out.html").read_text()
    assert (page.count("<figure"), page.count("<img")) == (3, 2)
    assert "<b>not_an_image</b>" in page
    assert "<title>Tags of photos</title>" in page
    refused = run("tag", "photos", "--sheet", "photos/a.jpg", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "autotag: photos/a.jpg: the name of a page ends in .html\n"


def test_tag_reads_urls_and_says_no_to_private_addresses_unless_allowed(run: Run, draw: Callable[..., Path]) -> None:
    with PhotoServer() as server:
        url = server.add("/a.jpg", draw().read_bytes())
        assert run("tag", url).returncode == 0
        refused = run("-o", "autotag.photo.private.hosts=false", "tag", "--json", url)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["error"] == "forbidden"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tag"], "Missing argument"),
        (["tag", "--min-score", "2", "x"], "2.0 is not in the range"),
        (["nonsense"], "No such command"),
        (["push"], "give photos, or --events FILE"),
        (["push", ""], "an empty name"),
        (["tag", ""], "an empty name"),
        (["-o", "tagger.batch.photos=3", "status"], "did you mean 'autotag.tagger.batch.photos'"),
        (["dead", "drop"], "give keys"),
        (["-o", "nonsense", "status"], "is not KEY=VALUE"),
        (["-o", "autotag.bach.photos=3", "status"], "did you mean 'autotag.tagger.batch.photos'"),
        (["-e", "staging", "status"], "no environment 'staging'"),
        (["search"], "give TAG or --category NAME"),
        (["search", "dog", "--category", "pets"], "not both"),
        (["model", "build", "--precision", "int8"], "needs --calibration"),
        (["cluster", "restart", "hbase"], "is not one of"),
    ],
)
def test_wrong_use_is_said_and_ends_with_2(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("tag", str(tmp_path / "empty"))
    assert done.returncode == 2
    assert "no photos in" in done.stderr


def test_a_missing_bundle_is_said_with_what_to_do(run: Run) -> None:
    done = run("-o", "autotag.model=/nowhere", "model", "info")
    assert done.returncode == 1
    assert done.stderr.strip() == "autotag: /nowhere: there is no bundle here; build it again: autotag model build"


def test_push_accepts_photos_and_refuses_what_is_no_file(
    run: Run, settings: Settings, draw: Callable[..., Path]
) -> None:
    path = draw("a b.jpg")
    done = run("push", str(path), str(path.parent / "missing.jpg"), "--owner", "ann", "--json")
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert (summary["accepted"], summary["known"], summary["photos"]) == (1, 0, [path.as_uri()])
    assert [refused["reason"] for refused in summary["refused"]] == ["no such file, or no regular one"]
    (lease,) = open_queue(settings).lease(9, "h")
    assert (lease.event.photo_id, lease.event.owner) == (path.as_uri(), "ann")


def test_push_takes_events_by_the_line_and_names_each_refused_one(run: Run, settings: Settings) -> None:
    good = json.dumps(make_event("p1").to_dict())
    deletion = json.dumps(make_event("p2", EventType.DELETED).to_dict())
    no_time = json.dumps({**json.loads(good), "id": "x", "time": None})
    lines = "\n".join([good, "", "{", no_time, deletion, good, "\x00" * 70_000, "[]"])
    done = run("push", "--events", "-", stdin=lines)
    assert done.returncode == 1
    assert done.stdout == "accepted 2, 1 accepted before, refused 4\n"
    said = done.stderr.splitlines()
    assert said[0].startswith("refused line 3: not JSON")
    assert said[1] == "refused line 4: 'time' is missing"
    assert said[2] == "refused line 7: longer than 65536 bytes"
    assert said[3] == "refused line 8: an event is a JSON object. Given: []"
    assert open_queue(settings).status().ready == 2


def test_show_tells_tags_or_the_reason_and_fails_for_the_unknown(
    run: Run, settings: Settings, store: PhotoStore, tmp_path: Path
) -> None:
    path = tmp_path / "dog.jpg"
    store.runs.add_model(worlds.model(), CLASSES)
    store.write([tagged(path.as_uri()), rejected(photo_id="gone")])
    shown = run("show", "dog.jpg", cwd=tmp_path)
    assert shown.returncode == 0
    assert "0.9700  dog" in shown.stdout
    assert "rejected not_found: gone" in run("show", "gone").stdout
    unknown = run("show", "unknown")
    assert unknown.returncode == 1
    assert "nothing is stored of 'unknown'" in unknown.stderr
    found = json.loads(run("search", "DOG", "--json").stdout)
    assert [photo["photo_id"] for photo in found["photos"]] == [path.as_uri()]


def test_show_says_that_a_photo_is_damaged(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    store.write([replace(tagged("whole"), partial=False), replace(tagged("cut"), partial=True)])
    assert "by realtime, partial: the photo is damaged\n" in run("show", "cut").stdout
    assert "partial" not in run("show", "whole").stdout
    assert json.loads(run("show", "cut", "--json").stdout)["partial"] is True
    assert "partial" not in json.loads(run("show", "whole", "--json").stdout)


def test_show_and_search_have_the_colours(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    store.write([replace(tagged("p"), colours=(Colour("green", 0.45), Colour("blue", 0.3))), tagged("older")])
    colours = [{"name": "green", "share": 0.45}, {"name": "blue", "share": 0.3}]
    assert "\ncolours  green 45 %, blue 30 %\n" in run("show", "p").stdout
    assert "colours" not in run("show", "older").stdout
    assert json.loads(run("show", "p", "--json").stdout)["colours"] == colours
    assert json.loads(run("show", "p", "--history", "--json").stdout)["colours"] == colours
    found = json.loads(run("search", "dog", "--json").stdout)["photos"]
    assert {photo["photo_id"]: photo["colours"] for photo in found} == {"p": colours, "older": []}


def test_people_read_the_most_specific_tags_first_and_json_says_which_they_are(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    animal = Tag("n-animal", "animal", 0.99, "imagenet")
    store.write([tagged("p", tags=(animal, DOG, BEAGLE, CAT))])
    tags = [line.split()[:2] for line in run("show", "p").stdout.splitlines() if line.startswith("  ")]
    assert tags == [["0.9000", "beagle"], ["0.9700", "dog"], ["0.9900", "animal"], ["0.5000", "domestic"]]
    text = "beagle 0.90 (dog, animal), domestic cat 0.50"
    assert run("search", "dog").stdout.splitlines()[1].endswith(f"p      {text}")
    assert run("show", "p", "--history").stdout.endswith(f": {text}\n")
    in_json = json.loads(run("show", "p", "--json").stdout)["tags"]
    assert [(tag["name"], tag["parents"], tag["leaf"]) for tag in in_json] == [
        ("animal", [], False),
        ("dog", ["n-animal"], False),
        ("beagle", ["n-dog"], True),
        ("domestic cat", ["n-animal"], True),
    ]
    assert json.loads(run("search", "dog", "--json").stdout)["photos"][0]["tag"]["leaf"] is False


def test_categories_stand_apart_from_tags_and_photos_are_found_by_them(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CATEGORISED)
    store.write([tagged("p", tags=(ANIMALS, DOG, PETS)), tagged("q", tags=(CAT, PETS)), tagged("r", tags=(PETS,))])
    store.write([tagged("s", owner="eve", tags=(PETS,))])
    assert run("owner", "ann").stdout.splitlines() == [
        "photos  category       id",
        "3       Cats and dogs  category:pets",
        "1       Animals        category:animals",
        "",
        "photos  tag           id",
        "1       dog           n-dog",
        "1       domestic cat  n-cat",
    ]
    counted = json.loads(run("owner", "ann", "--json").stdout)
    assert [one["photos"] for one in counted["categories"]] == [3, 1]
    assert [one["name"] for one in counted["tags"]] == ["dog", "domestic cat"]
    for name in ("CATS and dogs", "category:pets", "Pets"):
        found = json.loads(run("search", "--category", name, "--owner", "ann", "--json").stdout)["photos"]
        assert sorted(photo["photo_id"] for photo in found) == ["p", "q", "r"]
        assert {photo["tag"]["name"] for photo in found} == {"Cats and dogs"}
    assert len(run("search", "--category", "pets").stdout.splitlines()) == 5
    assert "no photo in the category 'animals'" in run("search", "--category", "animals", "--owner", "eve").stderr
    for wrong in ("dog", "n-dog", ""):
        done = run("search", "--category", wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"no category is called {wrong!r}; the categories are Animals, Cats and dogs" in done.stderr
    shown = run("show", "p").stdout
    assert "\ncategory Animals 0.97, Cats and dogs 0.97\n  0.9700  dog" in shown
    assert run("show", "r").stdout.endswith("\ncategory Cats and dogs 0.97\n  no tags\n")
    assert run("tags", "remove", "r", "cats and dogs").returncode == 0
    assert run("show", "r").stdout.endswith("by realtime\n  no tags\n")


def test_a_store_without_categories_says_so(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    assert run("search", "--category", "pets").stderr.endswith("no model in the store has categories\n")


def test_push_takes_a_batch_of_events_as_one_array(run: Run, settings: Settings, tmp_path: Path) -> None:
    events = [make_event("p1").to_dict(), {"id": 7}, make_event("p2").to_dict()]
    (tmp_path / "batch.json").write_text(json.dumps(events, indent=2))
    done = run("push", "--events", tmp_path / "batch.json", "--json")
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert (summary["accepted"], summary["photos"]) == (2, ["p1", "p2"])
    assert summary["refused"] == [{"where": "event 2", "reason": "'specversion' is missing"}]
    assert open_queue(settings).status().ready == 2


def test_a_person_decides_everyone_sees_it_and_an_erasure_leaves_no_trace(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    store.write([tagged("p"), tagged("p", content=2, tags=(CAT,)), tagged("q")])
    assert run("tags", "add", "p", "Beagle", "--by", "bob").returncode == 0
    assert run("tags", "remove", "p", "domestic cat", "--by", "eve").returncode == 0
    wrong = run("tags", "add", "p", "beegle", "--by", "bob")
    assert (wrong.returncode, "did you mean 'beagle'" in wrong.stderr) == (1, True)
    assert wrong.stderr.endswith("(--new)\n")
    never = run("tags", "remove", "p", "never-was", "--by", "bob")
    assert (never.returncode, never.stderr) == (1, "autotag: no class is called 'never-was'\n")
    shown = json.loads(run("show", "p", "--json").stdout)
    told = {tag["name"]: (tag["source"], tag["by"]) for tag in shown["tags"]}
    assert told == dict.fromkeys(("animal", "beagle", "dog"), ("person", "bob"))
    history = [json.loads(line) for line in run("show", "p", "--history", "--json").stdout.splitlines()]
    assert sorted((entry["kind"], entry["seen"]) for entry in history) == [
        ("decision", False),
        ("decision", True),
        ("tagged", False),
        ("tagged", True),
    ]
    counted = json.loads(run("owner", "ann", "--json").stdout)
    assert (counted["photos"], counted["exact"]) == (2, True)
    assert counted["tags"][0] == {"id": "n-dog", "name": "dog", "photos": 2}
    erased = json.loads(run("erase", "p", "--json").stdout)
    assert (erased["photos"], erased["left"]) == (1, 0)
    assert run("show", "p").returncode == 1
    erased = json.loads(run("erase", "--owner", "ann", "--json").stdout)
    assert (erased["photos"], erased["left"]) == (1, 0)


def test_an_erasure_takes_the_queued_events_too_and_says_what_is_in_flight(
    run: Run, settings: Settings, store: PhotoStore
) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    store.write([tagged("p")])
    queue = open_queue(settings)
    leased, waiting, other = make_event("p"), make_event("p"), make_event("q", owner="eve")
    queue.enqueue([leased])
    queue.lease(1, "h")
    queue.enqueue([waiting, other])
    done = run("erase", "p", "--json")
    assert done.returncode == 1
    erased = json.loads(done.stdout)
    assert (erased["photos"], erased["events"], erased["in_flight"], erased["left"]) == (1, 1, 1, 0)
    assert done.stderr == "1 event in flight; ask again in a moment\n"
    queue.ack([leased.key], "h")
    done = run("erase", "p")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 events; read all tables: 0 traces left" in done.stdout
    assert [lease.event for lease in queue.lease(9, "h")] == [other]


def test_a_store_that_is_away_is_one_line_and_the_tries_before_it_are_logged_only_when_asked_for(config: Path) -> None:
    (port,) = free_ports(1)
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    processes = []
    for options in ([], ["-v"]):  # Processes of their own: they log to their standard error.
        command = [PROGRAM, "--config", str(config), *options, "-o", f"autotag.store=hbase://127.0.0.1:{port}/x"]
        processes.append(subprocess.Popen([*command, "show", "p"], stderr=subprocess.PIPE, text=True, env=environment))
    silent, verbose = (process.communicate(timeout=100)[1].splitlines() for process in processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert silent == verbose[-1:]
    assert silent[0].startswith("autotag: ")
    assert any("tries left" in line for line in verbose[:-1])


def test_a_model_is_withdrawn(run: Run, store: PhotoStore) -> None:
    store.runs.add_model(worlds.model(), CLASSES)
    version = str(worlds.model())
    done = run("model", "withdraw", version, "--by", "eve", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"model": version, "withdrawn": True})
    assert version in store.runs.read().withdrawn


def test_the_tables_of_an_embedded_store_come_with_its_file(run: Run) -> None:
    done = run("store", "init")
    assert done.returncode == 0
    assert done.stdout.startswith("the tables come with the file; has model default/")


def test_a_photo_is_found_by_its_id_or_its_path_with_one_look(store: PhotoStore, tmp_path: Path) -> None:
    stored, new = tmp_path / "stored.jpg", tmp_path / "new.jpg"
    new.touch()
    store.write([tagged("p"), tagged(stored.as_uri()), tagged(str(tmp_path / "both.jpg"))])
    (tmp_path / "both.jpg").touch()
    looks = []
    get = store.tables.get
    store.tables.get = lambda *of: looks.append(of) or get(*of)  # type: ignore[method-assign,func-returns-value]
    for name, photo_id in [
        ("p", "p"),
        (str(stored), stored.as_uri()),
        (str(new), new.as_uri()),
        (str(tmp_path / "both.jpg"), str(tmp_path / "both.jpg")),
        ("neither", "neither"),
        ("file:///x", "file:///x"),
        ("", ""),
    ]:
        looks.clear()
        assert stored_id(store, name) == photo_id
        assert len(looks) <= 1


def test_dead_letters_are_listed_replayed_and_dropped(run: Run, settings: Settings) -> None:
    queue = open_queue(settings)
    events = [make_event(f"p{i}") for i in range(3)]
    queue.enqueue(events)
    for _ in range(settings.queue_attempts):
        while not (leases := queue.lease(9, "h")):
            pass
        for lease in leases:
            queue.record_verdict(lease.key, Verdict("timeout", "never answered"))
        queue.fail([lease.key for lease in leases], "h")
        queue.release("h")
        while queue.status().waiting:
            pass
    listed = run("dead", "list", "--json")
    letters = {letter["key"]: letter for letter in map(json.loads, listed.stdout.splitlines())}
    assert letters.keys() == {event.key for event in events}
    assert letters[events[0].key]["reason"] == "timeout"
    assert events[0].key in run("dead", "list").stdout
    assert run("dead", "replay", events[0].key).stdout == "replayed 1\n"
    assert run("dead", "drop", events[0].key).returncode == 1
    assert run("dead", "drop", "--all").stdout == "dropped 2\n"


def test_evaluate_prints_top1_and_top5(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "labelled"
    for name in ("daisy", "n02099601"):
        (folder / name).mkdir(parents=True)
        Image.effect_noise((300, 300), 60).convert("RGB").save(folder / name / "1.jpg")
    done = run("model", "evaluate", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    right = json.loads(done.stdout)
    assert right["photos"] == 2
    assert 0 <= right["top1"] <= right["top5"] <= 1
    (folder / "no class").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "no class" / "1.png")
    unknown = run("model", "evaluate", str(folder))
    assert unknown.returncode == 1
    assert "no class" in unknown.stderr


@pytest.mark.parametrize(
    ("environment", "config", "options", "down"),
    [
        ("local", None, "", "make down"),
        ("local", PROJECT / "config.json", "", "make down"),
        ("hbase", PROJECT / "bulk/../config.json", " -e hbase", "make down STORE=hbase"),
        ("local", PROJECT / "own.json", " --config own.json", "make down CONFIG=own.json"),
        ("hbase", Path("/a b.json"), " --config '/a b.json' -e hbase", "make down STORE=hbase CONFIG='/a b.json'"),
    ],
)
def test_what_the_demo_says_to_do_next_is_about_the_same_config_and_environment(
    environment: str, config: Path | None, options: str, down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(PROJECT / ".venv/bin/autotag")])
    *commands, last = demo._next(CommandLine(environment, config, {})).splitlines()
    assert all(command.startswith(f"  .venv/bin/autotag{options} ") for command in commands)
    assert last.split("   ")[0].strip() == down


def test_the_readmes_python_runs(draw: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    exec(code.replace("/tmp/cat.jpg", str(draw("cat.jpg"))), {})
    assert "cat.jpg" in capsys.readouterr().out


def test_every_make_target_is_explained() -> None:
    done = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    targets = {line.split()[0] for line in done.stdout.splitlines()}
    assert targets >= {"help", "setup", "run", "test", "lint", "types", "bench", "up", "down", "clean"}
