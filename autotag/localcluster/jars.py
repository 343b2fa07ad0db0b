"""Published jars, fetched by Maven into folders below build; all clusters of this checkout share them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotag.errors import ClusterError
from models.folders import locked


@contextmanager
def renewing(folder: Path, *sources: Path) -> Iterator[Path | None]:
    """Yield a new folder to fill, which takes the place of `folder`; None if `folder` was made from equal `sources`.

    One process at a time fills it. An exception leaves `folder` as it was.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = folder / "STAMP"
    folder.parent.mkdir(exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if stamp.exists() and stamp.read_text() == digest:
            yield None
            return
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        yield new
        (new / "STAMP").write_text(digest)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def fetch(pom: Path, folder: Path) -> None:
    """Copy the jars that `pom` lists to below `folder`; needs the network, or the jars in Maven's cache.

    Raises:
        ClusterError: Maven is missing, or it fails; with what it printed.
    """
    run("mvn", "-q", "-B", "-f", str(pom), "initialize", f"-Djars={folder}")


def run(*command: str) -> None:
    """Run mvn or java.

    Raises:
        ClusterError: it is missing, or it fails; with the end of what it printed.
    """
    try:
        done = subprocess.run(  # noqa: S603 - mvn and java, found on PATH
            command,
            env={"MAVEN_OPTS": "-XX:-UsePerfData", **os.environ},  # else it leaves a folder in the system's /tmp
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"{command[0]!r} is not installed; Debian has it: apt-get install openjdk-17-jdk-headless maven leiningen"
        ) from error
    if done.returncode:
        printed = "\n".join(done.stdout.splitlines()[-20:])
        raise ClusterError(f"{command[0]} failed ({done.returncode}):\n{printed}")
