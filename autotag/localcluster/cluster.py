"""The local cluster: starts, checks and stops real servers on this machine, under process supervision."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from autotag.errors import ClusterError
from autotag.localcluster import hbase_jars, storm_jars, templates
from autotag.localcluster.logs import Logs
from autotag.localcluster.nimbus import Nimbus
from autotag.localcluster.processes import Process, end, listener, processes_with
from autotag.localcluster.sparse import run_sparse
from autotag.localcluster.status import Status, needed_daemons, read_status
from autotag.localcluster.supervisord import HBASE_DAEMONS, Supervisord, server_name
from autotag.localcluster.topologies import Topologies
from autotag.progress import Progress, silent
from autotag.settings import PROJECT, Settings
from models.folders import locked

HOME_VARIABLE = "AUTOTAG_CLUSTER_HOME"
"""Set for supervisord and so inherited by every process of the cluster; see cluster/supervisord.conf."""
UP_S = 90.0
"""Time for all servers to become ready in `Cluster.up`."""
START_S = 10.0
"""Time in which a server that ends at once is started again, before `Cluster.up` gives up on it."""
KEEPERS = ("zookeeper", "supervisord")
"""The servers that the others need in order to end well."""


class Cluster:
    """One local cluster, in the folder `Settings.cluster_home` and on the ports of the settings.

    Its servers outlive the process that starts them. Several clusters live side by side on other homes and ports; they
    share the jars. The constructor starts nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.path(settings.cluster_home).resolve()
        self.logs = Logs(self.home / "logs")
        self.nimbus = Nimbus("127.0.0.1", settings.cluster_nimbus_port)
        self.topologies = Topologies(self.home, self.nimbus, self.logs, self._processes)
        self._needs_hbase = hbase_jars.is_needed(settings)
        self._supervisord = Supervisord(self.home)

    @property
    def ports(self) -> dict[int, str]:
        """The ports that the cluster listens on -> the setting of each."""
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
            **(hbase_ports if self._needs_hbase else {}),
        }

    def prepare(self, progress: Progress = silent) -> None:
        """Fetch the jars and lay them out, once for all clusters; about 15 s and the network the first time.

        Raises:
            ClusterError: Java or Maven is missing, or a jar cannot be fetched.
        """
        storm_jars.install(progress)
        if self._needs_hbase:
            hbase_jars.install(progress)

    def up(self, progress: Progress = silent) -> None:
        """Start the servers that do not run, and wait until all are ready (see `Status`).

        Topologies that were submitted before come back. HBase is started where the store needs it; a running HBase
        goes on where the store does not need it.

        Raises:
            ClusterError: a port is taken, the cluster runs with other settings, or a server does not start (with its
                last log lines); servers that have started stay up to be looked at.
        """
        if shutil.which("java") is None:
            raise ClusterError("java is not on PATH; Debian has it: apt-get install openjdk-17-jdk-headless")
        self.prepare(progress)
        for folder in (self.logs.folder, self._temporary):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self.home / "lock"):
            if not self._supervisord.runs():
                self._end_orphans(progress)
                self._forget_dead_workers()
                self._check_ports()
                templates.write(self.settings, self.home)
                progress("starting ZooKeeper, Nimbus and Supervisor")
                self._supervisord.start(PROJECT / "cluster" / "supervisord.conf", self._environment())
            else:
                templates.check(self.settings, self.home)
                self._check_ports()
            self._start_daemons(progress)
            self._wait_ready(progress)

    def down(self, progress: Progress = silent) -> None:
        """Stop the servers, the workers and their Python processes; data and submitted topologies stay for `up`."""
        if self._processes():
            progress("stopping the cluster")
            with locked(self.home / "lock"):
                self._end(_named("nimbus", "supervisor", None), stopping=("nimbus", "supervisor"))
                self._end_hbase()
                self._supervisord.shut_down()
                self._end(lambda _: True)
                self._supervisord.socket.unlink(missing_ok=True)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def restart(self, name: str, progress: Progress = silent) -> None:
        """Stop one server, start it again, and wait until the cluster is ready; the workers go on meanwhile.

        Raises:
            ClusterError: there is no server `name`, the cluster is not up, or the server does not start.
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

    def status(self) -> Status:
        """Return the state of the servers, slots and topologies now; asks the servers, and never raises."""
        return self._status(self.settings.store_hbase_timeout_s)

    def sparse(self, *arguments: str, project: Path = PROJECT, timeout_s: float = 300.0) -> str:
        """Run ``sparse ARGUMENTS`` against this cluster, and return what it printed; see `run_sparse`.

        Raises:
            ClusterError: it failed, or took longer than `timeout_s`.
        """
        nimbus_port = self.settings.cluster_nimbus_port
        return run_sparse(*arguments, nimbus_port=nimbus_port, project=project, timeout_s=timeout_s)

    @property
    def _temporary(self) -> Path:
        """Temporary files of all processes: Nimbus alone unpacks a library of 15 MB at each start."""
        return self.home / "tmp"

    def _environment(self) -> dict[str, str]:
        return {
            HOME_VARIABLE: str(self.home),
            "AUTOTAG_CLUSTER": str(PROJECT / "cluster"),
            "AUTOTAG_STORM": str(storm_jars.FOLDER),
            "AUTOTAG_HBASE": str(hbase_jars.FOLDER),
            "STORM_CONF_DIR": str(self.home / "conf"),  # Storm puts it on the workers' class path.
            "TMPDIR": str(self._temporary),
        }

    def _processes(self) -> list[Process]:
        return processes_with(HOME_VARIABLE, str(self.home))

    def _status(self, hbase_timeout_s: float) -> Status:
        down = "the cluster is down; start it with `autotag cluster up`"
        daemons = self._supervisord.daemons()
        if all(daemon.state == "DOWN" for daemon in daemons) and self._processes():
            down = "supervisord is gone, its servers go on without it; `autotag cluster up` puts it back"
        return read_status(self.settings, daemons, self.nimbus, down, hbase_timeout_s)

    def _start_daemons(self, progress: Progress) -> None:
        away = {daemon.name for daemon in self._supervisord.daemons() if daemon.state != "RUNNING"}
        if self._needs_hbase and away.intersection(HBASE_DAEMONS):
            progress("starting HBase")
        for name in needed_daemons(self.settings):
            self._supervisord.start_daemon(name)

    def _end_orphans(self, progress: Progress) -> None:
        """End the servers that a killed supervisord has left; a new supervisord cannot adopt them.

        The workers stay: Storm's new Supervisor finds them.
        """
        if any(map(server_name, self._processes())):
            progress("ending what an earlier supervisord left behind")
            self._end(_named("nimbus", "supervisor"))
            self._end_hbase()
            self._end(_named(*KEEPERS))

    def _end_hbase(self) -> None:
        """End HBase's servers one after the other, since each needs those after it in order to end well."""
        for name in reversed(HBASE_DAEMONS):
            self._end(_named(name), stopping=(name,), patience_s=30.0)  # The region server flushes its memory to disk.

    def _forget_dead_workers(self) -> None:
        """Remove Storm's notes about workers if no process of the cluster lives.

        Its Supervisor would wait half a minute for their heartbeats, and after a reboot kill processes that have got
        their pids.
        """
        if not self._processes():
            shutil.rmtree(self.home / "storm" / "workers", ignore_errors=True)

    def _end(self, chosen: Callable[[Process], bool], stopping: tuple[str, ...] = (), patience_s: float = 10.0) -> None:
        """End the cluster's `chosen` processes; supervisord does not start the servers of `stopping` again.

        ZooKeeper has to end last: Nimbus waits for it to give up the lead, and without that the next Nimbus waits too.
        """
        for name in stopping:
            self._supervisord.stop_daemon(name, wait=False)
        try:
            end(lambda: [process for process in self._processes() if chosen(process)], patience_s)
        except TimeoutError as error:
            raise ClusterError(f"{self.home}: {error}") from error

    def _check_ports(self) -> None:
        own = {process.pid for process in self._processes()}
        for port, setting in self.ports.items():
            holder = listener(port)
            if holder and not any(f"process {pid} " in holder for pid in own):
                raise ClusterError(f"port {port} ({setting}) is taken by {holder}; stop that, or choose another port")

    def _wait_ready(self, progress: Progress) -> None:
        progress("waiting until a topology can be submitted" + " and HBase answers" * self._needs_hbase)
        began = time.monotonic()
        while True:
            # Short: the Thrift server retries one question ever more rarely, so a new question is answered sooner.
            status = self._status(hbase_timeout_s=3.0)
            if status.ready:
                return
            waited_s = time.monotonic() - began
            hopeless = ("FATAL", "DOWN", "BACKOFF") if waited_s > START_S else ("FATAL", "DOWN")
            needed = needed_daemons(self.settings)
            failed = [daemon for daemon in status.daemons if daemon.name in needed and daemon.state in hopeless]
            if failed or waited_s > UP_S:
                name = failed[0].name if failed else status.suspect
                raise ClusterError(f"{name} does not come up ({status.problem})\n{self.logs.excerpt(f'{name}.log')}")
            time.sleep(0.2)

    def _check_daemon(self, name: str) -> None:
        needed = needed_daemons(self.settings)
        if name in HBASE_DAEMONS and not self._needs_hbase:
            raise ClusterError(
                f"{name} is not needed for the store {self.settings.store!r}; name the environment that needs it, "
                f"as in: autotag -e hbase cluster restart {name}"
            )
        if name not in needed:
            raise ClusterError(f"no server {name!r}; there are {', '.join(needed)}")


def _named(*names: str | None) -> Callable[[Process], bool]:
    """Return a test for the servers called `names`; None stands for all other processes of the cluster."""
    return lambda process: server_name(process) in names
