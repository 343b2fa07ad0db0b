"""Locks a job's folder for one process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from autotag.errors import InputError, JobError
from autotag.storage.folder import Folder

LOCK = ".lock"


@contextmanager
def alone_in(folder: Folder) -> Iterator[None]:
    """Lock a folder against other processes, until the end of the context or of the process.

    Works only for a folder on this machine. Object stores have no locks: there the user must not start a job twice.

    Raises:
        JobError: another process holds the lock.
        InputError: the folder cannot be written.
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
            raise JobError(f"{folder}: another process uses it; wait for its end, or stop it") from error
        yield
