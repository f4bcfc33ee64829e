"""The page's two figures as inline SVG: scores with their intervals, and the loss curve.

Colours and fonts come from the page's style sheet by class, so that the figures follow the
theme; there is no style attribute, which the page's content security policy would refuse. Each
figure is drawn once for a wide page and once for a phone, where a scaled figure is unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["WIDTHS", "forest", "loss_curve", "loss_ends"]

WIDTHS = {"wide": 760, "narrow": 350}
ROW = 58  # pixels a benchmark takes
MOST_POINTS = 800  # of a loss curve; more cannot be told apart


def forest(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """Draw every score with its interval, margin band, published value and value before.

    Args:
        rows: the benchmarks of verdict.json.
        width: of the figure, in pixels.
    """
    scale = Scale(_values(rows), left=8, right=width - 8, low_limit=0, high_limit=100)
    height = ROW * len(rows) + 34
    parts = []
    bottom = ROW * len(rows) + 4
    for tick in scale.ticks(7 if width > 500 else 5):
        x = scale(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" '
            f'text-anchor="{anchor(x, width)}">{tick:g}%</text>'
        )
    for number, row in enumerate(rows):
        parts += _forest_row(row, ROW * number, width, scale)
    said = "; ".join(_said(row) for row in rows)
    return svg(width, height, "Scores against the published ones", said, parts)


def _values(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    values: list[float] = []
    for row in rows:
        values += [v for v in (row["observed"], row["published"]) if v is not None]
        values += row["interval"] or []
        if row["margin"] is not None:
            values += [row["published"] - row["margin"], row["published"] + row["margin"]]
        if row["before"] and row["before"]["observed"] is not None:
            values.append(row["before"]["observed"])
    return values or [0.0, 100.0]


def _forest_row(row: Mapping[str, Any], top: int, width: int, scale: Scale) -> list[str]:
    digits, middle = row["decimals"], top + 38
    name = f'<text class="name" x="8" y="{top + 18}">{escape(row["title"])}</text>'
    word = (
        f'<text class="word {_class(row)}" x="{width - 8}" y="{top + 18}" '
        f'text-anchor="end">{row["verdict"]}</text>'
    )
    parts = [name, word]
    published, margin = row["published"], row["margin"]
    parts.append(
        f'<line class="rail" x1="{scale.left}" x2="{scale.right}" y1="{middle}" y2="{middle}"/>'
    )
    if published is not None and margin is not None:
        low, high = scale(published - margin), scale(published + margin)
        parts.append(
            f'<rect class="band" x="{low:.1f}" y="{middle - 11}" width="{high - low:.1f}" '
            f'height="22"><title>published ± {margin:.{digits}f} points</title></rect>'
        )
    if published is not None:
        x = scale(published)
        parts.append(
            f'<line class="published" x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 11}" '
            f'y2="{middle + 11}"><title>published {published:.{digits}f}%</title></line>'
        )
    before = row["before"]
    if before and before["observed"] is not None:
        x = scale(before["observed"])
        parts.append(
            f'<circle class="before" cx="{x:.1f}" cy="{middle}" r="4.5">'
            f"<title>before {before['observed']:.{digits}f}%</title></circle>"
        )
    if row["observed"] is not None:
        low, high = (scale(value) for value in row["interval"])
        x = scale(row["observed"])
        kind = _class(row)
        parts.append(
            f'<line class="interval {kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" '
            f'y2="{middle}"/>'
        )
        parts += [
            f'<line class="interval {kind}" x1="{end:.1f}" x2="{end:.1f}" y1="{middle - 4}" '
            f'y2="{middle + 4}"/>'
            for end in (low, high)
        ]
        parts.append(
            f'<rect class="observed {kind}" x="{x - 5:.1f}" y="{middle - 5}" width="10" '
            f'height="10"><title>{row["observed"]:.{digits}f}%</title></rect>'
        )
    return parts


def _class(row: Mapping[str, Any]) -> str:
    return str(row["verdict"]).replace(" ", "-")


def _said(row: Mapping[str, Any]) -> str:
    digits = row["decimals"]
    if row["observed"] is None:
        return f"{row['title']}: not scored, {row['verdict']}"
    published = "none" if row["published"] is None else f"{row['published']:.{digits}f}%"
    low, high = row["interval"]
    return (
        f"{row['title']}: {row['observed']:.{digits}f}% (95% interval {low:.{digits}f} to "
        f"{high:.{digits}f}), published {published}, {row['verdict']}"
    )


def loss_curve(points: Sequence[Mapping[str, Any]], width: int) -> str:
    """Draw the training loss by step; empty where there are fewer than two finite points."""
    finite = _finite(points)
    if len(finite) < 2:
        return ""
    if len(finite) > MOST_POINTS:
        stride = len(finite) / MOST_POINTS
        finite = [finite[int(i * stride)] for i in range(MOST_POINTS)] + [finite[-1]]
    height, bottom, left = 240, 204, 44
    across = Scale([p[0] for p in finite], left=left, right=width - 12, exact=True)
    up = Scale([0.0, *(p[1] for p in finite)], left=bottom, right=14)
    parts = []
    for tick in up.ticks(5):
        y = up(tick)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in across.ticks(8 if width > 500 else 4):
        x = across(tick)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" '
            f'text-anchor="{anchor(x, width)}">{tick:g}</text>'
        )
    parts.append(
        f'<text class="tick" x="{width - 12}" y="{height - 2}" text-anchor="end">step</text>'
    )
    line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in finite)
    parts.append(f'<polyline class="curve" points="{line}"/>')
    x, y = finite[-1]
    said = loss_ends(points)
    parts.append(f'<circle class="curve-end" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5"/>')
    return svg(width, height, "Training loss", said, parts)


def loss_ends(points: Sequence[Mapping[str, Any]]) -> str:
    """Say where the loss began and ended; empty where there is no finite point."""
    finite = _finite(points)
    if not finite:
        return ""
    (first, before), (last, after) = finite[0], finite[-1]
    return f"from {before:.3f} at step {first:g} to {after:.3f} at step {last:g}"


def _finite(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    return [
        (float(p["step"]), float(p["loss"]))
        for p in points
        if isinstance(p.get("loss"), int | float)
        and isinstance(p.get("step"), int | float)
        and math.isfinite(p["loss"])
    ]


def anchor(x: float, width: int) -> str:
    """Give the text-anchor that keeps a label at x inside a figure."""
    if x < 20:
        return "start"
    return "end" if x > width - 24 else "middle"


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


def svg(width: int, height: int, title: str, said: str, parts: Sequence[str]) -> str:
    """Put a figure's parts together, with words for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(f"{title}: {said}")}">' + "".join(parts) + "</svg>"
    )
