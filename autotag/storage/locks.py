"""One process at a time in a job's folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from autotag.errors import InputError, JobError
from autotag.storage.folder import Folder

LOCK = ".lock"


@contextmanager
def alone_in(folder: Folder) -> Iterator[None]:
    """Keep other processes out of a folder for so long; one that dies lets go.

    Only of a folder on this machine: object stores know no locks, and there it is on whoever starts jobs.

    Raises:
        JobError: another process is in it.
        InputError: it cannot be written.
    """
    if not folder.is_local:
        yield
        return
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        file = (folder.path / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError(f"{folder}: another process is at work there; wait for it, or end it") from error
        yield
