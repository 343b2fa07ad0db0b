"""A folder of installed bundles, one of which is current.

000001-<first 12 digits of the version>/    see bundle.py
000002-.../
CURRENT                                     one line: the name of the current bundle's folder
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from models.errors import ModelError

CURRENT = "CURRENT"

_FOLDER = re.compile(r"(\d{6,12})-([0-9a-f]{12})")


def folder_name(sequence: int, version: str) -> str:
    """Return the name of a bundle's folder."""
    return f"{sequence:06d}-{version[:12]}"


def parse_folder_name(name: str) -> tuple[int, str] | None:
    """Return the sequence number and the first 12 digits of the version in a folder's name; None for other names."""
    match = _FOLDER.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def installed(root: Path) -> list[Path]:
    """Return the folders of the installed bundles, the newest last."""
    folders = ((parse_folder_name(folder.name), folder) for folder in (root.iterdir() if root.is_dir() else ()))
    return [folder for _, folder in sorted((named, folder) for named, folder in folders if named)]


def current(root: Path) -> Path | None:
    """Return the folder of the bundle in use: the one that the file CURRENT names, or without that file the newest.

    Returns None if no bundle is installed.

    Raises:
        ModelError: CURRENT cannot be read, or names a bundle that is not installed.
    """
    path = root / CURRENT
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return next(reversed(installed(root)), None)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if parse_folder_name(name) is None or not (root / name).is_dir():
        raise ModelError(f"{path}: names {name[:80]!r}, and no such bundle is here; there are {_names(root)}")
    return root / name


def make_current(root: Path, name: str) -> None:
    """Make an installed bundle the one in use, atomically: a reader sees the old name or the new one.

    Raises:
        OSError: the file cannot be written; the old name stays.
    """
    path = root / CURRENT
    if path.exists() and path.read_text(encoding="utf-8").strip() == name:
        return
    new = root / f".{CURRENT}-{os.getpid()}"
    with new.open("w", encoding="utf-8") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _names(root: Path) -> list[str]:
    return [folder.name for folder in installed(root)]
