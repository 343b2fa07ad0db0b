"""Conversion of a small picture to sRGB: ICC profiles, wide gamuts, and HDR (PQ, HLG). Standard library and Pillow
only: the decoder's child process loads this file when a photo first needs it.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

from PIL import Image, ImageCms, ImageFilter

_PQ, _HLG = 16, 18
"""H.273, transfer characteristics."""
_WHITE_NITS, _HLG_PEAK_NITS = 203.0, 1000.0
"""ITU-R BT.2408: the luminance of diffuse white; and HLG's nominal peak."""
_KNEE = 0.7
"""Linear light above this share of white is compressed, so that highlights keep their shape."""
_TO_SRGB = {
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    12: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
"""H.273, colour primaries (BT.2020, Display P3): linear light to that of sRGB's primaries."""
_IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def is_srgb(primaries: int, transfer: int) -> bool:
    """True if an H.273 code pair needs no conversion."""
    return primaries not in _TO_SRGB and transfer not in (_PQ, _HLG)


def from_code_points(picture: Image.Image, primaries: int, transfer: int) -> Image.Image:
    """Convert an RGB picture by its H.273 code points. The first call for a pair takes some 0.1 s."""
    return picture.filter(_table(primaries, transfer))


def from_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert an RGB or CMYK picture to sRGB by its ICC profile; one that cannot be used does nothing."""
    wanted = {"RGB": b"RGB ", "CMYK": b"CMYK"}.get(picture.mode)
    if wanted is None or profile[16:20] != wanted or (wanted == b"RGB " and _names_srgb(profile)):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    return converted or picture


@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _names_srgb(profile: bytes) -> bool:
    """True if the profile's description says sRGB."""
    for tag in range(132, 132 + 12 * min(int.from_bytes(profile[128:132], "big"), 100), 12):
        if profile[tag : tag + 4] == b"desc":
            start, length = (int.from_bytes(profile[tag + at : tag + at + 4], "big") for at in (4, 8))
            return b"sRGB" in profile[start : start + min(length, 1000)].replace(b"\0", b"")
    return False


@lru_cache(8)
def _table(primaries: int, transfer: int) -> ImageFilter.Color3DLUT:
    matrix = _TO_SRGB.get(primaries, _IDENTITY)
    hdr = transfer in (_PQ, _HLG)

    def convert(red: float, green: float, blue: float) -> tuple[float, ...]:
        light = _light((red, green, blue), transfer)
        light = tuple(max(0.0, sum(m * v for m, v in zip(row, light, strict=True))) for row in matrix)
        if hdr and (peak := max(light)) > _KNEE:
            scale = (_KNEE + (1 - _KNEE) * (1 - math.exp((_KNEE - peak) / (1 - _KNEE)))) / peak
            light = tuple(value * scale for value in light)
        return tuple(_encoded(value) for value in light)

    return ImageFilter.Color3DLUT.generate(33, convert)


def _light(values: tuple[float, float, float], transfer: int) -> tuple[float, ...]:
    """Return linear light, 1 for diffuse white."""
    if transfer == _PQ:  # SMPTE ST 2084
        powers = [value ** (32 / 2523) for value in values]
        return tuple(
            10_000 / _WHITE_NITS * (max(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (16384 / 2610)
            for p in powers
        )
    if transfer == _HLG:  # ITU-R BT.2100, with its system gamma of 1.2
        scene = [v * v / 3 if v <= 0.5 else (math.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12 for v in values]
        luminance = 0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]
        return tuple(_HLG_PEAK_NITS / _WHITE_NITS * luminance**0.2 * value for value in scene)
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)


def _encoded(light: float) -> float:
    light = min(light, 1.0)
    return light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
