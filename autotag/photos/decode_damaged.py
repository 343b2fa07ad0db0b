"""Repairs of photos that a decoder refuses, and the count of rows that a damaged photo still has. Standard library and
Pillow only: the decoder's child process loads this file when a photo first fails.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

from PIL import Image

_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"sRGB", b"cICP", b"eXIf"}
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EOI = b"\xff\xd9"


def mended(kind: str, data: bytes) -> bytes | None:
    """Return the photo without what stops its decoder outside the pixels; None if there is nothing to mend."""
    if kind == "JPEG":
        changed = _with_height(data)
    elif kind == "PNG":
        changed = _png_pixels(data)
    elif kind == "WebP":
        changed = _webp_whole_chunks(data)
    else:
        return None
    return None if changed == data else changed


def with_end_marker(data: bytes) -> bytes:
    """Return a JPEG with an end marker, so that its decoder shows the blocks that it still holds back."""
    return data.removesuffix(b"\xff") + _EOI


def missing_rows(first: Image.Image, second: Image.Image) -> list[int]:
    """Return the rows in which two decodings, over different backgrounds, differ: no decoder wrote all of them.

    Compares 64 rows at a time, so the copies are small.
    """
    width, height = first.size
    missing = []
    for top in range(0, height, 64):
        box = (0, top, width, min(top + 64, height))
        one, other = first.crop(box).tobytes(), second.crop(box).tobytes()
        if one != other:
            stride = len(one) // (box[3] - top)
            missing += [
                top + row
                for row in range(box[3] - top)
                if one[row * stride : (row + 1) * stride] != other[row * stride : (row + 1) * stride]
            ]
    return missing


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start of the content and its end, of each JPEG segment up to the first scan's header."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, end
        if marker == 0xDA:
            return
        at = end


def frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Return marker, place of the content, bits a sample and height of a JPEG's frame header, None without one."""
    for marker, start, end in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end >= start + 6:
            return marker, start, data[start], int.from_bytes(data[start + 1 : start + 3], "big")
    return None


def progressive_is_shown(data: bytes) -> bool | None:
    """True if a cut progressive JPEG still has all rows: each component's first scan, and one of luminance detail.

    None if it is not progressive. A scan counts as complete once another follows.
    """
    head = frame(data)
    if head is None or head[0] not in (0xC2, 0xCA):
        return None
    start = head[1]
    components = data[start + 6 : start + 6 + 3 * data[start + 5] : 3]
    coarse, detail = set(), False
    at = data.find(b"\xff\xda", start)
    while at >= 0:
        following = data.find(b"\xff\xda", at + 2)
        if following < 0:
            break
        count = data[at + 4] if at + 4 < len(data) else 0
        its = data[at + 5 : at + 5 + 2 * count : 2]
        spectral = data[at + 5 + 2 * count : at + 7 + 2 * count]
        if spectral[:1] == b"\0":
            coarse |= set(its)
        else:
            detail |= its[:1] == components[:1]
        at = following
    return detail and coarse >= set(components)


def _with_height(data: bytes) -> bytes:
    """Write the height that stands in a DNL segment, behind the first scan, into the frame header that has 0."""
    head = frame(data)
    if head is None or head[3] != 0:
        return data
    at = data.find(b"\xff\xdc\0\4", head[1])
    if at < 0:
        return data
    return data[: head[1] + 1] + data[at + 4 : at + 6] + data[head[1] + 3 :]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of the content and its announced end, of each chunk that has its header in the file."""
    at = 8
    while at + 8 <= len(data):
        start, length = at + 8, int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : start], start, start + length
        at = start + length + 4


def _png_pixels(data: bytes) -> bytes:
    """Return a PNG of the chunks that make its pixels. Ancillary chunks with a wrong checksum, texts, profiles and
    further frames are left out; an end is added where it lacks.
    """
    parts = [_PNG_MAGIC]
    ended = False
    for name, start, end in png_chunks(data):
        if name == b"CgBI":
            return _apple_png(data)
        if name not in _PIXEL_CHUNKS:
            continue
        ancillary = bool(name[0] & 0x20)
        if ancillary and zlib.crc32(data[start - 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            continue
        parts.append(data[start - 8 : end + 4])
        ended = ended or name == b"IEND"
        if end + 4 > len(data):
            return b"".join(parts)  # It is cut inside this chunk.
    return b"".join(parts if ended else [*parts, b"\0\0\0\0IEND\xaeB`\x82"])


def is_apple_png(data: bytes) -> bool:
    """True if it is a PNG in Apple's form (CgBI): blue first, alpha multiplied in, no zlib header."""
    return data[12:16] == b"CgBI"


def _apple_png(data: bytes) -> bytes:
    """Return a standard PNG with the samples of Apple's form as they are: `apple_colours` puts them right."""
    header, pixels = b"", []
    for name, start, end in png_chunks(data):
        if name == b"IHDR":
            header = data[start:end]
        elif name == b"IDAT":
            pixels.append(data[start:end])
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    limit = height * (width * 8 + 1) + 64 * 1024
    raw = zlib.decompressobj(-15).decompress(b"".join(pixels), limit)
    return b"".join([_PNG_MAGIC, _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(raw, 1)), _chunk(b"IEND", b"")])


def apple_colours(picture: Image.Image) -> Image.Image:
    """Return the picture of an Apple PNG with red first and alpha not multiplied in."""
    if picture.mode == "RGBA":
        blue, green, red, alpha = picture.split()
        return Image.frombytes("RGBa", picture.size, Image.merge("RGBA", (red, green, blue, alpha)).tobytes())
    if picture.mode == "RGB":
        blue, green, red = picture.split()
        return Image.merge("RGB", (red, green, blue))
    return picture


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of the header and announced end, padding included, of each chunk of a WebP."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        yield data[at : at + 4], at, end
        at = end


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks


def _webp_whole_chunks(data: bytes) -> bytes:
    """Return a WebP of the chunks that are whole, with the size that they have."""
    return _riff(
        b"".join(
            data[start:end].ljust(end - start, b"\0") for _, start, end in _webp_chunks(data) if end <= len(data) + 1
        )
    )


def webp_over_noise(data: bytes) -> tuple[bytes, bytes] | None:
    """Return a cut WebP completed by two different noises; None if less than half of its last chunk is there.

    Rows that come out equal do not depend on what is missing: they are there. Noise takes more bytes a row than
    pixels do, and the decoder refuses a chunk that is too short, so the last chunk is made longer than announced.
    """
    chunks = list(_webp_chunks(data))
    if not chunks or chunks[-1][2] <= len(data) or chunks[-1][2] > 2 * len(data):
        return None
    name, start, end = chunks[-1]
    length = (end - start - 8 + len(data)) // 2 * 2
    lacks = start + 8 + length - len(data)
    head = data[12:start] + name + length.to_bytes(4, "little") + data[start + 8 :]
    first, second = (_riff(head + random.Random(seed).randbytes(lacks)) for seed in (1, 2))  # noqa: S311
    return first, second
