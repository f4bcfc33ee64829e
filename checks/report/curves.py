"""The page that shows two runs' losses step by step. Names and values are data: all is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checks.report.figure import WIDTHS
from checks.report.lines import STYLE, Axis, Series, chart
from kit.page import render

__all__ = ["figures", "page"]

HERE = Path(__file__).parent
STEPS_SHOWN = 5000  # rows of the table; a browser is slow with more


def figures(
    losses: Mapping[str, Sequence[tuple[float, float]]], bound: float, parted: int | None
) -> dict[str, dict[str, str]]:
    """Draw the curves, and their difference on a logarithmic axis.

    Args:
        losses: run -> (step, loss in nats a token); two runs.
        bound: difference beyond which they have parted.
        parted: first step where they have.

    Returns:
        "loss" and "apart" -> "wide" and "narrow" -> SVG; empty text where nothing can be drawn.
    """
    (_, one), (_, other) = losses.items()
    there = dict(other)
    apart = [(s, abs(v - there[s])) for s, v in one if s in there]
    marks = [] if parted is None else [(float(parted), f"they part at step {parted}")]
    ends = [p[0] for p in apart] or [0.0]
    line = Series(f"bound {bound:g}", [(min(ends), bound), (max(ends), bound)], tone=3)
    step = Axis("step")
    out: dict[str, dict[str, str]] = {"loss": {}, "apart": {}}
    for kind, width in WIDTHS.items():
        # The legend's names have to fit; whole names stand above the figure.
        names = list(losses) if kind == "wide" and max(map(len, losses)) < 46 else ["A", "B"]
        curves = [Series(n, p) for n, p in zip(names, losses.values(), strict=True)]
        out["loss"][kind] = chart(curves, x=step, y=Axis("nats a token"), width=width, floor=0.0,
                                  title="Training loss of both runs", marks=marks)  # fmt: skip
        out["apart"][kind] = chart(
            [Series("|A - B|", apart), *([line] if bound > 0 else [])], x=step,
            y=Axis("nats a token", log=True), width=width, marks=marks,
            title="Difference of the losses") if any(d > 0 for _, d in apart) else ""  # fmt: skip
    return out


def page(
    drawn: Mapping[str, Mapping[str, str]], *, names: tuple[str, str], headline: str,
    parted: bool, notes: Sequence[str], facts: Sequence[str],
    differ: Mapping[str, tuple[Any, Any]], steps: Sequence[tuple[int, float, float]],
) -> str:  # fmt: skip
    """Give the page as HTML, one self-contained text.

    Args:
        drawn: what `figures` gave.
        names: of the two runs.
        headline: the comparison in one sentence.
        parted: whether they differ by more than the bound.
        notes, facts: lines below it.
        differ: what is frozen in the runs and not the same.
        steps: (step, loss, loss) of every shared step.
    """
    from markupsafe import Markup

    return render(
        HERE / "curves.html.j2",
        style=(HERE / "page.css").read_text(encoding="utf-8") + STYLE,
        drawn={k: {w: Markup(s) for w, s in both.items()} for k, both in drawn.items()},  # noqa: S704  escaped there
        names=names, headline=headline, parted=parted, notes=notes, facts=facts, differ=differ,
        steps=steps[:STEPS_SHOWN], more=max(0, len(steps) - STEPS_SHOWN),
    )  # fmt: skip
