"""Plots for a report, as inline SVG; the style sheet of the page sets the colours for light, dark and paper.

The SVG contains numbers and text of this file only. The same numbers make the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median

from autotag.training.fit.fit import Wanted
from autotag.training.report.findings import ClassFindings, ReliabilityBin

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 42
BARS = 20
"""Number of bars in the histogram."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """An axis: its label, range and ticks."""

    label: str
    low: float = 0.0
    high: float = 1.0
    ticks: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the position of a value, 0 to 1; values beyond an end are put at that end."""
        low, high, at = (math.log10(max(n, 1e-9)) if self.logarithmic else n for n in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)


@dataclass
class Plot:
    """Marks between two axes; later marks cover earlier ones."""

    title: str
    x: Axis
    y: Axis
    marks: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Return a point's position in the SVG's units."""
        across, up = self.x.place(x), self.y.place(y)
        return round(LEFT + across * (WIDTH - LEFT - RIGHT), 1), round(
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1
        )

    def line(self, points: Iterable[Point], kind: str) -> None:
        path = "L".join(f"{x:g} {y:g}" for x, y in (self.at(*point) for point in points))
        if path:
            self.marks.append(f'<path class="{kind}" d="M{path}"/>')

    def dots(self, points: Iterable[Point], kind: str) -> None:
        """Draw one dot per point; overlapping points share a darker dot."""
        counts = Counter((round(x / 2) * 2, round(y / 2) * 2) for x, y in (self.at(*point) for point in points))
        for strength, least, most in (("few", 1, 1), ("some", 2, 4), ("many", 5, math.inf)):
            path = "".join(f"M{x} {y}h0" for (x, y), many in sorted(counts.items()) if least <= many <= most)
            if path:
                self.marks.append(f'<path class="dots {kind} {strength}" d="{path}"/>')

    def circle(self, point: Point, radius: float, title: str) -> None:
        x, y = self.at(*point)
        self.marks.append(
            f'<circle class="bin" cx="{x:g}" cy="{y:g}" r="{radius:.1f}"><title>{escape(title)}</title></circle>'
        )

    def bar(self, left: float, right: float, low: float, high: float, kind: str) -> None:
        (x, bottom), (end, top) = self.at(left, low), self.at(right, high)
        if bottom > top:
            size = f'width="{end - x - 1:.1f}" height="{bottom - top:.1f}"'
            self.marks.append(f'<rect class="{kind}" x="{x:g}" y="{top:g}" {size}/>')

    def svg(self) -> str:
        """Return the plot as SVG."""
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        for tick in self.x.ticks:
            x, y = self.at(tick, self.y.low)
            parts.append(
                f'<path class="grid" d="M{x:g} {TOP}V{y:g}"/><text x="{x:g}" y="{y + 16:g}">{_short(tick)}</text>'
            )
        for tick in self.y.ticks:
            x, y = self.at(self.x.low, tick)
            parts.append(
                f'<path class="grid" d="M{x:g} {y:g}H{WIDTH - RIGHT}"/>'
                f'<text class="left" x="{x - 6:g}" y="{y + 4:g}">{_short(tick)}</text>'
            )
        middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        parts += self.marks
        parts.append(f'<text class="name" x="{middle:g}" y="{HEIGHT - 6}">{escape(self.x.label)}</text>')
        parts.append(
            f'<text class="name" transform="translate(12 {centre:g}) rotate(-90)">{escape(self.y.label)}</text></svg>'
        )
        return "".join(parts)


def reliability_plot(bins: Iterable[ReliabilityBin]) -> str:
    """Plot mean probability against the share of TRUE; a dot for each bin, larger for more photos."""
    plot = Plot("Reliability diagram", Axis("predicted probability"), Axis("share that is TRUE"))
    plot.line([(0, 0), (1, 1)], "ideal")
    measured = [
        (one.predicted, one.observed, one.total)
        for one in bins
        if one.predicted is not None and one.observed is not None
    ]
    plot.line([(predicted, true) for predicted, true, _ in measured], "now")
    for predicted, true, many in measured:
        title = f"{many:,.0f} with a mean probability of {predicted:.3f}; {true:.3f} of them are TRUE"
        plot.circle((predicted, true), 2.5 + math.log10(max(many, 1)), title)
    return plot.svg()


def positives_plot(classes: Sequence[ClassFindings]) -> str:
    """Plot average precision against the number of positives: a dot for each class, and the median of each octave."""
    kinds = [
        (kind, [(one.quality.positives, one.average_precision) for one in some if one.average_precision is not None])
        for kind, some in _by_kind(classes)
    ]
    points = [(kind, [(n, precision) for n, precision in some if n]) for kind, some in kinds]
    everything = [point for _, some in points for point in some]
    x = _logarithmic("positives", [n for n, _ in everything])
    plot = Plot("Average precision over the number of positives", x, Axis("average precision"))
    for kind, some in points:
        plot.dots(some, kind)
    groups: dict[int, list[float]] = {}
    for n, precision in everything:
        groups.setdefault(n.bit_length(), []).append(precision)
    medians = [(bits, median(values)) for bits, values in sorted(groups.items())]
    plot.line([(2**power, value) for bits, value in medians for power in (bits - 1, bits)], "median")
    return plot.svg()


def precision_recall_plot(classes: Sequence[ClassFindings], wanted: Wanted) -> str:
    """Plot precision against recall, a dot for each class at its threshold; lines show the wanted minimum of both."""
    plot = Plot("Precision and recall at the thresholds", Axis("recall"), Axis("precision"))
    plot.line([(0, wanted.precision), (1, wanted.precision)], "wanted")
    plot.line([(wanted.least_recall, 0), (wanted.least_recall, 1)], "wanted")
    for kind, some in _by_kind(classes):
        pairs = [(one.quality.recall, one.quality.precision) for one in some]
        plot.dots(
            [(recall, precision) for recall, precision in pairs if recall is not None and precision is not None], kind
        )
    return plot.svg()


def distribution_plot(classes: Sequence[ClassFindings], before: Sequence[float]) -> str:
    """Plot a histogram of the classes' average precision; a line shows the same for the bundle in use.

    Args:
        before: the average precisions of the bank in use; may be empty.
    """
    kept, left_out = (
        _histogram([one.average_precision for one in some if one.average_precision is not None])
        for _, some in _by_kind(classes)
    )
    was = _histogram(before)
    most = max(max(a + b, c) for a, b, c in zip(kept, left_out, was, strict=True))
    step = _step(most)
    ticks = [step * n for n in range(math.ceil(max(most, 1) / step) + 1)]
    plot = Plot(
        "Distribution of the average precision", Axis("average precision"), Axis("classes", 0, ticks[-1], ticks)
    )
    for at, (below, above) in enumerate(zip(kept, left_out, strict=True)):
        plot.bar(at / BARS, (at + 1) / BARS, 0, below, "kept")
        plot.bar(at / BARS, (at + 1) / BARS, below, below + above, "left-out")
    if before:
        plot.line([(at / BARS, was[n]) for n in range(BARS) for at in (n, n + 1)], "before")
    return plot.svg()


def _by_kind(classes: Sequence[ClassFindings]) -> list[tuple[str, list[ClassFindings]]]:
    return [
        ("kept", [one for one in classes if not one.left_out]),
        ("left-out", [one for one in classes if one.left_out]),
    ]


def _logarithmic(label: str, values: Sequence[int]) -> Axis:
    """Return an axis from the power of ten below the values to the one above."""
    low = math.floor(math.log10(min(values, default=1)))
    high = max(math.ceil(math.log10(max(values, default=1))), low + 1)
    between = (1, 2, 5) if high - low <= 2 else (1,)
    ticks = [10**power * times for power in range(low, high) for times in between] + [10**high]
    return Axis(label, ticks[0], ticks[-1], ticks, logarithmic=True)


def _histogram(values: Sequence[float]) -> list[int]:
    counts = Counter(min(int(value * BARS), BARS - 1) for value in values)
    return [counts[at] for at in range(BARS)]


def _step(most: int) -> int:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, such that about five reach `most`."""
    power = 10 ** max(math.floor(math.log10(max(most, 1) / 5)), 0)
    return next(int(power * times) for times in (1, 2, 5, 10) if power * times * 6 > most)


def _short(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 1 else f"{tick:g}"
