"""streamparse's command line, changed where it does not fit: errors, the listing, temporary files, checks of `run`."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from streamparse.cli import list as list_command
from streamparse.cli import run as run_command
from streamparse.cli.sparse import main
from streamparse.cli.submit import get_user_tasks
from streamparse.util import get_env_config, get_nimbus_client, ssh_tunnel
from thriftpy2.transport import TTransportException

from autotag.errors import AutotagError

PROJECT = Path(__file__).resolve().parent.parent
NO_UI = ("stats", "worker_uptime", "slot_usage")
COLUMNS = {
    "name": "name",
    "status": "status",
    "workers": "num_workers",
    "executors": "num_executors",
    "tasks": "num_tasks",
    "up (s)": "uptime_secs",
}


def explained(error: Exception) -> str:
    """Return what a user can do about `error`."""
    if isinstance(error, AutotagError):
        return str(error)
    if isinstance(error, (TTransportException, ConnectionError)):
        return "Nimbus does not answer; is the cluster up? See: autotag cluster status"
    if type(error).__name__ == "NotAliveException":
        return "no such topology runs; see: sparse list"
    if "invalid name for a Storm topology" in str(error):
        return "a topology of that name runs, or is being killed; see: sparse list, sparse kill, sparse submit --force"
    return f"{type(error).__name__}: {error}"


def list_topologies(env_name: Any, timeout: Any = None, config_file: Any = None) -> None:
    """Print the topologies in a line each; streamparse's own table of 20 columns wraps every word."""
    _, environment = get_env_config(env_name, config_file=config_file)
    with ssh_tunnel(environment) as (host, port):
        nimbus = get_nimbus_client(environment, host=host, port=port, timeout=timeout)
        topologies = nimbus.getClusterInfo().topologies
    rows = [[str(getattr(topology, field)) for field in COLUMNS.values()] for topology in topologies]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in [list(COLUMNS), *rows] if rows else [["No topology runs."]]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())


def resolve_and_check(options: Any, environment: Any, topology: Any, name: str, **more: Any) -> Any:
    """Resolve the options of `sparse run` and check them, as the hook of `sparse submit` does; `run` has no hook."""
    resolved = resolve_options(options, environment, topology, name, **more)
    tasks, _ = get_user_tasks()
    if hasattr(tasks, "check"):
        tasks.check(topology, resolved)
    return resolved


resolve_options = run_command.resolve_options
run_command.resolve_options = resolve_and_check
list_command.list_topologies = list_topologies


def run() -> int:
    """Run the command and return its exit code; what it leaves in the folder for temporary files goes with it."""
    if len(sys.argv) > 1 and sys.argv[1] in NO_UI:
        print(
            f"sparse {sys.argv[1]}: needs Storm's UI, which is not part of this; see: autotag status", file=sys.stderr
        )
        return 1
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix=f"sparse-{os.getpid()}-", dir=PROJECT / "build")
    os.environ["LEIN_JVM_OPTS"] = f"{os.environ.get('LEIN_JVM_OPTS', '')} -Djava.io.tmpdir={tempfile.tempdir}"
    try:
        return main() or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(f"sparse: {explained(error)}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)


if __name__ == "__main__":
    sys.argv[0] = "sparse"
    sys.exit(run())
