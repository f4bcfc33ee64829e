"""Line charts as SVG: several series over one axis, plain or logarithmic, for pages and documents.

Drawn by the kit itself, so that a figure needs no library and loads nothing. Series differ by dash
and marker as well as by colour. In a page the colours follow the theme (page.css gives the
variables); `standalone` makes the same figure a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from checks.report.plots import MOST_POINTS, Scale, anchor, svg

__all__ = ["STYLE", "Axis", "Series", "chart", "standalone"]

#: Goes into the page beside page.css, or into the file: colours by series, with fallbacks.
STYLE = """
.s { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.s0 { stroke: var(--accent, #27548a); } .s1 { stroke: var(--not-reproduced, #a5281f); stroke-dasharray: 6 3; }
.s2 { stroke: var(--reproduced, #1f6b45); stroke-dasharray: 2 3; } .s3 { stroke: var(--invalid, #684591); stroke-dasharray: 9 3 2 3; }
.d0 { fill: var(--accent, #27548a); } .d1 { fill: var(--not-reproduced, #a5281f); }
.d2 { fill: var(--reproduced, #1f6b45); } .d3 { fill: var(--invalid, #684591); }
.mark { stroke: var(--soft, #5d6066); stroke-dasharray: 3 3; }
"""  # noqa: E501
#: What a figure needs where no page.css is.
_ALONE = """
text { font-family: ui-sans-serif, "Helvetica Neue", Arial, sans-serif; font-size: 12px; fill: #5d6066; }
.grid { stroke: #dcd9d1; }
"""  # noqa: E501
TONES = 4


@dataclass(frozen=True)
class Series:
    """One line, or loose points.

    Attributes:
        label: its name in the legend.
        points: (x, y); what is not finite, or not above 0 on a logarithmic axis, leaves a gap.
        dots: markers at the points in place of a line.
        tone: colour and dash; the series' place in the figure where None.
    """

    label: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    tone: int | None = None


@dataclass(frozen=True)
class Axis:
    """What an axis shows."""

    label: str
    log: bool = False

    def at(self, value: float) -> float:
        """Give where a value stands on the axis; NaN where it cannot."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        return math.log10(value) if self.log else value

    def ticks(self, scale: Scale, most: int) -> list[tuple[float, str]]:
        """Give (place, text) of round values: of decades, where the axis is logarithmic."""
        if not self.log:
            return [(t, f"{t:g}") for t in scale.ticks(most)]
        low, high = math.ceil(scale.low - 1e-9), math.floor(scale.high + 1e-9)
        if high <= low:
            return [(t, f"{10**t:.2g}") for t in scale.ticks(most)]
        stride = max(1, math.ceil((high - low + 1) / most))
        return [(float(k), f"{10.0**k:g}") for k in range(low, high + 1, stride)]


def chart(
    series: Sequence[Series], *, x: Axis, y: Axis, width: int, title: str, height: int = 260,
    marks: Sequence[tuple[float, str]] = (), floor: float | None = None,
) -> str:  # fmt: skip
    """Draw series over one axis; empty where no point can be drawn.

    Args:
        width, height: in pixels.
        title: what a screen reader says first; the series' ends follow.
        marks: (x, words) of upright lines.
        floor: a y value that the axis reaches down to.
    """
    placed = [[(x.at(a), y.at(b)) for a, b in one.points] for one in series]
    known = [p for points in placed for p in points if _finite(p)]
    if not known:
        return ""
    top, bottom, left = 26, height - 38, 62
    across = Scale([p[0] for p in known], left=left, right=width - 12, exact=True)
    low = [] if floor is None else [y.at(floor)]
    up = Scale([p[1] for p in known] + low, left=bottom, right=top, exact=y.log)
    parts = []
    for at, text in y.ticks(up, 6):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 12}" y1="{up(at):.1f}" '
                     f'y2="{up(at):.1f}"/>')  # fmt: skip
        parts.append(f'<text class="tick" x="{left - 8}" y="{up(at) + 4:.1f}" '
                     f'text-anchor="end">{text}</text>')  # fmt: skip
    for at, text in x.ticks(across, 8 if width > 500 else 4):
        parts.append(f'<text class="tick" x="{across(at):.1f}" y="{bottom + 17}" '
                     f'text-anchor="{anchor(across(at), width)}">{text}</text>')  # fmt: skip
    parts.append(f'<text class="tick" x="{width - 12}" y="{height - 4}" text-anchor="end">'
                 f"{escape(x.label)}</text>")  # fmt: skip
    parts.append(f'<text class="tick" x="0" y="{height - 4}">↑ {escape(y.label)}</text>')
    for where, words in marks:
        at = across(x.at(where))
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}">'
                     f"<title>{escape(words)}</title></line>")  # fmt: skip
    names = left
    for number, (one, points) in enumerate(zip(series, placed, strict=True)):
        tone = (number if one.tone is None else one.tone) % TONES
        parts += _drawn(one, points, across, up, tone)
        parts.append(f'<line class="s s{tone}" x1="{names}" x2="{names + 18}" y1="9" y2="9"/>'
                     if not one.dots else f'<circle class="d{tone}" cx="{names + 9}" cy="9" r="3"/>')  # fmt: skip  # noqa: E501
        parts.append(f'<text class="tick" x="{names + 23}" y="13">{escape(one.label)}</text>')
        names += 34 + round(7.4 * len(one.label))
    said = "; ".join(f"{one.label}: {_ends(one)}" for one in series)
    return svg(width, height, title, said, parts)


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _drawn(
    one: Series, points: list[tuple[float, float]], across: Scale, up: Scale, tone: int
) -> list[str]:
    if one.dots:
        return [
            f'<circle class="d{tone}" cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>'
            for a, b in points
            if _finite((a, b))
        ]
    if len(points) > MOST_POINTS:
        stride = len(points) / MOST_POINTS
        points = [points[int(i * stride)] for i in range(MOST_POINTS)] + [points[-1]]
    out, piece = [], []
    for point in [*points, (math.nan, math.nan)]:
        if _finite(point):
            piece.append(f"{across(point[0]):.1f},{up(point[1]):.1f}")
            continue
        # A gap is not bridged: what is not a number was not measured.
        if len(piece) == 1:
            x, _, y = piece[0].partition(",")
            out.append(f'<circle class="d{tone}" cx="{x}" cy="{y}" r="2"/>')
        elif piece:
            out.append(f'<polyline class="s s{tone}" points="{" ".join(piece)}"/>')
        piece = []
    return out


def _ends(one: Series) -> str:
    finite = [p for p in one.points if _finite(p)]
    if not finite:
        return "no point"
    return f"{finite[0][1]:.3g} at {finite[0][0]:g} to {finite[-1][1]:.3g} at {finite[-1][0]:g}"


def standalone(figure: str) -> str:
    """Make a figure of `chart` a file that an image viewer or a Markdown page shows."""
    head, _, rest = figure.partition(">")
    _, _, box = head.partition('viewBox="0 0 ')
    width, height = box.split('"')[0].split()
    paper = f'<rect width="{width}" height="{height}" fill="#fcfbf8"/>'
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{_ALONE}{STYLE}</style>{paper}{rest}\n"
