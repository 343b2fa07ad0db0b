"""Hooks of streamparse, which imports this file from the project's folder before it submits a topology."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabric.api import env
from streamparse import Topology

from autotag.errors import SettingsError
from autotag.settings import Settings

PROJECT = Path(__file__).resolve().parent


def pre_submit(topology_name: str, env_name: str, env_config: dict[str, Any], options: dict[str, Any]) -> None:
    """Check `options`, set the parallelism, and make the paths of this machine absolute; nothing is submitted yet.

    config.json is the same in every checkout, so its paths are relative to the project; a worker runs elsewhere.
    """
    root = Path(env_config["virtualenv_root"])
    if not root.is_absolute():
        root = PROJECT / root
        options.setdefault("autotag.home", str(PROJECT))
        run = root / options.get("virtualenv_name", topology_name) / "bin" / "streamparse_run"
        if not run.exists():
            raise SystemExit(f"sparse: the workers' Python is missing ({run}); run: make setup")
    env.virtualenv_root = str(root)
    options["topology.python.path"] = str(root / options.get("virtualenv_name", topology_name) / "bin" / "python")
    (topology,) = Topology.__subclasses__()  # streamparse has imported the topology that it submits, and no other
    try:
        check(topology, options)
    except SettingsError as error:
        raise SystemExit(f"sparse: environment {env_name!r}: {error}") from error


def check(topology: type[Topology], options: dict[str, Any]) -> None:
    """Check the settings among `options`, and run component NAME as often as ``autotag.NAME.parallelism`` says.

    A component without such a setting keeps the parallelism that the topology gives it.

    Raises:
        SettingsError: a setting is wrong, or `options` do not state the parallelism of a component.
    """
    settings = Settings.from_storm(options)
    for spec in topology.specs:
        parallelism = getattr(settings, f"{spec.name}_parallelism", None)
        key = f"autotag.{spec.name}.parallelism"
        if parallelism is None:
            continue
        if key not in options:
            raise SettingsError(
                f"{key} is missing: the number of processes of component {spec.name!r}. "
                "Add it to the environment's options in config.json, or give it with -o"
            )
        spec.par = spec.common.parallelism_hint = parallelism
