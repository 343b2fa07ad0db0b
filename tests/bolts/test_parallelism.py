"""Parallelism: a setting that every environment has; without it nothing is submitted."""

from __future__ import annotations

import json

import pytest

from autotag.errors import SettingsError
from autotag.settings import PROJECT, Settings
from bolts.parallelism import KEYS, Parallelism

ENVIRONMENTS = json.loads((PROJECT / "config.json").read_text())["envs"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_says_how_many_processes_each_component_has(environment: str) -> None:
    assert all(ENVIRONMENTS[environment]["options"][key] >= 1 for key in KEYS)
    assert Settings.from_config(environment).tagger_parallelism == ENVIRONMENTS[environment]["options"][KEYS[1]]


def test_hbase_has_as_many_bolts_as_local() -> None:
    assert [ENVIRONMENTS["hbase"]["options"][key] for key in KEYS] == [
        ENVIRONMENTS["local"]["options"][key] for key in KEYS
    ]


def test_an_environment_has_the_hint_that_its_options_say_whatever_it_is_called() -> None:
    hint = Parallelism("tagger")
    assert isinstance(hint, dict)  # streamparse's test of what to look up
    Parallelism.use({**dict.fromkeys(KEYS, 1), "autotag.tagger.parallelism": "3"})
    assert hint.get("an environment of the team's own") == 3


def test_a_missing_hint_is_refused_and_named() -> None:
    with pytest.raises(SettingsError, match=r"^autotag\.tagger\.parallelism must say how many processes"):
        Parallelism.use({key: 1 for key in KEYS if "tagger" not in key})
