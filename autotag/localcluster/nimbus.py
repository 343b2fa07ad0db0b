"""A client of Nimbus, Storm's master, over its Thrift interface: state of the cluster and of topologies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory
from thriftpy2.rpc import client_context
from thriftpy2.thrift import TException
from thriftpy2.transport import TFramedTransportFactory, TTransportException

from autotag.errors import ClusterError
from autotag.settings import PROJECT


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A submitted topology."""

    name: str
    id: str
    """The name with a serial number and the time of its submission."""
    status: str
    """``ACTIVE``, ``INACTIVE``, ``KILLED`` or ``REBALANCING``."""
    uptime_s: int
    workers: int
    executors: int
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Executor:
    """A thread of a worker that runs tasks of one component, Storm's own components (``__acker``) among them."""

    component: str
    port: int
    """The slot of its worker."""
    uptime_s: int
    """0 until its worker has reported it for the first time."""


@dataclass(frozen=True, kw_only=True)
class ComponentError:
    """An error that a component reported."""

    component: str
    message: str
    """The error's text and its traceback."""
    time: int
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class ClusterSummary:
    """The state of the cluster in figures."""

    leader: bool
    """True if a Nimbus leads; only then can a topology be submitted."""
    slots: int
    slots_used: int
    topologies: tuple[Topology, ...]


class Nimbus:
    """A client of one Nimbus; each method opens one connection and sends one request.

    Raises:
        ClusterError: Nimbus does not answer within `timeout_s`, or answers that it cannot.
    """

    def __init__(self, host: str, port: int, timeout_s: float = 10.0) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s

    def summary(self) -> ClusterSummary:
        """Return the slots, the topologies, and whether topologies can be submitted."""
        cluster = self._ask("getClusterInfo")
        return ClusterSummary(
            leader=any(nimbus.isLeader for nimbus in cluster.nimbuses),
            slots=sum(supervisor.num_workers for supervisor in cluster.supervisors),
            slots_used=sum(supervisor.num_used_workers for supervisor in cluster.supervisors),
            topologies=tuple(
                Topology(
                    name=topology.name,
                    id=topology.id,
                    status=topology.status,
                    uptime_s=topology.uptime_secs,
                    workers=topology.num_workers,
                    executors=topology.num_executors,
                    tasks=topology.num_tasks,
                )
                for topology in sorted(cluster.topologies, key=lambda topology: str(topology.name))
            ),
        )

    def topology(self, name: str) -> Topology:
        """Return the topology called `name`.

        Raises:
            ClusterError: also if there is none; with the names of all topologies.
        """
        topologies = self.summary().topologies
        for topology in topologies:
            if topology.name == name:
                return topology
        names = ", ".join(topology.name for topology in topologies) or "none"
        raise ClusterError(f"no topology {name!r}; topologies: {names}")

    def executors(self, name: str) -> list[Executor]:
        """Return the executors of topology `name` that are assigned to a worker."""
        info = self._ask("getTopologyInfo", self.topology(name).id)
        return [
            Executor(component=executor.component_id, port=executor.port, uptime_s=executor.uptime_secs)
            for executor in info.executors
        ]

    def errors(self, name: str) -> list[ComponentError]:
        """Return the last errors of the components of topology `name`, oldest first; Nimbus keeps a few of each."""
        info = self._ask("getTopologyInfo", self.topology(name).id)
        reported = [
            ComponentError(component=component, message=error.error, time=error.error_time_secs)
            for component, errors in info.errors.items()
            for error in errors
        ]
        return sorted(reported, key=lambda error: error.time)

    def configuration(self, name: str) -> dict[str, Any]:
        """Return the configuration of topology `name`: Storm's settings and ours."""
        return dict(json.loads(self._ask("getTopologyConf", self.topology(name).id)))

    def kill(self, name: str, wait_s: int = 0) -> None:
        """Kill topology `name`: its spouts stop now, its workers after `wait_s`."""
        self._ask("killTopologyWithOpts", name, _thrift().KillOptions(wait_secs=wait_s))

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            with client_context(
                _thrift().Nimbus,
                self.host,
                self.port,
                proto_factory=TBinaryProtocolFactory(),  # type: ignore[no-untyped-call]
                trans_factory=TFramedTransportFactory(),
                connect_timeout=int(self.timeout_s * 1000),
                socket_timeout=int(self.timeout_s * 1000),
            ) as client:
                return getattr(client, method)(*arguments)
        except (TTransportException, OSError) as error:
            raise ClusterError(
                f"Nimbus does not answer at {self.host}:{self.port} (autotag.cluster.nimbus.port): {error}"
            ) from error
        except TException as error:
            reason = getattr(error, "msg", None) or getattr(error, "message", None) or error
            raise ClusterError(f"Nimbus at {self.host}:{self.port} cannot answer {method}: {reason}") from error


@cache
def _thrift() -> Any:
    return thriftpy2.load(str(Path(PROJECT, "cluster", "nimbus.thrift")), module_name="nimbus_thrift")
