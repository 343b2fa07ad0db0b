"""The log files of one local cluster."""

from __future__ import annotations

from pathlib import Path

from autotag.errors import ClusterError

TAIL_BYTES = 256 * 1024
"""Bytes of a file that are read for its last lines."""


class Logs:
    """The logs of all servers and workers, in one folder: ``nimbus.log``, ``worker-6700.log``, ``worker-6700.out``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self, name: str | None = None) -> list[Path]:
        """Return all log files, or those of one server or worker (``nimbus``, ``worker-6700``), sorted.

        Raises:
            ClusterError: there is no log of `name`.
        """
        files = sorted(path for path in self.folder.glob("*") if path.suffix in (".log", ".out"))
        chosen = [path for path in files if name in (None, path.stem)]
        if name is not None and not chosen:
            names = sorted({path.stem for path in files})
            raise ClusterError(
                f"no log of {name!r} in {self.folder}; there are logs of {', '.join(names) or 'nothing'}"
            )
        return chosen

    def tail(self, name: str | None = None, lines: int = 50) -> str:
        """Return the last `lines` of each of `files`, below its path."""
        return "\n".join(f"==> {path} <==\n" + "\n".join(last_lines(path, lines)) for path in self.files(name))

    def excerpt(self, pattern: str) -> str:
        """Return the last 40 lines of the files that match `pattern`, each cut to 300 characters, for an error."""
        files = sorted(self.folder.glob(pattern))
        return "\n".join(f"{path}:\n" + "\n".join(line[:300] for line in last_lines(path, 40)) for path in files)


def last_lines(path: Path, lines: int) -> list[str]:
    """Return the last `lines` of a file, from at most its last `TAIL_BYTES`."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-lines:]
