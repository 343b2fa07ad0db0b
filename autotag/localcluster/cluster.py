"""The local cluster: real ZooKeeper, Storm and, where the store is on it, HBase, under process supervision."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from autotag.errors import ClusterError
from autotag.localcluster import hbase_jars, storm_jars
from autotag.localcluster.nimbus import ComponentError, Nimbus, Topology
from autotag.localcluster.processes import Process, end, listener, processes_with
from autotag.localcluster.supervisord import DAEMONS, HBASE_DAEMONS, Daemon, Supervisord, server_name
from autotag.settings import PROJECT, Settings
from models.folders import locked

__all__ = ["DAEMONS", "HBASE_DAEMONS", "Cluster", "Component", "Daemon", "Status"]

log = logging.getLogger(__name__)

CLUSTER = PROJECT / "cluster"
HOME_VARIABLE = "AUTOTAG_CLUSTER_HOME"
"""Set for supervisord and so for every process of the cluster below it; see cluster/supervisord.conf."""
WORKER_CLASS = "org.apache.storm.daemon.worker.Worker"
UP_S = 90.0
"""How long `Cluster.up` waits until everything is ready."""
START_S = 10.0
"""How long it watches a server that ends as soon as it starts."""
TEMPLATES = ("storm.yaml", "zoo.cfg", "hbase/hbase-site.xml")
"""Whether HBase is wanted changes nothing in them: it can be at any time."""

KEEPERS = ("zookeeper", "supervisord")
"""What the others need to end well."""

Progress = Callable[[str], None]
"""Is told, in a few words, what is being done or waited for."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A Python process of a topology."""

    name: str
    """What it runs, as ``bolts.tagger.TaggerBolt``."""
    pid: int
    worker: int
    """The worker's process."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The cluster as it is now."""

    home: str
    ready: bool
    """Whether a topology can be submitted and, where the store is on the cluster's HBase, that answers."""
    daemons: tuple[Daemon, ...]
    slots: int = 0
    slots_used: int = 0
    topologies: tuple[Topology, ...] = ()
    problem: str | None = None
    """What is not ready, and why."""
    suspect: str | None = None
    """The server whose log may say more about it."""

    def as_json(self) -> dict[str, Any]:
        """The same in lists and dictionaries."""
        return dataclasses.asdict(self)


