"""Storm's installation: the published jars, laid out as Storm's daemons, workers and tools expect them."""

from __future__ import annotations

import os
from pathlib import Path

from autotag.localcluster.jars import fetch, renewing, run
from autotag.progress import Progress, silent
from autotag.settings import PROJECT

VERSION = "2.8.3"
CLUSTER = PROJECT / "cluster"
FOLDER = PROJECT / "build" / "storm"
"""``storm.home``: lib, lib-flux, loopback, m2 (for Leiningen) and RELEASE."""

LISTENERS = {
    "storm-client": "org/apache/storm/messaging/netty/Server",
    "storm-shaded-deps": "org/apache/storm/thrift/transport/TServerTransport$AbstractServerTransportArgs",
    "storm-server": "org/apache/storm/zookeeper/Zookeeper",
}
"""Jar -> its class that opens ports: the workers' slots, the Thrift of Nimbus and Supervisor, LocalCluster's ZooKeeper.

cluster/Loopback.java writes copies of them that listen on 127.0.0.1 alone.
"""

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.apache.storm</groupId>
  <artifactId>storm-core</artifactId>
  <version>{VERSION}</version>
</project>
"""
"""storm-core as project.clj sees it, without dependencies: these are in the cluster, not in the topology's jar."""


def install(progress: Progress = silent) -> None:
    """Lay out the jars of Storm and ZooKeeper in `FOLDER`, unless they are there.

    Raises:
        ClusterError: Java or Maven is missing, or a jar cannot be fetched.
    """
    with renewing(FOLDER, CLUSTER / "pom.xml", CLUSTER / "Loopback.java", Path(__file__)) as folder:
        if folder is None:
            return
        progress("fetching the jars of Storm and ZooKeeper")
        fetch(CLUSTER / "pom.xml", folder)
        (folder / "lib-worker").symlink_to("lib")
        (folder / "extlib").mkdir()
        (folder / "RELEASE").write_text(VERSION + "\n")
        _write_listeners(folder)
        _write_repository(folder)


def _write_listeners(folder: Path) -> None:
    asm = next((folder / "lib").glob("asm-*.jar"))
    pairs = [text for jar, name in LISTENERS.items() for text in (f"{jar}-{VERSION}.jar", name)]
    run(
        "java",
        "-XX:-UsePerfData",
        "-cp",
        str(asm),
        str(CLUSTER / "Loopback.java"),
        str(folder / "loopback"),
        str(folder / "lib"),
        *pairs,
    )


def _write_repository(folder: Path) -> None:
    local = folder / "m2" / "org" / "apache" / "storm" / "storm-core" / VERSION
    local.mkdir(parents=True)
    (local / f"storm-core-{VERSION}.pom").write_text(POM)
    os.link(folder / "lib" / f"storm-core-{VERSION}.jar", local / f"storm-core-{VERSION}.jar")
