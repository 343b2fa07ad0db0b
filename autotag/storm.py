"""Storm's installation: the published jars laid out as Storm's daemons, workers and tools expect them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from autotag.errors import ClusterError
from autotag.settings import PROJECT

VERSION = "2.8.3"
ASSEMBLY = PROJECT / "build" / "storm"
"""``storm.home``: lib, lib-flux, loopback, m2 (for Leiningen) and RELEASE; shared by all clusters of this checkout."""
SOURCES = (PROJECT / "cluster" / "pom.xml", PROJECT / "cluster" / "Loopback.java", Path(__file__))
"""What the assembly follows from; it is made again when one of them changes."""

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


def assemble(progress: Callable[[str], None]) -> None:
    """Make `ASSEMBLY` unless it is there already; about 15 s and the network, 5 s with the jars in Maven's cache.

    Raises:
        ClusterError: Java or Maven is missing, or a jar cannot be fetched; no half assembly is left.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
    stamp = ASSEMBLY / "STAMP"
    ASSEMBLY.parent.mkdir(exist_ok=True)
    with (ASSEMBLY.parent / "storm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return
        progress("fetching the jars of Storm and ZooKeeper")
        new = ASSEMBLY.with_name("storm.new")
        shutil.rmtree(new, ignore_errors=True)
        _fetch(new)
        _lay_out(new)
        (new / "STAMP").write_text(digest)
        shutil.rmtree(ASSEMBLY, ignore_errors=True)
        new.rename(ASSEMBLY)


def _fetch(folder: Path) -> None:
    _run("mvn", "-q", "-B", "-f", str(PROJECT / "cluster" / "pom.xml"), "initialize", f"-Djars={folder}")


def _lay_out(folder: Path) -> None:
    (folder / "lib-worker").symlink_to("lib")
    (folder / "extlib").mkdir()
    (folder / "RELEASE").write_text(VERSION + "\n")
    asm = next((folder / "lib").glob("asm-*.jar"))
    pairs = [text for jar, name in LISTENERS.items() for text in (f"{jar}-{VERSION}.jar", name)]
    source = PROJECT / "cluster" / "Loopback.java"
    _run("java", "-cp", str(asm), str(source), str(folder / "loopback"), str(folder / "lib"), *pairs)
    local = folder / "m2" / "org" / "apache" / "storm" / "storm-core" / VERSION
    local.mkdir(parents=True)
    (local / f"storm-core-{VERSION}.pom").write_text(POM)
    os.link(folder / "lib" / f"storm-core-{VERSION}.jar", local / f"storm-core-{VERSION}.jar")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - mvn and java, found on PATH
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"{command[0]!r} is not installed; Debian has it: apt-get install openjdk-17-jdk-headless maven leiningen"
        ) from error
    if done.returncode:
        printed = "\n".join(done.stdout.splitlines()[-20:])
        raise ClusterError(f"{command[0]} failed ({done.returncode}):\n{printed}")
