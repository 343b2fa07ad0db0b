"""A ZooKeeper of a test's own: the cluster's jars and configuration, in a folder of the test."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from string import Template
from types import TracebackType

import psutil

from autotag.localcluster import storm_jars
from autotag.settings import PROJECT
from tests.conftest import free_ports

CLUSTER = PROJECT / "cluster"


class ZooKeeper:
    """A server that can be killed, stopped for a while and started again; a context manager that leaves none behind."""

    def __init__(self, folder: Path) -> None:
        storm_jars.install()
        (self.port,) = free_ports(1)
        self.url = f"zookeeper:127.0.0.1:{self.port}/autotag"
        self._log = folder / "zookeeper.log"
        self._configuration = folder / "zoo.cfg"
        text = (CLUSTER / "zoo.cfg").read_text()
        self._configuration.write_text(Template(text).substitute(home=str(folder), zookeeper_port=str(self.port)))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [f"@{CLUSTER / 'jvm.options'}", "-Xmx96m", "-cp", f"{storm_jars.FOLDER / 'lib'}/*"]
        options.append(f"-Dlog4j.configurationFile={CLUSTER / 'log4j2/cluster.xml'}")
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(["java", *options, main, str(self._configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as asked:
                asked.sendall(b"srvr")
                return b"Mode: standalone" in asked.recv(1000)
        except OSError:
            return False

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Let it hold its port and answer nobody, until `thaw`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)  # its threads stop one after another

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> ZooKeeper:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
