"""Bytes of a photo to the pixels that a network wants.

Run as a script, this file is the child process of `photos.decoder_pool.Decoder`: native decoders crash, hang and eat
memory, and only a process of its own contains that. It starts in a few dozen milliseconds because it imports
nothing of ours and little else; keep it so.

    request   header "<QIIB": bytes of the photo, size, resize_short_side, Pillow's number of the filter; the photo
    answer    header "<BQ": status, bytes that follow; then the pixels (uint8 [size, size, 3], RGB)
              or, for UNDECODABLE, a JSON object {reason, detail}

Requests come on fd 0; answers leave on a pipe of their own, never on fd 1, where native libraries may print. What
those say on fd 2 is dropped, or whoever sends photos could fill the log; Python's tracebacks are kept.
Before the first request the child sends one READY answer. It ends when fd 0 does, so it never outlives its parent.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import resource
import signal
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence

from PIL import Image, ImageFile

_REQUEST = struct.Struct("<QIIB")
ANSWER = struct.Struct("<BQ")
Decode = Callable[[bytes, int, int, int, str], Image.Image]
"""`decode_photo`, or what stands for it."""
READY, PIXELS, UNDECODABLE, NO_MEMORY = range(4)

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
"""Everything that is decoded. Pillow knows three dozen more formats, of which none is a photo's."""

_MAGICS = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag 0x0112: what makes a picture stored in that orientation upright."""

# What Pillow's plugins raise on bytes that are not what they should be; pillow_heif adds RuntimeError.
_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class UndecodableError(Exception):
    """These bytes give no picture, today or ever; `reason` is one of `autotag.reasons.Reason`'s values."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode_photo(
    data: bytes, size: int, resize_short_side: int, max_pixels: int, interpolation: str = "bicubic"
) -> Image.Image:
    """The upright middle of a photo, `size` x `size` pixels, RGB.

    The same as scaling the short side to `resize_short_side` and cutting the middle out, in one step. A JPEG is
    decoded at the smallest power-of-two scale whose short side still has `resize_short_side` pixels. Of several
    frames or pages the first counts. Transparency is shown on white; colour profiles are not applied.

    Args:
        max_pixels: width times height, at most, as the header says; checked before anything is decoded.
        interpolation: a filter of Pillow's by its name, such as ``bicubic`` or ``hamming``.

    Raises:
        UndecodableError: the bytes are not a whole image of a known format, or have too many pixels.
        MemoryError: there is not enough for this photo.
    """
    resampling = Image.Resampling[interpolation.upper()]
    kind = _kind(data)
    if kind is None:
        seen = f"begins with {data[:12]!r}" if data else "is empty"
        raise UndecodableError("not_an_image", f"{seen}; known are {', '.join(_PLUGINS)}")
    try:
        if kind == "PNG" and data[12:16] == b"IHDR":  # Pillow opens a PNG only once it has seen the pixels' beginning.
            _check_pixels(kind, int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), max_pixels)
        with _open(kind, data) as photo:
            _check_pixels(kind, *photo.size, max_pixels)
            if kind == "JPEG":  # HEIF's draft would take an embedded thumbnail, which may show anything.
                photo.draft("RGB", (resize_short_side, resize_short_side))
            photo.load()
            transpose = _TRANSPOSES.get(_orientation(photo))
            small = _on_white(_middle(photo, size, resize_short_side, resampling))
            return small if transpose is None else small.transpose(transpose)
    except _FAILURES as error:
        if "memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        raise _undecodable(kind, data, error) from error


