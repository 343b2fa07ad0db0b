"""HBase on the local cluster: its published jars, and a check that it can be used."""

from __future__ import annotations

import contextlib

from autotag.localcluster.jars import fetch, renewing
from autotag.progress import Progress, silent
from autotag.settings import PROJECT, Settings

POM = PROJECT / "cluster" / "hbase" / "pom.xml"
FOLDER = PROJECT / "build" / "hbase"
"""lib, with the jars of the servers and of the Thrift server."""


def install(progress: Progress = silent) -> None:
    """Lay out the jars of HBase in `FOLDER`, unless they are there.

    Raises:
        ClusterError: Maven is missing, or a jar cannot be fetched.
    """
    with renewing(FOLDER, POM) as folder:
        if folder is not None:
            progress("fetching the jars of HBase")
            fetch(POM, folder)


def is_needed(settings: Settings) -> bool:
    """Return True if the store is the local cluster's own HBase; any other HBase is not ours to run."""
    host, port, _ = settings.store_address or ("", 0, "")
    return host in ("127.0.0.1", "localhost") and port == settings.cluster_thrift_port


def problem(host: str, port: int, prefix: str, timeout_s: float) -> str | None:
    """Return why tables cannot be created, or existing tables of `prefix` not be read, now; None if they can.

    Asks through the Thrift server at `host` and `port`, with `timeout_s` for each of a few answers. An open port means
    nothing: the Thrift server opens it before HBase is ready.
    """
    # Imported here: happybase takes a while to read the interface's definition, and only this function needs it.
    import happybase

    from autotag.stores.hbase_link import FAILURES, said
    from autotag.stores.tables import FAMILIES

    start = prefix if prefix.endswith(":") else f"{prefix}_"  # as HBaseTables does
    ours = {(start + table).encode() for table in FAMILIES}
    try:
        with contextlib.closing(happybase.Connection(host, port, timeout=int(timeout_s * 1000))) as connection:
            # The master describes no table until it has started; from then on it also creates tables.
            connection.table("hbase:meta").families()
            for name in ours.intersection(connection.tables()):
                connection.table(name).row(b"-")  # Waits until the table's region is back after a start.
    except FAILURES as error:
        return f"HBase does not answer at {host}:{port} (autotag.store): {said(error)}"
    return None
