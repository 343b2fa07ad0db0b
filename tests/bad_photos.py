"""Files that try a reader of photos, and a plain one to compare them with; all drawn or made here."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def drawing(width: int = 640, height: int = 480) -> Image.Image:
    """An RGB picture that looks different from every side, with soft edges that survive lossy formats."""
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    red = 255 * right / max(width - 1, 1)
    green = 255 * down / max(height - 1, 1)
    blue = 127 + 127 * np.cos(6 * right / width + 2 * down / height)
    picture = Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((width * 0.3, height * 0.3, width * 0.45, height * 0.5), fill="navy")
    return picture


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture in one of Pillow's formats, or HEIF."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG of any kind, also of those that Pillow cannot write; `rows` as they are, each after a filter byte."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    extra = b"".join(chunk(name.encode(), content) for name, content in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def huge_png() -> bytes:
    """A few bytes that say 30,000 x 30,000 pixels; decoded, they would be 2.7 GB."""
    return png(30_000, 30_000, 8, 2, b"")


def slow_jpeg(scans: int = 20_000, side: int = 2048) -> bytes:
    """A valid progressive JPEG that refines itself so often that libjpeg needs a second for every thousand scans.

    One core of 2020 is meant. A genuine stand-in for a photo that hangs in native code: only a signal ends it.
    """
    flat = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    start = flat.rindex(b"\xff\xda")
    last_scan, end = flat[start:-2], flat[-2:]
    return flat[:start] + last_scan * scans + end
