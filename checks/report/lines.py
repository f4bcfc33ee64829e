"""Line charts as SVG: several series over one axis, plain or logarithmic, for pages and documents.

Drawn by the kit itself, so that a figure needs no library and loads nothing. Series differ by dash
and marker as well as by colour. In a page the colours follow the theme (page.css gives the
variables); `standalone` makes the same figure a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from checks.report.figure import Axis, Frame, is_finite, path, svg, text

__all__ = ["STYLE", "Axis", "Series", "chart", "loss_curve", "loss_ends", "standalone"]

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
#: Of a line; more cannot be told apart.
MOST_POINTS = 800


@dataclass(frozen=True)
class Series:
    """One line, or loose points.

    Attributes:
        label: its name in the legend; empty: it has none.
        points: (x, y); what is not finite, or not above 0 on a logarithmic axis, leaves a gap.
        dots: markers at the points in place of a line.
        tone: colour and dash; the series' place in the figure where None.
    """

    label: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    tone: int | None = None


def chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    width: int,
    title: str,
    height: int = 260,
    marks: Sequence[tuple[float, str]] = (),
    floor: float | None = None,
) -> str:
    """Draw series over one axis; empty where no point can be drawn.

    Args:
        series: with names in a legend where there are several.
        x, y: the axes.
        width, height: in pixels.
        title: what a screen reader says first; the series' ends follow.
        marks: (x, words) of upright lines.
        floor: a y value that the axis reaches down to.
    """
    placed = [p for one in series for p in one.points if is_finite((x.place(p[0]), y.place(p[1])))]
    if not placed:
        return ""
    low = [] if floor is None else [(placed[0][0], floor)]
    frame = Frame(x, y, [*placed, *low], width=width, height=height)
    parts = [*frame.grid(), *(frame.upright(where, words) for where, words in marks)]
    names = frame.left
    for number, one in enumerate(series):
        tone = (number if one.tone is None else one.tone) % TONES
        parts += _drawn(one, frame, tone)
        if len(series) > 1 and one.label:
            parts.append(_key(one, names, tone))
            parts.append(text(names + 23, 13, one.label))
            names += 34 + round(7.4 * len(one.label))
    said = "; ".join(f"{one.label}: {_ends(one)}" for one in series)
    return svg(width, height, title, said, parts)


def _key(one: Series, left: int, tone: int) -> str:
    if one.dots:
        return f'<circle class="d{tone}" cx="{left + 9}" cy="9" r="3"/>'
    return f'<line class="s s{tone}" x1="{left}" x2="{left + 18}" y1="9" y2="9"/>'


def _drawn(one: Series, frame: Frame, tone: int) -> list[str]:
    points = [frame.at(point) for point in one.points]
    if one.dots:
        return [_dot(point, tone, 3) for point in points if is_finite(point)]
    if len(points) > MOST_POINTS:
        stride = len(points) / MOST_POINTS
        points = [points[int(i * stride)] for i in range(MOST_POINTS)] + [points[-1]]
    out, piece = list[str](), list[tuple[float, float]]()
    for point in [*points, (math.nan, math.nan)]:
        if is_finite(point):
            piece.append(point)
            continue
        # A gap is not bridged: what is not a number was not measured.
        if len(piece) == 1:
            out.append(_dot(piece[0], tone, 2))
        elif piece:
            out.append(f'<polyline class="s s{tone}" points="{path(piece)}"/>')
        piece = []
    return out


def _dot(point: tuple[float, float], tone: int, radius: int) -> str:
    return f'<circle class="d{tone}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius}"/>'


def loss_curve(points: Sequence[Mapping[str, Any]], width: int) -> str:
    """Draw the training loss by step; empty where there are fewer than two finite points.

    Args:
        points: each {"step", "loss" (nats a token)}.
        width: in pixels.
    """
    finite = _losses(points)
    if len(finite) < 2:
        return ""
    step, loss = Axis("step"), Axis("nats a token")
    one = [Series("loss", finite)]
    return chart(one, x=step, y=loss, width=width, height=240, title="Training loss", floor=0.0)


def loss_ends(points: Sequence[Mapping[str, Any]]) -> str:
    """Say where the loss began and ended; empty where there is no finite point."""
    finite = _losses(points)
    if not finite:
        return ""
    (first, before), (last, after) = finite[0], finite[-1]
    return f"from {before:.3f} at step {first:g} to {after:.3f} at step {last:g}"


def _losses(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    return [
        (float(p["step"]), float(p["loss"]))
        for p in points
        if isinstance(p.get("loss"), int | float)
        and isinstance(p.get("step"), int | float)
        and math.isfinite(p["loss"])
    ]


def _ends(one: Series) -> str:
    finite = [p for p in one.points if is_finite(p)]
    if not finite:
        return "no point"
    return f"{finite[0][1]:.3g} at {finite[0][0]:g} to {finite[-1][1]:.3g} at {finite[-1][0]:g}"


def standalone(figure: str, style: str = "") -> str:
    """Make a figure a file that an image viewer or a Markdown page shows.

    Args:
        figure: an SVG for a page.
        style: its style sheet, with a paper of its own; none: that of `chart`.
    """
    head, _, rest = figure.partition(">")
    _, _, box = head.partition('viewBox="0 0 ')
    width, height = box.split('"')[0].split()
    paper = "" if style else f'<rect width="{width}" height="{height}" fill="#fcfbf8"/>'
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{style or _ALONE + STYLE}</style>{paper}{rest}\n"
