"""PhotoReader gives pixels or a reason for whatever is pushed; people's names of photos become URIs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotag.photos import decode_main
from autotag.photos.reader import PhotoError, PhotoReader, Reason, find_photos
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage.uri import photo_uri
from models.preprocessing import Preprocessing
from tests.bad_photos import drawing, encoded, huge_png, slow_jpeg
from tests.photo_server import PhotoServer

LITE0 = Preprocessing(size=224, resize_short_side=256, interpolation="hamming")


@pytest.fixture(scope="module")
def server() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        server.add("/photo", encoded(drawing(), "JPEG"))
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good photos and bad files beside each other."""
    folder = tmp_path_factory.mktemp("photos")
    good = encoded(drawing(), "JPEG")
    files = {
        "good.jpg": good,
        "empty.jpg": b"",
        "text.jpg": b"This is no photo.\n",
        "truncated.jpg": good[: len(good) // 2],
        "one-pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "bomb.png": huge_png(),
        "cmyk.jpg": encoded(drawing().convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(np.full((300, 300), 32896, np.uint16)), "PNG"),
        "moving.gif": encoded(drawing(), "GIF", save_all=True, append_images=[Image.new("RGB", (640, 480))]),
        "hangs.jpg": slow_jpeg(),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    files["rotated.jpg"] = encoded(drawing(), "JPEG", exif=exif)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "a-folder.jpg").mkdir()
    return folder


def settings(folder: Path, **values: Any) -> Settings:
    defaults: dict[str, Any] = {
        "photo_roots": (str(folder),),
        "photo_private_hosts": True,
        "photo_deadline_s": 2.0,
        "photo_read_timeout_s": 1.0,
        "photo_decode_timeout_s": 2.0,
        "photo_max_bytes": 1 << 20,
    }
    return Settings(**{**defaults, **values})


class TestPhotoReader:
    def test_among_bad_photos_every_good_one_is_read(self, folder: Path, server: PhotoServer) -> None:
        outcomes: dict[str, str] = {
            "good.jpg": "read",
            "empty.jpg": Reason.NOT_AN_IMAGE,
            "text.jpg": Reason.NOT_AN_IMAGE,
            "truncated.jpg": Reason.TRUNCATED,
            "one-pixel.png": "read",
            "bomb.png": Reason.TOO_MANY_PIXELS,
            "cmyk.jpg": "read",
            "deep.png": "read",
            "moving.gif": "read",
            "rotated.jpg": "read",
            "hangs.jpg": Reason.TIMEOUT,
            "missing.jpg": Reason.NOT_FOUND,
            "a-folder.jpg": Reason.NOT_A_FILE,
            "../elsewhere.jpg": Reason.FORBIDDEN,
        }
        uris = {f"{folder.as_uri()}/{name}": outcome for name, outcome in outcomes.items()}
        for path, outcome in {
            "photo": "read",
            "status/404": Reason.NOT_FOUND,
            "status/500": Reason.SERVER_ERROR,
            "loop": Reason.TOO_MANY_REDIRECTS,
            "silent": Reason.TIMEOUT,
            "slow-body": Reason.TIMEOUT,
            "big": Reason.TOO_LARGE,
        }.items():
            uris[f"{server.url}/{path}"] = outcome
        uris["ftp://photos.example/cat.jpg"] = Reason.BAD_URI

        def outcome_of(uri: str) -> str:
            try:
                pixels = reader.read(uri).pixels
            except PhotoError as error:
                return error.reason if uri.rpartition("/")[2] in error.detail else error.detail
            assert (pixels.dtype, pixels.shape) == (np.uint8, (224, 224, 3))
            return "read"

        with PhotoReader(settings(folder, photo_decoders=2), LITE0) as reader, ThreadPoolExecutor(8) as threads:
            reader.start()
            assert dict(zip(uris, threads.map(outcome_of, uris), strict=True)) == uris

    def test_a_private_address_is_forbidden_unless_settings_allow_it(self, folder: Path, server: PhotoServer) -> None:
        with (
            PhotoReader(settings(folder, photo_private_hosts=False), LITE0) as reader,
            pytest.raises(PhotoError) as caught,
        ):
            reader.read(f"{server.url}/photo")
        assert caught.value.reason == Reason.FORBIDDEN
        assert "autotag.photo.private.hosts" in caught.value.detail

    def test_the_pixels_are_what_decode_photo_gives_at_the_networks_size(self, folder: Path) -> None:
        with PhotoReader(
            settings(folder), Preprocessing(size=260, resize_short_side=292, interpolation="hamming")
        ) as reader:
            pixels = reader.read((folder / "rotated.jpg").as_uri()).pixels
        wanted = decode_main.decode_photo((folder / "rotated.jpg").read_bytes(), 260, 292, 10**8, "hamming").picture
        assert (pixels == np.asarray(wanted)).all()

    def test_a_person_may_name_any_file(self, folder: Path) -> None:
        with PhotoReader(Settings(), LITE0, PhotoSource(any_file=True)) as reader:
            assert reader.read(photo_uri(str(folder / "good.jpg"))).pixels.shape == (224, 224, 3)

    def test_the_message_is_one_line_that_names_photo_and_reason(self, folder: Path) -> None:
        uri = (folder / "text.jpg").as_uri()
        with PhotoReader(settings(folder), LITE0) as reader, pytest.raises(PhotoError) as caught:
            reader.read(uri)
        assert str(caught.value).startswith(f"not_an_image: {uri!r}: begins with b'This is no p'")


class TestReasons:
    def test_an_outage_is_transient_and_nothing_permanent_is_one(self) -> None:
        assert {reason for reason in Reason if reason.outage} < {reason for reason in Reason if reason.transient}

    @pytest.mark.parametrize(
        "reason", [Reason.NOT_FOUND, Reason.FORBIDDEN, Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.TOO_MANY_PIXELS]
    )
    def test_what_can_never_work_is_permanent(self, reason: Reason) -> None:
        assert not PhotoError(reason, "").transient


class TestPhotoUri:
    @pytest.mark.parametrize(
        "uri",
        ["http://photos.example/a%20cat.jpg?x=1", "https://photos.example/", "file:///a.jpg", "s3://bucket/a.jpg"],
    )
    def test_a_uri_stays_as_it_is(self, uri: str) -> None:
        assert photo_uri(uri) == uri

    def test_a_path_becomes_an_absolute_file_uri(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert photo_uri("a cat?.jpg") == f"{tmp_path.resolve().as_uri()}/a%20cat%3F.jpg"
        assert photo_uri("C:/cat.jpg").endswith("/C%3A/cat.jpg")

    @pytest.mark.parametrize("name", ["a cat.jpg", "50%.jpg", "猫🐈.jpg", "#?&.jpg", "new\nline.jpg", "\udcff.jpg"])
    def test_whatever_a_file_is_called_its_uri_reads_it(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(encoded(drawing(), "JPEG"))
        with PhotoReader(settings(tmp_path), LITE0) as reader:
            assert reader.read(photo_uri(str(tmp_path / name))).pixels.shape == (224, 224, 3)


class TestFindPhotos:
    def test_finds_photos_in_order_and_leaves_out_what_is_hidden_or_no_photo(self, tmp_path: Path) -> None:
        names = ["b.JPG", "a.png", "notes.txt", ".hidden.jpg", "x/c.heic", "x/y/d.webp", ".git/e.jpg", "no-extension"]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "x/loop").symlink_to(tmp_path)
        found = [str(path.relative_to(tmp_path)) for path in find_photos(tmp_path)]
        assert found == ["a.png", "b.JPG", "x/c.heic", "x/y/d.webp"]

    def test_a_folder_that_cannot_be_read_is_logged(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def scandir(_: Any) -> Any:
            raise PermissionError(13, "Permission denied", str(tmp_path))

        monkeypatch.setattr(os, "scandir", scandir)
        assert list(find_photos(tmp_path)) == []
        assert "Permission denied" in caplog.text
