"""What, beside its weights, makes a network's features comparable: what is done to a photo first, and the precision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.errors import ModelError

PRECISIONS = ("bf16", "f32", "int8")
"""What a network may be computed in."""
INTERPOLATIONS = ("bicubic", "hamming")
"""Pillow's filters of these names, `Image.Resampling`: antialiased when scaling down."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The short side is scaled to `resize_short_side` pixels, and the middle `size` x `size` pixels are the input.

    What reaches the network is uint8 [n, size, size, 3], RGB; it scales the values itself.
    """

    size: int
    resize_short_side: int
    interpolation: str
    crop: str = "centre"

    def __post_init__(self) -> None:
        sizes = (self.size, self.resize_short_side)
        if any(type(n) is not int for n in sizes) or not 0 < self.size <= self.resize_short_side:
            raise ModelError(f"preprocessing needs 0 < size <= resize_short_side. Given: {sizes!r}")
        if self.interpolation not in INTERPOLATIONS or self.crop != "centre":
            known = f"{INTERPOLATIONS} and 'centre'"
            raise ModelError(f"preprocessing knows {known}. Given: {self.interpolation!r} and {self.crop!r}")

    @classmethod
    def from_dict(cls, facts: Any) -> Preprocessing:
        """What `to_dict` gave.

        Raises:
            ModelError: a key is missing or unknown, or a value is out of its bounds.
        """
        try:
            return cls(**facts)
        except TypeError as error:
            raise ModelError(f"preprocessing is not what it should be: {error}. Given: {facts!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """The facts as a JSON object."""
        return asdict(self)
