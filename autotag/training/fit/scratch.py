"""Scratch folders for files between the processes of a job: work/<start time>-<random>/ in the training set."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from autotag.events.times import now_us
from autotag.storage.folder import Folder

ABANDONED_US = 7 * 86400 * 10**6
"""Age at which a scratch folder counts as abandoned: no training takes a week."""
_NAME = re.compile(r"(\d+)-[0-9a-f]{32}")


@contextmanager
def work_folder(folder: Folder) -> Iterator[str]:
    """Yield the name, below `folder`, of a scratch folder for one job; remove it at the end, abandoned ones at once.

    Raises:
        InputError: a folder cannot be removed.
    """
    begun_us = now_us()
    for name in folder.folder("work").names():
        match = _NAME.fullmatch(name)
        if match and int(match[1]) < begun_us - ABANDONED_US:
            folder.remove(f"work/{name}")
    work = f"work/{begun_us}-{uuid.uuid4().hex}"
    try:
        yield work
    finally:
        folder.remove(work)
