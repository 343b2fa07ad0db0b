"""Publishing: what is current, on this host, in the store and for all others; whatever happens in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotag.bundles.publisher import HostModels, Publisher, use_current
from autotag.bundles.registry import Current, ModelRegistry, PublishedModel, Refusal, Worker
from autotag.errors import PublishingError, RegistryError, SettingsError
from autotag.settings import Settings
from autotag.stores import PhotoStore, open_store
from autotag.view.results import ModelVersion
from models import folders
from models.bundle import MANIFEST, NETWORK, PROBE, Bundle, install
from models.bundle_folder import CURRENT, make_current
from models.errors import ModelError
from tests.command_line import run_command
from tests.model_files import write_colour_bundle
from tests.stream import wait
from tests.zookeeper import ZooKeeper


@pytest.fixture
def settings(settings: Settings, zookeeper: ZooKeeper, tmp_path: Path) -> Settings:
    """A registry of the test's own, and a folder in which one bundle is published already."""
    write_colour_bundle(tmp_path / "built", weight=1)
    bundle = install(tmp_path / "built", tmp_path / "bundles")
    make_current(tmp_path / "bundles", bundle.folder.name)
    return replace(settings, model="bundles", model_registry=f"{zookeeper.url}/{tmp_path.name}")


@pytest.fixture
def registry(settings: Settings) -> Iterator[ModelRegistry]:
    with ModelRegistry(settings).connect() as registry:
        yield registry


@pytest.fixture
def publisher(settings: Settings, store: PhotoStore, registry: ModelRegistry) -> Publisher:
    return Publisher(settings, store, registry, "ann")


def names(settings: Settings) -> list[str]:
    """Names in the folder of bundles, without hidden ones."""
    return sorted(path.name for path in settings.path(settings.model).iterdir() if not path.name.startswith("."))


