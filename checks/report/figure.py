"""What every figure is drawn by: scales, axes, a frame of grid lines and labels, the SVG itself.

Colours and fonts come from a style sheet by class, so that figures follow the theme; there is no
style attribute, which a page's content security policy would refuse. Each figure is drawn once for
a wide page and once for a phone, where a scaled figure is unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["WIDTHS", "Axis", "Frame", "Scale", "anchor", "is_finite", "path", "svg", "text"]

WIDTHS = {"wide": 760, "narrow": 350}
Point = tuple[float, float]


class Scale:
    """Maps values to pixels, on round bounds unless told to be exact."""

    def __init__(
        self,
        values: Sequence[float],
        *,
        left: float,
        right: float,
        low_limit: float = -math.inf,
        high_limit: float = math.inf,
        exact: bool = False,
    ) -> None:
        low, high = min(values), max(values)
        if high - low < 1e-9:
            low, high = low - 1, high + 1
        self.step = _round_step((high - low) / 6)
        if not exact:
            low = max(low_limit, math.floor(low / self.step) * self.step)
            high = min(high_limit, math.ceil(high / self.step) * self.step)
        self.low, self.high, self.left, self.right = low, high, left, right

    def __call__(self, value: float) -> float:
        """Give the pixel of a value; outside the bounds, the bound's."""
        inside = min(self.high, max(self.low, value))
        share = (inside - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self, most: int) -> list[float]:
        """Give round values within the bounds, at most so many."""
        step = _round_step((self.high - self.low) / max(1, most - 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """Give the round number at or above a step: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough - 1e-12)


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes:
        label: at its end.
        log: logarithmic; what is not above 0 has no place then.
        at: values that get a label, in place of round ones.
    """

    label: str
    log: bool = False
    at: tuple[float, ...] = ()

    def place(self, value: float) -> float:
        """Give where a value stands on the axis; NaN where it cannot."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        return math.log10(value) if self.log else value

    def ticks(self, scale: Scale, most: int) -> list[tuple[float, str]]:
        """Give (place, label) of round values: of decades, where the axis is logarithmic."""
        if self.at:
            return [(self.place(value), f"{value:,g}") for value in self.at]
        if not self.log:
            return [(t, f"{t:g}") for t in scale.ticks(most)]
        low, high = math.ceil(scale.low - 1e-9), math.floor(scale.high + 1e-9)
        if high - low < 2:  # a decade or two: 1, 2 and 5 of each
            steps = [m * 10.0**k for k in range(low - 1, high + 1) for m in (1, 2, 5)]
            within = [s for s in steps if scale.low - 1e-9 <= math.log10(s) <= scale.high + 1e-9]
            return [(math.log10(s), f"{s:g}") for s in within]
        stride = max(1, math.ceil((high - low + 1) / most))
        return [(float(k), f"{10.0**k:g}") for k in range(low, high + 1, stride)]


class Frame:
    """The area that two axes span, in pixels.

    Args:
        x, y: the axes.
        points: (x, y) that have to lie inside; at least one has a place.
        width, height: of the whole figure.
    """

    def __init__(
        self, x: Axis, y: Axis, points: Iterable[Point], *, width: int, height: int
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.left, self.right, self.top, self.bottom = 62, width - 12, 26, height - 38
        placed = [(x.place(a), y.place(b)) for a, b in points]
        xs, ys = zip(*(p for p in placed if is_finite(p)), strict=True)
        self._across = Scale(xs, left=self.left, right=self.right, exact=True)
        self._up = Scale(ys, left=self.bottom, right=self.top, exact=y.log)

    def across(self, x: float) -> float:
        """Give the pixel of an x value, counted from the left."""
        return self._across(self.x.place(x))

    def at(self, point: Point) -> Point:
        """Give the pixels of a point; NaN where it has no place."""
        a, b = self.x.place(point[0]), self.y.place(point[1])
        return (self._across(a), self._up(b)) if is_finite((a, b)) else (math.nan, math.nan)

    def grid(self) -> list[str]:
        """Draw the y axis' lines, and the labels of both axes."""
        parts = []
        for place, label in self.y.ticks(self._up, 6):
            y = self._up(place)
            parts.append(
                f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(text(self.left - 8, y + 4, label, at="end"))
        for place, label in self.x.ticks(self._across, 8 if self.width > 500 else 4):
            x = self._across(place)
            parts.append(text(x, self.bottom + 17, label, at=anchor(x, self.width)))
        parts.append(text(self.right, self.height - 4, self.x.label, at="end"))
        parts.append(text(0, self.height - 4, f"↑ {self.y.label}"))
        return parts

    def upright(self, x: float, label: str) -> str:
        """Draw a line at an x value; its label is shown where one points at it."""
        at = self.across(x)
        return (
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{self.top}" y2="{self.bottom}">'
            f"<title>{escape(label)}</title></line>"
        )


def is_finite(point: Point) -> bool:
    """Whether a point can be drawn."""
    return math.isfinite(point[0]) and math.isfinite(point[1])


def path(points: Iterable[Point]) -> str:
    """Give points as the attribute of a polyline or polygon."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(x: float, y: float, words: str, *, at: str = "start", kind: str = "tick") -> str:
    """Write a label, escaped; `at` is the part of it that stands at x."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{at}">{escape(words)}</text>'


def anchor(x: float, width: int) -> str:
    """Give the text-anchor that keeps a label at x inside a figure."""
    if x < 20:
        return "start"
    return "end" if x > width - 24 else "middle"


def svg(width: int, height: int, title: str, said: str, parts: Sequence[str]) -> str:
    """Put a figure's parts together, with words for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(f"{title}: {said}")}">' + "".join(parts) + "</svg>"
    )
