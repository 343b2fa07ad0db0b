"""streamparse's command line, with one line for what it would end with a traceback for."""

import sys

from streamparse.cli.sparse import main
from thriftpy2.transport import TTransportException

NO_UI = ("stats", "worker_uptime", "slot_usage")


def explained(error: Exception) -> str:
    """What a user can do about `error`."""
    if isinstance(error, (TTransportException, ConnectionError)):
        return "Nimbus does not answer; is the cluster up? See: autotag cluster status"
    if type(error).__name__ == "NotAliveException":
        return "no such topology runs; see: sparse list"
    if "invalid name for a Storm topology" in str(error):
        return "a topology of that name runs, or is being killed; see: sparse list, sparse kill, sparse submit --force"
    return f"{type(error).__name__}: {error}"


def run() -> int:
    """The exit code."""
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
