"""The Storm side of the multilang protocol: runs a spout or bolt as Storm does, a process on two pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

Message = dict[str, Any]


class Component:
    """One running component; a context manager that leaves no process behind.

    Args:
        target: module and class, such as ``bolts.writer.WriterBolt``.
        conf: what Storm hands to ``initialize``.
        fields: the fields of each stream that comes in, by component and stream.
    """

    def __init__(self, target: str, conf: Message, folder: Path, fields: dict[str, dict[str, list[str]]]) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        self._ids = 0
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "streamparse_run"), target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},  # streamparse's own: pkg_resources
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        context = {"taskid": 7, "componentid": target.rsplit(".", 1)[1], "source->stream->fields": fields}
        self._write({"conf": {"topology.name": "tagging", **conf}, "pidDir": str(folder), "context": context})
        try:
            self.pid = self.wait_for(lambda m: "pid" in m)["pid"]
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _write(self, message: Message | list[int]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\nend\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "end\n":
                message = json.loads("".join(lines))
                lines = []
                with self._news:
                    self.messages.append(message)
                    self._news.notify_all()
            else:
                lines.append(line)
        with self._news:
            self._news.notify_all()

    def command(self, name: str, id: str | None = None) -> None:
        """Send a spout ``next``, ``ack``, ``fail``, ``activate`` or ``deactivate``."""
        self._write({"command": name} if id is None else {"command": name, "id": id})

    def tuple(self, component: str, stream: str, values: list[Any]) -> str:
        """Send a bolt a tuple; returns its id."""
        self._ids += 1
        self._write({"id": str(self._ids), "comp": component, "stream": stream, "task": 1, "tuple": values})
        return str(self._ids)

    def heartbeat(self) -> None:
        """Send a bolt Storm's heartbeat tuple, to be answered with a sync."""
        self._write({"id": "hb", "comp": "__system", "stream": "__heartbeat", "task": -1, "tuple": []})

    def seen(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """The messages so far that `wanted` accepts."""
        with self._news:
            return [message for message in self.messages if wanted(message)]

    def wait_for(self, wanted: Callable[[Message], bool], count: int = 1, timeout_s: float = 60) -> Message:
        """The `count`-th message that `wanted` accepts."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while len(found := [message for message in self.messages if wanted(message)]) < count:
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    ended = f"exit code {self.process.poll()}"
                    raise AssertionError(f"{len(found)} of {count} messages came; {ended}; all: {self.messages}")
                self._news.wait(min(left, 0.2))
        return found[count - 1]

    def wait_for_end(self, timeout_s: float = 60) -> int:
        """The exit code, once the process has ended by itself."""
        return self.process.wait(timeout_s)

    def __enter__(self) -> Component:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        finally:
            self._reader.join(10)  # the pipe ends with the process; closed under a reader it is an error of that thread
            self.process.stdout.close()


def command(name: str, **fields: Any) -> Callable[[Message], bool]:
    """Accepts messages of that command whose fields are as given."""
    return lambda message: message.get("command") == name and fields.items() <= message.items()
