"""The forest plot: every score with its interval, beside the published value and its margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from checks.report.figure import Scale, anchor, svg

__all__ = ["forest"]

ROW = 58  # pixels a benchmark takes


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
