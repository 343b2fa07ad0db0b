"""The servers' configuration: the templates in cluster/, with the ports and folders of one local cluster filled in."""

from __future__ import annotations

import json
import string
from pathlib import Path
from xml.sax.saxutils import escape

from autotag.errors import ClusterError
from autotag.localcluster.storm_jars import CLUSTER, FOLDER
from autotag.settings import Settings

TEMPLATES = ("storm.yaml", "zoo.cfg", "hbase/hbase-site.xml")
"""All are always filled in: HBase may be needed later, while the cluster runs."""


def write(settings: Settings, home: Path) -> None:
    """Write the configuration to ``conf`` below `home`, and create the folders that it names."""
    for name in ("conf", "zookeeper", "storm"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for path, text in _filled_in(settings, home).items():
        path.write_text(text, encoding="utf-8")


def check(settings: Settings, home: Path) -> None:
    """Check that the cluster in `home` was started with these `settings`.

    Raises:
        ClusterError: it runs with others.
    """
    for path, text in _filled_in(settings, home).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise ClusterError(
                f"the cluster in {home} runs with other settings ({path.name}); "
                "stop it with `autotag cluster down` first"
            )


def _filled_in(settings: Settings, home: Path) -> dict[Path, str]:
    options = (CLUSTER / "jvm.options").read_text(encoding="utf-8").splitlines()
    values = {
        "home": str(home),
        "cluster": str(CLUSTER),
        "storm": str(FOLDER),
        "jvm_options": " ".join(line for line in options if line.startswith("-")),
        "zookeeper_port": str(settings.cluster_zookeeper_port),
        "nimbus_port": str(settings.cluster_nimbus_port),
        "supervisor_port": str(settings.cluster_nimbus_port + 1),
        "worker_ports": json.dumps(settings.cluster_worker_ports),
        "hbase_master_port": str(settings.cluster_hbase_ports[0]),
        "hbase_regionserver_port": str(settings.cluster_hbase_ports[1]),
        "thrift_port": str(settings.cluster_thrift_port),
    }
    in_xml = {name: escape(value) for name, value in values.items()}
    return {
        home / "conf" / Path(name).name: string.Template((CLUSTER / name).read_text(encoding="utf-8")).substitute(
            in_xml if name.endswith(".xml") else values
        )
        for name in TEMPLATES
    }
