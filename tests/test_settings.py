"""Settings are checked where they come in, and an error names the key and the nearest known one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotag.errors import SettingsError
from autotag.settings import PROJECT, Settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    options = {"autotag.tagger.batch.photos": 4, "topology.workers": 2}
    path.write_text(json.dumps({"envs": {"local": {"options": options}}}))
    return path


def test_config_json_gives_its_environments_keys_and_defaults_for_the_rest(config: Path) -> None:
    settings = Settings.from_config("local", config)
    assert settings.tagger_batch_photos == 4
    assert settings.queue_attempts == Settings().queue_attempts


def test_options_stand_over_the_file_and_text_becomes_what_the_field_is(config: Path) -> None:
    options = {
        "autotag.tagger.batch.photos": "8",
        "autotag.photo.private.hosts": "true",
        "autotag.photo.roots": "/a,/b",
        "autotag.cluster.worker.ports": "7000,7001",
        "autotag.queue.backoff.s": "0.5",
    }
    settings = Settings.from_config("local", config, options)
    assert settings.tagger_batch_photos == 8
    assert settings.photo_private_hosts is True
    assert settings.photo_roots == ("/a", "/b")
    assert settings.cluster_worker_ports == (7000, 7001)
    assert settings.queue_backoff_s == 0.5


def test_the_registry_is_several_servers_and_a_path(config: Path) -> None:
    options = {
        "autotag.model.registry": "zookeeper:a.example.org:2181,[::1]:2182/teams/photos",
        "autotag.model.location": "",
    }
    settings = Settings.from_config("local", config, options)
    assert settings.model_registry_address == ("a.example.org:2181,[::1]:2182", "/teams/photos")
    assert settings.model_location == ""
    assert Settings().model_registry_address == ("127.0.0.1:2181", "/autotag")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("autotag.batch.photo", 4, "did you mean 'autotag.tagger.batch.photos'"),
        ("autotag.zzz", 4, "did you mean 'autotag"),
        ("autotag.tagger.batch.photos", "many", "whole number. Given: 'many'"),
        ("autotag.tagger.batch.photos", 1.5, "whole number"),
        ("autotag.tagger.batch.photos", True, "whole number"),
        ("autotag.tagger.batch.photos", 0, "autotag.tagger.batch.photos must be more than 0"),
        ("autotag.photo.deadline.s", "nan", "a number"),
        ("autotag.photo.deadline.s", "inf", "more than 0"),
        ("autotag.photo.roots", ["relative"], "absolute folders"),
        ("autotag.photo.roots", 7, "a list"),
        ("autotag.photo.private.hosts", "perhaps", "true or false"),
        ("autotag.queue", "", "must be text"),
        ("autotag.language", "tlh", "autotag.language is no language of tags; there are de, en"),
        ("autotag.cluster.nimbus.port", 80, "autotag.cluster.nimbus.port must be from 1024 to 65535"),
        ("autotag.cluster.nimbus.port", 2181, "differ"),
        ("autotag.cluster.thrift.port", 6628, "differ"),
        (
            "autotag.cluster.hbase.ports",
            "16000,80",
            "autotag.cluster.hbase.ports must be from 1024 to 65535. Given: 80",
        ),
        ("autotag.cluster.hbase.ports", "16000", "must be two, the master's and the region server's"),
        ("autotag.home", "relative", "absolute folder"),
        ("autotag.store", "mysql://db/x", "'sqlite:PATH' or 'hbase://HOST:PORT/PREFIX'"),
        ("autotag.store", "sqlite:", "must be 'sqlite:PATH'"),
        ("autotag.store", "hbase://db.example.org/x", "the port of HBase's Thrift server"),
        ("autotag.store", "hbase://db.example.org:9090", "for the names of our tables"),
        ("autotag.store", "hbase://db.example.org:99999/x", "the port of HBase's Thrift server"),
        ("autotag.store", "hbase://db.example.org:9090/x-y", "letters, digits and '_'"),
        ("autotag.store", "hbase://db.example.org:9090/", "letters, digits and '_'"),
        ("autotag.store", "hbase:db:9090/x", "must be 'hbase://HOST:PORT/PREFIX'"),
        ("autotag.model.registry", "", "must be text"),
        (
            "autotag.model.registry",
            "127.0.0.1:2181/autotag",
            "autotag.model.registry must be 'zookeeper:HOST:PORT/PATH'",
        ),
        ("autotag.model.registry", "zookeeper:127.0.0.1:2181", "autotag.model.registry must be"),
        ("autotag.model.registry", "zookeeper:127.0.0.1/autotag", "autotag.model.registry must be"),
        ("autotag.model.registry", "zookeeper:a:2181,b/autotag", "several HOST:PORT separated by commas"),
        ("autotag.model.registry", "zookeeper:a:70000/autotag", "autotag.model.registry must be"),
        ("autotag.model.registry", "zookeeper:a:2181/../x", "autotag.model.registry must be"),
        ("autotag.model.location", "/srv/bundles", "must be an absolute URL"),
        ("autotag.model.location", "ftp://models.example.org/x", "must be an absolute URL"),
        ("autotag.model.location", "https://models.example.org/x?y", "must be an absolute URL"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key(config: Path, key: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.from_config("local", config, {key: value})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:build/store.db", None),
        ("hbase://127.0.0.1:9090/autotag", ("127.0.0.1", 9090, "autotag")),
        ("hbase://db-1.example.org:1/a_1", ("db-1.example.org", 1, "a_1")),
        ("hbase://[::1]:9090/photos:", ("::1", 9090, "photos:")),
        ("hbase://localhost:9090/photos:tags_", ("localhost", 9090, "photos:tags_")),
    ],
)
def test_the_store_is_a_file_or_an_address_of_hbase_with_a_prefix(
    url: str, address: tuple[str, int, str] | None
) -> None:
    assert Settings(store=url).store_address == address


def test_an_unknown_environment_is_refused_with_the_known_ones(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"no environment 'staging'; there are local"):
        Settings.from_config("staging", config)


def test_a_config_that_is_no_json_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SettingsError, match=r"broken\.json: is not JSON"):
        Settings.from_config("local", tmp_path / "broken.json")


@pytest.mark.parametrize(
    "config", [[], None, {"envs": 3}, {"envs": {"local": None}}, {"envs": {"local": {"options": []}}}]
)
def test_a_config_of_another_shape_is_refused_with_the_place(tmp_path: Path, config: object) -> None:
    (tmp_path / "odd.json").write_text(json.dumps(config))
    with pytest.raises(SettingsError, match=r"odd\.json.* must be a JSON object"):
        Settings.from_config("local", tmp_path / "odd.json")


def test_a_key_without_our_prefix_is_no_silent_mistake(config: Path) -> None:
    for read in (lambda o: Settings.from_config("local", config, o), Settings.from_storm):
        with pytest.raises(SettingsError, match=r"did you mean 'autotag\.tagger\.batch\.photos'"):
            read({"tagger.batch.photos": 3})


def test_storms_own_keys_are_left_to_storm() -> None:
    assert Settings.from_storm({"topology.workers": 1, "autotag.tagger.batch.photos": 2}).tagger_batch_photos == 2


def test_a_tuple_that_could_time_out_while_it_waits_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"topology\.message\.timeout\.secs must be at least"):
        Settings.from_storm({"topology.max.spout.pending": 1000, "topology.message.timeout.secs": 30})


def test_a_lease_that_could_end_before_its_tuple_is_refused() -> None:
    conf = {"topology.max.spout.pending": 8, "topology.message.timeout.secs": 500, "autotag.queue.lease.s": 400}
    with pytest.raises(SettingsError, match=r"autotag\.queue\.lease\.s must be longer"):
        Settings.from_storm(conf)


@pytest.mark.parametrize("environment", ["local", "hbase", "production"])
def test_the_projects_own_environments_pass_what_the_worker_checks(environment: str) -> None:
    options = json.loads((PROJECT / "config.json").read_text())["envs"][environment]["options"]
    assert Settings.from_storm(options)
    assert options["topology.max.spout.pending"]
    assert options["topology.message.timeout.secs"]


def test_the_environment_hbase_is_the_local_one_with_another_store() -> None:
    environments = json.loads((PROJECT / "config.json").read_text())["envs"]
    local, hbase = environments["local"], environments["hbase"]
    store = hbase["options"].pop("autotag.store")
    assert hbase == local
    assert Settings(store=store).store_address == ("127.0.0.1", Settings().cluster_thrift_port, "autotag")
