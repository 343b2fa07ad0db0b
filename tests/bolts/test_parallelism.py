"""Parallelism: a setting that every environment states; `sparse submit` and `sparse run` apply it."""

from __future__ import annotations

import json
import warnings

import pytest

from autotag.errors import SettingsError
from autotag.settings import PROJECT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what streamparse imports warns
    import tasks
    from topologies.tagging import Tagging

ENVIRONMENTS = json.loads((PROJECT / "config.json").read_text())["envs"]
COMPONENTS = ("upload", "tagger", "writer")


def test_every_component_of_the_topology_has_a_setting() -> None:
    assert sorted(spec.name for spec in Tagging.specs) == sorted(COMPONENTS)


@pytest.mark.parametrize("environment", list(ENVIRONMENTS))
def test_the_components_run_as_often_as_the_environment_says(environment: str) -> None:
    options = ENVIRONMENTS[environment]["options"]
    tasks.check(Tagging, dict(options))
    hints = {name: component.common.parallelism_hint for name, component in Tagging.thrift_bolts.items()}
    assert hints == {name: options[f"autotag.{name}.parallelism"] for name in ("tagger", "writer")}
    assert [spec.par for spec in Tagging.specs] == [options[f"autotag.{name}.parallelism"] for name in COMPONENTS]


def test_hbase_runs_as_many_components_as_local() -> None:
    keys = [f"autotag.{name}.parallelism" for name in COMPONENTS]
    local, hbase = ({key: ENVIRONMENTS[name]["options"][key] for key in keys} for name in ("local", "hbase"))
    assert hbase == local
    assert local["autotag.tagger.parallelism"] == 2


def test_text_from_the_command_line_is_a_number() -> None:
    tasks.check(Tagging, ENVIRONMENTS["local"]["options"] | {"autotag.tagger.parallelism": "3"})
    assert Tagging.thrift_bolts["tagger"].common.parallelism_hint == 3


@pytest.mark.parametrize("name", COMPONENTS)
def test_an_environment_that_does_not_state_it_is_refused(name: str) -> None:
    options = dict(ENVIRONMENTS["hbase"]["options"])
    del options[f"autotag.{name}.parallelism"]
    with pytest.raises(SettingsError, match=rf"^autotag\.{name}\.parallelism is missing.*config\.json.*-o"):
        tasks.check(Tagging, options)
