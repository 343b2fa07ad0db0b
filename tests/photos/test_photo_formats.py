"""JPEG XL, camera raw, PSD, JPEG 2000 and 12-bit JPEG are photos; HDR and wide gamut become sRGB; videos are named."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from autotag.photos import decode_main
from autotag.photos.decode_main import UndecodableError, decode_photo
from tests.bad_photos import drawing, encoded

MAX_PIXELS = 100_000_000


def decoded(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    photo = decode_photo(data, 224, 256, max_pixels)
    assert not photo.partial
    return np.asarray(photo.picture, np.float32)


def wanted() -> np.ndarray:
    return decoded(encoded(drawing(), "PNG"))


def psd() -> bytes:
    """A PSD with its composite only."""
    picture = drawing()
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, picture.height, picture.width, 8, 3)
    return header + bytes(12) + b"\0\0" + b"".join(band.tobytes() for band in picture.split())


def dng(width: int = 640, height: int = 480, preview: bytes | None = None) -> bytes:
    """A DNG of a red scene in a Bayer pattern, with a JPEG preview in its first directory if one is given."""

    def directory(entries: list[tuple[int, int, int, bytes]], start: int) -> bytes:
        body, extra = b"", b""
        place = start + 2 + 12 * len(entries) + 4
        for tag, kind, count, value in sorted(entries):
            if len(value) > 4:
                body += struct.pack("<HHII", tag, kind, count, place + len(extra))
                extra += value + b"\0" * (len(value) % 2)
            else:
                body += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        return struct.pack("<H", len(entries)) + body + bytes(4) + extra

    short, long = (lambda *v: struct.pack(f"<{len(v)}H", *v)), (lambda *v: struct.pack(f"<{len(v)}I", *v))
    samples = np.full((height, width), 400, "<u2")
    samples[::2, ::2] = 12_000
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
    rationals = b"".join(struct.pack("<ii", round(value * 10_000), 10_000) for value in matrix)

    def image(data_at: int, sub: int) -> list[tuple[int, int, int, bytes]]:
        return [
            (254, 4, 1, long(sub)),
            (256, 4, 1, long(width)),
            (257, 4, 1, long(height)),
            (258, 3, 1, short(16)),
            (259, 3, 1, short(1)),
            (262, 3, 1, short(32803)),
            (273, 4, 1, long(data_at)),
            (277, 3, 1, short(1)),
            (278, 4, 1, long(height)),
            (279, 4, 1, long(samples.nbytes)),
            (33421, 3, 2, short(2, 2)),
            (33422, 1, 4, bytes([0, 1, 1, 2])),
            (50717, 4, 1, long(16_383)),
        ]

    common = [
        (271, 2, 5, b"Made\0"),
        (272, 2, 5, b"Here\0"),
        (50706, 1, 4, bytes([1, 4, 0, 0])),
        (50708, 2, 5, b"Here\0"),
        (50721, 10, 9, rationals),
        (50728, 5, 3, long(1, 1, 1, 1, 1, 1)),
        (50778, 3, 1, short(21)),
    ]
    data_at = 4096
    if preview is None:
        return (b"II*\0" + long(8) + directory(common + image(data_at, 0), 8)).ljust(data_at, b"\0") + samples.tobytes()
    with Image.open(io.BytesIO(preview)) as opened:
        across, down = opened.size
    preview_at = data_at + samples.nbytes
    first = [
        *common,
        (254, 4, 1, long(1)),
        (256, 4, 1, long(across)),
        (257, 4, 1, long(down)),
        (258, 3, 3, short(8, 8, 8)),
        (259, 3, 1, short(7)),
        (262, 3, 1, short(6)),
        (273, 4, 1, long(preview_at)),
        (277, 3, 1, short(3)),
        (278, 4, 1, long(down)),
        (279, 4, 1, long(len(preview))),
        (330, 4, 1, long(2048)),
    ]
    head = (b"II*\0" + long(8) + directory(first, 8)).ljust(2048, b"\0")
    return (head + directory(image(data_at, 0), 2048)).ljust(data_at, b"\0") + samples.tobytes() + preview


class TestFormats:
    @pytest.mark.parametrize("container", [False, True])
    def test_jpeg_xl(self, container: bool) -> None:
        data = imagecodecs.jpegxl_encode(np.asarray(drawing()), lossless=True, usecontainer=container)
        assert np.abs(decoded(data) - wanted()).max() == 0
        with pytest.raises(UndecodableError, match="too_many_pixels: JPEG XL of 640 x 480 pixels"):
            decoded(data, 640 * 480 - 1)

    def test_jpeg_xl_of_16_bits_and_with_alpha(self) -> None:
        deep = np.asarray(drawing()).astype(np.uint16) * 257
        assert np.abs(decoded(imagecodecs.jpegxl_encode(deep, lossless=True)) - wanted()).max() <= 1
        clear = np.zeros((300, 300, 4), np.uint8)
        assert decoded(imagecodecs.jpegxl_encode(clear, lossless=True)).min() == 255

    def test_jpeg_2000(self) -> None:
        assert np.abs(decoded(encoded(drawing(), "JPEG2000")) - wanted()).max() == 0

    def test_the_composite_of_a_psd(self) -> None:
        assert np.abs(decoded(psd()) - wanted()).max() == 0

    def test_a_jpeg_of_12_bits(self) -> None:
        values = np.asarray(drawing()).astype(np.uint16) * 16
        data = imagecodecs.jpeg8_encode(values, level=98, bitspersample=12)
        assert np.abs(decoded(data) - wanted()).mean() < 2
        with pytest.raises(UndecodableError, match="too_many_pixels"):
            decoded(data, 640 * 480 - 1)

    def test_a_camera_raw_file_is_developed(self) -> None:
        red, green, blue = decoded(dng()).mean(axis=(0, 1))
        assert red > 2 * max(green, blue)
        with pytest.raises(UndecodableError, match="too_many_pixels: camera raw"):
            decoded(dng(), 640 * 480 - 1)

    def test_the_preview_of_a_camera_raw_file_is_shown_if_it_is_large_enough(self) -> None:
        preview = encoded(drawing(), "JPEG", quality=95)
        assert np.abs(decoded(dng(preview=preview)) - wanted()).mean() < 3
        small = encoded(Image.new("RGB", (160, 120), "blue"), "JPEG")
        assert decoded(dng(preview=small)).mean(axis=(0, 1)).argmax() == 0

    def test_a_library_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rawpy", None)
        with pytest.raises(UndecodableError, match=r"unsupported: camera raw needs .*pip install 'autotag\[formats\]'"):
            decoded(dng())

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video (MP4)"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video (MOV)"),
            (b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm", "a video (WebM)"),
            (b"\x1a\x45\xdf\xa3\x9fB\x82\x88matroska", "a video (MKV)"),
            (b"RIFF\x24\0\0\0AVI LIST", "a video (AVI)"),
            (b"%PDF-1.7", "a document (PDF)"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing (SVG)"),
            (b"<?xml version='1.0'?>\n<svg/>", "a drawing (SVG)"),
        ],
    )
    def test_what_is_no_photo_is_named(self, data: bytes, name: str) -> None:
        with pytest.raises(UndecodableError) as caught:
            decoded(data)
        assert caught.value.detail.startswith(f"is {name}; photos are JPEG, ")

    def test_no_library_is_loaded_before_a_photo_needs_it(self) -> None:
        script = f"import runpy, sys; runpy.run_path({decode_main.__file__!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
        loaded = set(done.stdout.split())
        assert not {"numpy", "rawpy", "imagecodecs", "PIL.ImageCms", "_decode_damaged", "_decode_colour"} & loaded


def pq(light: float) -> int:
    """Light of 1 is diffuse white, 203 nits."""
    power = (light * 203 / 10_000) ** 0.1593017578125
    return round(255 * ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def with_code_points(data: bytes, primaries: int, transfer: int) -> bytes:
    from tests.photos.test_damaged_photos import chunk

    return data[:33] + chunk(b"cICP", bytes([primaries, transfer, 0, 1])) + data[33:]


class TestColour:
    def test_pq_becomes_srgb(self) -> None:
        for light, srgb in ((0.0, 0), (0.05, 63), (0.2140, 127), (0.5, 188)):
            data = encoded(Image.new("RGB", (300, 300), (pq(light),) * 3), "PNG")
            assert np.abs(decoded(with_code_points(data, 9, 16)) - srgb).max() < 10, light

    def test_hlg_becomes_srgb(self) -> None:
        data = encoded(Image.new("RGB", (300, 300), (191,) * 3), "PNG")  # 75 % is diffuse white.
        assert decoded(with_code_points(data, 9, 18)).min() > 230
        black = encoded(Image.new("RGB", (300, 300)), "PNG")
        assert decoded(with_code_points(black, 9, 18)).max() < 3

    def test_code_points_of_srgb_change_nothing(self) -> None:
        data = encoded(drawing(), "PNG")
        assert (decoded(with_code_points(data, 1, 13)) == decoded(data)).all()

    def test_a_wide_gamut_makes_colours_stronger(self) -> None:
        data = encoded(Image.new("RGB", (300, 300), (200, 100, 100)), "PNG")
        red, green, _ = decoded(with_code_points(data, 12, 13)).mean(axis=(0, 1))
        assert red > 205
        assert green < 98

    def test_a_profile_is_applied(self) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        picture = drawing()
        assert np.abs(decoded(encoded(picture, "PNG", icc_profile=lab)) - wanted()).max() == 0
        swapped = bytearray(lab)
        for tag in range(132, 132 + 12 * struct.unpack(">I", lab[128:132])[0], 12):
            names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ", b"desc": b"desx"}
            swapped[tag : tag + 4] = names.get(lab[tag : tag + 4], lab[tag : tag + 4])
        pixels = decoded(encoded(picture, "PNG", icc_profile=bytes(swapped)))
        assert np.abs(pixels - wanted()[:, :, ::-1]).mean() < 3

    def test_a_profile_that_is_none_changes_nothing(self) -> None:
        assert (decoded(encoded(drawing(), "PNG", icc_profile=b"x" * 500)) == wanted()).all()
