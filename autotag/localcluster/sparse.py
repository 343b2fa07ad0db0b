"""Runs streamparse's command line, ``sparse``, against a local cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from autotag.errors import ClusterError
from autotag.settings import PROJECT


def run_sparse(*arguments: str, nimbus_port: int, project: Path = PROJECT, timeout_s: float = 300.0) -> str:
    """Run ``sparse ARGUMENTS`` in folder `project` against the Nimbus at `nimbus_port`, and return what it printed.

    Raises:
        ClusterError: it failed, or took longer than `timeout_s`; with what it printed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        done = subprocess.run(  # noqa: S603 - our own launcher
            [str(PROJECT / "cluster" / "sparse"), *arguments],
            cwd=project,
            env=os.environ | {"STREAMPARSE_NIMBUS": f"127.0.0.1:{nimbus_port}", "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        printed = (error.stdout or b"").decode(errors="replace")
        raise ClusterError(f"sparse {' '.join(arguments)}: not done in {timeout_s:.0f} s\n{printed}") from error
    if done.returncode:
        raise ClusterError(f"sparse {' '.join(arguments)} failed ({done.returncode}):\n{done.stdout}")
    return done.stdout
