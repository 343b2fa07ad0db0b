"""Imports point only downward, and each outside system is known to one place."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from autotag.settings import PROJECT

LAYERS = ["topologies", "spouts", "bolts", "autotag", "models"]
BELOW = {
    "models": {"models"},
    "autotag": {"autotag", "models"},
    "bolts": {"bolts", "autotag", "models"},
    "spouts": {"spouts", "autotag", "models"},
    "topologies": {"topologies", "spouts", "bolts", "autotag", "models"},
}
KNOWN_TO = {
    "openvino": {"models/network.py"},
    "sqlite3": {"autotag/storage/sqlite_file.py", "autotag/queues/sqlite_queue.py", "autotag/stores/sqlite_tables.py"},
    "requests": {"autotag/photos/fetch.py", "autotag/photos/http_guard.py", "autotag/bundles/download.py"},
    "kazoo": {"autotag/bundles/registry.py"},
    "PIL": {"autotag/photos/decode_main.py", "autotag/training/report/thumbnails.py"},
    "supervisor": {"autotag/localcluster/supervisord.py"},
    "thriftpy2": {"autotag/localcluster/nimbus.py", "autotag/stores/hbase_link.py"},
    "happybase": {
        "autotag/localcluster/hbase_jars.py",
        "autotag/stores/hbase_tables.py",
        "autotag/stores/hbase_link.py",
    },
    "Hbase_thrift": {"autotag/stores/hbase_tables.py", "autotag/stores/hbase_link.py"},
    "pyarrow": {"autotag/bulk/parquet.py", "autotag/storage/parquet.py", "autotag/training/"},
    "onnx": {"models/efficientnet.py", "models/quantisation.py"},
    "fsspec": {"autotag/storage/folder.py"},
    "jinja2": {"autotag/training/report/page.py"},
    "pyspark": {"autotag/jobs/spark.py"},
    "click": {"autotag/cli/"},
    "streamparse": {"spouts/", "bolts/", "topologies/"},
    "pystorm": {"spouts/", "bolts/", "topologies/"},
    "onnxruntime": {"models/quantisation.py"},
}


def sources() -> list[Path]:
    return [path for layer in LAYERS for path in sorted((PROJECT / layer).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PROJECT)))
def test_a_file_imports_only_its_own_layer_and_those_below(path: Path) -> None:
    layer = path.relative_to(PROJECT).parts[0]
    assert imported(path) & set(LAYERS) <= BELOW[layer]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PROJECT)))
def test_an_outside_system_is_known_to_one_place(path: Path) -> None:
    name = str(path.relative_to(PROJECT))
    for package in imported(path) & set(KNOWN_TO):
        assert any(name.startswith(place) for place in KNOWN_TO[package]), f"{name} imports {package}"


def test_nothing_imports_torch() -> None:
    assert not [path for path in sources() if "torch" in imported(path)]
    assert "torch" not in sys.modules


def test_src_holds_a_link_to_each_package_that_a_worker_needs_and_nothing_else() -> None:
    links = {path.name: path.resolve() for path in (PROJECT / "src").iterdir() if path.name != "__pycache__"}
    assert links == {name: PROJECT / name for name in ("autotag", "models", "bolts", "spouts")}
