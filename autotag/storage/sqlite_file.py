"""A SQLite file in WAL mode, shared by many processes. The embedded queue and the embedded store use it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotag.errors import AutotagError

BUSY_TIMEOUT_S = 10.0
"""Time-out of a writer that waits for others. Their transactions last milliseconds; Storm waits longer for a spout."""


class Database:
    """A connection to one file, opened at first use; safe for the threads of a process.

    A file that cannot be opened is tried again at the next use: its disk may come back.

    Args:
        path: the file; it and its folder are created if missing.
        schema: the SQL statements that create the tables.
        version: `PRAGMA user_version` of that schema; a file of another version is refused.
        error: the exception class raised for every error of SQLite.
    """

    def __init__(self, path: Path, schema: str, version: int, error: type[AutotagError]) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._error = error
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                connection.row_factory = sqlite3.Row
                self._create(connection)
            except BaseException:
                connection.close()
                raise
            self._opened = connection
        return self._opened

    def _create(self, connection: sqlite3.Connection) -> None:
        """Create the tables in an empty file. One of several processes does so; the others wait for it."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:  # This pragma ignores the busy time-out.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _statements(self._schema):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {self._version}")
            elif version != self._version:
                raise self._error(
                    f"{self.path}: has schema {version}, this program needs {self._version}; move the file away"
                )
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise self._error(f"{self.path}: {error}") from error

    def rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of one query."""
        with self._lock, self._reported():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Run one write transaction; roll it back on an exception.

        Args:
            durable: True if it must survive a power failure once committed (``synchronous=FULL``: one fsync). Otherwise
                it survives the end of all processes, but a power failure may undo the latest transactions.
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
        """Close the connection; committed transactions stay."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, each with the comments before it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
