"""A client of supervisord, which keeps the servers of the local cluster running."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from autotag.errors import ClusterError
from autotag.localcluster.processes import Process

DAEMONS = ("zookeeper", "nimbus", "supervisor")
"""The programs of cluster/supervisord.conf that start with supervisord."""
HBASE_DAEMONS = ("hbase-master", "hbase-regionserver", "thrift")
"""The programs that start if HBase is needed, in this order; they stop in the opposite order."""

_COMMANDS = {
    "org.apache.zookeeper.server.quorum.QuorumPeerMain": "zookeeper",
    "org.apache.storm.daemon.nimbus.Nimbus": "nimbus",
    "org.apache.storm.daemon.supervisor.Supervisor": "supervisor",
    "org.apache.hadoop.hbase.master.HMaster": "hbase-master",
    "org.apache.hadoop.hbase.regionserver.HRegionServer": "hbase-regionserver",
    "org.apache.hadoop.hbase.thrift.ThriftServer": "thrift",
    "supervisor.supervisord": "supervisord",
}
"""Class or module on the command line -> name of the server."""


def server_name(process: Process) -> str | None:
    """Return the name of the daemon (or ``supervisord``) that a process is; None for workers and their children."""
    return next((name for argument, name in _COMMANDS.items() if argument in process.command), None)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A server of the cluster."""

    name: str
    state: str
    """supervisord's name: ``RUNNING``, ``STARTING``, ``BACKOFF``, ``STOPPED``...; ``DOWN`` without supervisord."""
    pid: int | None = None
    uptime_s: int | None = None


class Supervisord:
    """A client of the supervisord of one cluster home, over a socket in that folder; supervisord need not run."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "supervisord.sock"
        # The system allows 107 bytes, and supervisord first adds its pid to the name.
        if len(os.fsencode(self.socket)) > 95:
            digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
            self.socket = Path("/tmp", f"autotag-{os.getuid()}-{digest}.sock")  # noqa: S108

    def runs(self) -> bool:
        """Return True if supervisord answers."""
        try:
            self._ask("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def start(self, configuration: Path, environment: Mapping[str, str]) -> None:
        """Start supervisord, which starts its programs, in a session of its own: it outlives this process.

        Raises:
            ClusterError: it does not start; with what it printed.
        """
        done = subprocess.run(  # noqa: S603 - our own Python; it returns once supervisord is in the background
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            env=os.environ | {"AUTOTAG_CLUSTER_SOCKET": str(self.socket), **environment},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"supervisord does not start: {done.stdout}{done.stderr}")

    def shut_down(self) -> None:
        """Tell supervisord to stop its programs and end, without waiting; do nothing if it does not run."""
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            self._ask("shutdown")

    def start_daemon(self, name: str) -> None:
        """Start a program, unless it runs."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._ask("startProcess", name, False)

    def stop_daemon(self, name: str, wait: bool = True) -> None:
        """Stop a program and do not start it again; do nothing if it is stopped, or supervisord does not run."""
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            self._ask("stopProcess", name, wait)

    def daemons(self) -> tuple[Daemon, ...]:
        """Return the state of each of `DAEMONS` and `HBASE_DAEMONS`."""
        try:
            running = {info["name"]: info for info in self._ask("getAllProcessInfo")}
        except (OSError, xmlrpc.client.Error):
            running = {}
        return tuple(
            _daemon(running[name]) if name in running else Daemon(name=name, state="DOWN")
            for name in (*DAEMONS, *HBASE_DAEMONS)
        )

    def _ask(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def _daemon(info: Mapping[str, Any]) -> Daemon:
    return Daemon(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        uptime_s=info["now"] - info["start"] if info["pid"] else None,
    )