class Cluster:
    """One local cluster, in the folder `Settings.cluster_home` and on the ports of the settings.

    Its servers outlive the process that starts them. Several clusters live side by side on other homes and ports; they
    share the jars. Nothing is done until a method is called.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.path(settings.cluster_home).resolve()
        self.logs_folder = self.home / "logs"
        self.nimbus = Nimbus("127.0.0.1", settings.cluster_nimbus_port)
        self._configuration = self.home / "conf"
        self._temporary = self.home / "tmp"
        self._supervisord = Supervisord(self.home)

    @property
    def needs_hbase(self) -> bool:
        """Whether the store is HBase at the address of the cluster's own; any other is somebody else's."""
        host, port, _ = self.settings.store_address or ("", 0, "")
        return host in ("127.0.0.1", "localhost") and port == self.settings.cluster_thrift_port

    @property
    def daemons(self) -> tuple[str, ...]:
        """The servers that `up` starts and waits for."""
        return (*DAEMONS, *HBASE_DAEMONS) if self.needs_hbase else DAEMONS

    @property
    def ports(self) -> dict[int, str]:
        """The ports that the cluster listens on, each with the setting that it comes from."""
        settings = self.settings
        hbase_ports = {
            settings.cluster_thrift_port: "autotag.cluster.thrift.port",
            **dict.fromkeys(settings.cluster_hbase_ports, "autotag.cluster.hbase.ports"),
        }
        return {
            settings.cluster_zookeeper_port: "autotag.cluster.zookeeper.port",
            settings.cluster_nimbus_port: "autotag.cluster.nimbus.port",
            settings.cluster_nimbus_port + 1: "the one after autotag.cluster.nimbus.port",
            **dict.fromkeys(settings.cluster_worker_ports, "autotag.cluster.worker.ports"),
            **(hbase_ports if self.needs_hbase else {}),
        }

    # Up and down

    def prepare(self, progress: Progress = log.info) -> None:
        """Fetch the jars and lay them out, once for all clusters; about 15 s and the network the first time.

        Raises:
            ClusterError: Java or Maven is missing, or a jar cannot be fetched.
        """
        storm_jars.ASSEMBLY.make(progress)
        if self.needs_hbase:
            hbase_jars.ASSEMBLY.make(progress)

    def up(self, progress: Progress = log.info) -> None:
        """Start what does not run yet, and wait until it is ready (see `Status`); topologies from before come back.

        HBase is started where the store needs it, and runs on when it is there already and this store does not.

        Raises:
            ClusterError: a port is taken, the cluster runs with other settings, or a server does not come up (with
                the last lines that it logged); what has been started stays up for a look.
        """
        if shutil.which("java") is None:
            raise ClusterError("java is not on PATH; Debian has it: apt-get install openjdk-17-jdk-headless")
        self.prepare(progress)
        self.logs_folder.mkdir(parents=True, exist_ok=True)
        with locked(self.home / "lock"):
            if not self._supervisord.runs():
                self._end_orphans(progress)
                self._forget_dead_workers()
                self._check_ports()
                self._render()
                self._temporary.mkdir(exist_ok=True)
                progress("starting ZooKeeper, Nimbus and Supervisor")
                self._supervisord.start(CLUSTER / "supervisord.conf", self._environment())
            else:
                self._check_rendered()
                self._check_ports()
            self._start_daemons(progress)
            self._wait_ready(progress)

    def _start_daemons(self, progress: Progress) -> None:
        away = {daemon.name for daemon in self._supervisord.daemons() if daemon.state != "RUNNING"}
        if self.needs_hbase and away.intersection(HBASE_DAEMONS):
            progress("starting HBase")
        for name in self.daemons:
            self._supervisord.start_daemon(name)

    def down(self, progress: Progress = log.info) -> None:
        """Stop the servers, the workers and their Python processes; data and submitted topologies stay for `up`."""
        if not self._processes():
            return
        progress("stopping the cluster")
        with locked(self.home / "lock"):
            self._end(_named("nimbus", "supervisor", None), stopping=("nimbus", "supervisor"))
            self._end_hbase()
            self._supervisord.shut_down()
            self._end(lambda _: True)
            self._supervisord.socket.unlink(missing_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)

    def restart(self, name: str, progress: Progress = log.info) -> None:
        """Stop one of `DAEMONS`, or of `HBASE_DAEMONS` where the store needs them, and start it again.

        The workers go on meanwhile. Waits until the cluster is ready.
        """
        self._check_daemon(name)
        if not self.home.is_dir():
            raise ClusterError(f"the cluster in {self.home} was never up; start it with `autotag cluster up`")
        with locked(self.home / "lock"):
            if not self._supervisord.runs():
                raise ClusterError(f"the cluster in {self.home} is not up; start it with `autotag cluster up`")
            progress(f"restarting {name}")
            self._supervisord.stop_daemon(name)
            self._supervisord.start_daemon(name)
            self._wait_ready(progress)

    # What there is

    def status(self) -> Status:
        """The servers, slots and topologies now; asks the servers, and never raises because one is down."""
        return self._status(self.settings.store_hbase_timeout_s)

    def _status(self, hbase_timeout_s: float) -> Status:
        status = self._storm_status()
        if not status.ready or not self.needs_hbase:
            return status
        host, port, prefix = self.settings.store_address or ("", 0, "")
        problem = hbase_jars.problem(host, port, prefix, hbase_timeout_s)
        return dataclasses.replace(status, ready=not problem, problem=problem, suspect=problem and "hbase-master")

    def _storm_status(self) -> Status:
        """The same without asking HBase."""
        daemons = tuple(daemon for daemon in self._supervisord.daemons() if self._shows(daemon))
        status = Status(home=str(self.home), ready=False, daemons=daemons)
        away = [daemon.name for daemon in daemons if daemon.name in self.daemons and daemon.state != "RUNNING"]
        if "nimbus" in away:
            return dataclasses.replace(status, problem=self._why_down(daemons), suspect="nimbus")
        try:
            summary = self.nimbus.summary()
        except ClusterError as error:
            return dataclasses.replace(status, problem=str(error), suspect="nimbus")
        problem, suspect = None, None
        if away or not summary.leader or not summary.slots:
            problem = "a server has only just started: no leader, or no slots, yet"
            suspect = [*away, "supervisor" if summary.leader else "nimbus"][0]
        return dataclasses.replace(
            status,
            ready=not problem,
            problem=problem,
            suspect=suspect,
            slots=summary.slots,
            slots_used=summary.slots_used,
            topologies=summary.topologies,
        )

    def _shows(self, daemon: Daemon) -> bool:
        """Whether a daemon is of interest: HBase's are where the store needs them, or another's does."""
        return daemon.name in DAEMONS or self.needs_hbase or daemon.state not in ("STOPPED", "DOWN")

    def _why_down(self, daemons: tuple[Daemon, ...]) -> str:
        if any(daemon.state != "DOWN" for daemon in daemons):
            return "Nimbus is not running"
        if self._processes():
            return "supervisord is gone, its servers go on without it; `autotag cluster up` puts it back"
        return "it is down; start it with `autotag cluster up`"

    def topology_active(self, name: str) -> bool:
        """Whether topology `name` is there and active; False also when Nimbus cannot be asked."""
        try:
            return self.nimbus.topology(name).status == "ACTIVE"
        except ClusterError:
            return False

    def wait_for_topology(self, name: str, deadline_s: float = 120.0) -> None:
        """Wait until every executor of topology `name` runs, and its Python process with it.

        Raises:
            ClusterError: there is no such topology, or it does not run within `deadline_s`, with what its workers
                logged last.
        """
        until = time.monotonic() + deadline_s
        while not self._topology_runs(name):
            if time.monotonic() > until:
                raise ClusterError(
                    f"topology {name!r} does not run after {deadline_s:.0f} s\n{self._last_lines('worker-*.log')}"
                )
            time.sleep(0.2)

    def wait_until_gone(self, name: str, deadline_s: float = 60.0) -> None:
        """Wait until topology `name`, once killed, and its processes are gone.

        Raises:
            ClusterError: not within `deadline_s`.
        """
        until = time.monotonic() + deadline_s
        while any(topology.name == name for topology in self.nimbus.summary().topologies) or self.workers(name):
            if time.monotonic() > until:
                raise ClusterError(f"topology {name!r} is still there after {deadline_s:.0f} s")
            time.sleep(0.2)

    def workers(self, name: str) -> list[int]:
        """The pids of topology `name`'s workers, without asking Nimbus."""
        return sorted(process.pid for process in self._processes() if _runs_topology(process, name))

    def components(self, name: str) -> list[Component]:
        """The Python processes of topology `name`, in the order of their pids, without asking Nimbus."""
        processes = self._processes()
        workers = {process.pid for process in processes if _runs_topology(process, name)}
        return sorted(
            (
                Component(name=process.command[-1].split()[-1], pid=process.pid, worker=process.parent)
                for process in processes
                if process.parent in workers
            ),
            key=lambda component: component.pid,
        )

    def errors(self, name: str) -> list[ComponentError]:
        """The errors that components of topology `name` reported last, oldest first."""
        return self.nimbus.errors(name)

    def log_files(self, name: str | None = None) -> list[Path]:
        """The log files, or those of one server or worker: ``nimbus``, ``worker-6700``.

        Raises:
            ClusterError: none is called `name`.
        """
        files = sorted(path for path in self.logs_folder.glob("*") if path.suffix in (".log", ".out"))
        found = [path for path in files if name in (None, path.stem)]
        if name is not None and not found:
            known = sorted({path.stem for path in files})
            raise ClusterError(f"no log of {name!r} in {self.logs_folder}; there are {known}")
        return found

    def logs(self, name: str | None = None, lines: int = 50) -> str:
        """The last `lines` of each of `log_files`, under its path."""
        return "\n".join(f"==> {path} <==\n{_tail(path, lines)}" for path in self.log_files(name))

    # streamparse

    def sparse(self, *arguments: str, project: Path = PROJECT, timeout_s: float = 300.0) -> str:
        """What ``sparse ARGUMENTS`` prints, run in folder `project` against this cluster.

        Raises:
            ClusterError: it failed, or took longer than `timeout_s`; with what it printed.
        """
        command = [str(CLUSTER / "sparse"), *arguments]
        environment = os.environ | {"STREAMPARSE_NIMBUS": f"127.0.0.1:{self.settings.cluster_nimbus_port}"}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        try:
            done = subprocess.run(  # noqa: S603 - our own launcher
                command,
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            printed = (error.stdout or b"").decode(errors="replace")
            raise ClusterError(f"sparse {' '.join(arguments)}: not done in {timeout_s:.0f} s\n{printed}") from error
        if done.returncode:
            raise ClusterError(f"sparse {' '.join(arguments)} failed ({done.returncode}):\n{done.stdout}")
        return done.stdout

    # Inside

    def _environment(self) -> dict[str, str]:
        return {
            HOME_VARIABLE: str(self.home),
            "AUTOTAG_CLUSTER": str(CLUSTER),
            "AUTOTAG_STORM": str(storm_jars.ASSEMBLY.folder),
            "AUTOTAG_HBASE": str(hbase_jars.ASSEMBLY.folder),
            "STORM_CONF_DIR": str(self._configuration),  # Storm puts it on the workers' class path.
            "TMPDIR": str(self._temporary),
        }

    def _processes(self) -> list[Process]:
        return processes_with(HOME_VARIABLE, str(self.home))

    def _end_orphans(self, progress: Progress) -> None:
        """End the servers that a supervisord which was killed has left; a new one cannot adopt them.

        The workers stay: Storm's new Supervisor finds them.
        """
        if any(map(server_name, self._processes())):
            progress("ending what an earlier supervisord left behind")
            self._end(_named("nimbus", "supervisor"))
            self._end_hbase()
            self._end(_named(*KEEPERS))

    def _end_hbase(self) -> None:
        """End HBase's servers one after the other, so that each finds those that it needs to end well."""
        for name in reversed(HBASE_DAEMONS):
            self._end(_named(name), stopping=(name,), patience_s=30.0)  # The region server writes what it holds.

    def _forget_dead_workers(self) -> None:
        """Remove what Storm noted of workers that are gone.

        Its Supervisor would wait half a minute for their heartbeat, and after a reboot kill whoever has their pids.
        """
        if not self._processes():
            shutil.rmtree(self.home / "storm" / "workers", ignore_errors=True)

    def _end(self, which: Callable[[Process], bool], stopping: tuple[str, ...] = (), patience_s: float = 10.0) -> None:
        """End the cluster's processes that are `which`, and have supervisord not start those of `stopping` again.

        ZooKeeper has to go last: Nimbus waits for it to give up the lead, and without that the next Nimbus waits too.
        """
        for name in stopping:
            self._supervisord.stop_daemon(name, wait=False)
        try:
            end(lambda: [process for process in self._processes() if which(process)], patience_s)
        except TimeoutError as error:
            raise ClusterError(f"{self.home}: {error}") from error

    def _check_ports(self) -> None:
        own = {process.pid for process in self._processes()}
        for port, setting in self.ports.items():
            holder = listener(port)
            if holder and not any(f"process {pid} " in holder for pid in own):
                raise ClusterError(f"port {port} ({setting}) is taken by {holder}; stop that, or choose another port")

    def _rendered(self) -> dict[str, str]:
        values = {
            "home": str(self.home),
            "cluster": str(CLUSTER),
            "storm": str(storm_jars.ASSEMBLY.folder),
            "jvm_options": " ".join(line for line in _lines(CLUSTER / "jvm.options") if line.startswith("-")),
            "zookeeper_port": str(self.settings.cluster_zookeeper_port),
            "nimbus_port": str(self.settings.cluster_nimbus_port),
            "supervisor_port": str(self.settings.cluster_nimbus_port + 1),
            "worker_ports": json.dumps(self.settings.cluster_worker_ports),
            "hbase_master_port": str(self.settings.cluster_hbase_ports[0]),
            "hbase_regionserver_port": str(self.settings.cluster_hbase_ports[1]),
            "thrift_port": str(self.settings.cluster_thrift_port),
        }
        in_xml = {name: escape(value) for name, value in values.items()}
        return {
            Path(name).name: string.Template((CLUSTER / name).read_text(encoding="utf-8")).substitute(
                in_xml if name.endswith(".xml") else values
            )
            for name in TEMPLATES
        }

    def _render(self) -> None:
        for folder in (self._configuration, self.home / "zookeeper", self.home / "storm"):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._rendered().items():
            (self._configuration / name).write_text(text, encoding="utf-8")

    def _check_rendered(self) -> None:
        for name, text in self._rendered().items():
            path = self._configuration / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                raise ClusterError(
                    f"the cluster in {self.home} runs with other settings ({name}); "
                    "stop it with `autotag cluster down` first"
                )

    def _wait_ready(self, progress: Progress) -> None:
        progress("waiting until a topology can be submitted" + " and HBase answers" * self.needs_hbase)
        began = time.monotonic()
        while True:
            # The Thrift server tries ever more rarely on behalf of one question, so a new one is answered sooner.
            status = self._status(hbase_timeout_s=3.0)
            if status.ready:
                return
            waited_s = time.monotonic() - began
            hopeless = ("FATAL", "DOWN", "BACKOFF") if waited_s > START_S else ("FATAL", "DOWN")
            failed = [daemon for daemon in status.daemons if daemon.name in self.daemons and daemon.state in hopeless]
            if failed or waited_s > UP_S:
                name = failed[0].name if failed else status.suspect
                raise ClusterError(f"{name} does not come up ({status.problem})\n{self._last_lines(f'{name}.log')}")
            time.sleep(0.2)

    def _topology_runs(self, name: str) -> bool:
        """Whether every executor has its worker, and each that is not Storm's own a Python process that has spoken.

        What workers report to Nimbus comes too late, and is there still when they are gone.
        """
        topology, executors = self.nimbus.topology(name), self.nimbus.executors(name)
        python = [executor for executor in executors if not executor.component.startswith("__")]
        spoken = {path.name for path in self.home.glob("storm/workers/*/pids/*")}
        running = [component for component in self.components(name) if str(component.pid) in spoken]
        return len(executors) == topology.executors > 0 and len(running) >= len(python)

    def _check_daemon(self, name: str) -> None:
        if name in HBASE_DAEMONS and not self.needs_hbase:
            raise ClusterError(
                f"{name} is not needed for the store {self.settings.store!r}; name the environment that needs it, "
                f"as in: autotag -e hbase cluster restart {name}"
            )
        if name not in self.daemons:
            raise ClusterError(f"no server {name!r}; there are {list(self.daemons)}")

    def _last_lines(self, pattern: str) -> str:
        """The end of the logs called `pattern`, for an error's message; whole lines are in the files."""
        files = sorted(self.logs_folder.glob(pattern))
        return "\n".join(
            f"{path}:\n" + "\n".join(line[:300] for line in _tail(path, 40).splitlines()) for path in files
        )


def _named(*names: str | None) -> Callable[[Process], bool]:
    """Whether a process is one of these servers; None is whatever is none."""
    return lambda process: server_name(process) in names


def _runs_topology(process: Process, name: str) -> bool:
    """Whether it is a worker of topology `name`; an id is the name, a serial number and a time."""
    if WORKER_CLASS not in process.command or "org.apache.storm.LogWriter" in process.command:
        return False
    ids = [argument.removeprefix("-Dstorm.id=") for argument in process.command if argument.startswith("-Dstorm.id=")]
    return any(topology.rsplit("-", 2)[0] == name for topology in ids)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _tail(path: Path, lines: int) -> str:
    """The last `lines`, of at most the last 256 KiB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 256 * 1024))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
