"""A damaged photo is decoded as far as it goes, and nothing outside the pixels is a reason to refuse one."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotag.photos.decode_main import Decoded, UndecodableError, decode_photo
from autotag.photos.decoder_pool import Decoder
from autotag.photos.errors import PhotoError, Reason
from autotag.photos.reader import PhotoReader
from autotag.settings import Settings
from models.preprocessing import Preprocessing
from tests.bad_photos import drawing, encoded, png

SIZE, SHORT, MAX_PIXELS = 224, 256, 100_000_000
LITE0 = Preprocessing(size=SIZE, resize_short_side=SHORT, interpolation="bicubic")
CUT = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


def decoded(data: bytes) -> Decoded:
    return decode_photo(data, SIZE, SHORT, MAX_PIXELS)


def noisy(width: int = 400, height: int = 320) -> Image.Image:
    """A drawing in which every row takes about as many bytes as the others."""
    noise = Image.effect_noise((width, height), 40).convert("RGB")
    return Image.blend(drawing(width, height), noise, 0.5)


def is_same(first: bytes, second: bytes) -> bool:
    """True if both photos are whole and give the same pixels."""
    one, other = decoded(first), decoded(second)
    return not one.partial and not other.partial and one.picture.tobytes() == other.picture.tobytes()


class TestRows:
    @pytest.mark.parametrize("kind", CUT)
    @pytest.mark.parametrize("part", [0.85, 0.9, 0.998])
    def test_three_quarters_of_the_rows_are_enough(self, kind: str, part: float) -> None:
        data = encoded(noisy(), kind)
        cut = decoded(data[: int(len(data) * part)])
        assert cut.partial
        box = (0, SIZE * 4 // 10, SIZE, SIZE) if kind == "BMP" else (0, 0, SIZE, SIZE * 6 // 10)  # A BMP begins below.
        one, other = (np.asarray(picture.crop(box), np.float32) for picture in (cut.picture, decoded(data).picture))
        assert np.abs(one - other).mean() < 1

    @pytest.mark.parametrize("kind", CUT)
    def test_fewer_are_truncated(self, kind: str) -> None:
        data = encoded(noisy(), kind)
        with pytest.raises(UndecodableError, match=r"^truncated: .* has less than 75% of its rows"):
            decoded(data[: int(len(data) * 0.65)])

    def test_a_jpeg_without_its_end_marker_is_the_same_picture(self) -> None:
        data = encoded(noisy(), "JPEG")
        cut, whole = decoded(data[:-2]), decoded(data)
        assert (cut.partial, whole.partial) == (True, False)
        assert cut.picture == whole.picture

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
    @pytest.mark.parametrize("part", [0.9, 0.5])
    def test_zeros_at_the_end_are_no_pixels(self, kind: str, part: float) -> None:
        data = encoded(noisy(), kind)
        there = int(len(data) * part)
        damaged = data[:there] + bytes(len(data) - there)
        if part < 0.75:
            with pytest.raises(UndecodableError, match="truncated"):
                decoded(damaged)
        else:
            assert decoded(damaged).partial

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_a_whole_photo_before_zeros_is_whole(self, kind: str) -> None:
        data = encoded(noisy(), kind)
        assert is_same(data + bytes(4096), data)

    def test_a_progressive_jpeg_is_shown_once_it_has_some_detail_everywhere(self) -> None:
        data = encoded(noisy(), "JPEG", progressive=True)
        scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
        assert decoded(data[: scans[2] + 12]).partial
        assert decoded(data[:-2]).partial
        with pytest.raises(UndecodableError, match="truncated"):
            decoded(data[: scans[1] + 12])

    def test_missing_rows_are_grey(self) -> None:
        data = encoded(Image.new("RGB", (256, 256), "red"), "BMP")
        pixels = np.asarray(decoded(data[: int(len(data) * 0.8)]).picture)  # A BMP's first rows stand at its end.
        assert (pixels[0] == 128).all()
        assert (pixels[-1] == (255, 0, 0)).all()

    def test_the_flag_comes_through_the_child_process(self) -> None:
        data = encoded(noisy(), "JPEG")
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            assert not decoder.decode(data, LITE0).partial
            cut = decoder.decode(data[: int(len(data) * 0.9)], LITE0)
        assert cut.partial
        assert (cut.pixels == np.asarray(decoded(data[: int(len(data) * 0.9)]).picture)).all()


class TestUploads:
    def test_a_file_that_grows_is_transient(self, tmp_path: Path) -> None:
        data = encoded(noisy(), "JPEG")
        path = tmp_path / "growing.jpg"
        path.write_bytes(data[: len(data) // 10])
        stop = threading.Event()

        def grow() -> None:
            with path.open("ab") as file:
                for byte in data[len(data) // 10 : len(data) // 2]:
                    file.write(bytes([byte]))
                    file.flush()
                    if stop.wait(0.005):
                        return

        writer = threading.Thread(target=grow)
        writer.start()
        try:
            with (
                PhotoReader(replace(Settings(), photo_roots=(str(tmp_path),)), LITE0) as reader,
                pytest.raises(PhotoError, match="the file is being written") as caught,
            ):
                reader.read(path.as_uri())
        finally:
            stop.set()
            writer.join()
        assert (caught.value.reason, caught.value.transient) == (Reason.INTERRUPTED, True)

    def test_a_file_that_stays_is_a_verdict(self, tmp_path: Path) -> None:
        data = encoded(noisy(), "JPEG")
        path = tmp_path / "cut.jpg"
        path.write_bytes(data[: len(data) // 10])
        with (
            PhotoReader(replace(Settings(), photo_roots=(str(tmp_path),)), LITE0) as reader,
            pytest.raises(PhotoError) as caught,
        ):
            reader.read(path.as_uri())
        assert caught.value.reason is Reason.TRUNCATED


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


class TestOutsideThePixels:
    @pytest.mark.parametrize(
        "extra",
        [
            chunk(b"pHYs", bytes(9), crc=1),
            chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
            chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))),
            chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(10_000_000))),
            chunk(b"iTXt", b"broken", crc=7),
        ],
        ids=["checksum", "long text", "text bomb", "large profile", "broken text"],
    )
    def test_a_pngs_other_chunks_do_no_harm(self, extra: bytes) -> None:
        data = encoded(drawing(), "PNG")
        assert is_same(data[:33] + extra + data[33:], data)

    def test_a_png_without_its_end_is_whole(self) -> None:
        data = encoded(drawing(), "PNG")
        assert is_same(data[:-12], data)

    @pytest.mark.parametrize("alpha", [255, 0])
    def test_an_apple_png_has_the_right_colours(self, alpha: int) -> None:
        pixel = (0, 0, alpha, alpha)  # blue, green, red, premultiplied
        rows = (b"\0" + bytes(pixel) * 300) * 300
        packed = zlib.compressobj(wbits=-15)
        data = png(300, 300, 8, 6, b"")
        raw = packed.compress(rows) + packed.flush()
        apple = data[:8] + chunk(b"CgBI", b"P\0 \2") + data[8:33] + chunk(b"IDAT", raw) + chunk(b"IEND", b"")
        shown = decoded(apple)
        wanted = (255, 0, 0) if alpha else (255, 255, 255)
        assert (np.asarray(shown.picture) == wanted).all()
        assert not shown.partial

    def test_a_webp_whose_header_states_another_size_is_whole(self) -> None:
        data = bytearray(encoded(drawing(), "WEBP"))
        whole = bytes(data)
        data[4:8] = struct.pack("<I", len(data) * 3)
        assert is_same(bytes(data), whole)

    def test_a_bmp_with_reserved_fields_and_a_wrong_size_is_whole(self) -> None:
        data = bytearray(encoded(drawing(), "BMP"))
        whole = bytes(data)
        data[2:10] = b"\1\0\0\0abcd"
        assert is_same(bytes(data), whole)

    def test_a_jpeg_may_have_bytes_before_its_start(self) -> None:
        data = encoded(drawing(), "JPEG")
        assert is_same(b"\r\n--boundary\r\n\r\n" + data, data)

    def test_a_jpegs_height_may_stand_at_its_end(self) -> None:
        data = bytearray(encoded(drawing(), "JPEG"))
        whole = bytes(data)
        at = data.index(b"\xff\xc0") + 5
        height = bytes(data[at : at + 2])
        data[at : at + 2] = b"\0\0"
        assert is_same(bytes(data[:-2]) + b"\xff\xdc\0\4" + height + b"\xff\xd9", whole)

    def test_a_large_profile_of_a_jpeg_does_no_harm(self) -> None:
        buffer = io.BytesIO()
        drawing().save(buffer, "JPEG", icc_profile=bytes(2_000_000))
        assert is_same(buffer.getvalue(), encoded(drawing(), "JPEG"))
