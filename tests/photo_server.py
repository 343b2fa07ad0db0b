"""PhotoServer: serves photos over HTTP on 127.0.0.1, well or in every bad way that a server can."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

MIB = 1 << 20

# For localhost and 127.0.0.1, until 2120; signed by itself, and trusted by nobody but these tests.
KEY_AND_CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfGMUvsW3WxJoFyyX
pAhQU24r/ool7JIScqndiliOH4uhRANCAAQtJ7XHIeNa78HY4jhNJ/ke1hlmn9Uh
Si7LRY/l9QTvYdJ3ORTD7dvoNF9SEYGJ4lq08F2dvIIYryUIiAxWnoYX
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBZjCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC0ntcch41rvwdji
OE0n+R7WGWaf1SFKLstFj+X1BO9h0nc5FMPt2+g0X1IRgYniWrTwXZ28ghivJQiI
DFaehhejTjBMMA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIJbG9jYWxob3N0
hwR/AAABMB0GA1UdDgQWBBRIllvvaWz6lLWkRhquDt+kQaA0mzAKBggqhkjOPQQD
AgNHADBEAiAhJv3onZR9vu4sbUA9nrrrfqu4HgrwJeDKagQBqaYM3gIgRtCe45e9
iicdPV9UjTBa5tQ6NuN9ie8mM/5ag4j8WbY=
-----END CERTIFICATE-----
"""


def tls_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server needs to speak TLS, and the file of the authority that its clients must trust."""
    path = folder / "localhost.pem"
    path.write_text(KEY_AND_CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


class PhotoServer:
    """A server on a free port; a context manager.

    `add` serves bytes. Other paths misbehave: /status/N, /redirect/N (N times, then /photo), /loop, /to?URI, /silent,
    /slow-headers, /slow-body, /redirect-with-body, /endless-header, /big, /big-chunked, /chunk-bomb, /cut,
    /hints-for-ever, /no-http, /goodbye, /early-hints, /bad-header.
    Whatever it does for ever ends with the server.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.photos: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.requests: list[str] = []
        """Paths asked for, in order."""
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.retry_after: str | None = None
        """A header of every answer of /status/N."""
        self.closing = threading.Event()
        self._http = _Server((host, 0), _Handler)
        self._http.photo_server = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="photo-server")

    def add(self, path: str, data: bytes, **headers: str) -> str:
        """Serve `data` at `path` from now on; the URL."""
        self.photos[path] = (data, {name.replace("_", "-"): value for name, value in headers.items()})
        return self.url + path

    def __enter__(self) -> PhotoServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    photo_server: PhotoServer
    daemon_threads = True
    block_on_close = False

    def process_request(self, request: Any, client_address: Any) -> None:
        self.photo_server.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        server = self.server.photo_server
        server.requests.append(self.path)
        server.headers.append(dict(self.headers.items()))
        path = unquote(urlsplit(self.path).path)
        if path in server.photos:
            data, headers = server.photos[path]
            self._send(200, data, **headers)
            return
        name, _, argument = path.strip("/").partition("/")
        act: Callable[[str], None] | None = getattr(self, f"_{name.replace('-', '_')}", None)
        if act is None:
            self._send(404, b"not here")
        else:
            act(argument)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""

    def _send(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drip(self, data: bytes) -> None:
        """One byte at a time, for ever."""
        while not self.server.photo_server.closing.wait(0.05):
            self.wfile.write(data)
            self.wfile.flush()

    def _status(self, argument: str) -> None:
        wait = self.server.photo_server.retry_after
        self._send(int(argument), b"no photo", **({} if wait is None else {"Retry-After": wait}))

    def _redirect(self, argument: str) -> None:
        left = int(argument)
        self._send(302, b"elsewhere", Location=f"/redirect/{left - 1}" if left > 1 else "/photo")

    def _loop(self, _: str) -> None:
        self._send(302, Location="/loop")

    def _to(self, _: str) -> None:
        self._send(301, Location=unquote(urlsplit(self.path).query))

    def _silent(self, _: str) -> None:
        self.server.photo_server.closing.wait()

    def _slow_headers(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"a")

    def _slow_body(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        self._drip(b"a")

    def _endless_header(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.photo_server.closing.is_set():
            self.wfile.write(b"X-More: " + b"a" * 60000 + b"\r\n")

    def _big(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * MIB))
        for _i in range(100):
            self.wfile.write(bytes(MIB))

    def _big_chunked(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _i in range(100):
            self.wfile.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk_bomb(self, _: str) -> None:
        """A chunk's length with no end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.server.photo_server.closing.is_set():
            self.wfile.write(b"0" * MIB)

    def _redirect_with_body(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /photo\r\nContent-Length: 1000000000\r\n\r\n")
        self._drip(b"a")

    def _cut(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(500))
        self.close_connection = True

    def _early_hints(self, _: str) -> None:
        """Three informational answers, and then the photo."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + b"HTTP/1.1 102 Processing\r\n\r\n")
        self._send(200, b"after the hints")

    def _hints_for_ever(self, _: str) -> None:
        while not self.server.photo_server.closing.is_set():
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"a" * 60000 + b">\r\n\r\n")

    def _bad_header(self, _: str) -> None:
        """A line without a colon, before the length."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nno colon here\r\nX-B: 2\r\n 3\r\nContent-Length: 4\r\n\r\nodd!")

    def _no_http(self, _: str) -> None:
        self.wfile.write(b"220 mail.example ESMTP\r\n")
        self.close_connection = True

    def _goodbye(self, _: str) -> None:
        """Answers well, and then closes the connection that it said it would keep."""
        self._send(200, b"good")
        self.close_connection = True
