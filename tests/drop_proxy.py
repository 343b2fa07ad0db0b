"""DropProxy: forwards TCP connections to a server, until a test says that they break."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class DropProxy:
    """Listens on a port of its own, `port`, while used as a context.

    A *fault* is what happens to one connection, the next that has something to say:
        ``idle``: both ends are closed before the request is forwarded;
        ``lost``: the request is forwarded, and the answer thrown away with the connection;
        ``torn``: the same, but the first bytes of the answer still arrive.
    """

    def __init__(self, host: str, port: int) -> None:
        self.faults: list[str] = []
        """Used up from the front, one for each request."""
        self.silent = threading.Event()
        """While set, no answer is passed on; what came meanwhile never is."""
        self.accepted = 0
        self._server = (host, port)
        self._lock = threading.Lock()
        self._closed = threading.Condition(self._lock)
        self._open: set[socket.socket] = set()
        self.port = 0

    def __enter__(self) -> DropProxy:
        self.listen()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()

    def listen(self) -> None:
        """Come (back), to the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def leave(self) -> None:
        """Stop listening, and break what is open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Break every open connection; returns when they are closed."""
        with self._lock:
            _break(*self._open)
            closed = self._closed.wait_for(lambda ends=frozenset(self._open): not ends & self._open, 10)
        assert closed

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(self._server)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self.accepted += 1
                    if self.accepted % 2:  # ends with a reset: then the next request fails while it is sent, not after
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._open |= {client, server}
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """One connection. Closed when nobody uses it any more, or a new one might get its number in the middle."""
        fault: list[str] = []
        back = threading.Thread(target=self._back, args=(client, server, fault), daemon=True)
        back.start()
        self._forward(client, server, fault)
        back.join()
        with self._lock:
            client.close()
            server.close()
            self._open -= {client, server}
            self._closed.notify_all()

    def _forward(self, client: socket.socket, server: socket.socket, fault: list[str]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                with self._lock:
                    fault += [self.faults.pop(0)] if self.faults and not fault else []
                if fault == ["idle"]:
                    break
                server.sendall(data)
        _break(client, server)

    def _back(self, client: socket.socket, server: socket.socket, fault: list[str]) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if fault == ["torn"]:
                    client.sendall(data[: len(data) // 2])
                if fault:
                    break
                if not self.silent.is_set():
                    client.sendall(data)
        _break(client, server)


def _break(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
