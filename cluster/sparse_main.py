"""streamparse's command line, with one line for what it would end with a traceback for."""

import sys
from pathlib import Path
from typing import Any

from streamparse.cli import run as run_command
from streamparse.cli.sparse import main
from thriftpy2.transport import TTransportException

NO_UI = ("stats", "worker_uptime", "slot_usage")


def explained(error: Exception) -> str:
    """Return what a user can do about `error`."""
    if isinstance(error, (TTransportException, ConnectionError)):
        return "Nimbus does not answer; is the cluster up? See: autotag cluster status"
    if type(error).__name__ == "NotAliveException":
        return "no such topology runs; see: storm list"
    if "invalid name for a Storm topology" in str(error):
        return "a topology of that name runs, or is being killed; see: storm list, sparse kill, sparse submit --force"
    return f"{type(error).__name__}: {error}"


def check_run() -> None:
    """Let `sparse run` check its options as `sparse submit` does: streamparse calls tasks.py for the latter only."""
    resolve = run_command.resolve_options

    def resolved(options: Any, environment: Any, topology: Any, name: str, **more: Any) -> Any:
        found = resolve(options, environment, topology, name, **more)
        sys.path.insert(0, str(Path.cwd()))
        try:
            import tasks
        except ImportError:
            return found  # a project without hooks
        if hasattr(tasks, "check"):
            tasks.check(found)
        return found

    run_command.resolve_options = resolved


def run() -> int:
    """Run the command; return its exit code."""
    check_run()
    if len(sys.argv) > 1 and sys.argv[1] in NO_UI:
        print(
            f"sparse {sys.argv[1]}: needs Storm's UI, which is not part of this; see: autotag status", file=sys.stderr
        )
        return 1
    try:
        return main() or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(f"sparse: {explained(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.argv[0] = "sparse"
    sys.exit(run())
