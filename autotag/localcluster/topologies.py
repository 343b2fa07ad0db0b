"""The topologies on one local cluster: their workers and Python processes, and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotag.errors import ClusterError
from autotag.localcluster.logs import Logs
from autotag.localcluster.nimbus import Nimbus
from autotag.localcluster.processes import Process

WORKER_CLASS = "org.apache.storm.daemon.worker.Worker"


@dataclass(frozen=True, kw_only=True)
class Component:
    """A Python process of a topology."""

    name: str
    """Its class, as ``bolts.tagger.TaggerBolt``."""
    pid: int
    worker: int
    """The pid of its worker."""


class Topologies:
    """Asks Nimbus and the process table; `processes` returns all processes of the cluster."""

    def __init__(self, home: Path, nimbus: Nimbus, logs: Logs, processes: Callable[[], list[Process]]) -> None:
        self._home, self._nimbus, self._logs, self._processes = home, nimbus, logs, processes

    def is_active(self, name: str) -> bool:
        """Return True if topology `name` exists and is active; False also if Nimbus does not answer."""
        try:
            return self._nimbus.topology(name).status == "ACTIVE"
        except ClusterError:
            return False

    def wait_for(self, name: str, deadline_s: float = 120.0) -> None:
        """Wait until every executor of topology `name` runs, and its Python process with it.

        Raises:
            ClusterError: there is no such topology, or it does not run within `deadline_s`; with the last lines of its
                workers' logs.
        """
        until = time.monotonic() + deadline_s
        while not self._runs(name):
            if time.monotonic() > until:
                raise ClusterError(
                    f"topology {name!r} does not run after {deadline_s:.0f} s\n{self._logs.excerpt('worker-*.log')}"
                )
            time.sleep(0.2)

    def wait_until_gone(self, name: str, deadline_s: float = 60.0) -> None:
        """Wait until topology `name` and its workers are gone; kill it first.

        Raises:
            ClusterError: it is still there after `deadline_s`.
        """
        until = time.monotonic() + deadline_s
        while any(topology.name == name for topology in self._nimbus.summary().topologies) or self.workers(name):
            if time.monotonic() > until:
                raise ClusterError(f"topology {name!r} is still there after {deadline_s:.0f} s")
            time.sleep(0.2)

    def workers(self, name: str) -> list[int]:
        """Return the pids of the workers of topology `name`, sorted, without asking Nimbus."""
        return sorted(process.pid for process in self._processes() if _is_worker(process, name))

    def components(self, name: str) -> list[Component]:
        """Return the Python processes of topology `name`, sorted by pid, without asking Nimbus."""
        processes = self._processes()
        workers = {process.pid for process in processes if _is_worker(process, name)}
        components = [
            Component(name=process.command[-1].split()[-1], pid=process.pid, worker=process.parent)
            for process in processes
            if process.parent in workers
        ]
        return sorted(components, key=lambda component: component.pid)

    def _runs(self, name: str) -> bool:
        """Return True if every executor has a worker, and a Python process that has answered Storm if it needs one.

        The process table is asked, since Nimbus hears of workers late and shows them after they have ended.
        """
        topology, executors = self._nimbus.topology(name), self._nimbus.executors(name)
        python = [executor for executor in executors if not executor.component.startswith("__")]
        answered = {path.name for path in self._home.glob("storm/workers/*/pids/*")}
        running = [component for component in self.components(name) if str(component.pid) in answered]
        return len(executors) == topology.executors > 0 and len(running) >= len(python)


def _is_worker(process: Process, name: str) -> bool:
    """Return True for a worker of topology `name`. A topology's id is its name, a serial number and a time."""
    if WORKER_CLASS not in process.command or "org.apache.storm.LogWriter" in process.command:
        return False
    ids = [argument.removeprefix("-Dstorm.id=") for argument in process.command if argument.startswith("-Dstorm.id=")]
    return any(topology.rsplit("-", 2)[0] == name for topology in ids)
