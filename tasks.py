"""What `sparse submit` calls: streamparse imports this file and runs `pre_submit` before it makes the jar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabric.api import env

from autotag.errors import SettingsError
from autotag.settings import Settings
from bolts.parallelism import Parallelism

PROJECT = Path(__file__).resolve().parent


def pre_submit(topology_name: str, _env_name: str, env_config: dict[str, Any], options: dict[str, Any]) -> None:
    """Check the settings, and make the workers' Python and ``autotag.home`` absolute where they are on this machine.

    config.json is the same in every checkout, so its paths are relative to the project; a worker runs elsewhere.
    """
    root = Path(env_config["virtualenv_root"])
    if not root.is_absolute():
        root = PROJECT / root
        options.setdefault("autotag.home", str(PROJECT))
        run = root / options.get("virtualenv_name", topology_name) / "bin" / "streamparse_run"
        if not run.exists():
            raise SystemExit(f"sparse submit: the workers' Python is missing ({run}); run: make setup")
    env.virtualenv_root = str(root)
    options["topology.python.path"] = str(root / options.get("virtualenv_name", topology_name) / "bin" / "python")
    check(options)


def check(options: dict[str, Any]) -> None:
    """Check all options before anything is submitted or run, and let the components have their parallelism."""
    try:
        Settings.from_storm(options)
        Parallelism.use(options)
    except SettingsError as error:
        raise SystemExit(f"sparse: {error}") from error
