"""Photos in object stores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from autotag.photos.errors import PhotoError, Reason
from autotag.photos.fetch import PhotoFetcher
from autotag.photos.object_stores import read_photo
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from tests.object_store import ObjectStore, emptied, object_store
from tests.photo_server import PhotoServer

STORES = PhotoSource(object_stores=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


def test_a_photo_in_s3_is_read(s3: ObjectStore) -> None:
    emptied(s3).write("cat.jpg", b"a photo")
    assert read_photo("s3://photos/cat.jpg", 7, 5) == b"a photo"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://photos/nothing.jpg", Reason.NOT_FOUND),
        ("s3://nobucket/nothing.jpg", Reason.NOT_FOUND),
        ("s3://photos/large.jpg", Reason.TOO_LARGE),
        ("local:///etc/passwd", Reason.BAD_URI),
        ("generic://file:///etc/passwd", Reason.BAD_URI),
        ("s3::file:///etc/passwd", Reason.BAD_URI),
        ("s3://a::file:///etc/passwd", Reason.BAD_URI),
        ("memory://x", Reason.BAD_URI),
        ("nonsense", Reason.BAD_URI),
        ("oss://bucket/x", Reason.STORAGE_DOWN),  # its package is not installed: no fault of the photo's
    ],
)
def test_a_photo_that_cannot_be_read_has_its_reason(s3: ObjectStore, uri: str, reason: Reason) -> None:
    emptied(s3).write("large.jpg", bytes(11))
    with pytest.raises(PhotoError) as raised:
        read_photo(uri, 10, 5)
    assert raised.value.reason is reason


def test_an_empty_photo_in_s3_has_no_bytes(s3: ObjectStore) -> None:
    emptied(s3).write("empty.jpg", b"")
    assert read_photo("s3://photos/empty.jpg", 10, 5) == b""


@pytest.mark.parametrize(
    ("code", "reason"),
    [("AccessDenied", Reason.FORBIDDEN), ("ExpiredToken", Reason.STORAGE_DOWN), ("SlowDown", Reason.SERVER_ERROR)],
)
def test_what_s3_refuses_about_us_is_no_fault_of_the_photos(code: str, reason: Reason) -> None:
    status = {"AccessDenied": 403, "ExpiredToken": 400, "SlowDown": 503}[code]
    script = f"""
import http.server, threading
from autotag.photos.object_stores import read_photo
from autotag.photos.errors import PhotoError
class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<Error><Code>{code}</Code><Message>no</Message></Error>"
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
import fsspec.config
fsspec.config.conf["s3"] = {{"endpoint_url": f"http://127.0.0.1:{{server.server_port}}", "key": "a", "secret": "b",
    "config_kwargs": {{"retries": {{"max_attempts": 0}}}}}}
try: read_photo("s3://photos/cat.jpg", 10, 60)
except PhotoError as error: print(error.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout.strip() == reason, done.stderr


def test_a_store_that_does_not_answer_is_given_up_in_time() -> None:
    script = """
import socket
from autotag.photos.object_stores import read_photo
from autotag.photos.errors import PhotoError
import fsspec.config
silent = socket.create_server(("127.0.0.1", 0))
endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
fsspec.config.conf["s3"] = {"endpoint_url": endpoint, "key": "a", "secret": "b"}
try: read_photo("s3://photos/cat.jpg", 10, 1)
except PhotoError as error: print(error.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50)
    assert done.stdout.strip() == Reason.TIMEOUT, done.stderr


def test_photos_in_object_stores_are_fetched_only_from_a_source_that_has_them(
    s3: ObjectStore, settings: Settings
) -> None:
    uri = "s3://photos/cat.jpg"
    emptied(s3).write("cat.jpg", b"a photo")
    with PhotoFetcher(settings, STORES) as stores, PhotoFetcher(settings) as default:
        assert stores.fetch(uri) == b"a photo"
        for fetcher, one in ((default, uri), (stores, "no-scheme"), (stores, "memory://x"), (stores, "s3://photos/\n")):
            with pytest.raises(PhotoError) as raised:
                fetcher.fetch(one)
            assert raised.value.reason is Reason.BAD_URI


def test_a_web_server_cannot_lead_to_another_scheme(settings: Settings) -> None:
    allowed = replace(settings, photo_private_hosts=True)
    with PhotoServer() as server, PhotoFetcher(allowed, STORES) as fetcher:
        with pytest.raises(PhotoError) as raised:
            fetcher.fetch(f"{server.url}/to?s3://photos/cat.jpg")
        assert raised.value.reason is Reason.BAD_URI
