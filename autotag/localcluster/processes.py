"""The processes and listening ports of this machine."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

log = logging.getLogger(__name__)

KILLED_S = 10.0
"""Time that killed processes have to end."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process at the moment it was looked at."""

    pid: int
    parent: int
    command: tuple[str, ...]


def processes_with(variable: str, value: str) -> list[Process]:
    """Return the processes that were started with `variable` at `value` in their environment, without zombies.

    Children inherit the variable, and have it also after their parent has died.
    """
    matching = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                matching.append(Process(pid=process.pid, parent=process.ppid(), command=tuple(process.cmdline())))
        except psutil.Error:
            continue  # It has ended meanwhile, or it belongs to another user.
    return matching


def end(find: Callable[[], list[Process]], patience_s: float) -> None:
    """End all processes that `find` returns: terminate them, and after `patience_s` kill them, until none is left.

    `find` is called again and again, so that processes that start meanwhile are ended too.

    Raises:
        TimeoutError: some still run `KILLED_S` after they were killed.
    """
    signalled: set[int] = set()
    killing_from = time.monotonic() + patience_s
    # An ending process loses its environment, and `find` no longer returns it, before it closes its ports.
    while left := {process.pid for process in find()} | {pid for pid in signalled if _runs(pid)}:
        kill = time.monotonic() > killing_from
        for pid in left if kill else left - signalled:
            signalled.add(pid)
            send(pid, signal.SIGKILL if kill else signal.SIGTERM)
        if time.monotonic() > killing_from + KILLED_S:
            raise TimeoutError(f"these processes do not end: {sorted(left)}")
        time.sleep(0.05)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; do nothing if the process has ended."""
    try:
        psutil.Process(pid).send_signal(number)
    except psutil.NoSuchProcess:
        log.debug("process %d had ended before %s", pid, number.name)


def listener(port: int) -> str | None:
    """Return the process that listens on TCP `port` of any address, as ``process 123 (java ...)``; None if none does.

    The process of another user is ``another user's process``: only root sees its name.
    """
    holder = None
    for connection in _listening():
        if connection.laddr.port == port:
            try:
                command = " ".join(psutil.Process(connection.pid).cmdline()) if connection.pid else ""
            except psutil.Error:
                command = ""
            holder = f"process {connection.pid} ({command[:120].strip()})" if command else "another user's process"
    return holder


def listening_addresses(pids: set[int]) -> list[tuple[str, int]]:
    """Return the (address, port) pairs on which any of `pids` listens, sorted; IPv4 mapped to IPv6 reads as IPv4."""
    return sorted({(one.laddr.ip.removeprefix("::ffff:"), one.laddr.port) for one in _listening() if one.pid in pids})


def _listening() -> Iterator[Any]:
    return (one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN)


def _runs(pid: int) -> bool:
    """Return True while any thread is left: until then ports stay open, though the first thread may be a zombie."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False
