"""The state of a local cluster at one moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from autotag.errors import ClusterError
from autotag.localcluster import hbase_jars
from autotag.localcluster.nimbus import Nimbus, Topology
from autotag.localcluster.supervisord import DAEMONS, HBASE_DAEMONS, Daemon
from autotag.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Status:
    """The cluster as it is now."""

    home: str
    ready: bool
    """True if a topology can be submitted and, where the store is on the cluster's HBase, HBase answers."""
    daemons: tuple[Daemon, ...]
    slots: int = 0
    slots_used: int = 0
    topologies: tuple[Topology, ...] = ()
    problem: str | None = None
    """The reason why the cluster is not ready."""
    suspect: str | None = None
    """The server whose log may say more."""

    def as_json(self) -> dict[str, Any]:
        """Return the same as lists and dictionaries."""
        return dataclasses.asdict(self)


def needed_daemons(settings: Settings) -> tuple[str, ...]:
    """Return the servers that `settings` need: HBase's only where the store is on the cluster's own HBase."""
    return (*DAEMONS, *HBASE_DAEMONS) if hbase_jars.is_needed(settings) else DAEMONS


def read_status(
    settings: Settings, daemons: tuple[Daemon, ...], nimbus: Nimbus, down: str, hbase_timeout_s: float
) -> Status:
    """Ask the servers for their state; a server that does not answer is a `Status.problem`, not an exception.

    Args:
        settings: of the cluster.
        daemons: their states, of all; HBase's are left out where they are neither needed nor running.
        nimbus: is asked if it runs.
        down: the problem to tell if nothing is up.
        hbase_timeout_s: for each of a few answers of HBase.
    """
    needed = needed_daemons(settings)
    daemons = tuple(one for one in daemons if one.name in needed or one.state not in ("STOPPED", "DOWN"))
    status = Status(home=str(settings.path(settings.cluster_home).resolve()), ready=False, daemons=daemons)
    away = [daemon.name for daemon in daemons if daemon.name in needed and daemon.state != "RUNNING"]
    if "nimbus" in away:
        some_up = any(daemon.state != "DOWN" for daemon in daemons)
        return dataclasses.replace(status, problem="Nimbus is not running" if some_up else down, suspect="nimbus")
    try:
        summary = nimbus.summary()
    except ClusterError as error:
        return dataclasses.replace(status, problem=str(error), suspect="nimbus")
    problem, suspect = None, None
    if away or not summary.leader or not summary.slots:
        problem = "a server has only just started: no leader, or no slots, yet"
        suspect = [*away, "supervisor" if summary.leader else "nimbus"][0]
    elif hbase_jars.is_needed(settings):
        host, port, prefix = settings.store_address or ("", 0, "")
        problem = hbase_jars.problem(host, port, prefix, hbase_timeout_s)
        suspect = problem and "hbase-master"
    return dataclasses.replace(
        status,
        ready=not problem,
        problem=problem,
        suspect=suspect,
        slots=summary.slots,
        slots_used=summary.slots_used,
        topologies=summary.topologies,
    )