def _check_pixels(kind: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UndecodableError("too_many_pixels", f"{kind} of {width} x {height} pixels; at most {max_pixels}")


def _kind(data: bytes) -> str | None:
    """The format that the first bytes announce."""
    for kind, magics in _MAGICS.items():
        if data.startswith(magics):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    # Two letters are too few to tell a picture from a text about a BMW.
    if data[:2] == b"BM" and data[6:10] == bytes(4) and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        brands = {box[start : start + 4] for start in range(0, len(box), 4)}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else None
    return None


def _open(kind: str, data: bytes) -> ImageFile.ImageFile:
    """The photo with its header read. Not `Image.open`: that tries other formats, and takes an MPO for no JPEG."""
    module_name, class_name = _PLUGINS[kind]
    module = importlib.import_module(module_name)
    if kind == "HEIF":
        # One core a decoder; and nothing is read that is not shown.
        options = module.options
        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    elif kind == "AVIF":
        vars(module)["DEFAULT_MAX_THREADS"] = 1
    photo: ImageFile.ImageFile = getattr(module, class_name)(io.BytesIO(data))
    return photo


def _orientation(photo: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where it says nothing that can be read: the picture may be fine all the same."""
    try:
        return int(photo.getexif().get(0x0112, 1))
    except _FAILURES:
        return 1


def _middle(photo: Image.Image, size: int, resize_short_side: int, resampling: Image.Resampling) -> Image.Image:
    """The centred square of a loaded photo, scaled to `size` x `size`, in a mode that `_on_white` knows.

    Scaled first and converted after, where that gives the same, because a conversion copies every pixel.
    """
    if photo.mode in ("I", "F"):
        raise ValueError("its samples have 32 bits, and nothing says which value is white")
    if photo.mode == "I;16B":
        photo = photo.convert("I")
    elif photo.mode == "1":
        photo = photo.convert("L")
    elif photo.mode == "La":
        photo = photo.convert("LA")
    elif "transparency" in photo.info and photo.mode in ("L", "P", "RGB"):
        photo = photo.convert("RGBA")
    elif photo.mode in ("P", "PA"):
        photo = photo.convert("RGBA" if photo.mode == "PA" else "RGB")
    # The very pixels that scaling first, to whole pixels, and cutting then would give; networks are measured that way.
    width, height = photo.size
    scale = resize_short_side / min(width, height)
    across, down = round(width * scale), round(height * scale)
    left, top = (across - size) // 2, (down - size) // 2
    x, y = width / across, height / down
    small = photo.resize((size, size), resampling, box=(left * x, top * y, (left + size) * x, (top + size) * y))
    if small.mode.startswith("I"):  # 16 bits; `convert` alone would clip them.
        small = small.point(lambda value: value * (1 / 257)).convert("L")
    return small


def _on_white(small: Image.Image) -> Image.Image:
    """The picture as RGB."""
    if small.mode not in ("LA", "RGBA", "RGBa"):
        return small.convert("RGB")
    white = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(white, small.convert("RGBA")).convert("RGB")


def _undecodable(kind: str, data: bytes, error: Exception) -> UndecodableError:
    """What a decoder's complaint means: cut short, or damaged."""
    said = " ".join(str(error).split())[:200]
    if "truncat" in said.lower() or isinstance(error, EOFError) or not _is_whole(kind, data):
        return UndecodableError("truncated", f"{kind} of {len(data)} bytes ends before its end ({said})")
    return UndecodableError("damaged", f"{kind} of {len(data)} bytes cannot be decoded ({said})")


def _is_whole(kind: str, data: bytes) -> bool:
    """Whether the bytes go as far as the format's own framing says. A TIFF's is not followed beyond its first part."""
    if kind == "JPEG":
        return data.rstrip(b"\0\r\n ").endswith(b"\xff\xd9")
    if kind == "PNG":
        return b"IEND" in data[-1024:]
    if kind == "GIF":
        return data.rstrip(b"\0\r\n ").endswith(b";")
    if kind == "WebP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if kind == "BMP":
        return len(data) >= int.from_bytes(data[2:6], "little")
    if kind == "TIFF":
        return len(data) > int.from_bytes(data[4:8], "little" if data.startswith(b"II") else "big")
    end = 0  # HEIF and AVIF: boxes, each with its length; 0 is "to the end", 1 "in 64 bits".
    while end + 8 <= len(data):
        length = int.from_bytes(data[end : end + 4], "big")
        if length == 1:
            length = int.from_bytes(data[end + 8 : end + 16], "big")
        if length < 8:
            return length == 0
        end += length
    return end == len(data)


def memory_limit_bytes(max_pixels: int) -> int:
    """Address space for a decoder. Photos of 100 megapixels took 16 bytes a pixel as WebP, 9 as HEIF or AVIF, 8 as PNG
    with alpha, and 3 as progressive JPEG; 24 leaves room for what was not tried.
    """
    return 2**30 + 24 * max_pixels


def request_header(length: int, size: int, resize_short_side: int, interpolation: str) -> bytes:
    """What goes before a photo of `length` bytes."""
    return _REQUEST.pack(length, size, resize_short_side, Image.Resampling[interpolation.upper()])


def serve(decode: Decode, arguments: Sequence[str]) -> None:
    """Answer requests on fd 0 until it ends.

    Args:
        arguments: the fd that answers leave on, seconds for one photo, and `max_pixels`.
    """
    answer_fd, timeout_s, max_pixels = int(arguments[0]), float(arguments[1]), int(arguments[2])
    limit_bytes = memory_limit_bytes(max_pixels)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is the check, and it comes first.
    warnings.simplefilter("ignore")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(sys.stderr)
    with open(0, "rb") as requests, open(answer_fd, "wb") as answers:
        answers.write(ANSWER.pack(READY, 0))
        answers.flush()
        while header := requests.read(_REQUEST.size):
            length, size, resize_short_side, resampling = _REQUEST.unpack(header)
            data = requests.read(length)
            if len(data) < length:
                break
            # The default action of SIGALRM ends the process, in native code too, and without help of the parent.
            signal.setitimer(signal.ITIMER_REAL, timeout_s)
            status, content = _answer(decode, data, size, resize_short_side, max_pixels, resampling)
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers.write(ANSWER.pack(status, len(content)))
            answers.write(content)
            answers.flush()


def _answer(decode: Decode, data: bytes, *arguments: int) -> tuple[int, bytes]:
    size, resize_short_side, max_pixels, resampling = arguments
    interpolation = Image.Resampling(resampling).name.lower()
    try:
        return PIXELS, decode(data, size, resize_short_side, max_pixels, interpolation).tobytes()
    except UndecodableError as error:
        return UNDECODABLE, json.dumps({"reason": error.reason, "detail": error.detail}).encode()
    except MemoryError:
        return NO_MEMORY, b""


def main(decode: Decode = decode_photo) -> None:
    """Be the child process; see `serve`."""
    try:
        serve(decode, sys.argv[1:])
    except (BrokenPipeError, struct.error):
        os._exit(0)  # The parent went away in the middle of a photo.


if __name__ == "__main__":
    main()
