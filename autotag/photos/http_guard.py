"""HTTP connections with limits on time, bytes and peers, tolerant of what object stores and CDNs send.

A time-out of requests covers one read: a server that sends one byte a second never reaches it. The address of a host
name is certain only once the socket is connected. Therefore the sockets themselves are guarded: each read and each new
connection consults the `TransferGuard` of its thread.

urllib3 and http.client are stricter than real servers in three ways, which the connections here correct:
- A URL is sent as given. requests writes ``~`` for ``%7E``, which breaks the signature of a presigned URL.
- All informational responses (``103 Early Hints``) are skipped, not only ``100 Continue``.
- A header line without a colon is left out. The parser would take all headers after it for the body.
"""

from __future__ import annotations

import errno
import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from contextvars import ContextVar
from typing import Any

import certifi
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from autotag.photos.errors import PhotoError, Reason

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052. The last 32 bits are an IPv4 address."""
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""RFC 8215. Some of the bits are an IPv4 address; their position depends on the network."""
_NETWORK_DOWN = (errno.ENETUNREACH, errno.ENETDOWN)


class TransferGuard:
    """Limits the time, the bytes and the peers of one fetch. A context manager, used by one thread.

    Args:
        deadline_s: seconds from now for the whole fetch, name resolution included.
        connect_timeout_s: seconds for each address of a host.
        read_timeout_s: seconds for each wait for the server.
        max_bytes: bytes received from all servers, headers and framing included.
        private_hosts: True to allow loopback, link-local and private addresses.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_bytes: int,
        private_hosts: bool,
    ) -> None:
        self._deadline_s = deadline_s
        self._deadline = time.monotonic() + deadline_s
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._bytes_left = max_bytes
        self._private_hosts = private_hosts
        self.target = "/"
        """Path and query of the present request, as sent."""
        self.connections = 0
        """Connections opened by this fetch, without those from the pool."""
        self.has_answered = False
        """True once a server has sent a byte."""

    def __enter__(self) -> TransferGuard:
        self._token = _guard.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _guard.reset(self._token)

    def left_s(self) -> float:
        """Return the seconds to the deadline.

        Raises:
            PhotoError: the deadline has passed.
        """
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise PhotoError(Reason.TIMEOUT, f"not fetched within {self._deadline_s:g} s")
        return left_s

    def receive(self, sock: socket.socket, count: int) -> None:
        """Count received bytes; raise PhotoError above the limit. Headers and framing count too."""
        self.has_answered = self.has_answered or count > 0
        self._bytes_left -= count
        if self._bytes_left < 0:
            sock.close()
            raise PhotoError(Reason.TOO_LARGE, "the response exceeds the byte limit")

    def read_timeout(self) -> float:
        """Return the seconds that the next wait for the server may take."""
        return min(self._read_timeout_s, self.left_s())

    def late(self) -> PhotoError:
        """Return the error for a wait that took too long; raise PhotoError if the deadline has passed."""
        self.left_s()
        return PhotoError(Reason.TIMEOUT, f"the server was silent for {self._read_timeout_s:g} s")

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first of the host's addresses that is allowed and accepts.

        Raises:
            PhotoError: there is none. Nothing was sent to an address that is not allowed.
        """
        self.connections += 1
        failure: PhotoError | None = None
        for family, kind, protocol, _, address in self._look_up(host, port):
            if not self._private_hosts and not is_public(str(address[0])):
                failure = failure or self._forbidden(host, str(address[0]))
                continue
            sock = _GuardedSocket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(min(self._connect_timeout_s, self.left_s()))
                sock.connect(address)
                peer = str(sock.getpeername()[0])
                if not self._private_hosts and not is_public(peer):
                    raise self._forbidden(host, peer)
                sock.settimeout(self.read_timeout())  # It also limits the whole TLS handshake.
            except OSError as error:
                sock.close()
                failure = self._unconnected(host, port, error)
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure or PhotoError(Reason.UNREACHABLE, f"the host {host!r} has no address")

    def _look_up(self, host: str, port: int) -> list[tuple[Any, Any, int, str, tuple[Any, ...]]]:
        """Return getaddrinfo's result before the deadline. It takes no time-out, so it runs in a thread."""
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
            except (OSError, ValueError) as error:
                answers.put(error)

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        try:
            answer = answers.get(timeout=self.left_s())
        except queue.Empty:
            raise PhotoError(Reason.TIMEOUT, f"the name {host!r} was not looked up in time") from None
        if isinstance(answer, ValueError):  # For example a UnicodeError: the DNS cannot encode the name.
            raise PhotoError(Reason.BAD_URI, f"the host {host!r} is no name: {answer}")
        if isinstance(answer, OSError):
            down = isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN
            raise PhotoError(
                Reason.NETWORK_DOWN if down else Reason.UNREACHABLE, f"the host {host!r} has no address: {answer}"
            )
        return list(answer)

    def _forbidden(self, host: str, address: str) -> PhotoError:
        return PhotoError(
            Reason.FORBIDDEN,
            f"the host {host!r} is {address}, a private address; autotag.photo.private.hosts allows them",
        )

    def _unconnected(self, host: str, port: int, error: OSError) -> PhotoError:
        if isinstance(error, TimeoutError):
            self.left_s()
            return PhotoError(Reason.TIMEOUT, f"{host}:{port} did not accept within {self._connect_timeout_s:g} s")
        reason = Reason.NETWORK_DOWN if error.errno in _NETWORK_DOWN and not _has_route() else Reason.UNREACHABLE
        return PhotoError(reason, f"{host}:{port} cannot be reached: {error.strerror or error}")


