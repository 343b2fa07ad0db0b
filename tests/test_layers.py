"""Imports point only downward, and each outside system is known to one place."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from autotag.settings import PROJECT

ORDER = """
models
autotag.errors autotag.progress
autotag.storage
autotag.settings autotag.events
autotag.photos autotag.view
autotag.queues autotag.stores
autotag.localcluster autotag.bulk autotag.bundles
autotag.tagging
autotag.jobs
autotag.training.dataset
autotag.training.fit
autotag.training.report
autotag.cli
bolts spouts
topologies
"""
"""The layers, lowest first. A file imports from layers below its own, and from its own room; never from a neighbour."""
FLOOR = {room: floor for floor, rooms in enumerate(ORDER.split("\n")) for room in rooms.split()}
PUBLIC = "autotag"
"""The library's face, autotag/__init__.py: it imports from any room of the library, and no room imports it."""
KNOWN_TO = {
    "openvino": {"models/network.py", "models/bank_product.py"},
    "sqlite3": {"autotag/storage/sqlite_file.py", "autotag/queues/sqlite_queue.py", "autotag/stores/sqlite_tables.py"},
    "requests": {"autotag/photos/fetch.py", "autotag/photos/http_guard.py", "autotag/bundles/download.py"},
    "kazoo": {"autotag/bundles/registry.py"},
    "PIL": {"autotag/photos/decode_", "autotag/photos/thumbnail.py"},
    "psutil": {"autotag/localcluster/processes.py"},
    "supervisor": {"autotag/localcluster/supervisord.py"},
    "thriftpy2": {"autotag/localcluster/nimbus.py", "autotag/stores/hbase_link.py"},
    "happybase": {
        "autotag/localcluster/hbase_jars.py",
        "autotag/stores/hbase_tables.py",
        "autotag/stores/hbase_link.py",
    },
    "Hbase_thrift": {"autotag/stores/hbase_tables.py", "autotag/stores/hbase_link.py"},
    "pyarrow": {"autotag/bulk/source.py", "autotag/storage/parquet.py", "autotag/training/"},
    "onnx": {"models/efficientnet.py", "models/quantisation.py"},
    "fsspec": {"autotag/storage/folder.py", "autotag/photos/object_stores.py"},
    "jinja2": {"autotag/training/report/page.py"},
    "pyspark": {"autotag/jobs/spark.py"},
    "click": {"autotag/cli/"},
    "streamparse": {"spouts/", "bolts/", "topologies/"},
    "pystorm": {"spouts/", "bolts/", "topologies/"},
    "onnxruntime": {"models/quantisation.py"},
}


def sources() -> list[Path]:
    tops = dict.fromkeys(room.partition(".")[0] for room in FLOOR)
    return [path for top in tops for path in sorted((PROJECT / top).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of what a file imports anywhere in it: modules, and what may be modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room(name: str) -> str | None:
    """The room that a dotted name belongs to; None for what is not ours, or an empty package."""
    parts = name.split(".")
    rooms = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((one for one in rooms if one in FLOOR), PUBLIC if parts[0] == PUBLIC else None)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PROJECT)))
def test_a_file_imports_only_its_own_room_and_those_below(path: Path) -> None:
    own = room(dotted(path))
    assert own is not None
    rooms = {other for name in imported(path) if (other := room(name)) not in (None, own)}
    if own == PUBLIC:
        assert all(str(other).startswith(f"{PUBLIC}.") for other in rooms)
    else:
        assert {other for other in rooms if other == PUBLIC or FLOOR[str(other)] >= FLOOR[own]} == set()


def test_a_house_has_few_doors() -> None:
    assert len([path for path in (PROJECT / "autotag").iterdir() if path.name != "__pycache__"]) <= 17


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PROJECT)))
def test_an_outside_system_is_known_to_one_place(path: Path) -> None:
    name = str(path.relative_to(PROJECT))
    for package in {name.partition(".")[0] for name in imported(path)} & set(KNOWN_TO):
        assert any(name.startswith(place) for place in KNOWN_TO[package]), f"{name} imports {package}"


def test_nothing_imports_torch() -> None:
    assert not [path for path in sources() if any(name.startswith("torch") for name in imported(path))]
    assert "torch" not in sys.modules


def test_src_holds_a_link_to_each_package_that_a_worker_needs_and_nothing_else() -> None:
    links = {path.name: path.resolve() for path in (PROJECT / "src").iterdir() if path.name != "__pycache__"}
    assert links == {name: PROJECT / name for name in ("autotag", "models", "bolts", "spouts")}
