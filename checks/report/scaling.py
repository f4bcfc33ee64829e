"""The planner's figure: hours of a training over the number of GPUs, both scales logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checks.report.figure import Axis, Frame, path, svg, text
from checks.report.lines import standalone

__all__ = ["PAGE", "STYLE", "scaling"]

#: The template of the plan's page, for kit.page.render.
PAGE = Path(__file__).parent / "plan.html.j2"

WIDTH, HEIGHT = 760, 380

#: Colours follow the reader's theme; the same sheet serves the page and the figure alone.
STYLE = """\
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
pre{overflow-x:auto;font-size:13px}
svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}
.paper{fill:#fff}.tick{fill:#333}.grid{stroke:#ddd}.band{fill:#3b76b5;fill-opacity:.25}
.edge{fill:none;stroke:#3b76b5;stroke-width:2}.ideal{fill:none;stroke:#777;stroke-dasharray:4 4}
.mark{stroke:#b5443b;stroke-width:1.5}.idle{fill:#b5443b;fill-opacity:.1}.no{fill:none;stroke:#b5443b;stroke-width:2}
.pays{fill:#3b76b5}
@media (prefers-color-scheme:dark){.paper{fill:#16181c}.tick{fill:#ddd}.grid{stroke:#3a3d44}}
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
    first = points[0]["gpus"]
    there = [(p["gpus"], p["low"], p["high"]) for p in points]
    there += [(to, there[-1][1], there[-1][2])] if to > most else []
    low, high = min(p["low"] for p in points) / 1.5, max(p["high"] for p in points) * 1.3
    doubled = tuple(first * 2.0**k for k in range(int(math.log2(to / first)) + 1))
    frame = Frame(
        Axis("GPUs", log=True, at=doubled),
        Axis("hours", log=True),
        [(first, low), (to, high)],
        width=WIDTH,
        height=HEIGHT,
    )
    start = math.sqrt(points[0]["low"] * points[0]["high"])
    ideal = [(g, start * first / g) for g, _, _ in there if start * first / g > low]
    outline = [(g, slow) for g, _, slow in there] + [(g, fast) for g, fast, _ in reversed(there)]
    end = frame.across(most)
    label, side = (end + 6, "start") if end < WIDTH / 2 else (end - 6, "end")
    parts = [
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *frame.grid(),
        f'<rect class="idle" x="{end:.1f}" y="{frame.top}" width="{frame.right - end:.1f}" '
        f'height="{frame.bottom - frame.top}"/>',
        frame.upright(most, "no sequences are left to give out"),
        text(label, frame.top + 16, f"{most} GPUs have one sequence each", at=side),
        text(label, frame.top + 32, "more stay idle", at=side),
        f'<polygon class="band" points="{path(map(frame.at, outline))}"/>',
        *(
            f'<polyline class="edge" points="{path(frame.at((p[0], p[n])) for p in there)}"/>'
            for n in (1, 2)
        ),
        f'<polyline class="ideal" points="{path(map(frame.at, ideal))}"/>',
        *(_mark(point, frame, pays) for point in points),
        text(
            frame.left,
            16,
            "between the fast and the slow end; dashed: ideal; dot: doubling pays up to here; "
            "cross: does not fit",
        ),
    ]
    said = "; ".join(f"{g} GPUs {fast:.1f} to {slow:.1f} hours" for g, fast, slow in there)
    figure = svg(WIDTH, HEIGHT, "Hours by number of GPUs", said, parts)
    return standalone(figure, STYLE) if alone else figure


def _mark(point: Mapping[str, Any], frame: Frame, pays: int) -> str:
    x, y = frame.at((point["gpus"], math.sqrt(point["low"] * point["high"])))
    if not point["fits"]:
        return (
            f'<path class="no" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10">'
            "<title>does not fit in memory</title></path>"
        )
    if point["gpus"] == pays:
        return (
            f'<circle class="pays" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            "<title>doubling pays up to here</title></circle>"
        )
    return ""
