"""PhotoFetcher: fetches the bytes of a photo by its URI. The URI and the servers are untrusted."""

from __future__ import annotations

import os
import re
import time
import zlib
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3.exceptions

from autotag.photos.errors import PhotoError, Reason
from autotag.photos.http_guard import GuardedAdapter, TransferGuard
from autotag.photos.local_files import FileFetcher, too_large
from autotag.photos.source import EVENT_SOURCE, WEB_AND_FILE_SCHEMES, PhotoSource
from autotag.settings import Settings

MAX_REDIRECTS = 5
MAX_URI_CHARACTERS = 8192

_CHUNK_BYTES = 1 << 18
_SHOWN_CHARACTERS = 160
_RECENT_S = 10.0
"""If any server has answered within this time, one host that cannot be resolved or reached is no outage of ours."""

_REDIRECTS = (301, 302, 303, 307, 308)
_STATUSES = {
    404: Reason.NOT_FOUND,
    410: Reason.NOT_FOUND,
    401: Reason.FORBIDDEN,
    403: Reason.FORBIDDEN,
    407: Reason.FORBIDDEN,
    451: Reason.FORBIDDEN,
    408: Reason.SERVER_ERROR,
    425: Reason.SERVER_ERROR,
    429: Reason.TOO_MANY_REQUESTS,
}
_MAX_CODINGS = 3
"""Content codings of a body that are undone. No real server applies more."""
_GZIP = b"\x1f\x8b"
_MAX_GZIP_MEMBERS = 4096
"""Each member costs time, however small it is. Parallel compressors write one member per 64 KiB or more."""
_GZIP_CHUNK_BYTES = 1 << 16


class PhotoFetcher:
    """Fetches photos by URI. Safe for many threads; a context manager.

    URIs, servers and redirects are untrusted input. The environment's proxies, cookies and passwords are not used.

    Args:
        settings: the ``photo_*`` and `photo_fetch_threads`.
        source: the places that photos may be read from.
    """

    def __init__(self, settings: Settings, source: PhotoSource = EVENT_SOURCE) -> None:
        self._settings = settings
        self._schemes = source.schemes
        self._files = FileFetcher(settings, any_file=source.any_file)
        self._last_answer_s = float("-inf")
        self._session = _Session()
        adapter = GuardedAdapter(
            pool_connections=settings.photo_fetch_threads, pool_maxsize=settings.photo_fetch_threads
        )
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def fetch(self, uri: str) -> bytes:
        """Return the photo's bytes, at most `photo_max_bytes`, within `photo_deadline_s`.

        The deadline does not hold for a file system that hangs.

        Raises:
            PhotoError: `reason` says why, `transient` is True if a later try may succeed.
        """
        try:
            scheme = _scheme(uri, self._schemes)
            if scheme in ("http", "https"):
                return self._fetch_http(uri)
            if scheme == "file":
                return self._files.fetch(uri)
            from autotag.photos.object_stores import read_photo  # fsspec comes with the extras that set this source.

            return read_photo(uri, self._settings.photo_max_bytes, self._settings.photo_deadline_s)
        except PhotoError as error:
            raise error.about(shortened(uri)) from error

    def file_facts(self, uri: str) -> os.stat_result | None:
        """Return a fetched file's size and times as they are now; None for any other URI, and if the file is gone."""
        return self._files.facts(uri) if uri[:5].lower() == "file:" else None

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def __enter__(self) -> PhotoFetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fetch_http(self, uri: str) -> bytes:
        settings = self._settings
        with TransferGuard(
            deadline_s=settings.photo_deadline_s,
            connect_timeout_s=settings.photo_connect_timeout_s,
            read_timeout_s=settings.photo_read_timeout_s,
            # Headers and chunk framing are counted too. No honest server needs more for them than for the photo.
            max_bytes=2 * settings.photo_max_bytes + (1 << 20),
            private_hosts=settings.photo_private_hosts,
        ) as guard:
            try:
                return self._follow(uri, guard)
            except PhotoError as error:
                if error.outage and time.monotonic() - self._last_answer_s < _RECENT_S:
                    raise PhotoError(Reason.UNREACHABLE, error.detail) from error
                raise
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise _failure(error) from error
            finally:
                if guard.has_answered:
                    self._last_answer_s = time.monotonic()

    def _follow(self, uri: str, guard: TransferGuard) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            with self._get(uri, guard) as response:
                if response.status_code == 200:
                    return self._body(response, guard)
                uri = _redirected(uri, response)
        raise PhotoError(Reason.TOO_MANY_REDIRECTS, f"redirects more than {MAX_REDIRECTS} times")

    def _get(self, uri: str, guard: TransferGuard) -> requests.Response:
        while True:
            connections = guard.connections
            try:
                guard.target = _target(uri)
                timeouts = (self._settings.photo_connect_timeout_s, self._settings.photo_read_timeout_s)
                return self._session.get(uri, stream=True, allow_redirects=False, timeout=timeouts)
            except requests.ConnectionError:
                # A server may close a pooled connection just when it is used again. Each failure removes one pooled
                # connection, so the loop ends.
                if guard.connections > connections or guard.left_s() <= 0:
                    raise

    def _body(self, response: requests.Response, guard: TransferGuard) -> bytes:
        limit = self._settings.photo_max_bytes
        if (response.raw.length_remaining or 0) > limit:
            raise too_large(response.raw.length_remaining, limit)
        chunks, total = [], 0
        while chunk := response.raw.read(_CHUNK_BYTES, decode_content=False):
            total += len(chunk)
            if total > limit:
                raise too_large(None, limit)
            chunks.append(chunk)
            guard.left_s()
        body = b"".join(chunks)
        for coding in reversed(response.headers.get("Content-Encoding", "").lower().split(",")[-_MAX_CODINGS:]):
            body = _decoded(body, coding.strip(), limit)
        return body


