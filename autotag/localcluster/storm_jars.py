"""Storm's installation: the published jars laid out as Storm's daemons, workers and tools expect them."""

from __future__ import annotations

import os
from pathlib import Path

from autotag.localcluster.jars import Assembly, fetch, run
from autotag.settings import PROJECT

VERSION = "2.8.3"
CLUSTER = PROJECT / "cluster"

LISTENERS = {
    "storm-client": "org/apache/storm/messaging/netty/Server",
    "storm-shaded-deps": "org/apache/storm/thrift/transport/TServerTransport$AbstractServerTransportArgs",
    "storm-server": "org/apache/storm/zookeeper/Zookeeper",
}
"""The classes that open ports, by their jar: workers' slots, Nimbus's and Supervisor's Thrift, a LocalCluster's own."""

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.apache.storm</groupId>
  <artifactId>storm-core</artifactId>
  <version>{VERSION}</version>
</project>
"""
"""storm-core as project.clj sees it: what it needs in turn is in the cluster, not in the topology's jar."""


def _lay_out(folder: Path) -> None:
    fetch(CLUSTER / "pom.xml", folder)
    (folder / "lib-worker").symlink_to("lib")
    (folder / "extlib").mkdir()
    (folder / "RELEASE").write_text(VERSION + "\n")
    asm = next((folder / "lib").glob("asm-*.jar"))
    pairs = [text for jar, name in LISTENERS.items() for text in (f"{jar}-{VERSION}.jar", name)]
    run("java", "-cp", str(asm), str(CLUSTER / "Loopback.java"), str(folder / "loopback"), str(folder / "lib"), *pairs)
    local = folder / "m2" / "org" / "apache" / "storm" / "storm-core" / VERSION
    local.mkdir(parents=True)
    (local / f"storm-core-{VERSION}.pom").write_text(POM)
    os.link(folder / "lib" / f"storm-core-{VERSION}.jar", local / f"storm-core-{VERSION}.jar")


ASSEMBLY = Assembly(
    folder=PROJECT / "build" / "storm",
    contents="Storm and ZooKeeper",
    sources=(CLUSTER / "pom.xml", CLUSTER / "Loopback.java", Path(__file__)),
    lay_out=_lay_out,
)
"""``storm.home``: lib, lib-flux, loopback, m2 (for Leiningen) and RELEASE."""
