"""decode_photo gives the upright middle of every kind of photo; Decoder survives those that kill its child."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from autotag.photos import decode_main
from autotag.photos.decode_main import UndecodableError, decode_photo
from autotag.photos.decoder_pool import Decoder, DecoderPool
from autotag.photos.errors import PhotoError, Reason
from autotag.settings import PROJECT
from models.preprocessing import Preprocessing
from tests.bad_photos import drawing, encoded, huge_png, png, slow_jpeg

SIZE, SHORT = 224, 256
LITE0 = Preprocessing(size=SIZE, resize_short_side=SHORT, interpolation="bicubic")
MAX_PIXELS = 100_000_000
KINDS = ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF"]


def decoded(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    picture = decode_photo(data, SIZE, SHORT, max_pixels).picture
    assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
    return np.asarray(picture, np.float32)


def expected(picture: Image.Image) -> NDArray[np.float32]:
    """The long way: orient, convert, scale the short side, cut the middle out."""
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    scale = SHORT / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    scaled = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled.crop((left, top, left + SIZE, top + SIZE)), np.float32)


def difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Mean over all values, of 255."""
    return float(np.abs(first - second).mean())


def reason(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(UndecodableError) as caught:
        decode_photo(data, SIZE, SHORT, max_pixels)
    assert "\n" not in caught.value.detail
    return Reason(caught.value.reason)


class TestFormats:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_format_gives_the_picture(self, kind: str) -> None:
        picture = drawing().quantize().convert("RGB") if kind == "GIF" else drawing()  # GIF has 256 colours.
        assert difference(decoded(encoded(picture, kind)), expected(picture)) < 2

    @pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
    def test_each_kind_of_jpeg_gives_the_picture(self, options: dict[str, Any]) -> None:
        assert difference(decoded(encoded(drawing(), "JPEG", **options)), expected(drawing())) < 4

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
    def test_each_kind_of_tiff_gives_the_picture(self, compression: str) -> None:
        assert difference(decoded(encoded(drawing(), "TIFF", compression=compression)), expected(drawing())) < 2

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [("L", "PNG"), ("L", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("1", "TIFF"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")],
    )
    def test_each_colour_mode_gives_the_picture(self, mode: str, kind: str) -> None:
        picture = drawing().convert(mode, dither=Image.Dither.NONE)
        assert difference(decoded(encoded(picture, kind)), expected(picture)) < 3

    def test_a_cmyk_jpeg_as_adobe_writes_it_has_the_right_colours(self) -> None:
        picture = Image.new("CMYK", (300, 300), (0, 255, 255, 0))
        data = encoded(picture, "JPEG", quality=95)
        assert b"Adobe" in data
        assert np.abs(decoded(data) - [255, 0, 0]).max() < 4

    def test_16_bit_grey_is_scaled_and_not_clipped(self) -> None:
        ramp = np.linspace(0, 65535, 300).astype(np.uint16)
        grey = np.broadcast_to(ramp, (300, 300))
        wanted = expected(Image.fromarray(np.round(grey / 257).astype(np.uint8)))
        assert difference(decoded(encoded(Image.fromarray(grey.copy()), "PNG")), wanted) < 1
        assert difference(decoded(encoded(Image.fromarray(grey.copy()), "TIFF")), wanted) < 1
        big_endian = Image.frombytes("I;16B", (300, 300), grey.astype(">u2").tobytes())
        assert difference(decoded(encoded(big_endian, "TIFF")), wanted) < 1

    def test_16_bit_colour_gives_the_picture(self) -> None:
        values = np.asarray(drawing(300, 300)).astype(">u2") * 257
        rows = b"".join(b"\0" + row.tobytes() for row in values)
        assert difference(decoded(png(300, 300, 16, 2, rows)), expected(drawing(300, 300))) < 1

    def test_32_bit_samples_are_refused_because_nothing_says_what_is_white(self) -> None:
        assert reason(encoded(Image.new("F", (300, 300)), "TIFF")) == Reason.DAMAGED

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [(mode, kind) for mode in ("RGBA", "LA") for kind in ("PNG", "WEBP", "TIFF", "HEIF", "AVIF")]
        + [("PA", "PNG"), ("PA", "WEBP"), ("RGBA", "GIF")],
    )
    def test_what_is_transparent_is_white(self, mode: str, kind: str) -> None:
        picture = Image.new("RGBA", (300, 300), (200, 0, 0, 0))
        picture.paste((0, 0, 0, 255), (0, 0, 150, 300))
        picture = picture.quantize() if mode == "PA" else picture.convert(mode)
        pixels = decoded(encoded(picture, kind))
        assert pixels[:, :100].max() < 8
        assert pixels[:, 125:].min() > 247

    @pytest.mark.parametrize("mode", ["L", "RGB", "P"])
    def test_a_colour_that_a_png_declares_transparent_is_white(self, mode: str) -> None:
        grey, transparent = {"L": (7, b"\0\7"), "RGB": (7, b"\0\7\0\7\0\7"), "P": (0, b"\0")}[mode]
        rows = (b"\0" + bytes([grey] * (3 if mode == "RGB" else 1)) * 300) * 300
        colour = {"L": 0, "RGB": 2, "P": 3}[mode]
        chunks = {"PLTE": b"\7\7\7", "tRNS": transparent} if mode == "P" else {"tRNS": transparent}
        assert decoded(png(300, 300, 8, colour, rows, **chunks)).min() == 255

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
    def test_of_an_animation_the_first_frame_counts(self, kind: str) -> None:
        frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "green", "blue")]
        pixels = decoded(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert np.abs(pixels - [255, 0, 0]).max() < 8

    def test_of_a_jpeg_with_several_pictures_the_first_counts(self) -> None:
        data = encoded(drawing(), "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480))])
        assert difference(decoded(data), expected(drawing())) < 2

    @pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (223, 225), (257, 256)])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_a_picture_of_any_size_is_a_picture(self, size: tuple[int, int], kind: str) -> None:
        pixels = decoded(encoded(Image.new("RGB", size, (200, 100, 50)), kind))
        assert np.abs(pixels - [200, 100, 50]).max() < 8