class _Session(requests.Session):
    """A session that follows no redirects and keeps no cookies."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.update({"User-Agent": "autotag", "Accept-Encoding": "identity"})

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Return None: requests would read the whole body of a redirect, however long, before it returns."""
        return


def shortened(uri: str) -> str:
    """Return a URI for a message: one short line, quoted, without password and query, which may be secret."""
    text = uri
    try:
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https"):
            query = "?..." if parts.query else ""
            text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
    except ValueError:
        text = uri.partition("?")[0]
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[: _SHOWN_CHARACTERS // 2]}...{text[-_SHOWN_CHARACTERS // 2 :]}"
    return repr(text)


def _scheme(uri: str, allowed: tuple[str, ...] = WEB_AND_FILE_SCHEMES) -> str:
    """Return the scheme of a URI, one of `allowed`; raise PhotoError if the URI is malformed or has another scheme."""
    if len(uri) > MAX_URI_CHARACTERS:
        raise PhotoError(Reason.BAD_URI, f"has {len(uri)} characters; at most {MAX_URI_CHARACTERS}")
    try:
        uri.encode()
        parts = urlsplit(uri)
    except ValueError as error:
        raise PhotoError(Reason.BAD_URI, f"is no URI: {error}") from error
    if re.search(r"[\x00-\x1f\x7f]", uri):
        raise PhotoError(Reason.BAD_URI, "has control characters; percent-encode them")
    if parts.scheme not in allowed:
        listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise PhotoError(Reason.BAD_URI, f"the scheme must be {listed}. Given: {parts.scheme!r}")
    return parts.scheme


def _target(uri: str) -> str:
    """Return path and query of a URI as given; blanks and characters beyond ASCII are escaped."""
    parts = re.fullmatch(r"[^/?#]*//[^/?#]*([^?#]*)(\?[^#]*)?(?:#.*)?", uri, re.DOTALL)
    path, query = (parts[1], parts[2] or "") if parts else ("", "")
    return re.sub(r"[^!-~]+", lambda match: quote(match[0]), (path or "/") + query)


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    """Return a body without its content coding; the body itself if it does not have that coding, as many stores' do.

    Raises:
        PhotoError: the unpacked body has more than `limit` bytes, is damaged, or ends too early.
    """
    if coding in ("gzip", "x-gzip") and body.startswith(_GZIP):
        return _gunzipped(body, coding, limit)
    if coding != "deflate" or not body:
        return body
    has_header = body[0] == 0x78 and int.from_bytes(body[:2]) % 31 == 0
    unpacker = zlib.decompressobj(wbits=15 if has_header else -15)  # Some servers leave out zlib's header.
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        if has_header:
            raise PhotoError(Reason.DAMAGED, f"its content coding {coding} is damaged: {error}") from error
        return body
    if len(unpacked) > limit:
        raise too_large(None, limit)
    if not unpacker.eof:
        raise PhotoError(Reason.INTERRUPTED, f"its content coding {coding} ends too early")
    return body if unpacker.unused_data and not has_header else unpacked


def _gunzipped(body: bytes, coding: str, limit: int) -> bytes:
    """Return the content of all members of a gzip body. Bytes after the last member are ignored, as gzip does."""
    unpacked, at = bytearray(), 0
    for _ in range(_MAX_GZIP_MEMBERS):
        unpacker = zlib.decompressobj(wbits=31)
        while not unpacker.eof and at < len(body):
            chunk = body[at : at + _GZIP_CHUNK_BYTES]
            try:
                unpacked += unpacker.decompress(chunk, limit + 1 - len(unpacked))
            except zlib.error as error:
                raise PhotoError(Reason.DAMAGED, f"its content coding {coding} is damaged: {error}") from error
            if len(unpacked) > limit:
                raise too_large(None, limit)
            at += len(chunk) - len(unpacker.unused_data)
        if not unpacker.eof:
            raise PhotoError(Reason.INTERRUPTED, f"its content coding {coding} ends too early")
        if not body.startswith(_GZIP, at):
            return bytes(unpacked)
    raise PhotoError(Reason.DAMAGED, f"its content coding {coding} has more than {_MAX_GZIP_MEMBERS} members")


def _wait_s(header: str | None) -> float:
    """Return the seconds in a Retry-After header, which has a number or a date; 0 if it has neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _redirected(uri: str, response: requests.Response) -> str:
    """Return the URI that a redirect leads to; raise PhotoError for any other answer that is no photo."""
    status = response.status_code
    location = response.headers.get("Location")
    if status in _REDIRECTS and location:
        # Header bytes come as latin-1; browsers and servers mean UTF-8.
        target = urljoin(uri, location.encode("latin-1").decode("utf-8", "replace"))
        try:
            scheme = _scheme(target)
        except PhotoError as error:
            raise PhotoError(error.reason, f"redirects to {shortened(target)}, which {error.detail}") from error
        if scheme == "file":
            raise PhotoError(Reason.FORBIDDEN, f"redirects to {shortened(target)}; only http and https may follow")
        return target
    reason = Reason.SERVER_ERROR if status >= 500 else _STATUSES.get(status, Reason.REFUSED)
    raise PhotoError(reason, f"the server answered {status}", wait_s=_wait_s(response.headers.get("Retry-After")))


def _failure(error: Exception) -> PhotoError:
    """Return an error of requests or urllib3 as a PhotoError. The guard reports most faults itself."""
    cause: object = error
    while isinstance(cause, Exception) and cause.args and isinstance(cause.args[-1], Exception):
        cause = cause.args[-1]
    said = " ".join(str(cause).split())[:200]
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return PhotoError(Reason.TIMEOUT, "the server did not answer in time")
    if isinstance(error, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)):
        return PhotoError(Reason.UNREACHABLE, f"no trusted TLS connection: {said}")
    if isinstance(error, (requests.exceptions.InvalidHeader, urllib3.exceptions.InvalidHeader)):
        return PhotoError(Reason.REFUSED, f"the answer is not HTTP: {said}")
    if isinstance(error, ValueError):  # requests' InvalidURL, MissingSchema and the like are ValueErrors.
        return PhotoError(Reason.BAD_URI, f"is no URI that can be requested: {said}")
    return PhotoError(Reason.INTERRUPTED, f"the connection ended too early: {said}")
