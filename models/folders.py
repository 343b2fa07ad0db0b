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
"""A staged folder that is older than this belongs to a process that was killed."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock on a file, which is made if needed; a process that dies lets go of it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def staged(root: Path, prefix: str) -> Iterator[Path]:
    """A hidden folder in `root` to fill and then move to its place; whatever still lies there at the end is removed.

    Args:
        root: the folder of the place, made if needed, so that the move stays on one file system.
        prefix: of the hidden folder's name, such as ``.building-``. Folders with it that killed processes left behind
            `ABANDONED_S` ago are removed first.
    """
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    try:
        folder.chmod(0o755)  # mkdtemp's is for its owner alone
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path, prefix: str) -> None:
    """Remove the folders of that prefix that killed processes left in `root`."""
    for folder in root.glob(f"{prefix}*"):
        with suppress(FileNotFoundError):  # another process was faster, or has ended just now
            # A copied folder has its original's time of the last change.
            if time.time() - folder.stat().st_ctime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