_guard: ContextVar[TransferGuard] = ContextVar("guard")


def is_public(address: str) -> bool:
    """Return True for a numeric address of the public internet; IPv4 inside IPv6 counts as IPv4."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(ip.packed[12:])
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local or ip in _LOCAL_NAT64:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _has_route() -> bool:
    """Return True if this machine has a route to the internet. The kernel knows; nothing is sent."""
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((somewhere, 9))
                return True
        except OSError:
            continue
    return False


class _GuardedSocket(socket.socket):
    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        guard = _guard.get()
        self.settimeout(guard.read_timeout())
        try:
            count = super().recv_into(buffer, nbytes, flags)
        except TimeoutError:
            raise guard.late() from None
        guard.receive(self, count)
        return count


class _GuardedTLSSocket(ssl.SSLSocket):
    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        guard = _guard.get()
        self.settimeout(guard.read_timeout())
        try:
            count = super().recv_into(buffer, nbytes, flags)
        except TimeoutError:
            raise guard.late() from None
        guard.receive(self, count)
        return count


class _HeaderLines:
    """Replaces the file of a response while its headers are read; leaves out lines that are no headers."""

    def __init__(self, response: _Response) -> None:
        self._response, self._file = response, response.fp

    def readline(self, limit: int) -> bytes:
        """Return the next header line, continuation line, or the blank line at the end."""
        self._response.fp = self._file  # Restored at the last header line, and if reading fails.
        while True:
            line: bytes = self._file.readline(limit)
            if not line.strip() or len(line) >= limit:
                return line
            if b":" in line or line[:1] in b" \t":
                self._response.fp = self
                return line


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                self.fp: Any = _HeaderLines(self)
                return version, status, reason
            http.client.parse_headers(self.fp)  # The guard's byte limit bounds their number.


class _SendsTargetAsGiven:
    """Mixin of a connection: puts the guard's target into the request line."""

    def putrequest(self, method: str, url: str, *more: Any, **options: Any) -> None:  # noqa: ARG002
        super().putrequest(method, _guard.get().target, *more, **options)  # type: ignore[misc]


class _GuardedConnection(_SendsTargetAsGiven, HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _guard.get().connect(self._dns_host, self.port)


class _GuardedTLSConnection(_SendsTargetAsGiven, HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _guard.get().connect(self._dns_host, self.port)


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


class GuardedAdapter(HTTPAdapter):
    """Applies the `TransferGuard` of the present thread to all connections of a requests session.

    Trusted certificate authorities are those of the system (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` of OpenSSL name
    others) and those of certifi.
    """

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Create the pools; called by the constructor of requests."""
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        context.sslsocket_class = _GuardedTLSSocket
        super().init_poolmanager(connections, maxsize, block, ssl_context=context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _GuardedPool, "https": _GuardedTLSPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002
        """Leave verification to the context: requests would load the authorities again for each connection."""
        conn.cert_reqs = "CERT_REQUIRED"
