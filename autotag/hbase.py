"""HBase on the local cluster: its published jars, and whether it can be used."""

from __future__ import annotations

import contextlib
from pathlib import Path

from autotag.assembly import Assembly, fetch
from autotag.settings import PROJECT

POM = PROJECT / "cluster" / "hbase" / "pom.xml"


def _lay_out(folder: Path) -> None:
    fetch(POM, folder)


ASSEMBLY = Assembly(folder=PROJECT / "build" / "hbase", contents="HBase", sources=(POM,), lay_out=_lay_out)
"""lib, with the jars of the servers and of the Thrift server."""


def problem(host: str, port: int, prefix: str, timeout_s: float) -> str | None:
    """Why tables cannot be made, or those whose names begin with `prefix` not be read, now; None when they can.

    Asks through the Thrift server at `host` and `port`. That the server takes connections says nothing: it does so
    before HBase is there. `timeout_s` is for each of a few answers.
    """
    # Only who asks needs it: reading the interface's definition takes a while.
    import happybase

    from autotag.stores.thrift import FAILURES

    try:
        with contextlib.closing(happybase.Connection(host, port, timeout=int(timeout_s * 1000))) as connection:
            # The master refuses to describe a table until it has started, and only then makes tables.
            connection.table("hbase:meta").families()
            for name in connection.tables():
                if name.decode().startswith(prefix):
                    connection.table(name).row(b"-")  # Waits for the table's region to be back after a start.
    except FAILURES as error:
        return f"HBase does not answer at {host}:{port} (autotag.store): {_reason(error)}"
    return None


def _reason(error: BaseException) -> str:
    """The first line of what went wrong; an answer of Thrift's is bytes, and ends with Java's stack trace."""
    message = getattr(error, "message", None) or (error.args and error.args[-1]) or ""
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return f"{type(error).__name__} {text.partition(chr(10))[0][:200]}"
