"""PhotoFetcher gives the bytes, or one of the reasons, whatever the URI and the server do."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import logging
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from autotag.photos.errors import PhotoError, Reason
from autotag.photos.fetch import MAX_URI_CHARACTERS, PhotoFetcher, shortened
from autotag.photos.http_guard import is_public
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from tests.photo_server import MIB, PhotoServer, tls_context

PHOTO = b"the bytes of a photo"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.fixture(scope="module")
def server() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        server.add("/photo", PHOTO)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(PHOTO)
    return folder


HURRY: dict[str, Any] = {"photo_deadline_s": 0.6, "photo_read_timeout_s": 0.3, "photo_connect_timeout_s": 0.3}


def fetcher(*roots: Path, **values: Any) -> PhotoFetcher:
    """One that may reach the test's own server, and is patient, because the machine may be busy."""
    defaults: dict[str, Any] = {
        "photo_private_hosts": True,
        "photo_deadline_s": 30.0,
        "photo_read_timeout_s": 30.0,
        "photo_max_bytes": MIB,
    }
    return PhotoFetcher(Settings(photo_roots=tuple(map(str, roots)), **{**defaults, **values}))


@pytest.fixture(scope="module")
def patient() -> Iterator[PhotoFetcher]:
    with fetcher(Path("/no-such-root")) as photos:
        yield photos


def failure(fetcher: PhotoFetcher, uri: str) -> PhotoError:
    with fetcher, pytest.raises(PhotoError) as caught:
        fetcher.fetch(uri)
    assert "\n" not in caught.value.detail
    assert caught.value.detail.startswith(shortened(uri))
    return caught.value


