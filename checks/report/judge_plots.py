"""The page's figures of a judge's work: shares won, tied and lost, and its position bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checks.report.figure import Scale, anchor, svg

__all__ = ["bias", "shares"]

BAR = 26  # pixels


def shares(found: Mapping[str, Any], width: int) -> str:
    """Draw the shares of rulings won, tied and lost as one bar.

    Args:
        found: the `judged` part of a comparison.
        width: of the figure, in pixels.
    """
    left, parts, said = 8.0, [], []
    for key, word in (("win", "won"), ("tie", "tied"), ("loss", "lost")):
        share = float(found[key])
        wide = share * (width - 16)
        said.append(f"{word} {100 * share:.1f}%")
        if wide <= 0:
            continue
        parts.append(
            f'<rect class="share {key}" x="{left:.1f}" y="2" width="{wide:.1f}" height="{BAR}">'
            f"<title>{said[-1]}</title></rect>"
        )
        if wide > 84:
            parts.append(
                f'<text class="on {key}" x="{left + wide / 2:.1f}" y="20" '
                f'text-anchor="middle">{said[-1]}</text>'
            )
        left += wide
    return svg(width, BAR + 6, "Rulings", ", ".join(said), parts)


def bias(found: Mapping[str, Any], width: int) -> str:
    """Draw what being shown first is worth, in points, with its interval; 0 is a fair judge."""
    bias = found["position_bias"]
    low, high = bias["interval"] or [bias["size"], bias["size"]]
    reach = max(0.3, abs(low), abs(high))
    scale = Scale([-100 * reach, 100 * reach], left=8, right=width - 8)
    y, parts = 20, []
    for tick in scale.ticks(7 if width > 500 else 5):
        x = scale(tick)
        kind = "zero" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="38"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="54" text-anchor="{anchor(x, width)}">'
            f"{tick:+g}</text>".replace("+0<", "0<")
        )
    tone = "not-reproduced" if bias["biased"] else "reproduced"
    ends = [scale(100 * low), scale(100 * high)]
    parts.append(
        f'<line class="interval {tone}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>'
    )
    x = scale(100 * bias["size"])
    parts.append(
        f'<rect class="observed {tone}" x="{x - 5:.1f}" y="{y - 5}" width="10" height="10"/>'
    )
    return svg(width, 58, "Position bias in points", f"{100 * bias['size']:+.1f} points", parts)
