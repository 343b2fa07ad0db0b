"""This machine's processes and listening ports, as Linux's /proc shows them."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process as it was when it was looked at."""

    pid: int
    parent: int
    command: tuple[str, ...]


def processes_with(variable: str, value: str) -> list[Process]:
    """The processes that were started, by whatever way, with `variable` at `value` in their environment.

    Children inherit it, and it stays theirs when their parent dies. Zombies are not among them.
    """
    wanted = f"{variable}={value}".encode()
    found = []
    for pid in _pids():
        try:
            if wanted not in Path(PROC, str(pid), "environ").read_bytes().split(b"\0"):
                continue
            command = Path(PROC, str(pid), "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            state, parent = _state_and_parent(pid)
        except OSError:
            continue  # It ended meanwhile, or it is another user's.
        if state != "Z":
            found.append(Process(pid=pid, parent=parent, command=tuple(map(os.fsdecode, command))))
    return found


def end(find: Callable[[], list[Process]], patience_s: float) -> None:
    """End all that `find` finds: ask, and after `patience_s` kill, until it finds no more.

    `find` is asked again each time, so that what starts meanwhile is ended too.

    Raises:
        TimeoutError: some are still there 10 s after they were killed.
    """
    asked: set[int] = set()
    killing_from = time.monotonic() + patience_s
    # An ending process loses its environment, and is found no more, before it closes its ports.
    while left := {process.pid for process in find()} | {pid for pid in asked if _runs(pid)}:
        kill = time.monotonic() > killing_from
        for pid in left if kill else left - asked:
            asked.add(pid)
            send(pid, signal.SIGKILL if kill else signal.SIGTERM)
        if time.monotonic() > killing_from + 10:
            raise TimeoutError(f"these processes do not end: {sorted(left)}")
        time.sleep(0.05)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is none the worse."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        log.debug("process %d had ended before %s", pid, number.name)


def listener(port: int) -> str | None:
    """Who listens on TCP `port` at any address: ``process 123 (java ...)``, or None when nobody does.

    Another user's process is ``another user's process``: only root sees its name.
    """
    targets = {f"socket:[{inode}]" for _, listening, inode in _sockets() if listening == port}
    if not targets:
        return None
    for pid in _pids():
        if targets & set(_descriptors(pid)):
            command = Path(PROC, str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return f"process {pid} ({command[:120].strip()})"
    return "another user's process"


def listening_addresses(pids: set[int]) -> list[tuple[str, int]]:
    """The (address, port) pairs on which any of `pids` listens, sorted; IPv4 mapped to IPv6 reads as IPv4."""
    descriptors = {name for pid in pids for name in _descriptors(pid)}
    return sorted({(address, port) for address, port, inode in _sockets() if f"socket:[{inode}]" in descriptors})


def _sockets() -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of each listening TCP socket."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(PROC, "net", table).read_text().splitlines()[1:]
        except OSError:
            continue  # No IPv6 here.
        for line in lines:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN
                address, _, port = fields[1].rpartition(":")
                yield _address(address), int(port, 16), fields[9]


def _address(text: str) -> str:
    """An address of /proc/net/tcp, 32-bit words in the machine's byte order, as people write it."""
    packed = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _runs(pid: int) -> bool:
    """Whether any thread is left; as long as one is, the ports stay open, though the first may be a zombie by then."""
    try:
        return _state_and_parent(pid)[0] != "Z" or len(list(Path(PROC, str(pid), "task").iterdir())) > 1
    except OSError:
        return False


def _state_and_parent(pid: int) -> tuple[str, int]:
    # The name, in parentheses, may hold spaces and parentheses; state and parent follow it.
    state, parent = Path(PROC, str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    return state, int(parent)


def _descriptors(pid: int) -> Iterator[str]:
    """What the open files of a process are, as ``socket:[123]``; of another user's process, nothing."""
    with contextlib.suppress(OSError):
        for entry in Path(PROC, str(pid), "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
