"""One SQLite file in WAL mode, shared by many processes: what the embedded queue and the embedded store stand on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotag.errors import AutotagError

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the others; a transaction of ours lasts milliseconds."""


class Database:
    """A connection to one file, created with `schema` when new; safe for the threads of a process.

    Args:
        path: the file; its folder is made.
        schema: SQL statements that may be run on an existing file too (``IF NOT EXISTS``).
        version: `PRAGMA user_version` of that schema; a file of another version is refused.
        error: what to raise for everything that SQLite raises.
    """

    def __init__(self, path: Path, schema: str, version: int, error: type[AutotagError]) -> None:
        self.path = path
        self._error = error
        self._lock = threading.RLock()
        with self._reported():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._create(schema, version)

    def _create(self, schema: str, version: int) -> None:
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found == version:
            return
        if found != 0:
            raise self._error(f"{self.path}: has schema {found}, this program wants {version}; move the file away")
        self._connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version = {version}; COMMIT;")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._error(f"{self.path}: {error}") from error

    def rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self._lock, self._reported():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it or, after an exception, nothing.

        Args:
            durable: whether it must survive a power failure once committed (``synchronous=FULL``: one fsync). Without,
                it survives the death of every process; after a power failure the file is as it was a moment earlier.
        """
        with self._lock, self._reported():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        with self._lock:
            self._connection.close()
