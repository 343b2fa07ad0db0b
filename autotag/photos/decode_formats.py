"""JPEG XL, camera raw and 12-bit JPEG, by the libraries of the extra `formats`; names of what is no photo. The
decoder's child process loads this file when a photo first needs it: numpy comes with it.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

from PIL import Image

_FLIPS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}
"""LibRaw's `flip`: what turns the preview upright."""
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_VIDEO_BRANDS = {
    b"qt  ": "MOV",
    b"M4V ": "M4V",
    b"3gp4": "3GP",
    b"3gp5": "3GP",
    b"3gp6": "3GP",
}


def name_of(data: bytes) -> str | None:
    """Return what a file that is no photo is, such as ``a video (MP4)``; None if that is not recognised."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        if data[4:8] == b"ftyp" and data[8:12] in (b"M4A ", b"M4B "):
            return "a sound (M4A)"
        return f"a video ({_VIDEO_BRANDS.get(data[8:12], 'MP4') if data[4:8] == b'ftyp' else 'MOV'})"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "a video (WebM)" if b"webm" in data[:64] else "a video (MKV)"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "a video (AVI)"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "a sound (WAV)"
    if data.startswith(b"ID3"):
        return "a sound (MP3)"
    if data.startswith(b"%PDF-"):
        return "a document (PDF)"
    if data.startswith(b"%!PS"):
        return "a document (PostScript)"
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in head):
        return "a drawing (SVG)"
    if head[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    return None


def jxl_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the header of a JPEG XL, in a container or bare.

    Raises:
        ValueError: there is no such header.
    """
    at = 0
    if data[:2] != b"\xff\x0a":
        at = data.find(b"\xff\x0a", max(data.find(b"jxlc"), data.find(b"jxlp"), 12))
        if at < 0:
            raise ValueError("the container has no codestream")
    bits, place = int.from_bytes(data[at + 2 : at + 18].ljust(16, b"\0"), "little"), 0

    def take(count: int) -> int:
        nonlocal place
        value = bits >> place & (1 << count) - 1
        place += count
        return value

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = _RATIOS.get(take(3))
    return (height * ratio[0] // ratio[1], height) if ratio else (side(), height)


def decode_jxl(data: bytes) -> Image.Image:
    """Decode a JPEG XL, upright; of several frames the first."""
    return _picture(importlib.import_module("imagecodecs").jpegxl_decode(data, index=0, numthreads=1))


def decode_jpeg_12(data: bytes) -> Image.Image:
    """Decode a JPEG with 12 bits a sample to 8."""
    values = importlib.import_module("imagecodecs").jpeg8_decode(data)
    return _picture((values >> 4).astype("uint8") if values.dtype.itemsize > 1 else values)


def _picture(values: Any) -> Image.Image:
    """Return an array of samples, [height, width] or [height, width, bands], as a picture of 8 bits."""
    if values.ndim == 4:
        values = values[0]
    if values.dtype.kind == "f":
        values = (values.clip(0, 1) * 255 + 0.5).astype("uint8")
    elif values.dtype.itemsize > 1:
        values = (values >> 8).astype("uint8")
    bands = values.shape[2] if values.ndim == 3 else 1
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[bands]
    return Image.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes())


def open_raw(data: bytes) -> Any:
    """Open a camera raw file; nothing is decoded."""
    return importlib.import_module("rawpy").imread(io.BytesIO(data))


def raw_size(raw: Any) -> tuple[int, int]:
    """Return width and height of the sensor's image."""
    return raw.sizes.raw_width, raw.sizes.raw_height


def decode_raw(raw: Any, short_side: int) -> Image.Image:
    """Return the embedded preview, upright, if its short side has `short_side` pixels; else develop the raw image,
    at half its size where that is enough.
    """
    rawpy = importlib.import_module("rawpy")
    preview = None
    try:
        thumb = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        pass
    else:
        if thumb.format == rawpy.ThumbFormat.JPEG:
            opened = Image.open(io.BytesIO(thumb.data), formats=["JPEG"])
            if min(opened.size) >= short_side:
                opened.draft("RGB", (short_side, short_side))
                preview = opened.convert("RGB")
        elif min(thumb.data.shape[:2]) >= short_side:
            preview = _picture(thumb.data)
    if preview is not None:
        flip = _FLIPS.get(raw.sizes.flip)
        return preview if flip is None else preview.transpose(flip)
    half = min(raw.sizes.width, raw.sizes.height) >= 2 * short_side
    return _picture(raw.postprocess(half_size=half, use_camera_wb=True, output_bps=8))
