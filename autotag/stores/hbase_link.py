"""Link: a connection to HBase's Thrift server, replaced after every failure; and its errors in one line each.

happybase's Connection must not be used again after a failure. Bytes that could not be sent stay in its write buffer,
through `close` and `open`, and go out first when it is used again. From then on every answer belongs to the question
before, and nothing shows it. So a Link drops the connection, with its buffers, and makes a new one.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import happybase  # also makes the module Hbase_thrift, which is no file
from happybase.connection import TBinaryProtocol, TBufferedTransport, TClient, TSocket
from Hbase_thrift import AlreadyExists, Hbase, IllegalArgument
from Hbase_thrift import IOError as ServerError
from thriftpy2.protocol.cybin.cybin import ProtocolError
from thriftpy2.thrift import TException
from thriftpy2.transport import TTransportException

from autotag.errors import StoreError

WAITS_S = (0.0, 0.7, 1.4, 2.8)
"""Seconds before each further try, give or take a half, so that clients that failed together do not return together.

The first wait is 0: the server closes a connection that was idle for a minute, and a new connection is enough. Together
they last about as long as a Thrift server takes to start again; a caller that has more time calls again later.
"""
PATIENCE_S = 5.0
"""After this and one time-out no further try begins, even if some are left: a server that hangs makes tries long."""
BUFFER_BYTES = 1 << 16
"""happybase's 4 KiB cost a system call for every few cells: to put 1000 rows of 1.2 KB took a third longer."""
REASON_CHARS = 200
"""Characters of a server's message that are kept: about a missing family it describes the whole table."""

FAILURES = (TException, ProtocolError, OSError, EOFError)
ORDERLY = (ServerError, IllegalArgument, AlreadyExists)
"""Failures that are complete answers: the connection can be used on."""

_PACKAGE = re.compile(r"\b(?:[a-z]\w*\.)+(?=[A-Z])")
_WRAPPING = re.compile(r"^RetriesExhaustedWithDetailsException: Failed \d+ actions?: |\b(\w+Exception): (?=\1: )")
_REFUSED = re.compile(
    rb"IllegalArgumentException: |ConstraintException: |DoNotRetryIOException: Cell\[.* exceeds limit of "
)
"""Errors that are surely about the cells themselves. A closing server, too, raises DoNotRetryIOException."""

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class TableMissing(StoreError):
    """A table or a column family does not exist."""


class TableExists(StoreError):
    """A table exists already."""


