"""Published jars, fetched by Maven and laid out as a server expects them; shared by all clusters of this checkout."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotag.errors import ClusterError
from models.folders import locked


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A folder below build, made once."""

    folder: Path
    contents: str
    """In words, for who waits."""
    sources: tuple[Path, ...]
    """What it follows from; it is made again when one of them changes."""
    lay_out: Callable[[Path], None]
    """Fills an empty folder."""

    def make(self, progress: Callable[[str], None]) -> None:
        """Make the folder unless it is there already; needs the network, or the jars in Maven's cache.

        Raises:
            ClusterError: Java or Maven is missing, or a jar cannot be fetched; no half assembly is left.
        """
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in self.sources)).hexdigest()
        stamp = self.folder / "STAMP"
        self.folder.parent.mkdir(exist_ok=True)
        with locked(self.folder.with_suffix(".lock")):
            if stamp.exists() and stamp.read_text() == digest:
                return
            progress(f"fetching the jars of {self.contents}")
            new = self.folder.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            self.lay_out(new)
            (new / "STAMP").write_text(digest)
            shutil.rmtree(self.folder, ignore_errors=True)
            new.rename(self.folder)


def fetch(pom: Path, folder: Path) -> None:
    """Have Maven copy the jars that `pom` names to below `folder`.

    Raises:
        ClusterError: Maven is missing, or it fails; with what it said.
    """
    run("mvn", "-q", "-B", "-f", str(pom), "initialize", f"-Djars={folder}")


def run(*command: str) -> None:
    """Run mvn or java.

    Raises:
        ClusterError: it is missing, or it fails; with the end of what it printed.
    """
    try:
        done = subprocess.run(  # noqa: S603 - mvn and java, found on PATH
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"{command[0]!r} is not installed; Debian has it: apt-get install openjdk-17-jdk-headless maven leiningen"
        ) from error
    if done.returncode:
        printed = "\n".join(done.stdout.splitlines()[-20:])
        raise ClusterError(f"{command[0]} failed ({done.returncode}):\n{printed}")
