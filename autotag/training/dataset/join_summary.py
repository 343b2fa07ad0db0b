"""The result of a join: counts, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5
"""Maximum number of examples in a summary."""


@dataclass
class LabelSummary:
    """The result of one input of labels."""

    source: str
    kind: str
    formats: list[str] = field(default_factory=list)
    """The format of each text file that is not plain CSV in UTF-8."""
    lines: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    """Number of unused lines by reason."""
    unknown_photos: int = 0
    """Number of labels of photos that are neither listed nor in the set; they are dropped."""
    unknown_first: list[str] = field(default_factory=list)
    """The first few of these photos."""
    contradictions: int = 0
    """Pairs of photo and class with both TRUE and FALSE; they count as unknown."""
    kept: int = 0
    """Number of labels that were used."""
    file: str = ""
    """Name of the file in the set's log; empty if no label was left."""
    is_new: bool = False
    """True if the labels were not joined before."""

    def add_unknown(self, photo_id: str) -> None:
        """Count a label of a photo that is neither listed nor in the set."""
        self.unknown_photos += 1
        if len(self.unknown_first) < SHOWN and photo_id[:200] not in self.unknown_first:
            self.unknown_first.append(photo_id[:200])


@dataclass
class JoinSummary:
    """The result of a join."""

    photos: int = 0
    """Number of different photos that were named."""
    new: int = 0
    """Number of photos whose features were computed."""
    reused: int = 0
    """Number of photos whose features were in the set."""
    failed: Counter[str] = field(default_factory=Counter)
    """Number of photos without features by reason, permanent failures of earlier joins included."""
    replaced: int = 0
    """Number of photos in the set that were replaced by a photo with the same id and another URI."""
    left_out: int = 0
    """Number of listed photos that had been removed from the set; `photos` does not count them."""
    clipped: int = 0
    """Number of single values that exceeded the range of the fixed-point format."""
    bad_photos: Counter[str] = field(default_factory=Counter)
    """Number of lines or files that name no photo, by reason."""
    labels: list[LabelSummary] = field(default_factory=list)
    classes: int = 0
    """Number of classes that the labels named."""
    spellings: dict[str, list[str]] = field(default_factory=dict)
    """Spellings of each class, by id, for classes that were spelled in several ways."""
    report: str = ""
    """The folder in the set with the lists of bad lines and photos."""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-safe values."""
        # dataclasses.asdict would turn a Counter into a Counter of pairs.
        return {**vars(self), "labels": [dict(vars(one)) for one in self.labels]}

    @property
    def is_useful(self) -> bool:
        """True if at least one photo or label could be used."""
        return self.new + self.reused + sum(one.kept for one in self.labels) > 0
