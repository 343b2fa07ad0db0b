"""HBase on the local cluster: its published jars, and whether it can be used."""

from __future__ import annotations

import contextlib
from pathlib import Path

from autotag.localcluster.jars import Assembly, fetch
from autotag.settings import PROJECT

POM = PROJECT / "cluster" / "hbase" / "pom.xml"


def _lay_out(folder: Path) -> None:
    fetch(POM, folder)


ASSEMBLY = Assembly(folder=PROJECT / "build" / "hbase", contents="HBase", sources=(POM,), lay_out=_lay_out)
"""lib, with the jars of the servers and of the Thrift server."""


def problem(host: str, port: int, prefix: str, timeout_s: float) -> str | None:
    """Why tables cannot be made, or those of `prefix` that are there not be read, now; None when they can.

    Asks through the Thrift server at `host` and `port`. That the server takes connections says nothing: it does so
    before HBase is there. `timeout_s` is for each of a few answers.
    """
    # Only who asks needs it: reading the interface's definition takes a while.
    import happybase

    from autotag.stores.hbase_link import FAILURES, said
    from autotag.stores.tables import FAMILIES

    start = prefix if prefix.endswith(":") else f"{prefix}_"  # as HBaseTables does
    ours = {(start + table).encode() for table in FAMILIES}
    try:
        with contextlib.closing(happybase.Connection(host, port, timeout=int(timeout_s * 1000))) as connection:
            # The master refuses to describe a table until it has started, and only then makes tables.
            connection.table("hbase:meta").families()
            for name in ours.intersection(connection.tables()):
                connection.table(name).row(b"-")  # Waits for the table's region to be back after a start.
    except FAILURES as error:
        return f"HBase does not answer at {host}:{port} (autotag.store): {said(error)}"
    return None
