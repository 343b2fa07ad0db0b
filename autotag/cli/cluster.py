"""``autotag cluster``: the real servers on this machine."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.localcluster.cluster import Cluster
from autotag.localcluster.supervisord import DAEMONS, HBASE_DAEMONS


@click.group()
def cluster() -> None:
    """Start, check and stop ZooKeeper, Storm and, where the store needs it, HBase on this machine."""


def print_step(step: str, done: int = 0, total: int | None = None) -> None:  # noqa: ARG001
    """Print the label of a step on standard error; an `autotag.progress.Progress` for steps without parts."""
    click.echo(step, err=True)


@cluster.command()
@with_settings
def prepare(line: CommandLine) -> None:
    """Fetch the jars of the servers; `up` does it too."""
    Cluster(line.settings).prepare(print_step)


@cluster.command()
@with_settings
def up(line: CommandLine) -> None:
    """Start the servers that do not run, and wait until a topology can be submitted and the store's HBase answers."""
    Cluster(line.settings).up(print_step)
    print_step("the cluster is up")


@cluster.command()
@with_settings
def down(line: CommandLine) -> None:
    """Stop the servers and all topologies on them; the topologies come back with the next `up`."""
    Cluster(line.settings).down(print_step)
    print_step("the cluster is down")


@cluster.command()
@with_json
@with_settings
def status(line: CommandLine, as_json: bool) -> None:
    """Show the servers, slots and topologies now; exit code 1 if the cluster is not ready."""
    now = Cluster(line.settings).status()
    if as_json:
        print_json(now.as_json())
    else:
        rows = [
            [daemon.name, daemon.state, str(daemon.pid or "-"), f"{daemon.uptime_s} s" if daemon.uptime_s else "-"]
            for daemon in now.daemons
        ]
        rows += [
            [topology.name, topology.status, "-", f"{topology.uptime_s} s, {topology.workers} workers"]
            for topology in now.topologies
        ]
        print_table(rows, ["name", "state", "pid", "up"])
        click.echo(f"slots: {now.slots_used} of {now.slots} used" if now.ready else f"not ready: {now.problem}")
    sys.exit(0 if now.ready else 1)


@cluster.command()
@click.argument("name", required=False)
@click.option("--lines", type=click.IntRange(min=1), default=50, show_default=True, help="Lines of each log.")
@with_json
@with_settings
def logs(line: CommandLine, name: str | None, lines: int, as_json: bool) -> None:
    """Show the last lines of all logs, or of one (nimbus, hbase-master, worker-6700 ...)."""
    cluster = Cluster(line.settings)
    if as_json:
        for path in cluster.logs.files(name):
            text = path.read_text(encoding="utf-8", errors="replace")
            print_json({"name": path.stem, "path": str(path), "lines": text.splitlines()[-lines:]})
    else:
        click.echo(cluster.logs.tail(name, lines))


@cluster.command()
@click.argument("name", type=click.Choice([*DAEMONS, *HBASE_DAEMONS]))
@with_settings
def restart(line: CommandLine, name: str) -> None:
    """Stop one server and start it again; the topologies run on meanwhile."""
    Cluster(line.settings).restart(name, print_step)
    print_step(f"{name} is up again")