class WriteRefused(StoreError):
    """HBase will always refuse this write, for the given reason, say a value that is too large."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Link:
    """A connection to ``host:port``, made when first used. Threads may share it; forked processes may not.

    Args:
        timeout_s: seconds to connect, and seconds without any byte of an answer.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._lock = threading.Lock()
        self._connection: happybase.Connection | None = None

    def ask(self, table: str, operation: Callable[[happybase.Connection], Answer]) -> Answer:
        """Return the result of `operation`, which is repeated while the server cannot be reached.

        Args:
            table: the table's name, for messages.
            operation: must be safe to repeat; it has the connection for itself while it runs.

        Raises:
            TableMissing, TableExists, WriteRefused: at once.
            StoreError: the server could not be reached, or denies access.
        """
        waits_s = list(WAITS_S)
        give_up = time.monotonic() + PATIENCE_S + self._timeout_s
        while True:
            try:
                with self._lock:
                    return self._tried(operation)
            except FAILURES as error:
                reason = self._reason(error)
                if (final := self._final(error, reason, table)) is not None:
                    raise final from error
                if not waits_s or time.monotonic() > give_up:
                    tries = len(WAITS_S) - len(waits_s) + 1
                    raise StoreError(self._away(reason, table, tries)) from error
            log.log(
                logging.INFO
                if len(waits_s) == len(WAITS_S)
                else logging.WARNING,  # the first may be an idle connection
                *("HBase at %s, table %s: %s; tries left: %d", self.where, table, reason, len(waits_s)),
            )
            time.sleep(waits_s.pop(0) * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, hides nothing

    def close(self) -> None:
        """Close the connection; the next `ask` makes a new one."""
        with self._lock:
            self._drop()

    def _tried(self, operation: Callable[[happybase.Connection], Answer]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        try:
            return operation(self._connection)
        except ORDERLY:
            raise
        except BaseException:  # a KeyboardInterrupt too may leave half an answer unread
            self._drop()
            raise

    def _connect(self) -> happybase.Connection:
        """Return happybase's Connection with larger buffers, and support for IPv6 addresses."""
        connection = happybase.Connection(self._host, self._port, autoconnect=False)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        timeout_ms = max(1, round(self._timeout_s * 1000))  # 0 would mean no time-out
        line = TSocket(self._host, self._port, socket_family=family, socket_timeout=timeout_ms)
        connection.transport = TBufferedTransport(line, BUFFER_BYTES)
        protocol = TBinaryProtocol(connection.transport, decode_response=False)
        connection.client = TClient(Hbase, protocol)
        connection.open()
        return connection

    def _drop(self) -> None:
        dropped, self._connection = self._connection, None
        if dropped is not None:
            with contextlib.suppress(*FAILURES):
                dropped.close()

    def _reason(self, error: BaseException) -> str:
        """Return a failure in one line."""
        if isinstance(error, TTransportException) and isinstance(error.__context__, OSError):
            return f"could not connect: {said(error.__context__)}"
        if isinstance(error, TimeoutError) and error.errno is None:
            return f"no answer for {self._timeout_s:g} s"
        return said(error)

    def _final(self, error: BaseException, reason: str, table: str) -> StoreError | None:
        """Return the error to raise at once; None where another try may help."""
        words = b"\n".join(_words(error))
        where = f"HBase at {self.where}, table {table}"
        if b"TableNotFoundException" in words:
            return TableMissing(f"{where}: does not exist; run: autotag store init")
        if b"NoSuchColumnFamilyException" in words:
            return TableMissing(f"{where}: a column family is missing; run: autotag store init. It says: {reason}")
        if isinstance(error, AlreadyExists) or b"TableExistsException" in words:
            return TableExists(f"{where}: exists already")
        if b"NamespaceNotFoundException" in words:
            namespace = table.partition(":")[0]
            return StoreError(f"{where}: no such namespace; in HBase's shell: create_namespace '{namespace}'")
        if b"AccessDeniedException" in words:
            return StoreError(f"{where}: access is denied; see HBase's `grant`. It says: {reason}")
        if isinstance(error, ORDERLY) and _REFUSED.search(words):
            return WriteRefused(f"{where}: refuses: {reason}", reason)
        return None

    def _away(self, reason: str, table: str, tries: int) -> str:
        return (
            f"HBase at {self.where}, table {table}: {reason} (tries: {tries}); check that HBase and its Thrift "
            "server run, and that autotag.store has their address"
        )


def said(error: BaseException) -> str:
    """Return an exception's message in one line, without Java's package names."""
    lines = [line.decode("utf-8", "backslashreplace").strip() for line in _words(error)]
    text = next(iter(lines), "")
    if text.endswith(":") and len(lines) > 1:  # "Failed after attempts=16, exceptions:", and then which
        text = f"{text} {lines[1]}"
    text = _WRAPPING.sub("", _PACKAGE.sub("", text))
    if len(text) > REASON_CHARS:
        text = text[: REASON_CHARS - 3] + "..."
    return text if isinstance(error, ORDERLY) else f"{type(error).__name__}: {text}"


def _words(error: BaseException) -> list[bytes]:
    """Return the lines of an exception's message, without Java's stack.

    `str` of a TApplicationException raises TypeError: its message is bytes, as all messages here.
    """
    message: Any = getattr(error, "message", None) or (error.args and str(error.args[-1])) or ""
    if isinstance(message, str):
        message = message.encode("utf-8", "backslashreplace")
    return [line for line in message.split(b"\n") if line.strip() and not line.startswith(b"\tat ")]
