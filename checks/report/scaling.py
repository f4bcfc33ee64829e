"""The planner's figure: hours of a training over the number of GPUs, both scales logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["STYLE", "scaling"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 56, 20, 34, 56

#: Colours follow the reader's theme; the same sheet serves the page and the figure alone.
STYLE = """\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
pre{overflow-x:auto;font-size:13px}
svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}
.paper{fill:#fff}.text{fill:#333}.grid{stroke:#ddd}.band{fill:#3b76b5;fill-opacity:.25}
.edge{fill:none;stroke:#3b76b5;stroke-width:2}.ideal{fill:none;stroke:#777;stroke-dasharray:4 4}
.end{stroke:#b5443b;stroke-width:1.5}.idle{fill:#b5443b;fill-opacity:.1}.no{fill:none;stroke:#b5443b;stroke-width:2}
.pays{fill:#3b76b5}
@media (prefers-color-scheme:dark){.paper{fill:#16181c}.text{fill:#ddd}.grid{stroke:#3a3d44}}
"""


def scaling(
    points: Sequence[Mapping[str, Any]], *, most: int, to: int, pays: int, alone: bool
) -> str:
    """Draw the hours of a training by number of GPUs.

    Args:
        points: each {"gpus", "low", "high" (hours), "fits"}, by rising number.
        most: GPUs beyond which there are no sequences left to give out.
        to: GPUs at the right edge.
        pays: the largest number to which doubling pays.
        alone: a file of its own, with its style sheet in it.
    """
    if not points:
        return ""
    low = min(p["low"] for p in points) / 1.5
    high = max(p["high"] for p in points) * 1.3
    first = points[0]["gpus"]

    def across(gpus: float) -> float:
        return LEFT + math.log(gpus / first) / math.log(to / first) * (WIDTH - LEFT - RIGHT)

    def up(hours: float) -> float:
        share = math.log(hours / low) / math.log(high / low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>']
    parts += _grid(first, to, low, high, across, up)
    end = across(most)
    foot = HEIGHT - BOTTOM
    parts.append(f'<rect class="idle" x="{end:.1f}" y="{TOP}" width="{WIDTH - RIGHT - end:.1f}" '
                 f'height="{foot - TOP}"/>')  # fmt: skip
    parts.append(f'<line class="end" x1="{end:.1f}" x2="{end:.1f}" y1="{TOP}" y2="{foot}"/>')
    parts.append(_text(end + 6, TOP + 16, f"{most} GPUs have one sequence each"))
    parts.append(_text(end + 6, TOP + 32, "more stay idle"))
    there = [(p["gpus"], p["low"], p["high"]) for p in points]
    there += [(to, there[-1][1], there[-1][2])] if to > most else []
    outline = [(across(g), up(h)) for g, _, h in there]
    outline += [(across(g), up(fast)) for g, fast, _ in reversed(there)]
    parts.append(f'<polygon class="band" points="{_joined(outline)}"/>')
    for number in (1, 2):
        line = [(across(p[0]), up(p[number])) for p in there]
        parts.append(f'<polyline class="edge" points="{_joined(line)}"/>')
    start = math.sqrt(points[0]["low"] * points[0]["high"])
    ideal = [(g, start * first / g) for g, _, _ in there if start * first / g > low]
    parts.append(
        f'<polyline class="ideal" points="{_joined([(across(g), up(h)) for g, h in ideal])}"/>'
    )
    for point in points:
        x, y = across(point["gpus"]), up(math.sqrt(point["low"] * point["high"]))
        if not point["fits"]:
            parts.append(f'<path class="no" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10">'
                         "<title>does not fit in memory</title></path>")  # fmt: skip
        elif point["gpus"] == pays:
            parts.append(f'<circle class="pays" cx="{x:.1f}" cy="{y:.1f}" r="5">'
                         "<title>doubling pays up to here</title></circle>")  # fmt: skip
    parts.append(_text(LEFT, 20, "hours: between the fast and the slow end; dashed: ideal; dot: "
                       "doubling pays up to here; cross: does not fit"))  # fmt: skip
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 8, "GPUs", anchor="end"))
    style = f"<style>{STYLE}</style>" if alone else ""
    said = "; ".join(f"{g} GPUs {fast:.1f} to {slow:.1f} hours" for g, fast, slow in there)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="Hours by number of GPUs: {said}">{style}'
        + "".join(parts) + "</svg>\n"
    )  # fmt: skip


def _grid(first: int, to: int, low: float, high: float, across: Any, up: Any) -> list[str]:
    parts, gpus, foot = [], first, HEIGHT - BOTTOM
    while gpus <= to:
        x = across(gpus)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}"/>')
        parts.append(_text(x, foot + 18, f"{gpus:,}", anchor="middle"))
        gpus *= 2
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for step in (1, 2, 5):
            hours = step * 10.0**power
            if low <= hours <= high:
                y = up(hours)
                parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" '
                             f'y2="{y:.1f}"/>')  # fmt: skip
                parts.append(_text(LEFT - 8, y + 4, f"{hours:g}", anchor="end"))
    return parts


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text class="text" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