class TestGeometry:
    @pytest.mark.parametrize("size", [(300, 300), (640, 480), (481, 641), (1999, 1501), (257, 1023)])
    def test_scaling_and_cutting_at_once_is_scaling_then_cutting(self, size: tuple[int, int]) -> None:
        assert difference(decoded(encoded(drawing(*size), "PNG")), expected(drawing(*size))) < 1

    @pytest.mark.parametrize("side", [1, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 5000])
    def test_a_jpeg_is_decoded_at_the_smallest_scale_that_still_has_enough_pixels(
        self, side: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[tuple[int, int]] = []
        middle = decode_main._middle

        def noting(photo: Image.Image, *arguments: Any) -> Image.Image:
            sizes.append(photo.size)
            return middle(photo, *arguments)

        monkeypatch.setattr(decode_main, "_middle", noting)
        for size in ((side, side + 37), (side + 1, side)):
            decoded(encoded(Image.new("RGB", size), "JPEG"))
            short = min(sizes.pop())
            scale = round(side / short)
            assert scale in (1, 2, 4, 8)
            assert scale == 1 or side / scale >= SHORT
            assert scale == 8 or side / (2 * scale) < SHORT

    @pytest.mark.parametrize("side", [512, 513, 1023, 2050])
    def test_a_jpeg_decoded_at_a_scale_is_the_same_picture(self, side: int) -> None:
        picture = drawing(side + 100, side)
        assert difference(decoded(encoded(picture, "JPEG", quality=95)), expected(picture)) < 2

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
    def test_a_turned_picture_is_upright(self, orientation: int, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(drawing(), kind, exif=exif)
        with Image.open(io.BytesIO(data)) as picture:
            wanted = expected(picture)
            sides = ImageOps.exif_transpose(picture).size
        assert difference(decoded(data), wanted) < 1.5
        assert decode_photo(data, SIZE, SHORT, MAX_PIXELS).sides == sides

    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize("sides", [(1999, 1000), (2000, 1000), (4001, 3), (300, 200)])
    def test_the_sides_are_the_whole_photos_whatever_scale_a_jpeg_is_decoded_at(
        self, orientation: int, sides: tuple[int, int]
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(Image.new("RGB", sides, "grey"), "JPEG", exif=exif)
        wanted = sides if orientation == 1 else sides[::-1]
        assert decode_photo(data, SIZE, SHORT, MAX_PIXELS).sides == wanted
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            photo = decoder.decode(data, LITE0)
        assert (photo.width, photo.height) == wanted

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    @pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
    def test_an_exif_block_that_is_damaged_does_no_harm(self, exif: bytes) -> None:
        assert difference(decoded(encoded(drawing(), "JPEG", exif=exif)), expected(drawing())) < 2

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_an_orientation_that_does_not_exist_does_no_harm(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert difference(decoded(encoded(drawing(), "JPEG", exif=exif)), expected(drawing())) < 2

    @pytest.mark.parametrize("name", ["bicubic", "hamming", "bilinear", "lanczos"])
    def test_the_filter_is_the_one_asked_for(self, name: str) -> None:
        noise = Image.effect_noise((512, 512), 80).convert("RGB")
        picture = decode_photo(encoded(noise, "PNG"), 256, 256, MAX_PIXELS, name).picture
        assert picture == noise.resize((256, 256), Image.Resampling[name.upper()])


class TestBadFiles:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff",
            b"A text that somebody named cat.jpg.\n",
            b"BMW is a maker of cars, and this a text about it, which is long enough.",
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            bytes(10_000),
            b"RIFF\x24\0\0\0WAVEfmt ",
        ],
    )
    def test_what_is_no_photo_is_not_an_image(self, data: bytes) -> None:
        assert reason(data) == Reason.NOT_AN_IMAGE

    def test_a_format_that_photos_do_not_come_in_is_not_an_image(self) -> None:
        assert reason(encoded(drawing(), "PPM")) == Reason.NOT_AN_IMAGE
        assert reason(encoded(drawing(64, 64), "ICO")) == Reason.NOT_AN_IMAGE

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("part", [0.02, 0.1, 0.5])
    def test_a_photo_of_which_less_than_three_quarters_are_there_is_truncated(self, kind: str, part: float) -> None:
        noise = Image.effect_noise((320, 240), 80).convert("RGB")
        data = encoded(noise, kind)
        assert reason(data[: int(len(data) * part)]) == Reason.TRUNCATED

    def test_a_whole_file_that_makes_no_sense_is_damaged(self) -> None:
        data = encoded(drawing(), "PNG")
        start = data.index(b"IDAT") + 4
        assert reason(data[:start] + b"nonsense" + data[start + 8 :]) == Reason.DAMAGED

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_pixel_cap_is_exact_and_checked_before_anything_is_decoded(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encoded(drawing(), kind)
        decoded(data, max_pixels=640 * 480)
        for name in ("PIL.ImageFile.ImageFile.load", "PIL.Image.Image.load"):
            monkeypatch.setattr(name, lambda _: pytest.fail("decoded"))
        assert reason(data, max_pixels=640 * 480 - 1) == Reason.TOO_MANY_PIXELS

    def test_a_decompression_bomb_is_refused_by_its_header(self) -> None:
        assert reason(huge_png()) == Reason.TOO_MANY_PIXELS
        jpeg = bytearray(encoded(drawing(), "JPEG"))
        size = jpeg.index(b"\xff\xc0") + 5
        jpeg[size : size + 4] = struct.pack(">HH", 65500, 65500)
        assert reason(bytes(jpeg)) == Reason.TOO_MANY_PIXELS
        gif = bytearray(encoded(drawing(), "GIF"))
        gif[6:10] = struct.pack("<HH", 65500, 65500)
        assert reason(bytes(gif)) == Reason.TOO_MANY_PIXELS


STAND_IN = """
import os, signal, sys, time

sys.path.insert(0, {project!r})
from autotag.photos import decode_main

served = 0

def decode(data, size, resize_short_side, max_pixels, interpolation):
    global served
    served += 1
    if data == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"hang":
        while True:
            time.sleep(60)
    if data == b"stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if data == b"exit":
        os._exit(3)
    if data == b"mistake":
        raise AssertionError("a mistake")
    if data == b"lie":
        os.write(int(sys.argv[1]), b"\\1" + b"\\xff" * 8)
    if data == b"lie about an outage":
        raise decode_main.UndecodableError("network_down", "")
    if data == b"print":
        os.write(1, b"printed by a library")
        os.write(2, b"printed by a library")
    if data == b"no memory" or data == b"crowded" and served > 1:
        raise MemoryError
    if data == b"no sides":
        return decode_main.Decoded(decode_main.Image.new("RGB", (size, size)), (0, 3), partial=False)
    return decode_main.Decoded(decode_main.Image.new("RGB", (size, size)), (4, 3), data == b"partial")

decode_main.main(decode)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> tuple[str, ...]:
    """A command that speaks the protocol, and does what a photo says."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN.format(project=str(PROJECT)))
    return (sys.executable, str(path))


def children() -> list[int]:
    """Processes whose parent is this one, zombies among them."""
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process lives and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """The test's own time limit ends it."""
    while not condition():
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


class TestDecoder:
    def test_gives_the_same_pixels_as_in_process(self) -> None:
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            for kind in KINDS:
                data = encoded(drawing(), kind)
                pixels = decoder.decode(data, LITE0).pixels
                assert (pixels.dtype, pixels.shape) == (np.uint8, (SIZE, SIZE, 3))
                assert (pixels == decoded(data)).all()

    def test_one_process_serves_all_photos_good_and_bad(self) -> None:
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            decoder.start()
            started = children()
            for data, why in ((b"text", Reason.NOT_AN_IMAGE), (huge_png(), Reason.TOO_MANY_PIXELS)):
                with pytest.raises(PhotoError) as caught:
                    decoder.decode(data, LITE0)
                assert caught.value.reason == why
                decoder.decode(encoded(drawing(), "JPEG"), LITE0)
            assert children() == started

    def test_a_photo_larger_than_every_pipe_goes_through(self) -> None:
        noise = Image.effect_noise((3000, 2000), 80).convert("RGB")
        data = encoded(noise, "BMP")
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            assert (decoder.decode(data, LITE0).pixels == decoded(data)).all()

    @pytest.mark.parametrize("photo", [b"segfault", b"exit", b"mistake", b"lie", b"no sides", b"lie about an outage"])
    def test_a_photo_that_kills_the_process_is_one_transient_error(
        self, stand_in: tuple[str, ...], photo: bytes
    ) -> None:
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS, command=stand_in) as decoder:
            for _ in range(2):
                with pytest.raises(PhotoError) as caught:
                    decoder.decode(photo, LITE0)
                assert caught.value.reason == Reason.DECODER_DIED
                assert caught.value.transient
                assert not caught.value.outage
                assert decoder.decode(b"good", LITE0).pixels.shape == (SIZE, SIZE, 3)

    def test_the_signal_is_named(self, stand_in: tuple[str, ...]) -> None:
        with (
            Decoder(timeout_s=20, max_pixels=MAX_PIXELS, command=stand_in) as decoder,
            pytest.raises(PhotoError, match="SIGSEGV"),
        ):
            decoder.decode(b"segfault", LITE0)

    def test_a_photo_that_hangs_is_a_timeout(self, stand_in: tuple[str, ...]) -> None:
        with Decoder(timeout_s=0.3, max_pixels=MAX_PIXELS, command=stand_in) as decoder:
            with pytest.raises(PhotoError) as caught:
                decoder.decode(b"hang", LITE0)
            assert caught.value.reason == Reason.TIMEOUT
            assert decoder.decode(b"good", LITE0).pixels.shape == (SIZE, SIZE, 3)

    def test_a_real_photo_that_hangs_in_native_code_is_a_timeout(self) -> None:
        with Decoder(timeout_s=0.3, max_pixels=MAX_PIXELS) as decoder:
            with pytest.raises(PhotoError) as caught:
                decoder.decode(slow_jpeg(), LITE0)
            assert caught.value.reason == Reason.TIMEOUT
            assert decoder.decode(encoded(drawing(), "JPEG"), LITE0).pixels.shape == (SIZE, SIZE, 3)

    def test_a_process_that_cannot_even_end_itself_is_killed(
        self, stand_in: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("autotag.photos.decoder_pool._GRACE_S", 0.2)
        with Decoder(timeout_s=0.2, max_pixels=MAX_PIXELS, command=stand_in) as decoder:
            with pytest.raises(PhotoError) as caught:
                decoder.decode(b"stop", LITE0)
            assert caught.value.reason == Reason.TIMEOUT
            assert decoder.decode(b"good", LITE0).pixels.shape == (SIZE, SIZE, 3)

    def test_a_process_killed_between_two_photos_costs_none(self) -> None:
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            before = children()
            decoder.start()
            (pid,) = set(children()) - set(before)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_running(pid))
            assert decoder.decode(encoded(drawing(), "JPEG"), LITE0).pixels.shape == (SIZE, SIZE, 3)

    def test_memory_that_earlier_photos_took_rejects_no_later_one(self, stand_in: tuple[str, ...]) -> None:
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS, command=stand_in) as decoder:
            decoder.decode(b"good", LITE0)
            assert decoder.decode(b"crowded", LITE0).pixels.shape == (SIZE, SIZE, 3)
            with pytest.raises(PhotoError) as caught:
                decoder.decode(b"no memory", LITE0)
            assert caught.value.reason == Reason.TOO_MANY_PIXELS

    def test_the_process_has_a_limit_of_memory(self) -> None:
        before = children()
        with Decoder(timeout_s=20, max_pixels=MAX_PIXELS) as decoder:
            decoder.start()
            (pid,) = set(children()) - set(before)
            limits = Path(f"/proc/{pid}/limits").read_text()
        assert str(decode_main.memory_limit_bytes(MAX_PIXELS)) in limits

    def test_a_decoder_that_cannot_start_is_our_mistake(self) -> None:
        with (
            Decoder(timeout_s=20, max_pixels=MAX_PIXELS, command=(sys.executable, "-c", "exit(7)")) as decoder,
            pytest.raises(RuntimeError, match="status 7"),
        ):
            decoder.decode(b"", LITE0)

    @pytest.mark.parametrize(("photo", "printed"), [(b"print", b""), (b"mistake", b"AssertionError: a mistake")])
    def test_our_mistakes_are_printed_and_what_libraries_say_is_not(
        self, stand_in: tuple[str, ...], photo: bytes, printed: bytes
    ) -> None:
        """On fd 1 a Storm worker talks to Storm, and fd 2 is its log."""
        script = (
            "import contextlib\n"
            "from autotag.photos.decoder_pool import Decoder\n"
            "from models.preprocessing import Preprocessing\n"
            "tiny = Preprocessing(size=8, resize_short_side=8, interpolation='hamming')\n"
            "from autotag.photos.errors import PhotoError\n"
            f"with Decoder(timeout_s=20, max_pixels=10**8, command={stand_in!r}) as decoder:\n"
            f"    with contextlib.suppress(PhotoError):\n        decoder.decode({photo!r}, tiny)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        assert done.stdout == b""
        assert printed in done.stderr
        assert b"library" not in done.stderr

    @pytest.mark.parametrize("photo", [b"good", b"hang"])
    def test_no_process_outlives_a_parent_that_is_killed(self, stand_in: tuple[str, ...], photo: bytes) -> None:
        script = (
            "import os, threading, time\n"
            "from autotag.photos.decoder_pool import Decoder\n"
            "from models.preprocessing import Preprocessing\n"
            "tiny = Preprocessing(size=8, resize_short_side=8, interpolation='hamming')\n"
            f"decoder = Decoder(timeout_s=1, max_pixels=10**8, command={stand_in!r})\n"
            "decoder.start()\n"
            f"threading.Thread(target=decoder.decode, args=({photo!r}, tiny)).start()\n"
            "time.sleep(0.2)\n"
            "print(decoder._child._process.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE)
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: not is_running(pid))

    def test_the_process_loads_little(self) -> None:
        """It is started again after every photo that kills it."""
        script = (
            "import importlib.util, sys\n"
            f"spec = importlib.util.spec_from_file_location('child', {decode_main.__file__!r})\n"
            "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
            "print(*sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, check=True, text=True)
        assert not {"numpy", "requests", "autotag", "openvino", "subprocess", "ctypes"} & set(done.stdout.split())

    @pytest.mark.parametrize("kind", [*KINDS, "progressive JPEG"])
    def test_no_bytes_do_worse_than_a_photo_error(self, kind: str) -> None:
        """Whole photos with some bytes changed, as well as parts of them; the process may die, we may not."""
        progressive = {"progressive": True} if kind.startswith("progressive") else {}
        data = encoded(drawing(96, 64), kind.split()[-1], **progressive)

        @given(
            st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=12),
            st.integers(1, len(data)),
        )
        @hypothesis_settings(max_examples=60, deadline=None)
        def check(changes: list[tuple[int, int]], end: int) -> None:
            changed = bytearray(data)
            for place, value in changes:
                changed[place] = value
            for photo in (bytes(changed), bytes(changed[:end])):
                with contextlib.suppress(PhotoError):
                    assert decoder.decode(photo, LITE0).pixels.shape == (SIZE, SIZE, 3)

        with Decoder(timeout_s=20, max_pixels=10_000_000) as decoder:
            check()


class TestDecoderPool:
    def test_many_threads_each_get_their_own_picture(self) -> None:
        colours = [(n, 255 - n, n // 2) for n in range(0, 256, 4)]
        photos = [encoded(Image.new("RGB", (300, 200), colour), "PNG") for colour in colours]
        before = children()
        with (
            DecoderPool(2, LITE0, timeout_s=20, wait_s=60, max_pixels=MAX_PIXELS) as pool,
            ThreadPoolExecutor(8) as threads,
        ):
            pool.start()
            assert len(set(children()) - set(before)) == 2
            for colour, pixels in zip(colours, threads.map(pool.decode, photos), strict=True):
                assert (pixels.pixels == colour).all()

    def test_a_photo_that_kills_its_decoder_disturbs_no_other(self, stand_in: tuple[str, ...]) -> None:
        photos = [b"segfault" if n % 5 == 0 else b"good" for n in range(40)]

        def outcome(photo: bytes) -> str:
            try:
                return str(pool.decode(photo).pixels.shape)
            except PhotoError as error:
                return error.reason

        with (
            DecoderPool(2, LITE0, timeout_s=20, wait_s=60, max_pixels=MAX_PIXELS, command=stand_in) as pool,
            ThreadPoolExecutor(8) as threads,
        ):
            outcomes = list(threads.map(outcome, photos))
        assert [o == "(224, 224, 3)" for o in outcomes] == [photo == b"good" for photo in photos]
        assert set(outcomes) == {"(224, 224, 3)", "decoder_died"}

    def test_only_as_many_processes_start_as_are_needed(self) -> None:
        before = children()
        with DecoderPool(4, LITE0, timeout_s=20, wait_s=60, max_pixels=MAX_PIXELS) as pool:
            for _ in range(3):
                pool.decode(encoded(drawing(), "JPEG"))
            assert len(set(children()) - set(before)) == 1

    def test_a_photo_that_finds_all_decoders_busy_is_not_blamed_for_it(self, stand_in: tuple[str, ...]) -> None:
        with (
            DecoderPool(1, LITE0, timeout_s=2, wait_s=0.1, max_pixels=MAX_PIXELS, command=stand_in) as pool,
            ThreadPoolExecutor(1) as threads,
        ):
            pool.start()
            hanging = threads.submit(pool.decode, b"hang")
            while not pool._idle.empty():
                time.sleep(0.01)
            with pytest.raises(PhotoError, match="no decoder was free within") as busy:
                pool.decode(b"good")
            assert busy.value.outage
            assert hanging.exception() is not None
            assert pool.decode(b"good").pixels.shape == (224, 224, 3)