class TestFiles:
    def test_gives_the_bytes_of_a_file_below_a_root(self, folder: Path) -> None:
        with fetcher(folder) as photos:
            assert photos.fetch((folder / "cat.jpg").as_uri()) == PHOTO
            assert photos.fetch(f"file://localhost{folder}/cat.jpg") == PHOTO
            assert photos.fetch(f"file:{folder}/cat.jpg") == PHOTO

    @pytest.mark.parametrize("name", ["a cat?.jpg", "50%.jpg", "猫#1.jpg", "new\nline.jpg", "a" * 250])
    def test_any_file_name_works_percent_encoded(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(b"odd")
        with fetcher(folder) as photos:
            assert photos.fetch((folder / name).as_uri()) == b"odd"

    def test_a_file_name_that_is_no_text_works(self, folder: Path) -> None:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.jpg")).write_bytes(b"odd")
        with fetcher(folder) as photos:
            assert photos.fetch(f"{folder.as_uri()}/%FF%FE.jpg") == b"odd"

    def test_no_file_is_read_where_no_root_is_set(self, folder: Path) -> None:
        assert failure(fetcher(), (folder / "cat.jpg").as_uri()).reason == Reason.FORBIDDEN

    @pytest.mark.parametrize("name", ["../secret", "..%2Fsecret", "link", "folder-link/secret", "../photos-too/secret"])
    def test_no_way_leads_out_of_the_roots(self, folder: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "photos-too").mkdir()
        for secret in (tmp_path / "secret", tmp_path / "photos-too/secret"):
            secret.write_text("secret")
        (folder / "link").symlink_to(tmp_path / "secret")
        (folder / "folder-link").symlink_to(tmp_path)
        assert failure(fetcher(folder), f"{folder.as_uri()}/{name}").reason == Reason.FORBIDDEN

    def test_outside_the_roots_nobody_learns_whether_a_file_exists(self, folder: Path, tmp_path: Path) -> None:
        assert failure(fetcher(folder), (tmp_path / "no-such").as_uri()).reason == Reason.FORBIDDEN

    def test_a_link_swapped_after_the_check_still_leads_nowhere(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "secret").write_text("secret")
        real_open = os.open

        def swap_and_open(path: str, flags: int) -> int:
            (folder / "cat.jpg").unlink()
            (folder / "cat.jpg").symlink_to(tmp_path / "secret")
            return real_open(path, flags)

        monkeypatch.setattr(os, "open", swap_and_open)
        assert failure(fetcher(folder), (folder / "cat.jpg").as_uri()).reason == Reason.FORBIDDEN

    def test_a_root_may_be_a_link_and_may_be_everything(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "root").symlink_to(folder)
        with fetcher(tmp_path / "root") as photos:
            assert photos.fetch((tmp_path / "root/cat.jpg").as_uri()) == PHOTO
        with fetcher(Path("/")) as photos:
            assert photos.fetch((folder / "cat.jpg").as_uri()) == PHOTO

    def test_a_person_who_names_a_file_may_read_it(self, folder: Path) -> None:
        with PhotoFetcher(Settings(), PhotoSource(any_file=True)) as photos:
            assert photos.fetch((folder / "cat.jpg").as_uri()) == PHOTO

    @pytest.mark.parametrize("name", ["no-such.jpg", "cat.jpg/deeper.jpg", "loop", "n" * 300])
    def test_a_missing_file_is_not_found(self, folder: Path, name: str) -> None:
        (folder / "loop").symlink_to(folder / "loop")
        error = failure(fetcher(folder), f"{folder.as_uri()}/{name}")
        assert error.reason == Reason.NOT_FOUND
        assert not error.transient

    def test_a_root_that_is_not_mounted_is_an_outage(self, folder: Path) -> None:
        error = failure(fetcher(folder / "nas"), f"{folder.as_uri()}/nas/cat.jpg")
        assert error.reason == Reason.STORAGE_DOWN
        assert error.outage
        assert error.transient

    def test_a_directory_a_pipe_a_socket_and_a_device_are_no_files(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            for path in (folder, folder / "pipe", folder / "socket", Path("/dev/zero")):
                assert failure(fetcher(Path("/")), path.as_uri()).reason == Reason.NOT_A_FILE

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.EACCES, Reason.FORBIDDEN),
            (errno.EMFILE, Reason.STORAGE_DOWN),
            (errno.ESTALE, Reason.STORAGE_DOWN),
            (errno.EIO, Reason.INTERRUPTED),
        ],
    )
    def test_what_the_system_says_becomes_a_reason(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason
    ) -> None:
        def fail(*_: Any) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "open", fail)
        assert failure(fetcher(folder), (folder / "cat.jpg").as_uri()).reason == reason

    def test_a_file_over_the_cap_is_too_large_also_when_it_lies_about_its_size(self, folder: Path) -> None:
        with (folder / "huge.jpg").open("wb") as file:
            file.truncate(100 * MIB)
        assert failure(fetcher(folder), (folder / "huge.jpg").as_uri()).reason == Reason.TOO_LARGE
        table = Path("/proc/self/maps")  # Says that it has 0 bytes.
        assert failure(fetcher(Path("/proc"), photo_max_bytes=100), table.as_uri()).reason == Reason.TOO_LARGE

    def test_no_file_descriptor_is_left_open(self, folder: Path) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for name in ("cat.jpg", "no-such.jpg", ""):
            with fetcher(folder) as photos:
                try:
                    photos.fetch(f"{folder.as_uri()}/{name}")
                except PhotoError:
                    continue
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestUris:
    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "cat.jpg",
            "/photos/cat.jpg",
            "ftp://photos.example/cat.jpg",
            "gopher://photos.example/",
            "data:image/png;base64,AAAA",
            "s3://bucket/cat.jpg",
            "javascript:alert(1)",
            "http:///cat.jpg",
            "http://[::1/cat.jpg",
            "http://photos.example:port/cat.jpg",
            "http://photos.example:99999/cat.jpg",
            "http://photos.example/\r\nHost: inside",
            "http://" + "a" * 70 + ".example/cat.jpg",
            "file:///photos/\x00cat.jpg",
            "file:///photos/%00cat.jpg",
            "file:///photos/cat.jpg?size=1",
            "file:///photos/cat.jpg#1",
            "file:cat.jpg",
            "\udcff",
            "http://photos.example/" + "a" * MAX_URI_CHARACTERS,
        ],
    )
    def test_what_is_no_uri_of_a_photo_is_refused(self, uri: str) -> None:
        assert failure(fetcher(Path("/")), uri).reason == Reason.BAD_URI

    def test_a_file_on_another_host_is_forbidden(self) -> None:
        assert failure(fetcher(Path("/")), "file://nas.example/photos/cat.jpg").reason == Reason.FORBIDDEN

    def test_a_message_shows_neither_password_nor_query_and_stays_short(self) -> None:
        shown = shortened("https://anna:secret@photos.example/cat.jpg?signature=secret")
        assert shown == "'https://photos.example/cat.jpg?...'"
        assert len(shortened("http://photos.example/" + "猫\n" * 5000)) < 1000

    @given(st.text())
    @hypothesis_settings(max_examples=300, deadline=None)
    def test_no_text_does_worse_than_a_photo_error(self, patient: PhotoFetcher, text: str) -> None:
        with pytest.raises(PhotoError):
            patient.fetch(text)

    @given(st.text())
    @hypothesis_settings(max_examples=200, deadline=None)
    def test_no_path_on_a_server_does_worse_than_a_photo_error(
        self, server: PhotoServer, patient: PhotoFetcher, text: str
    ) -> None:
        with pytest.raises(PhotoError):
            patient.fetch(f"{server.url}/nothing/{text}")


