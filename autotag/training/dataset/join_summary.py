"""The result of a join: counts, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5
"""Examples in a summary."""


@dataclass
class LabelSummary:
    """The result of one input of labels."""

    source: str
    kind: str
    formats: list[str] = field(default_factory=list)
    """The format of each text file that is not plain CSV in UTF-8."""
    lines: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    """Lines that were not used, by reason."""
    unknown_photos: int = 0
    """Labels of photos that are neither listed nor in the set; they are not kept."""
    unknown_first: list[str] = field(default_factory=list)
    """The first few of these photos."""
    contradictions: int = 0
    """Photos and classes with both TRUE and FALSE; they count as unknown."""
    kept: int = 0
    file: str = ""
    """In the set's log; empty where nothing was left to keep."""
    is_new: bool = False
    """Not joined before."""

    def add_unknown(self, photo_id: str) -> None:
        """Count a label of a photo that is nowhere."""
        self.unknown_photos += 1
        if len(self.unknown_first) < SHOWN and photo_id[:200] not in self.unknown_first:
            self.unknown_first.append(photo_id[:200])


@dataclass
class JoinSummary:
    """The result of a join."""

    photos: int = 0
    """That were named, each once."""
    new: int = 0
    """Whose features were computed."""
    reused: int = 0
    """Whose features were there."""
    failed: Counter[str] = field(default_factory=Counter)
    """Photos without features, by reason; those that were found bad before among them."""
    replaced: int = 0
    """Listed under an id that the set had for a photo at another address, which it has no more."""
    left_out: int = 0
    """Listed, but removed from the set before; they are not among `photos`."""
    clipped: int = 0
    """Single features that the fixed point does not reach."""
    bad_photos: Counter[str] = field(default_factory=Counter)
    """Lines, or files, that name no photo, by reason."""
    labels: list[LabelSummary] = field(default_factory=list)
    classes: int = 0
    """That labels named."""
    spellings: dict[str, list[str]] = field(default_factory=dict)
    """Classes that were written in several ways, which were put together."""
    report: str = ""
    """The folder in the set with the lists of bad lines and photos."""

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-safe values."""
        # Not dataclasses.asdict: it makes of a Counter one of pairs.
        return {**vars(self), "labels": [dict(vars(one)) for one in self.labels]}

    @property
    def is_useful(self) -> bool:
        """True if at least one photo or label could be used."""
        return self.new + self.reused + sum(one.kept for one in self.labels) > 0
