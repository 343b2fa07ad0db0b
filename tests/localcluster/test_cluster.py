"""The local cluster: real servers on free ports are killed, restarted and stopped; and the tools around them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import happybase
import pytest

from autotag.errors import ClusterError
from autotag.localcluster.cluster import Cluster
from autotag.localcluster.processes import listener, listening_addresses, processes_with
from autotag.localcluster.status import needed_daemons
from autotag.localcluster.supervisord import DAEMONS, HBASE_DAEMONS, Supervisord
from autotag.settings import PROJECT, Settings
from tests.conftest import free_ports

STORM = PROJECT / "cluster" / "storm"


def settings_in(home: Path) -> Settings:
    zookeeper, nimbus, _after_nimbus, worker, other_worker, thrift, *hbase = free_ports(8)
    return Settings(
        cluster_home=str(home),
        cluster_zookeeper_port=zookeeper,
        cluster_nimbus_port=nimbus,
        cluster_worker_ports=(worker, other_worker),
        cluster_thrift_port=thrift,
        cluster_hbase_ports=tuple(hbase),
    )


def on_hbase(settings: Settings) -> Settings:
    """The same with the store on the cluster's HBase."""
    return replace(settings, store=f"hbase://127.0.0.1:{settings.cluster_thrift_port}/tests")


def wait_until(what: Callable[[], bool], seconds: float, problem: str) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, problem
        time.sleep(0.1)


class Rows:
    """A table on the cluster's HBase, of which every row that was written must stay."""

    def __init__(self, cluster: Cluster) -> None:
        self.port = cluster.settings.cluster_thrift_port
        self.written: set[bytes] = set()
        with closing(self._connection()) as connection:
            connection.create_table("tests_rows", {"f": {}})

    def write(self, count: int = 50) -> None:
        with closing(self._connection()) as connection:
            for _ in range(count):
                row = random.randbytes(8)
                connection.table("tests_rows").put(row, {b"f:q": b"1"})
                self.written.add(row)

    def assert_there(self) -> None:
        with closing(self._connection()) as connection:
            assert {row for row, _ in connection.table("tests_rows").scan()} == self.written

    def _connection(self) -> happybase.Connection:
        return happybase.Connection("127.0.0.1", self.port, timeout=30_000)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder that all programs of this module take for the user's home and the folder of temporary files."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "TMPDIR"):
            patch.setenv(name, str(folder))
        yield folder