def test_a_published_bundle_is_current_everywhere_and_what_was_used_before_is_known_too(
    settings: Settings, store: PhotoStore, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    first = Bundle.open(tmp_path / "bundles")
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    change = publisher.publish(tmp_path / "candidate")
    bundle = Bundle.open(tmp_path / "bundles")
    assert (bundle.sequence, bundle.version) == (2, candidate.version)
    assert (str(change.model), change.before, change.changed) == (
        f"small/{bundle.folder.name}",
        first.folder.name,
        True,
    )
    current = registry.current()
    assert (current.model, current.by, current.before) == (bundle.folder.name, "ann", first.folder.name)
    assert [(known.model.sequence, known.published_by, known.classes) for known in registry.published()] == [
        (1, "", 6),
        (2, "ann", 6),
    ]
    assert registry.published()[1].location == bundle.folder.as_uri()
    assert {str(model) for model in store.runs.read().models} == {
        f"small/{folder.name}" for folder in (first.folder, bundle.folder)
    }
    assert Bundle.open(tmp_path / "candidate").sequence == 0  # it stays where it was
    assert names(settings) == [first.folder.name, bundle.folder.name, CURRENT]


def test_publishing_what_is_current_changes_nothing(
    settings: Settings, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    write_colour_bundle(tmp_path / "candidate", weight=2)
    publisher.publish(tmp_path / "candidate")
    before = (registry.current(), registry.published(), names(settings))
    change = publisher.publish(tmp_path / "candidate")
    assert (change.changed, change.model.sequence) == (False, 2)
    assert publisher.publish(Bundle.open(tmp_path / "bundles").folder).changed is False
    assert (registry.current(), registry.published(), names(settings)) == before


def damage(folder: Path, how: str) -> None:
    """Change a byte of a bundle's network or all of its manifest, or take the bundle away."""
    if how == "gone":
        shutil.rmtree(folder)
    elif how == "byte":
        (folder / NETWORK).write_bytes((folder / NETWORK).read_bytes()[:-1] + b"?")
    else:
        (folder / MANIFEST).write_text("{")


@pytest.mark.parametrize("how", ["byte", "manifest", "gone"])
@pytest.mark.parametrize("local", [False, True])
def test_a_copy_of_the_current_bundle_that_is_damaged_or_gone_is_made_good_by_publishing_it_again(
    settings: Settings, store: PhotoStore, registry: ModelRegistry, tmp_path: Path, local: bool, how: str
) -> None:
    publisher = Publisher(settings, store, HostModels(settings) if local else registry, "ann")
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    before = publisher.publish(candidate.folder).model
    folder = Bundle.open(tmp_path / "bundles").folder
    damage(folder, how)
    if how == "byte":
        with pytest.raises(ModelError, match="publish a good copy of it again"):
            Bundle.open(folder)
    change = publisher.publish(candidate.folder)
    assert (change.model, Bundle.open(tmp_path / "bundles").version) == (before, candidate.version)
    assert publisher.publish(candidate.folder).restored is False
    assert (tmp_path / "bundles" / f".replaced-{folder.name}").exists() == (how != "gone")


def test_what_a_killed_publishing_left_goes_a_day_later(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "bundles/.publishing-left"
    left.mkdir()
    publisher.publish(write_colour_bundle(tmp_path / "candidate2", weight=2).folder)
    assert left.exists()  # another may be at work there
    monkeypatch.setattr(folders, "ABANDONED_S", -1)
    publisher.publish(write_colour_bundle(tmp_path / "candidate3", weight=3).folder)
    assert not left.exists()


def test_who_asks_often_what_is_current_is_told_once_of_a_change(
    registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    told: list[object] = []
    for _ in range(20):
        registry.current(told.append)
    publisher.publish(write_colour_bundle(tmp_path / "candidate", weight=2).folder)
    wait(lambda: told, lambda: "nothing was told")
    registry.current()
    assert len(told) == 1


def made_from(base: str, folder: Path, weight: float) -> Path:
    """A bundle that says which one it was made from."""
    bundle = write_colour_bundle(folder, weight)
    facts = (bundle.network_key, bundle.precision, bundle.preprocessing, {"base": base})
    return Bundle.seal(folder, "small", *facts).folder


def test_a_bundle_that_was_made_from_another_than_the_current_one_is_published_by_force_only(
    registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    first = Bundle.open(tmp_path / "bundles").folder.name
    learned, trained = (made_from(f"small/{first}", tmp_path / f"made{weight}", weight) for weight in (2, 3))
    second = publisher.publish(trained).model
    assert publisher.publish(trained).changed is False  # not from itself, and yet nothing is lost
    message = rf"{learned}: was made from {first}, and {second.sequence:06d}-.* is current, .* or give --force"
    with pytest.raises(PublishingError, match=message):
        publisher.publish(learned)
    assert len(registry.published()) == 2
    assert publisher.publish(learned, force=True).model.sequence == 3


def test_a_bundle_may_be_made_from_what_was_current_under_another_number(publisher: Publisher, tmp_path: Path) -> None:
    first = Bundle.open(tmp_path / "bundles")
    base = f"small/000000-{first.version[:12]}"
    assert publisher.publish(made_from(base, tmp_path / "made", 2)).model.sequence == 2


def test_a_host_uses_what_is_current_for_all_hosts(
    settings: Settings, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    other = replace(settings, model="other")
    use_current(other, registry)
    assert not (tmp_path / "other").exists()  # nobody has published
    shutil.copytree(tmp_path / "bundles", tmp_path / "other")
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    publisher.publish(candidate.folder)
    use_current(other, registry)
    assert Bundle.open(tmp_path / "other").version == candidate.version


def test_the_command_line_says_that_a_damaged_copy_was_made_good(config: Path, tmp_path: Path) -> None:
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    run(config, "publish", str(candidate.folder))
    damage(Bundle.open(tmp_path / "bundles").folder, "byte")
    again = run_command(config, "model", "publish", str(candidate.folder))
    assert (again.returncode, "damaged or gone, and is good again" in again.stdout) == (0, True)


def test_a_built_bundle_is_published_by_its_folder_and_keeps_its_number(
    registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    write_colour_bundle(tmp_path / "built", weight=2)
    bundle = install(tmp_path / "built", tmp_path / "bundles")
    assert publisher.publish(bundle.folder).model.sequence == 2
    assert registry.current().model == bundle.folder.name


def test_publishers_at_once_on_hosts_of_their_own_get_a_number_each(
    settings: Settings, store: PhotoStore, registry: ModelRegistry, tmp_path: Path
) -> None:
    def publish_from(host: int) -> int:
        candidate = write_colour_bundle(tmp_path / f"candidate{host}", weight=host + 2)
        own = replace(settings, model=f"host{host}")
        shutil.copytree(tmp_path / "bundles", tmp_path / own.model)
        with ModelRegistry(own).connect() as mine:
            change = Publisher(own, open_store(own), mine, f"host{host}").publish(candidate.folder)
        return change.model.sequence

    with ThreadPoolExecutor(4) as pool:
        sequences = list(pool.map(publish_from, range(4)))
    known = registry.published()
    assert [1, *sorted(sequences)] == [one.sequence for one in known]  # with gaps, where one was overtaken
    assert len(set(sequences)) == 4
    assert len({one.version for one in known}) == 5
    assert registry.current().model == known[-1].folder
    for host, sequence in enumerate(sequences):
        assert Bundle.open(tmp_path / f"host{host}").sequence == sequence


def test_going_back_makes_the_one_before_current_and_what_was_current_count_no_more(
    store: PhotoStore, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    for weight in (2, 3):
        write_colour_bundle(tmp_path / f"candidate{weight}", weight=weight)
        publisher.publish(tmp_path / f"candidate{weight}")
    change = publisher.roll_back()
    assert (change.model.sequence, change.changed) == (2, True)
    assert Bundle.open(tmp_path / "bundles").sequence == 2
    third = str(registry.published()[2].model)
    assert store.runs.read().withdrawn == {third}
    with pytest.raises(
        PublishingError, match=rf"{third} is withdrawn.*autotag model publish --again {tmp_path}/bundles/000003"
    ):
        publisher.roll_back(third)
    with pytest.raises(
        PublishingError, match=r"there is no model 'small/000009-0123456789ab'; there are \['small/000001"
    ):
        publisher.roll_back("small/000009-0123456789ab")
    assert publisher.roll_back("small/" + str(registry.current().model)).changed is False
    # Further back; and the same bundle again is a new one.
    assert publisher.roll_back().model.sequence == 1
    with pytest.raises(PublishingError, match="all earlier models are withdrawn"):
        publisher.roll_back()
    with pytest.raises(
        PublishingError, match=rf"candidate3: is {third}, which was withdrawn; to publish it again, give --again"
    ):
        publisher.publish(tmp_path / "candidate3")
    change = publisher.publish(tmp_path / "candidate3", again=True)
    assert (change.model.sequence, registry.published()[3].version) == (4, registry.published()[2].version)
    assert publisher.roll_back().model.sequence == 1


def test_going_back_by_name_skips_those_between(
    store: PhotoStore, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    for weight in (2, 3):
        write_colour_bundle(tmp_path / f"candidate{weight}", weight=weight)
        publisher.publish(tmp_path / f"candidate{weight}")
    first, _, third = registry.published()
    assert publisher.roll_back(first.folder).model == first.model
    assert store.runs.read().withdrawn == {str(third.model)}
    write_colour_bundle(tmp_path / "candidate4", weight=4)
    publisher.publish(tmp_path / "candidate4")
    assert publisher.roll_back().model == first.model  # what was before, though the second is newer and counts


def test_a_rollback_that_another_change_overtakes_withdraws_nothing_else(
    settings: Settings, store: PhotoStore, registry: ModelRegistry, publisher: Publisher, tmp_path: Path
) -> None:
    for weight in (2, 3):
        write_colour_bundle(tmp_path / f"candidate{weight}", weight=weight)
    publisher.publish(tmp_path / "candidate2")

    class Overtaken(ModelRegistry):
        def change(self, seen: Current, model: str, by: str, new: Any = ()) -> bool:
            publisher.publish(tmp_path / "candidate3")
            return super().change(seen, model, by, new)

    with (
        Overtaken(settings).connect() as overtaken,
        pytest.raises(PublishingError, match=r"000002-.* was withdrawn, but another model has become current"),
    ):
        Publisher(settings, store, overtaken, "bob").roll_back()
    assert registry.published()[2].folder == registry.current().model
    assert len(store.runs.read().withdrawn) == 1


@pytest.mark.parametrize("damage", ["byte", "probe", "manifest"])
def test_a_bundle_that_is_damaged_or_computes_something_else_here_is_refused_and_nothing_is_changed(
    settings: Settings, store: PhotoStore, registry: ModelRegistry, publisher: Publisher, tmp_path: Path, damage: str
) -> None:
    before = names(settings)
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    if damage == "byte":
        path, message = tmp_path / "candidate" / NETWORK, "network.onnx: is not what the manifest says"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif damage == "manifest":
        path, message = tmp_path / "candidate" / MANIFEST, "manifest.json: its version is not the digest"
        path.write_text(path.read_text().replace(candidate.version, "0" * 64))
    else:
        np.save(tmp_path / "candidate" / PROBE, candidate.probe[::-1])
        facts = (candidate.network_key, candidate.precision, candidate.preprocessing, {})
        Bundle.seal(tmp_path / "candidate", "small", *facts)
        message = "probe.npy: the network here gives other features"
    with pytest.raises(ModelError, match=message):
        publisher.publish(tmp_path / "candidate")
    assert (registry.current(), registry.published(), names(settings)) == (Current(), [], before)
    assert store.runs.read().models == {}


def test_where_zookeeper_dies_in_between_the_same_call_goes_on(
    settings: Settings, store: PhotoStore, zookeeper: ZooKeeper, tmp_path: Path
) -> None:
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)

    class Dying(ModelRegistry):
        def change(self, seen: Current, model: str, by: str, new: Any = ()) -> bool:
            if seen.model is not None:
                zookeeper.kill()
            return super().change(seen, model, by, new)

    with Dying(settings).connect() as dying, pytest.raises(RegistryError, match="ZooKeeper"):
        Publisher(settings, store, dying, "ann").publish(candidate.folder)
    assert Bundle.open(tmp_path / "bundles").sequence == 1
    with pytest.raises(RegistryError, match=r"Connection refused; start it .*autotag cluster up"):
        ModelRegistry(settings).connect()
    zookeeper.start()
    with ModelRegistry(settings).connect() as registry:
        assert registry.current().model == Bundle.open(tmp_path / "bundles").folder.name
        assert Publisher(settings, store, registry, "ann").publish(candidate.folder).model.sequence == 2
        assert registry.current().model == Bundle.open(tmp_path / "bundles").folder.name
    assert len(names(settings)) == 3


def test_a_zookeeper_that_answers_nobody_is_named(settings: Settings, zookeeper: ZooKeeper) -> None:
    zookeeper.freeze()
    try:
        with pytest.raises(RegistryError, match=r"no ZooKeeper answers"):
            ModelRegistry(settings).connect()
    finally:
        zookeeper.thaw()


def test_without_a_registry_a_host_has_its_own(settings: Settings, store: PhotoStore, tmp_path: Path) -> None:
    publisher = Publisher(settings, store, HostModels(settings), "ann")
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    assert publisher.publish(candidate.folder).model.sequence == 2
    assert publisher.publish(candidate.folder).changed is False
    assert Bundle.open(tmp_path / "bundles").sequence == 2
    assert publisher.roll_back().model.sequence == 1
    assert Bundle.open(tmp_path / "bundles").sequence == 1
    assert len(store.runs.read().withdrawn) == 1
    assert publisher.publish(candidate.folder, again=True).model.sequence == 3


def test_numbers_are_above_those_that_the_store_knows(
    settings: Settings, store: PhotoStore, publisher: Publisher, tmp_path: Path
) -> None:
    bundle = Bundle.open(tmp_path / "bundles")
    store.runs.add_model(ModelVersion("small", "f" * 64, 41), bundle.classes)
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    assert publisher.publish(candidate.folder).model.sequence == 42


def test_nothing_is_published_into_a_folder_that_is_one_bundle(settings: Settings, store: PhotoStore) -> None:
    one = Bundle.open(settings.path(settings.model)).folder
    with pytest.raises(SettingsError, match=r"autotag\.model must be a folder of bundles"):
        Publisher(replace(settings, model=str(one)), store, HostModels(settings), "ann")


def test_a_worker_is_there_for_as_long_as_its_session(settings: Settings, registry: ModelRegistry) -> None:
    worker = Worker(topology="tagging", task=3, host="h", pid=1, model="000001-0123456789ab", since_us=5)
    with ModelRegistry(settings).connect() as session:
        session.announce(worker)
        assert registry.workers() == [worker]
        refusing = replace(worker, refused=Refusal(model="000002-0123456789ab", reason="damaged"))
        session.announce(refusing)
        assert registry.workers() == [refusing]
        with ModelRegistry(settings).connect() as next_life:
            next_life.announce(replace(worker, pid=2))
            session.close()
            assert registry.workers() == [replace(worker, pid=2)]
    assert registry.workers() == []


def test_what_is_not_ours_is_named(settings: Settings, registry: ModelRegistry) -> None:
    known = PublishedModel(
        name="small", version="f" * 64, sequence=1, classes=1, location="x", published_by="ann", published_us=1
    )
    assert registry.change(Current(), known.folder, "ann", [known])
    registry._client.set(f"{settings.model_registry_address[1]}/published/{known.folder}", b"?")
    with pytest.raises(RegistryError, match="/published: holds what autotag did not write"):
        registry.published()
    registry._client.set(f"{settings.model_registry_address[1]}/current", b"[]")
    with pytest.raises(RegistryError, match="/current: holds what autotag did not write"):
        registry.current()


@pytest.fixture
def config(settings: Settings, tmp_path: Path) -> Path:
    """A config.json of the test's settings."""
    options = {f"autotag.{name.replace('_', '.')}": value for name, value in vars(settings).items()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return path


def run(config: Path, *arguments: str) -> list[Any]:
    done = run_command(config, "model", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_line_publishes_lists_compares_and_goes_back(config: Path, tmp_path: Path) -> None:
    first = Bundle.open(tmp_path / "bundles").folder.name
    candidate = write_colour_bundle(tmp_path / "candidate", weight=2)
    (published,) = run(config, "publish", str(tmp_path / "candidate"), "--by", "ann")
    second = f"000002-{candidate.version[:12]}"
    assert published == {
        "model": f"small/{second}",
        "folder": second,
        "before": first,
        "changed": True,
        "restored": False,
    }
    again = run_command(config, "model", "publish", str(tmp_path / "candidate"))
    assert (again.returncode, again.stdout) == (0, f"small/{second} is current already; nothing was changed\n")
    (difference,) = run(config, "diff", first, f"small/{second}")
    assert difference["network"] is None
    assert difference["banks"]["colours"]["weights"] == ["n3", "n11"]
    gone_back = {"model": f"small/{first}", "folder": first, "before": second, "changed": True, "restored": False}
    assert run(config, "rollback") == [gone_back]
    listed = run(config, "list")
    assert [(one["model"], one["state"], one["published_by"]) for one in listed] == [
        (f"small/{first}", "current", ""),
        (f"small/{second}", "withdrawn", "ann"),
    ]
    refused = run_command(config, "model", "rollback", second)
    assert (refused.returncode, "is withdrawn" in refused.stderr) == (1, True)
    refused = run_command(config, "model", "publish", str(tmp_path / "candidate"))
    assert (refused.returncode, "--again" in refused.stderr) == (1, True)
    assert run(config, "publish", str(tmp_path / "candidate"), "--again")[0]["model"].startswith("small/000003")


def test_without_zookeeper_the_command_line_says_how_to_start_it_and_what_this_host_has(
    config: Path, tmp_path: Path
) -> None:
    write_colour_bundle(tmp_path / "candidate", weight=2)
    away = ("-o", "autotag.model.registry=zookeeper:127.0.0.1:1/autotag")
    refused = run_command(config, *away, "model", "publish", str(tmp_path / "candidate"))
    assert refused.returncode == 1
    assert "autotag cluster up" in refused.stderr
    listed = run_command(config, *away, "model", "list")
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 2)
    assert "this host's folder only" in listed.stderr
    local = run_command(config, *away, "model", "publish", "--local", str(tmp_path / "candidate"))
    assert local.returncode == 0
    assert Bundle.open(tmp_path / "bundles").sequence == 2
