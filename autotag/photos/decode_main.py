"""Decode the bytes of a photo to the pixels that a network takes.

Run as a script, this file is the child process of `photos.decoder_pool.Decoder`: native decoders crash, hang and eat
memory, and only a process of its own contains that. It starts in a few dozen milliseconds because it imports nothing of
ours and little else; keep it so. The files ``decode_*.py`` beside it are loaded when a photo first needs them.

    request   header "<QIIB": bytes of the photo, size, resize_short_side, Pillow's number of the filter; the photo
    answer    header "<BQ": status, bytes that follow; then, for PIXELS and PARTIAL, "<II", the whole photo's width and
              height, and uint8 [size, size, 3], RGB; or, for UNDECODABLE, a JSON object {reason, detail}

Requests come on fd 0. Answers leave on a pipe of their own, never on fd 1, where native libraries may print. Their
output on fd 2 is dropped, or a sender of photos could fill the log; Python's tracebacks stay.
Before the first request the child sends one READY answer. It ends when fd 0 does, so it never outlives its parent.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
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
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from PIL import Image, ImageFile

_REQUEST = struct.Struct("<QIIB")
ANSWER = struct.Struct("<BQ")
SIDES = struct.Struct("<II")
READY, PIXELS, UNDECODABLE, NO_MEMORY, PARTIAL = range(5)
_ENOUGH_ROWS = 0.75
"""A damaged photo is decoded if at least this share of its rows is there."""
_GREY = 128
"""Each sample of a missing row: near the mean of photos, so that it says little to a network."""
_ZEROS_ARE_NO_PIXELS = {"JPEG", "PNG", "WebP", "GIF"}
_PADDING_BYTES = 64
_ZEROS_OF_PIXELS = 16
"""So many zeros at the end of these formats were never written, although some decoders show them as pixels. All but a
few are cut off: compressed pixels may end with some."""
_MAX_BEFORE_JPEG = 1024
"""Bytes before a JPEG's start marker, at most."""

_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "HEIF": ("pillow_heif", "HeifImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
}
"""Formats that Pillow decodes. It has three dozen more, of which none is a photo's."""
KINDS = (*_PLUGINS, "JPEG XL", "camera raw")
"""All formats that are decoded."""