@pytest.fixture(scope="module")
def cluster(elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that is up, in a home of its own; it is down at the end, also after a failure."""
    cluster = Cluster(settings_in(tmp_path_factory.mktemp("cluster")))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="module")
def with_hbase(cluster: Cluster) -> Cluster:
    """The same cluster with settings whose store is on its HBase, which is started on the running cluster."""
    with_hbase = Cluster(on_hbase(cluster.settings))
    with_hbase.up()
    return with_hbase


@pytest.fixture(scope="module")
def rows(with_hbase: Cluster) -> Rows:
    """A table that was created as soon as `up` returned."""
    return Rows(with_hbase)


TOPOLOGY = """
    from streamparse import Topology
    from ticking import TickBolt, TickSpout

    class Ticks(Topology):
        ticks = TickSpout.spec()
        bolt = TickBolt.spec(inputs=[ticks])
"""
COMPONENTS = """
    import itertools
    import time

    from streamparse import Bolt, Spout

    class TickSpout(Spout):
        outputs = ["tick"]

        def initialize(self, conf, context):
            self.ticks = itertools.count()

        def next_tuple(self):
            time.sleep(0.02)
            tick = next(self.ticks)
            self.emit([tick], tup_id=tick)

    class TickBolt(Bolt):
        def initialize(self, conf, context):
            self.file = open(conf["ticks.file"], "a", buffering=1)

        def process(self, tup):
            self.file.write(f"{tup.values[0]}\\n")
"""


class Project:
    """A streamparse project with one small topology, whose bolt writes a line a tuple."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("src", "topologies", "virtualenvs", "build", "workers"):
            (folder / name).mkdir()
        (folder / "src" / "ticking.py").write_text(textwrap.dedent(COMPONENTS))
        (folder / "topologies" / "ticks.py").write_text(textwrap.dedent(TOPOLOGY))
        (folder / "workers" / "python").symlink_to(sys.prefix)
        (folder / "build" / "storm").symlink_to(PROJECT / "build" / "storm")
        for name in ("project.clj", "tasks.py"):
            shutil.copy(PROJECT / name, folder / name)
        options = {
            "install_virtualenv": False,
            "virtualenv_name": "python",
            "ticks.file": str(folder / "ticks"),
            "topology.max.spout.pending": 100,
        }
        local = {
            "user": "",
            "nimbus": "127.0.0.1:1",
            "use_ssh_for_nimbus": False,
            "workers": ["127.0.0.1"],
            "virtualenv_root": "workers",
            "options": options,
        }
        specs = {"topology_specs": "topologies/", "virtualenv_specs": "virtualenvs/"}
        (folder / "config.json").write_text(json.dumps({**specs, "envs": {"local": local}}))

    def ticks(self) -> int:
        """Return the number of tuples that have arrived."""
        file = self.folder / "ticks"
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def assert_flows(self, seconds: float = 60.0) -> None:
        before = self.ticks()
        wait_until(lambda: self.ticks() > before + 20, seconds, "no tuple arrives")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def ticking(cluster: Cluster, project: Project) -> Iterator[Project]:
    """The project with its topology running on the cluster."""
    cluster.sparse("submit", "-e", "local", project=project.folder)
    cluster.topologies.wait_for("ticks")
    yield project
    if cluster.topologies.is_active("ticks"):
        cluster.nimbus.kill("ticks")
        cluster.topologies.wait_until_gone("ticks")


def storm(*arguments: str, conf: Path, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STORM, *arguments],
        env=os.environ | {"STORM_CONF_DIR": str(conf)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def temporary_files(cluster: Cluster) -> list[str]:
    """Return the files in the system's folder for temporary files that processes of the cluster use.

    Java takes that folder whatever TMPDIR says. The project, the cluster's home and pytest's folder may lie in it.
    """
    used = set()
    for process in processes_with("AUTOTAG_CLUSTER_HOME", str(cluster.home)):
        folder = Path("/proc", str(process.pid))
        with contextlib.suppress(OSError):  # the process has ended
            used |= {line.split(maxsplit=5)[5] for line in (folder / "maps").read_text().splitlines() if "/" in line}
            used |= {str(link.readlink()) for link in (folder / "fd").iterdir()}
    own = (str(cluster.home.parent), str(PROJECT))
    return sorted(path for path in used if path.startswith(("/tmp/", "/var/tmp/")) and not path.startswith(own))


def pids(cluster: Cluster) -> dict[str, int | None]:
    return {daemon.name: daemon.pid for daemon in cluster.status().daemons}


# Processes and ports


def test_listener_names_the_process_that_holds_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"process {os.getpid()} " in str(listener(port))
        assert ("127.0.0.1", port) in listening_addresses({os.getpid()})
    assert listener(port) is None


def test_processes_are_known_by_an_inherited_variable_after_their_parent_died() -> None:
    command = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    value = str(random.random())
    done = subprocess.run(
        [sys.executable, "-c", command], env=os.environ | {"TESTED": value}, stdout=subprocess.PIPE, check=True
    )
    (left,) = processes_with("TESTED", value)
    assert left.pid == int(done.stdout)
    assert left.command == ("sleep", "60")
    os.kill(left.pid, signal.SIGKILL)
    wait_until(lambda: not processes_with("TESTED", value), 5, "a killed process is still found")


# The launcher


def test_storm_version_is_what_sparse_run_compares(tmp_path: Path) -> None:
    assert storm("version", conf=tmp_path).stdout == "Storm 2.8.3\n"


def test_storm_lists_its_commands_when_it_knows_none_of_that_name(tmp_path: Path) -> None:
    done = storm("lst", conf=tmp_path)
    assert done.returncode == 2
    assert "unknown command 'lst'" in done.stderr
    assert "set_log_level" in done.stderr


def test_storm_says_how_to_start_the_cluster_when_there_is_none(tmp_path: Path) -> None:
    done = storm("list", conf=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "autotag cluster up" in done.stderr


def test_storm_runs_through_a_link_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "storm").symlink_to(STORM)
    done = subprocess.run([tmp_path / "storm", "version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "Storm 2.8.3\n"


@pytest.mark.parametrize("target", ["run", "up", "down"])
def test_make_takes_the_environment_of_the_store(target: str) -> None:
    def planned(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", "-n", target, *arguments]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    assert "-e hbase" not in planned().stdout
    assert "-e local" in planned("STORE=sqlite").stdout
    assert "-e hbase" in planned("STORE=hbase").stdout
    assert "STORE is sqlite or hbase, not mysql" in planned("STORE=mysql").stderr


# Up and down


def test_a_taken_port_is_named_with_its_setting_and_holder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with socket.create_server(("127.0.0.1", settings.cluster_nimbus_port)), pytest.raises(ClusterError) as failure:
        Cluster(settings).up()
    message = str(failure.value)
    assert f"port {settings.cluster_nimbus_port} (autotag.cluster.nimbus.port)" in message
    assert f"process {os.getpid()} " in message


def test_the_ports_of_hbase_matter_only_where_the_store_is_on_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    port = settings.cluster_thrift_port
    assert port not in Cluster(settings).ports
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ClusterError) as failure:
        Cluster(on_hbase(settings)).up()
    assert f"port {port} (autotag.cluster.thrift.port)" in str(failure.value)


@pytest.mark.parametrize("address", ["hbase.example.org:9090", "127.0.0.1:9091"])
def test_an_hbase_at_another_address_is_left_to_others(tmp_path: Path, address: str) -> None:
    cluster = Cluster(Settings(home=str(tmp_path), store=f"hbase://{address}/autotag"))
    assert needed_daemons(cluster.settings) == DAEMONS
    assert [daemon.name for daemon in cluster.status().daemons] == list(DAEMONS)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_store_at_the_clusters_own_address_needs_hbase(tmp_path: Path, host: str) -> None:
    status = Cluster(Settings(home=str(tmp_path), store=f"hbase://{host}:9090/autotag")).status()
    assert [daemon.name for daemon in status.daemons] == [*DAEMONS, *HBASE_DAEMONS]


def test_a_server_that_cannot_start_is_named_with_its_last_log_lines(tmp_path: Path) -> None:
    cluster = Cluster(settings_in(tmp_path))
    (tmp_path / "zookeeper").mkdir()
    (tmp_path / "zookeeper" / "version-2").write_text("a file where ZooKeeper keeps a folder")
    try:
        with pytest.raises(ClusterError, match=r"^zookeeper does not come up.*\n.*zookeeper\.log:\n(.*\n)*.*version-2"):
            cluster.up()
    finally:
        cluster.down()


def test_status_of_a_cluster_that_is_not_up(tmp_path: Path) -> None:
    status = Cluster(settings_in(tmp_path)).status()
    assert not status.ready
    assert {daemon.state for daemon in status.daemons} == {"DOWN"}
    assert json.dumps(status.as_json())


def test_a_home_with_a_long_name_gets_a_short_socket(tmp_path: Path) -> None:
    sockets = [Supervisord(tmp_path / (name * 30)).socket for name in ("long", "lang")]
    assert all(len(str(socket)) < 95 for socket in sockets)
    assert len(set(sockets)) == 2


def test_up_is_done_when_a_topology_can_be_submitted(cluster: Cluster) -> None:
    status = cluster.status()
    assert status.ready
    assert status.slots == 2
    assert [(daemon.name, daemon.state) for daemon in status.daemons] == [(name, "RUNNING") for name in DAEMONS]


def test_up_twice_changes_nothing(cluster: Cluster) -> None:
    before = pids(cluster)
    cluster.up()
    assert pids(cluster) == before


def test_up_with_other_settings_is_refused_while_the_cluster_runs(cluster: Cluster) -> None:
    other = Settings(cluster_home=str(cluster.home), cluster_worker_ports=(6799,))
    with pytest.raises(ClusterError, match="runs with other settings"):
        Cluster(other).up()


# With a topology


def test_everything_listens_on_the_loopback_address_only(cluster: Cluster, ticking: Project) -> None:
    ticking.assert_flows()
    everything = {process.pid for process in processes_with("AUTOTAG_CLUSTER_HOME", str(cluster.home))}
    addresses = listening_addresses(everything)
    assert {address for address, _ in addresses} == {"127.0.0.1"}
    assert len(addresses) == 4  # ZooKeeper, Nimbus, Supervisor and one worker


def test_temporary_files_lie_in_the_clusters_home(cluster: Cluster, ticking: Project) -> None:
    ticking.assert_flows()
    assert [path.name.partition("jni")[0] for path in (cluster.home / "tmp").glob("librocksdb*")] == ["librocksdb"]
    assert temporary_files(cluster) == []


def test_components_are_the_python_processes_of_the_topology(cluster: Cluster, ticking: Project) -> None:
    components = cluster.topologies.components("ticks")
    assert sorted(component.name for component in components) == ["ticking.TickBolt", "ticking.TickSpout"]
    assert {component.worker for component in components} == set(cluster.topologies.workers("ticks"))
    assert cluster.topologies.components("tick") == []


def test_everything_is_logged_in_one_folder(cluster: Cluster, ticking: Project) -> None:
    ticking.assert_flows()
    names = {path.stem for path in cluster.logs.files()}
    assert names >= set(DAEMONS) | {"supervisord"}
    assert any(name.startswith("worker-") for name in names)
    assert "pystorm" in "".join(path.read_text() for path in cluster.logs.folder.glob("worker-*.log"))
    with pytest.raises(ClusterError, match="nimbus"):
        cluster.logs.tail("nimbos")


def test_storm_commands_reach_the_cluster(cluster: Cluster, ticking: Project) -> None:
    conf = cluster.home / "conf"
    assert "ticks" in storm("list", conf=conf).stdout
    assert storm("deactivate", "ticks", conf=conf).returncode == 0
    assert not cluster.topologies.is_active("ticks")
    assert storm("activate", "ticks", conf=conf).returncode == 0
    assert cluster.topologies.is_active("ticks")
    assert json.loads(storm("get-errors", "ticks", conf=conf).stdout)["Comp-Errors"] == {}
    missing = storm("activate", "tocks", conf=conf)
    assert (missing.returncode, missing.stderr) == (1, "storm: activate: tocks is not alive\n")
    assert storm("kill", conf=conf).returncode == 2


@pytest.mark.parametrize("name", DAEMONS)
def test_a_restarted_server_leaves_the_workers_alone(cluster: Cluster, ticking: Project, name: str) -> None:
    def restart() -> None:
        pid = pids(cluster)[name]
        cluster.restart(name)
        assert pids(cluster)[name] not in (None, pid)

    assert_workers_survive(restart, cluster, ticking)


@pytest.mark.parametrize("name", DAEMONS)
def test_a_killed_server_comes_back_by_itself(cluster: Cluster, ticking: Project, name: str) -> None:
    def kill() -> None:
        pid = pids(cluster)[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pids(cluster)[name] not in (None, pid), 60, f"{name} does not come back")
        wait_until(lambda: cluster.status().ready, 60, cluster.logs.tail(name))

    assert_workers_survive(kill, cluster, ticking)


def assert_workers_survive(harm: Callable[[], None], cluster: Cluster, ticking: Project) -> None:
    """Make sure that tuples flow after `harm`, in the same processes as before.

    The Supervisor also ends a worker that a busy machine holds up for `supervisor.worker.timeout.secs`, for which
    `harm` is no reason: then it is done once more.
    """
    seen = []
    for _ in range(2):
        before = cluster.topologies.components("ticks")
        harm()
        ticking.assert_flows()
        cluster.topologies.wait_for("ticks", deadline_s=30)
        after = cluster.topologies.components("ticks")
        if after == before:
            return
        seen.append((before, after))
    raise AssertionError(f"{seen}\n{cluster.logs.tail('supervisor', lines=200)}")


def test_a_killed_bolt_is_back_within_seconds(cluster: Cluster, ticking: Project) -> None:
    before = {component.name: component.pid for component in cluster.topologies.components("ticks")}
    os.kill(before["ticking.TickBolt"], signal.SIGKILL)
    wait_until(
        lambda: before["ticking.TickBolt"] not in [c.pid for c in cluster.topologies.components("ticks")],
        10,
        "it stays",
    )
    cluster.topologies.wait_for("ticks", deadline_s=30)
    ticking.assert_flows()


def test_a_killed_worker_is_back_within_seconds(cluster: Cluster, ticking: Project) -> None:
    (worker,) = cluster.topologies.workers("ticks")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in cluster.topologies.workers("ticks"), 10, "it stays")
    cluster.topologies.wait_for("ticks", deadline_s=30)
    ticking.assert_flows()


def test_up_repairs_what_a_killed_supervisord_left(cluster: Cluster, ticking: Project) -> None:
    os.kill(int((cluster.home / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not cluster.status().ready, 10, "supervisord survived")
    cluster.up()
    cluster.topologies.wait_for("ticks")
    ticking.assert_flows()


def test_down_ends_every_process_and_up_brings_the_topology_back(cluster: Cluster, ticking: Project) -> None:
    cluster.down()
    assert processes_with("AUTOTAG_CLUSTER_HOME", str(cluster.home)) == []
    cluster.down()
    cluster.up()
    cluster.topologies.wait_for("ticks", deadline_s=30)
    ticking.assert_flows()


def test_sparse_list_and_kill(cluster: Cluster, ticking: Project) -> None:
    assert "ticks" in cluster.sparse("list", "-e", "local", project=ticking.folder)
    cluster.sparse("kill", "-e", "local", "--wait", "0", project=ticking.folder)
    cluster.topologies.wait_until_gone("ticks")
    assert cluster.topologies.components("ticks") == []
    with pytest.raises(ClusterError, match="no topology 'ticks'"):
        cluster.topologies.wait_for("ticks")


def test_sparse_submit_refuses_a_setting_that_it_does_not_know(cluster: Cluster, project: Project) -> None:
    with pytest.raises(ClusterError, match=r"did you mean 'autotag\.queue'"):
        cluster.sparse("submit", "-e", "local", "-o", "autotag.quue=x", project=project.folder)


# With HBase


def test_no_server_of_hbase_is_restarted_for_a_store_that_does_not_need_it(cluster: Cluster) -> None:
    with pytest.raises(
        ClusterError, match=r"not needed for the store 'sqlite:.*autotag -e hbase cluster restart thrift"
    ):
        cluster.restart("thrift")


def test_hbase_comes_up_beside_what_runs_and_is_ready_for_tables(
    cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    before = pids(cluster)
    assert list(before) == list(DAEMONS)
    with_hbase: Cluster = request.getfixturevalue("with_hbase")
    rows: Rows = request.getfixturevalue("rows")
    rows.write()
    rows.assert_there()
    status = with_hbase.status()
    assert status.ready
    assert {daemon.state for daemon in status.daemons} == {"RUNNING"}
    after = pids(with_hbase)
    assert after.items() > before.items()
    cluster.up()
    assert pids(cluster) == after  # What runs is shown, whoever needs it.


def test_hbase_listens_on_the_loopback_address_only(with_hbase: Cluster) -> None:
    settings = with_hbase.settings
    everything = pids(with_hbase)
    listening = listening_addresses({everything[name] or 0 for name in HBASE_DAEMONS})
    ports = sorted([settings.cluster_thrift_port, *settings.cluster_hbase_ports])
    assert listening == [("127.0.0.1", port) for port in ports]


@pytest.mark.parametrize("name", HBASE_DAEMONS)
def test_a_server_of_hbase_has_its_log_beside_the_others(with_hbase: Cluster, name: str) -> None:
    assert "org.apache.hadoop.hbase" in with_hbase.logs.tail(name, lines=1000)


def test_a_restarted_region_server_keeps_the_rows_and_the_others(with_hbase: Cluster, rows: Rows) -> None:
    before = pids(with_hbase)
    rows.write()
    with_hbase.restart("hbase-regionserver")
    rows.assert_there()
    after = pids(with_hbase)
    assert [name for name in after if after[name] != before[name]] == ["hbase-regionserver"]


@pytest.mark.parametrize("name", [*HBASE_DAEMONS, "zookeeper"])
def test_a_killed_server_is_back_by_itself_and_no_row_is_lost(with_hbase: Cluster, rows: Rows, name: str) -> None:
    before = pids(with_hbase)
    rows.write()
    os.kill(before[name] or 0, signal.SIGKILL)
    wait_until(lambda: pids(with_hbase)[name] not in (None, before[name]), 60, f"{name} does not come back")
    wait_until(lambda: with_hbase.status().ready, 60, with_hbase.logs.tail(name))
    rows.assert_there()
    rows.write()
    rows.assert_there()
    after = pids(with_hbase)
    assert [other for other in after if after[other] != before[other]] == [name]


def test_up_repairs_hbase_too_after_supervisord_was_killed(with_hbase: Cluster, rows: Rows) -> None:
    rows.write()
    os.kill(int((with_hbase.home / "supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not with_hbase.status().ready, 10, "supervisord survived")
    with_hbase.up()
    rows.assert_there()


def test_down_stops_hbase_in_order_and_up_brings_the_rows_back(
    cluster: Cluster, with_hbase: Cluster, rows: Rows
) -> None:
    rows.write()
    cluster.down()  # As whoever has started it, it ends all.
    assert processes_with("AUTOTAG_CLUSTER_HOME", str(cluster.home)) == []
    stopped = re.findall(r"(?:stopped|exited): ([\w-]+)", (cluster.logs.folder / "supervisord.log").read_text())
    assert stopped[-4:] == ["thrift", "hbase-regionserver", "hbase-master", "zookeeper"]
    assert "all regions closed" in cluster.logs.tail("hbase-regionserver", lines=200)
    with_hbase.up()
    rows.assert_there()
    assert temporary_files(with_hbase) == []


def test_nothing_is_left_outside_the_project(cluster: Cluster, with_hbase: Cluster, elsewhere: Path) -> None:
    cluster.down()
    assert not (cluster.home / "tmp").exists()
    assert list(elsewhere.rglob("*")) == []
    # Another test may be running `sparse` just now.
    folders = {path: Path("/proc", path.name.split("-")[1]) for path in PROJECT.glob("build/sparse-*")}
    assert [path for path, process in folders.items() if not process.exists()] == []
