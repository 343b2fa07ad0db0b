"""``autotag cluster``: the real servers on this machine."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, print_json, print_table, with_json, with_settings
from autotag.localcluster.cluster import DAEMONS, HBASE_DAEMONS, Cluster


def register(group: click.Group) -> None:
    group.add_command(cluster)


@click.group()
def cluster() -> None:
    """ZooKeeper, Storm and, where the store is on it, HBase on this machine, under process supervision."""


def _say(what: str) -> None:
    click.echo(what, err=True)


@cluster.command()
@with_settings
def prepare(line: CommandLine) -> None:
    """Fetch the servers' jars; done by `up` too."""
    Cluster(line.settings).prepare(_say)


@cluster.command()
@with_settings
def up(line: CommandLine) -> None:
    """Start what is not running, and wait until a topology can be submitted and the store's HBase answers."""
    Cluster(line.settings).up(_say)
    _say("the cluster is up")


@cluster.command()
@with_settings
def down(line: CommandLine) -> None:
    """Stop the servers and everything that runs on them; topologies come back with the next `up`."""
    Cluster(line.settings).down(_say)
    _say("the cluster is down")


@cluster.command()
@with_json
@with_settings
def status(line: CommandLine, as_json: bool) -> None:
    """The servers, slots and topologies as they are now; exit code 1 when not all is ready."""
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
@click.option("--lines", type=click.IntRange(min=1), default=50, show_default=True, help="The last so many of each.")
@with_json
@with_settings
def logs(line: CommandLine, name: str | None, lines: int, as_json: bool) -> None:
    """The logs' last lines: of all, or of one (nimbus, hbase-master, worker-6700...)."""
    cluster = Cluster(line.settings)
    if as_json:
        for path in cluster.log_files(name):
            text = path.read_text(encoding="utf-8", errors="replace")
            print_json({"name": path.stem, "path": str(path), "lines": text.splitlines()[-lines:]})
    else:
        click.echo(cluster.logs(name, lines))


@cluster.command()
@click.argument("name", type=click.Choice([*DAEMONS, *HBASE_DAEMONS]))
@with_settings
def restart(line: CommandLine, name: str) -> None:
    """Stop one of the servers and start it again; the stream goes on meanwhile."""
    Cluster(line.settings).restart(name, _say)
    _say(f"{name} is back")