_MAGICS = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "camera raw": (b"FUJIFILMCCD-RAW ", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"),  # RAF, ORF, RW2
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "PSD": (b"8BPS\0\1",),
    "JPEG 2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
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
"""EXIF 2.32, tag 0x0112: the transposition that makes a picture stored in that orientation upright."""
_ON_THEIR_SIDE = (5, 6, 7, 8)
"""Orientations in which width and height change places."""
_SIDES = "sides"
"""The key, in the facts of an opened JPEG, of its sides before its scale was chosen."""

# Pillow's plugins raise these on malformed bytes; pillow_heif and the libraries of `formats` add RuntimeError.
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


class Decoded(NamedTuple):
    """A picture, RGB; `partial` if the photo is damaged and some of it may be missing."""

    picture: Image.Image
    sides: tuple[int, int]
    """Width and height of the whole photo in pixels, upright."""
    partial: bool


class _Shown(NamedTuple):
    """A small upright picture, RGB, and the sides of the whole photo."""

    picture: Image.Image
    sides: tuple[int, int]


Decode = Callable[[bytes, int, int, int, str], Decoded]
"""The type of `decode_photo`; tests put another function in its place."""


class UndecodableError(Exception):
    """These bytes give no picture, today or ever; `reason` is a value of `photos.errors.Reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Target(NamedTuple):
    """The pixels that are asked for."""

    size: int
    short_side: int
    max_pixels: int
    resampling: Image.Resampling


def decode_photo(
    data: bytes, size: int, resize_short_side: int, max_pixels: int, interpolation: str = "bicubic"
) -> Decoded:
    """Return the upright middle of a photo, `size` x `size` pixels, sRGB.

    Equals scaling the short side to `resize_short_side` and cutting the middle out, in one step. A JPEG is
    decoded at the smallest power-of-two scale whose short side still has `resize_short_side` pixels. Of several
    frames or pages the first counts. Transparency is shown on white. Wide-gamut ICC profiles and HDR are converted.

    A photo that its decoder refuses is first mended outside its pixels, then decoded as far as it goes: missing rows
    are grey. Such a photo costs two to four decodings, a good one only its own.

    Args:
        max_pixels: limit of width times height as the header states them; checked before anything is decoded.
        interpolation: the name of one of Pillow's filters, such as ``bicubic`` or ``hamming``.

    Raises:
        UndecodableError: the bytes are no image of a format that is decoded, have less than 3/4 of their rows, or too
            many pixels.
        MemoryError: there is not enough for this photo.
    """
    target = _Target(size, resize_short_side, max_pixels, Image.Resampling[interpolation.upper()])
    kind = _kind(data)
    if kind is None:
        start = data.find(b"\xff\xd8\xff", 0, _MAX_BEFORE_JPEG)
        name = _part("decode_formats").name_of(data) if data else None
        if start < 0 or name is not None:
            begins = f"is {name}" if name else f"begins with {data[:12]!r}" if data else "is empty"
            raise UndecodableError("not_an_image", f"{begins}; photos are {', '.join(KINDS)}")
        kind, data = "JPEG", data[start:]
    if kind in _ZEROS_ARE_NO_PIXELS and data.endswith(bytes(_PADDING_BYTES)):
        data = data.rstrip(b"\0") + bytes(_ZEROS_OF_PIXELS)
    try:
        return Decoded(*_whole(kind, data, target), partial=False)
    except ImportError as error:
        detail = f"{kind} needs the package {error.name}: pip install 'autotag[formats]'"
        raise UndecodableError("unsupported", detail) from error
    except _FAILURES as error:
        _check_memory(error)
        first = error
    try:
        shown = _mended(kind, data, target)
        if shown is not None:
            return Decoded(*shown, partial=False)
        shown = _remains(kind, data, target)
    except _FAILURES as error:
        _check_memory(error)
        shown = None
    if shown is None:
        raise _undecodable(kind, data, first) from first
    return Decoded(*shown, partial=True)


def _check_memory(error: Exception) -> None:
    if "memory" in str(error).lower():
        raise MemoryError(str(error)) from error


def _whole(kind: str, data: bytes, target: _Target) -> _Shown:
    """Return the picture of a photo in which nothing is missing."""
    if kind in ("JPEG XL", "camera raw"):
        return _by_other_library(kind, data, target)
    with _opened(kind, data, target) as photo:
        photo.load()
        return _shown(kind, data, photo, photo, target)


def _opened(kind: str, data: bytes, target: _Target) -> ImageFile.ImageFile:
    """Return the photo with its header read, its pixels counted and its scale chosen."""
    if kind == "PNG" and data[12:16] == b"IHDR":  # Pillow opens a PNG only once it has seen the pixels' beginning.
        _check_pixels(kind, *_sides(data[16:24]), target.max_pixels)
    photo = _open(kind, data)
    _check_pixels(kind, *photo.size, target.max_pixels)
    if kind == "JPEG":  # HEIF's draft would take an embedded thumbnail, which may show anything.
        photo.info[_SIDES] = photo.size
        photo.draft("RGB", (target.short_side, target.short_side))
    return photo


def _sides(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")


def _by_other_library(kind: str, data: bytes, target: _Target) -> _Shown:
    """Decode a format that Pillow lacks; these decoders make the picture upright themselves."""
    formats = _part("decode_formats")
    if kind == "JPEG XL":
        width, height = formats.jxl_size(data)
        _check_pixels(kind, width, height, target.max_pixels)
        picture = formats.decode_jxl(data)
    else:
        with formats.open_raw(data) as raw:
            width, height = formats.raw_size(raw)
            _check_pixels(kind, width, height, target.max_pixels)
            picture = formats.decode_raw(raw, target.short_side)
    return _Shown(_on_white(_middle(picture, target)), picture.size)


def _shown(kind: str, data: bytes, photo: Image.Image, picture: Image.Image, target: _Target) -> _Shown:
    """Return the upright, small sRGB picture of a photo; `picture` has its pixels, `photo` its metadata."""
    width, height = photo.info[_SIDES] if kind == "JPEG" else picture.size
    small = _middle(picture, target)
    small = _in_srgb(kind, data, photo.info.get("icc_profile"), small)
    orientation = _orientation(photo)
    transpose = _TRANSPOSES.get(orientation)
    if transpose is None:
        return _Shown(small, (width, height))
    return _Shown(small.transpose(transpose), (height, width) if orientation in _ON_THEIR_SIDE else (width, height))


def _in_srgb(kind: str, data: bytes, profile: object, small: Image.Image) -> Image.Image:
    """Return a small picture as sRGB on white. Without a profile or code points it costs two searches at most."""
    codes = _code_points(kind, data)
    if codes is not None:
        colour = _part("decode_colour")
        if not colour.is_srgb(*codes):
            converted: Image.Image = colour.from_code_points(_on_white(small), *codes)
            return converted
    elif isinstance(profile, bytes) and len(profile) > 132:
        if small.mode != "CMYK":
            small = _on_white(small)
        small = _part("decode_colour").from_profile(small, profile)
    return _on_white(small)


def _code_points(kind: str, data: bytes) -> tuple[int, int] | None:
    """Return colour primaries and transfer characteristics (H.273) where the file states them."""
    if kind == "PNG":
        at = data.find(b"cICP", 0, max(data.find(b"IDAT", 0, 1 << 16), 0))
        return (data[at + 4], data[at + 5]) if at >= 0 else None
    if kind in ("HEIF", "AVIF"):
        at = data.find(b"colrnclx", 0, 1 << 16)
        if 0 <= at <= len(data) - 12:
            return int.from_bytes(data[at + 8 : at + 10], "big"), int.from_bytes(data[at + 10 : at + 12], "big")
    return None


def _mended(kind: str, data: bytes, target: _Target) -> _Shown | None:
    """Return the picture of a photo whose only faults lie outside its pixels; None if it has others."""
    damaged = _part("decode_damaged")
    mended = damaged.mended(kind, data)
    try:
        if kind == "JPEG" and (head := damaged.frame(mended or data)) and head[2] == 12:
            data = mended or data
            width = int.from_bytes(data[head[1] + 3 : head[1] + 5], "big")
            _check_pixels(kind, width, head[3], target.max_pixels)
            picture = _part("decode_formats").decode_jpeg_12(data)
            return _Shown(_on_white(_middle(picture, target)), picture.size)
        if mended is None:
            return None
        if kind == "PNG" and damaged.is_apple_png(data):
            with _opened(kind, mended, target) as photo:
                photo.load()
                return _Shown(_on_white(_middle(damaged.apple_colours(photo), target)), photo.size)
        return _whole(kind, mended, target)
    except ImportError as error:
        detail = f"12-bit {kind} needs the package {error.name}: pip install 'autotag[formats]'"
        raise UndecodableError("unsupported", detail) from error
    except _FAILURES as error:
        _check_memory(error)
        return None


def _remains(kind: str, data: bytes, target: _Target) -> _Shown | None:
    """Return the picture of a damaged photo, its missing rows grey; None if less than 3/4 of its rows are there."""
    damaged = _part("decode_damaged")
    if kind == "WebP":
        completed = damaged.webp_over_noise(data)
        return None if completed is None else _compared(kind, completed, target)
    data = damaged.mended(kind, data) or data
    if kind == "JPEG" and (is_shown := damaged.progressive_is_shown(data)) is not None:
        return _whole(kind, damaged.with_end_marker(data), target) if is_shown else None
    if kind not in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PSD", "JPEG 2000"):
        return None
    return _compared(kind, (data, data), target)


def _compared(kind: str, versions: tuple[bytes, bytes], target: _Target) -> _Shown | None:
    """Decode twice, over black and over white, and return the picture if enough of its rows are the same."""
    photo, picture = _over(kind, versions[0], 0, target)
    _, other = _over(kind, versions[1], 255, target)
    if picture.size != other.size or picture.mode != other.mode:
        return None
    missing = _part("decode_damaged").missing_rows(picture, other)
    del other
    width, height = picture.size
    if height - len(missing) < _ENOUGH_ROWS * height:
        return None
    if kind == "JPEG":
        # The decoder holds the last blocks back until it sees an end. What it makes up behind them is grey, too.
        try:
            with _opened(kind, _part("decode_damaged").with_end_marker(versions[0]), target) as ended:
                ended.load()
                return _shown(kind, versions[0], ended, ended, target)
        except _FAILURES as error:
            _check_memory(error)
    if missing:
        if picture.mode in ("P", "PA"):
            picture = picture.convert("RGBA" if picture.mode == "PA" or "transparency" in picture.info else "RGB")
        bands = len(picture.getbands())
        value = _GREY << 8 if picture.mode.startswith("I") else _GREY
        alpha = (255,) if picture.mode in ("LA", "RGBA") else ()
        grey = value if bands == 1 else (*([_GREY] * (bands - len(alpha))), *alpha)
        for row in missing:
            picture.paste(grey, (0, row, width, row + 1))
    return _shown(kind, versions[0], photo, picture, target)


def _over(kind: str, data: bytes, background: int, target: _Target) -> tuple[Image.Image, Image.Image]:
    """Return an opened photo, and its pixels as far as the decoder comes, over a background of 0 or 255."""
    photo = _opened(kind, data, target)
    prepare = photo.load_prepare

    def prepare_once() -> None:
        prepare()
        bands = len(photo.im.getbands()) if hasattr(photo.im, "getbands") else len(photo.getbands())
        ink = background if bands == 1 else (background,) * bands
        photo.im.paste(ink, (0, 0, *photo.im.size))

    if kind != "WebP":
        photo.load_prepare = prepare_once  # type: ignore[method-assign]
    try:
        photo.load()
    except _FAILURES as error:
        _check_memory(error)
        if photo._im is None:
            raise
        photo.tile = []
    return photo, photo.copy()


def _check_pixels(kind: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UndecodableError("too_many_pixels", f"{kind} of {width} x {height} pixels; at most {max_pixels}")


def _kind(data: bytes) -> str | None:
    """Return the format that the first bytes announce."""
    for kind, magics in _MAGICS.items():
        if data.startswith(magics):
            return "camera raw" if kind == "TIFF" and _is_raw(data) else kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    # Two letters are too few to tell a picture from a text about a BMW.
    if data[:2] == b"BM" and data[15:18] == bytes(3) and data[14:15] and data[14] in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp":
        box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        brands = {box[start : start + 4] for start in range(0, len(box), 4)}
        if b"crx " in brands:  # CR3
            return "camera raw"
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else None
    return None


def _is_raw(data: bytes) -> bool:
    """True if a TIFF is a camera raw file: CR2, DNG, or one whose first image is only a preview (NEF, ARW, ORF)."""
    if data[8:10] == b"CR":
        return True
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)
    is_preview = has_others = False
    for entry in range(at + 2, at + 2 + 12 * min(int.from_bytes(data[at : at + 2], order), 200), 12):
        tag = int.from_bytes(data[entry : entry + 2], order)
        if tag == 50706:  # DNGVersion
            return True
        if tag == 254:  # NewSubfileType: 1 is a reduced version of another image.
            is_preview = bool(int.from_bytes(data[entry + 8 : entry + 12], order) & 1)
        has_others = has_others or tag == 330  # SubIFDs
    return is_preview and has_others


@lru_cache(None)
def _part(name: str) -> ModuleType:
    """Load the file `name` that lies beside this one; by its path, since the child knows no packages of ours."""
    spec = importlib.util.spec_from_file_location(f"_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _open(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Return the photo with its header read.

    Not by `Image.open`: that tries other formats, and takes an MPO for no JPEG.
    """
    module_name, class_name = _PLUGINS[kind]
    module = importlib.import_module(module_name)
    if kind == "HEIF":
        # One core for each decoder, and nothing is read that is not shown.
        options = module.options
        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    elif kind == "AVIF":
        vars(module)["DEFAULT_MAX_THREADS"] = 1
    photo: ImageFile.ImageFile = getattr(module, class_name)(io.BytesIO(data))
    return photo


def _orientation(photo: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 if it cannot be read, since the picture may be fine all the same."""
    try:
        return int(photo.getexif().get(0x0112, 1))
    except _FAILURES:
        return 1


def _middle(photo: Image.Image, target: _Target) -> Image.Image:
    """Return the centred square of a loaded photo, scaled to the target's size, in a mode that `_on_white` takes.

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
    # These are the very pixels of scaling first, to whole pixels, and cutting then; networks are measured that way.
    width, height = photo.size
    size = target.size
    scale = target.short_side / min(width, height)
    across, down = round(width * scale), round(height * scale)
    left, top = (across - size) // 2, (down - size) // 2
    x, y = width / across, height / down
    small = photo.resize((size, size), target.resampling, box=(left * x, top * y, (left + size) * x, (top + size) * y))
    if small.mode.startswith("I"):  # 16 bits; `convert` alone would clip them.
        small = small.point(lambda value: value * (1 / 257)).convert("L")
    return small


def _on_white(small: Image.Image) -> Image.Image:
    """Return the picture as RGB."""
    if small.mode not in ("LA", "RGBA", "RGBa"):
        return small.convert("RGB")
    white = Image.new("RGBA", small.size, "white")
    return Image.alpha_composite(white, small.convert("RGBA")).convert("RGB")


def _undecodable(kind: str, data: bytes, error: Exception) -> UndecodableError:
    """Return the error for a decoder's complaint: cut short, or damaged."""
    said = " ".join(str(error).split())[:200]
    if "truncat" in said.lower() or isinstance(error, EOFError) or not _is_whole(kind, data):
        detail = f"{kind} of {len(data)} bytes has less than {_ENOUGH_ROWS:.0%} of its rows ({said})"
        return UndecodableError("truncated", detail)
    return UndecodableError("damaged", f"{kind} of {len(data)} bytes cannot be decoded ({said})")


def _is_whole(kind: str, data: bytes) -> bool:
    """True if the bytes go as far as the format's own framing says. A TIFF's is followed to its first part only."""
    if kind in ("JPEG", "JPEG 2000"):
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
    if kind not in ("HEIF", "AVIF"):
        return True
    end = 0  # Boxes, each with its length; 0 is "to the end", 1 "in 64 bits".
    while end + 8 <= len(data):
        length = int.from_bytes(data[end : end + 4], "big")
        if length == 1:
            length = int.from_bytes(data[end + 8 : end + 16], "big")
        if length < 8:
            return length == 0
        end += length
    return end == len(data)


def memory_limit_bytes(max_pixels: int) -> int:
    """Return the address space for a decoder.

    Photos of 100 megapixels took 16 bytes a pixel as WebP, 9 as HEIF or AVIF, 8 as PNG with alpha, and 3 as progressive
    JPEG; 24 leaves room for other kinds.
    """
    return 2**30 + 24 * max_pixels


def request_header(length: int, size: int, resize_short_side: int, interpolation: str) -> bytes:
    """Return the header that goes before a photo of `length` bytes."""
    return _REQUEST.pack(length, size, resize_short_side, Image.Resampling[interpolation.upper()])


def serve(decode: Decode, arguments: Sequence[str]) -> None:
    """Answer requests on fd 0 until it ends.

    Args:
        arguments: the fd for answers, seconds for one photo, and `max_pixels`.
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
        picture, sides, partial = decode(data, size, resize_short_side, max_pixels, interpolation)
        return PARTIAL if partial else PIXELS, SIDES.pack(*sides) + picture.tobytes()
    except UndecodableError as error:
        return UNDECODABLE, json.dumps({"reason": error.reason, "detail": error.detail}).encode()
    except MemoryError:
        return NO_MEMORY, b""


def main(decode: Decode = decode_photo) -> None:
    """Run the child process; see `serve`."""
    try:
        serve(decode, sys.argv[1:])
    except (BrokenPipeError, struct.error):
        os._exit(0)  # The parent went away in the middle of a photo.


if __name__ == "__main__":
    main()
