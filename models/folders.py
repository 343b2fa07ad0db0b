"""Folders that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_S = 86400
"""Age from which on a staged folder counts as left behind by a killed process."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is created if needed; wait for it. The lock of a process ends with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def staged(root: Path, prefix: str) -> Iterator[Path]:
    """Yield a hidden folder in `root` to fill and then move to its place; remove it if it is still there at the end.

    Args:
        root: the parent folder of the place, created if needed, so that the move stays on one file system.
        prefix: of the hidden folder's name, such as ``.building-``. Folders with it that killed processes left behind
            `ABANDONED_S` ago are removed first.
    """
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    try:
        folder.chmod(0o755)  # mkdtemp lets only its owner read
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path, prefix: str) -> None:
    """Remove the folders with `prefix` that killed processes left in `root`."""
    for folder in root.glob(f"{prefix}*"):
        with suppress(FileNotFoundError):  # another process was faster, or has ended just now
            # A copied folder has its original's time of the last change.
            if time.time() - folder.stat().st_ctime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
