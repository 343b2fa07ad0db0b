"""Preprocessing and precision: features are comparable only if both are equal, beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.errors import ModelError

PRECISIONS = ("bf16", "f32", "int8")
"""Precisions in which a network can be computed."""
INTERPOLATIONS = ("bicubic", "hamming")
"""Names of Pillow's filters, `Image.Resampling`; they antialias when they scale down."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The short side is scaled to `resize_short_side` pixels, and the middle `size` x `size` pixels are the input.

    The network takes uint8 [n, size, size, 3], RGB, and scales the values itself.
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
        """Read the result of `to_dict`.

        Raises:
            ModelError: a key is missing or unknown, or a value is out of its bounds.
        """
        try:
            return cls(**facts)
        except TypeError as error:
            raise ModelError(f"preprocessing is malformed: {error}. Given: {facts!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)