class TestServers:
    def test_gives_the_bytes_that_a_server_sends(self, server: PhotoServer) -> None:
        server.add("/a cat/猫.jpg", b"odd")
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/photo") == PHOTO
            assert photos.fetch(f"{server.url}/a cat/{quote('猫')}.jpg?size=1#part") == b"odd"

    def test_connections_are_used_again(self) -> None:
        with PhotoServer() as server, fetcher() as photos:
            server.add("/photo", PHOTO)
            for _ in range(5):
                assert photos.fetch(f"{server.url}/photo") == PHOTO
            assert server.connections == 1

    def test_a_pooled_connection_that_the_server_closed_costs_nothing(self, server: PhotoServer) -> None:
        with fetcher() as photos:
            for _ in range(3):
                assert photos.fetch(f"{server.url}/goodbye") == b"good"

    def test_many_threads_fetch_at_once(self, server: PhotoServer) -> None:
        with fetcher() as photos, ThreadPoolExecutor(8) as pool:
            assert set(pool.map(photos.fetch, [f"{server.url}/photo"] * 200)) == {PHOTO}

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (404, Reason.NOT_FOUND),
            (410, Reason.NOT_FOUND),
            (401, Reason.FORBIDDEN),
            (403, Reason.FORBIDDEN),
            (418, Reason.REFUSED),
            (204, Reason.REFUSED),
            (206, Reason.REFUSED),
            (302, Reason.REFUSED),
            (304, Reason.REFUSED),
            (429, Reason.TOO_MANY_REQUESTS),
            (500, Reason.SERVER_ERROR),
            (503, Reason.SERVER_ERROR),
        ],
    )
    def test_a_status_becomes_a_reason(self, server: PhotoServer, status: int, reason: Reason) -> None:
        error = failure(fetcher(), f"{server.url}/status/{status}")
        assert error.reason == reason
        assert error.transient == (reason in (Reason.SERVER_ERROR, Reason.TOO_MANY_REQUESTS))
        assert str(status) in error.detail

    def test_follows_five_redirects_and_no_more(self, server: PhotoServer) -> None:
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/redirect/5") == PHOTO
        assert failure(fetcher(), f"{server.url}/redirect/6").reason == Reason.TOO_MANY_REDIRECTS
        assert failure(fetcher(), f"{server.url}/loop").reason == Reason.TOO_MANY_REDIRECTS

    def test_the_body_of_a_redirect_is_not_waited_for(self, server: PhotoServer) -> None:
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/redirect-with-body") == PHOTO

    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ("file:///etc/passwd", Reason.FORBIDDEN),
            ("ftp://photos.example/cat.jpg", Reason.BAD_URI),
            ("http://[::1", Reason.BAD_URI),
            ("http://photos.example:port/cat.jpg", Reason.BAD_URI),
        ],
    )
    def test_a_redirect_leads_to_http_only(self, server: PhotoServer, target: str, reason: Reason) -> None:
        assert failure(fetcher(Path("/")), f"{server.url}/to?{quote(target)}").reason == reason

    @given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n")))
    @hypothesis_settings(max_examples=200, deadline=None)
    def test_no_redirect_does_worse_than_a_photo_error(
        self, server: PhotoServer, patient: PhotoFetcher, target: str
    ) -> None:
        with pytest.raises(PhotoError):
            patient.fetch(f"{server.url}/to?{quote('/nothing/' + target)}")

    @pytest.mark.parametrize("path", ["silent", "slow-headers", "slow-body"])
    def test_a_server_that_is_slow_or_silent_is_a_timeout(self, server: PhotoServer, path: str) -> None:
        error = failure(fetcher(**HURRY), f"{server.url}/{path}")
        assert error.reason == Reason.TIMEOUT
        assert error.transient
        assert not error.outage

    def test_the_deadline_counts_over_all_redirects(self, server: PhotoServer) -> None:
        error = failure(fetcher(photo_deadline_s=0.6), f"{server.url}/to?/slow-headers")
        assert error.reason == Reason.TIMEOUT
        assert "0.6 s" in error.detail

    def test_a_host_that_accepts_no_connection_in_time_is_a_timeout(self) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(3)]
            for client in waiting:  # They fill the queue of connections that nobody accepts.
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            error = failure(fetcher(**HURRY), f"http://127.0.0.1:{full.getsockname()[1]}/photo")
            for client in waiting:
                client.close()
        assert error.reason == Reason.TIMEOUT

    def test_a_name_server_that_is_silent_is_a_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answer.wait(5) and [])
        error = failure(fetcher(**HURRY), "http://photos.example/cat.jpg")
        answer.set()
        assert error.reason == Reason.TIMEOUT
        assert "looked up" in error.detail

    @pytest.mark.parametrize("path", ["big", "big-chunked", "endless-header"])
    def test_a_body_over_the_cap_is_too_large(self, server: PhotoServer, path: str) -> None:
        error = failure(fetcher(), f"{server.url}/{path}")
        assert error.reason == Reason.TOO_LARGE
        assert not error.transient

    def test_a_body_of_exactly_the_cap_is_taken(self, server: PhotoServer) -> None:
        url = server.add("/exact", bytes(MIB))
        with fetcher() as photos:
            assert len(photos.fetch(url)) == MIB

    def test_a_chunk_whose_length_has_no_end_is_not_waited_for(self, server: PhotoServer) -> None:
        assert failure(fetcher(), f"{server.url}/chunk-bomb").reason == Reason.INTERRUPTED

    def test_a_body_that_ends_before_its_length_is_interrupted(self, server: PhotoServer) -> None:
        error = failure(fetcher(), f"{server.url}/cut")
        assert error.reason == Reason.INTERRUPTED
        assert error.transient

    @pytest.mark.parametrize(
        ("coding", "packed"),
        [
            ("gzip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("aws-chunked,gzip", gzip.compress),
            ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
            ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(b"") + gzip.compress(data[9:])),
            ("gzip", lambda data: gzip.compress(data) + bytes(512)),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
            ("gzip", bytes),
            ("deflate", bytes),
            ("aws-chunked", bytes),
            ("utf-8", bytes),
            ("br", bytes),
            ("", bytes),
        ],
    )
    def test_a_body_is_unpacked_if_its_bytes_are_packed_whatever_the_header_says(
        self, server: PhotoServer, coding: str, packed: Callable[[bytes], bytes]
    ) -> None:
        with fetcher() as photos:
            assert photos.fetch(server.add("/packed", packed(PHOTO), Content_Encoding=coding)) == PHOTO

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
    def test_no_photo_is_mistaken_for_a_deflate_stream_without_header(self, server: PhotoServer, form: str) -> None:
        for size in range(1, 20):
            file = io.BytesIO()
            Image.effect_noise((size, size), 50).convert("RGB").save(file, form)
            with fetcher() as photos:
                url = server.add(f"/{form}{size}", file.getvalue(), Content_Encoding="deflate")
                assert photos.fetch(url) == file.getvalue()

    @pytest.mark.parametrize(
        ("coding", "packed"),
        [
            ("gzip", gzip.compress(bytes(100 * MIB))),
            ("gzip", gzip.compress(bytes(MIB)) + gzip.compress(b"!")),
            ("deflate", zlib.compress(bytes(100 * MIB))),
            ("deflate", raw_deflate(bytes(100 * MIB))),
        ],
        ids=["gzip", "gzip of two members", "deflate", "raw deflate"],
    )
    def test_the_cap_holds_for_the_unpacked_body(self, server: PhotoServer, coding: str, packed: bytes) -> None:
        bomb = server.add("/bomb", packed, Content_Encoding=coding)
        assert failure(fetcher(), bomb).reason == Reason.TOO_LARGE

    @pytest.mark.parametrize(
        ("coding", "damaged", "reason"),
        [
            ("gzip", gzip.compress(PHOTO)[:-9], Reason.INTERRUPTED),
            ("gzip", gzip.compress(PHOTO) + gzip.compress(PHOTO)[:-9], Reason.INTERRUPTED),
            ("gzip", gzip.compress(PHOTO)[:12] + b"!" * 9, Reason.DAMAGED),
            ("gzip", gzip.compress(b"") * 5000, Reason.DAMAGED),
            ("deflate", zlib.compress(PHOTO)[:-9], Reason.INTERRUPTED),
            ("deflate", raw_deflate(PHOTO)[:-9], Reason.INTERRUPTED),
            ("deflate", zlib.compress(PHOTO)[:2] + b"!" * 9, Reason.DAMAGED),
        ],
    )
    def test_a_packed_body_that_cannot_be_unpacked_has_a_reason(
        self, server: PhotoServer, coding: str, damaged: bytes, reason: Reason
    ) -> None:
        assert failure(fetcher(), server.add("/damaged", damaged, Content_Encoding=coding)).reason == reason

    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ("/photo?X-Sig=a%7Eb%2fc%2Bd~e&flag&empty=", "/photo?X-Sig=a%7Eb%2fc%2Bd~e&flag&empty="),
            ("/ph%6Fto", "/ph%6Fto"),
            ("/photo?a=(1)'*!$,;:@/?[]|^{}\\\"<>`", "/photo?a=(1)'*!$,;:@/?[]|^{}\\\"<>`"),
            ("/x/../photo?a=1#part", "/x/../photo?a=1"),
            ("?only=query", "/?only=query"),
            ("", "/"),
            ("/a b/猫?q=猫 ü", "/a%20b/%E7%8C%AB?q=%E7%8C%AB%20%C3%BC"),
        ],
    )
    def test_a_url_goes_out_byte_for_byte(self, given: str, sent: str) -> None:
        with PhotoServer() as server, fetcher() as photos:
            server.add("/photo", PHOTO)
            with contextlib.suppress(PhotoError):
                photos.fetch(server.url + given)
            assert server.requests == [sent]

    def test_a_redirect_goes_out_byte_for_byte(self) -> None:
        with PhotoServer() as server, fetcher() as photos:
            server.add("/photo", PHOTO)
            assert photos.fetch(f"{server.url}/to?{quote('/photo?s=a%7Eb%2fc')}") == PHOTO
            assert server.requests[-1] == "/photo?s=a%7Eb%2fc"

    def test_informational_answers_are_skipped(self, server: PhotoServer) -> None:
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/early-hints") == b"after the hints"
        assert failure(fetcher(**HURRY), f"{server.url}/hints-for-ever").reason in (Reason.TOO_LARGE, Reason.TIMEOUT)

    def test_a_header_without_a_colon_is_left_out_and_nothing_is_logged(
        self, server: PhotoServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/bad-header") == b"odd!"
            assert photos.fetch(f"{server.url}/photo") == PHOTO
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    @pytest.mark.parametrize(
        ("header", "least", "most"),
        [
            ("120", 120, 120),
            ("in ten minutes", 500, 600),
            (formatdate(0, usegmt=True), 0, 0),
            ("soon", 0, 0),
            ("", 0, 0),
            ("-5", 0, 0),
            ("9" * 400, 1e8, 1e9),
        ],
    )
    def test_a_server_that_asks_to_wait_is_heard(
        self, server: PhotoServer, header: str, least: float, most: float
    ) -> None:
        in_ten_minutes = header == "in ten minutes"
        server.retry_after = formatdate(time.time() + 600, usegmt=True) if in_ten_minutes else header
        error = failure(fetcher(), f"{server.url}/status/429")
        assert error.reason == Reason.TOO_MANY_REQUESTS
        assert least <= error.wait_s <= most

    def test_a_server_that_does_not_speak_http_is_transient(self, server: PhotoServer) -> None:
        assert failure(fetcher(), f"{server.url}/no-http").reason == Reason.INTERRUPTED

    def test_a_refused_connection_is_unreachable(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            error = failure(fetcher(), f"http://127.0.0.1:{unused.getsockname()[1]}/photo")
        assert error.reason == Reason.UNREACHABLE
        assert error.transient

    def test_the_environment_gives_no_proxy_and_no_password(
        self, server: PhotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with fetcher() as photos:
            assert photos.fetch(f"{server.url}/photo") == PHOTO
        assert "Authorization" not in server.headers[-1]

    def test_no_cookie_is_kept(self, server: PhotoServer) -> None:
        url = server.add("/cookie", PHOTO, Set_Cookie="id=1; Path=/")
        with fetcher() as photos:
            photos.fetch(url)
            photos.fetch(url)
        assert "Cookie" not in server.headers[-1]


class TestTLS:
    def test_a_trusted_server_is_read_from_and_its_connection_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, authority = tls_context(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with PhotoServer(context) as server, fetcher() as photos:
            url = server.add("/photo", PHOTO * 10_000)
            assert photos.fetch(url) == PHOTO * 10_000
            assert photos.fetch(url) == PHOTO * 10_000
            assert server.connections == 1

    @pytest.mark.parametrize("path", ["silent", "slow-headers", "slow-body"])
    def test_time_is_limited_there_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
        context, authority = tls_context(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with PhotoServer(context) as server:
            assert failure(fetcher(**HURRY), f"{server.url}/{path}").reason == Reason.TIMEOUT

    def test_a_server_that_nobody_vouches_for_is_unreachable(self, tmp_path: Path) -> None:
        context, _ = tls_context(tmp_path)
        with PhotoServer(context) as server:
            error = failure(fetcher(), f"{server.url}/photo")
            assert error.reason == Reason.UNREACHABLE
            assert "certificate" in error.detail
            assert server.requests == []

    def test_a_server_that_speaks_no_tls_is_unreachable(self, server: PhotoServer) -> None:
        url = server.url.replace("http:", "https:")
        assert failure(fetcher(), f"{url}/photo").reason == Reason.UNREACHABLE

    def test_a_handshake_that_is_never_answered_is_a_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            error = failure(fetcher(**HURRY), f"https://127.0.0.1:{mute.getsockname()[1]}/photo")
        assert error.reason == Reason.TIMEOUT


class TestPeers:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "2002:a00:1::1",
            "2001:0:a00:1::1",
            "fe80::1",
            "fe80::1%eth0",
            "fec0::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
        ],
    )
    def test_these_are_not_public(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
    def test_these_are_public(self, address: str) -> None:
        assert is_public(address)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]"])
    def test_a_private_address_is_not_even_connected_to_however_it_is_written(self, host: str) -> None:
        with PhotoServer() as server:
            server.add("/photo", PHOTO)
            error = failure(fetcher(photo_private_hosts=False), f"http://{host}:{server.port}/photo")
            assert error.reason == Reason.FORBIDDEN
            assert not error.transient
            assert server.connections == 0

    def test_a_name_that_stands_for_a_private_address_is_forbidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with PhotoServer() as server:
            address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [address])
            error = failure(fetcher(photo_private_hosts=False), f"http://photos.example:{server.port}/photo")
            assert error.reason == Reason.FORBIDDEN
            assert "127.0.0.1" in error.detail
            assert server.connections == 0

    def test_the_peer_that_is_really_connected_to_counts(
        self, server: PhotoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here 8.8.8.8 is said, and a rule of the network connects to the test's own server."""
        real_connect = socket.socket.connect

        def connect(self: socket.socket, address: Any) -> None:
            real_connect(self, ("127.0.0.1", server.port) if address[0] == "8.8.8.8" else address)

        monkeypatch.setattr("autotag.photos.http_guard._GuardedSocket.connect", connect)
        asked = len(server.requests)
        error = failure(fetcher(photo_private_hosts=False), "http://8.8.8.8/photo")
        assert error.reason == Reason.FORBIDDEN
        assert len(server.requests) == asked

    def test_a_redirect_to_a_private_address_is_forbidden(
        self, server: PhotoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first hop counts as public here, so that only the second is judged."""
        with PhotoServer(host="127.0.0.2") as inside:
            monkeypatch.setattr("autotag.photos.http_guard.is_public", lambda address: address != "127.0.0.2")
            error = failure(fetcher(photo_private_hosts=False), f"{server.url}/to?{inside.url}/photo")
            assert error.reason == Reason.FORBIDDEN
            assert inside.connections == 0

    def test_of_several_addresses_only_public_ones_are_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def refuse(self: socket.socket, address: Any) -> None:
            tried.append(address[0])
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("10.0.0.1", "8.8.8.8")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
        monkeypatch.setattr("autotag.photos.http_guard._GuardedSocket.connect", refuse)
        error = failure(fetcher(photo_private_hosts=False), "http://photos.example/cat.jpg")
        assert error.reason == Reason.UNREACHABLE
        assert tried == ["8.8.8.8"]


class TestOutages:
    def test_a_name_server_that_is_away_is_an_outage_while_nobody_else_is_heard(
        self, server: PhotoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = socket.getaddrinfo

        def look_up(host: str, *arguments: Any) -> Any:
            if host == "photos.example":
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return real(host, *arguments)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert failure(fetcher(), "http://photos.example/cat.jpg").reason == Reason.NETWORK_DOWN
        with fetcher() as photos:
            photos.fetch(f"{server.url}/photo")
            with pytest.raises(PhotoError) as caught:
                photos.fetch("http://photos.example/cat.jpg")
        assert caught.value.reason == Reason.UNREACHABLE

    @pytest.mark.parametrize(("route", "reason"), [(True, Reason.UNREACHABLE), (False, Reason.NETWORK_DOWN)])
    def test_a_network_without_any_route_is_an_outage(
        self, monkeypatch: pytest.MonkeyPatch, route: bool, reason: Reason
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

        monkeypatch.setattr("autotag.photos.http_guard._GuardedSocket.connect", refuse)
        monkeypatch.setattr("autotag.photos.http_guard._has_route", lambda: route)
        assert failure(fetcher(), "http://127.0.0.1:9/photo").reason == reason

    def test_an_unknown_host_is_transient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def look_up(*_: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert failure(fetcher(), "http://photos.example/cat.jpg").reason == Reason.UNREACHABLE
