"""`mfo compare` and `mfo run … --compare`: two runs' losses on the terminal and as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from checks.report.curves import figures, page
from checks.report.lines import standalone
from kit.errors import KitError
from kit.files import os_errors, write_text
from kit.printing import emit
from launch.cli.options import JSON, RUNS, complete_runs
from launch.run import compare as curves
from launch.run.compare import Comparison
from launch.run.folder import Run, find

BARS = "▁▂▃▄▅▆▇█"
WIDE = 60  # characters of a sparkline
ROWS = 14  # steps in the terminal's table


@click.command()
@click.argument("one", metavar="RUN", shell_complete=complete_runs)
@click.argument("other", metavar="RUN", shell_complete=complete_runs)
@click.option(
    "--bound",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Difference of the loss, in nats a token, beyond which they part.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page (.html) or the figure (.svg) here.",
)
@RUNS
@JSON
def compare(one: str, other: str, bound: float, out: Path | None, runs: Path, as_json: bool) -> int:
    """Compare two runs' losses, step by step.

    Says where they part, to the last digit and beyond the bound, and what is frozen differently
    in them. Exits 1 if they part beyond the bound.
    """
    return show(find(one, runs), find(other, runs), bound=bound, out=out, as_json=as_json)


def show(
    one: Run,
    other: Run,
    *,
    bound: float = curves.BOUND,
    out: Path | None = None,
    as_json: bool = False,
) -> int:
    """Print how two runs compare and write the page; gives the exit code.

    Raises:
        KitError: they are one run, one has no curve, or the page cannot be written.
    """
    if one.path.resolve() == other.path.resolve():
        raise KitError(
            f"{one.name} cannot be compared with itself", fix="mfo status lists the runs"
        )
    found = curves.compare(curves.read(one), curves.read(other), bound)
    differ = curves.differing(one, other)
    target = _write(found, differ, out or one.path / "report" / f"compare-{other.name}.html")
    if as_json:
        emit({**curves.as_json(found, differ), "page": str(target)})
    else:
        _print(found, differ)
        click.echo(f"page:  {target}")
        click.echo(
            f"next:  mfo recipe diff {one.recipe.name} {other.recipe.name}"
            if one.recipe.name != other.recipe.name
            else f"next:  mfo verify {one.name} {other.name}"
        )
    return 0 if found.parted is None else 1


def _write(found: Comparison, differ: dict[str, tuple[Any, Any]], target: Path) -> Path:

    columns = {found.one.name: _losses(found, 0), found.other.name: _losses(found, 1)}
    drawn = figures(columns, found.bound, found.parted)
    if target.suffix == ".svg":
        text = standalone(drawn["loss"]["wide"])
    else:
        text = page(
            drawn,
            names=(found.one.name, found.other.name),
            headline=found.headline(),
            parted=found.parted is not None,
            notes=found.notes,
            differ=differ,
            steps=[(s, *found.loss(s)) for s in found.shared],
            facts=_facts(found),
        )
    with os_errors(
        "the page cannot be written",
        target,
        fix="--out FILE.html (or .svg) in a folder that you can write to",
    ):
        write_text(target, text, parents=True)
    return target


def _losses(found: Comparison, side: int) -> list[tuple[float, float]]:
    curve = (found.one, found.other)[side]
    return [(float(step), values["loss"]) for step, values in curve.steps.items()]


def _facts(found: Comparison) -> list[str]:
    out = [f"bound: {found.bound:g} nats a token (--bound)"]
    if found.one.step_s and found.other.step_s:
        one, other = found.one.step_s, found.other.step_s
        out.append(
            f"pace: {one:.3g} and {other:.3g} s a step, {one / other:.2f} to 1 (medians, on "
            "whatever else the machines did)"
        )
    return out


def _print(found: Comparison, differ: dict[str, tuple[Any, Any]]) -> None:
    one, other = found.one.name, found.other.name
    click.echo(f"A  {one}\nB  {other}\n")
    pairs = [found.loss(step) for step in found.shared]
    both = [v for pair in pairs for v in pair if math.isfinite(v)] or [0.0]
    low, high = min(both), max(both)
    for letter, side in (("A", 0), ("B", 1)):
        losses = [pair[side] for pair in pairs]
        click.echo(
            f"loss {letter}  {spark(losses, low, high)}  {losses[0]:.4g} to {losses[-1]:.4g}"
        )
    apart = [abs(a - b) for a, b in pairs]
    most = max([d for d in apart if math.isfinite(d)], default=0.0)
    click.echo(f"|A-B|   {spark(apart, 0.0, most)}  up to {most:.2g}\n")
    click.echo(f"{'step':>8}{'loss A':>14}{'loss B':>14}{'A-B':>12}")
    for step in chosen(found):
        a, b = found.loss(step)
        said = (
            " <- beyond the bound"
            if step == found.parted
            else (" <- first digit apart" if step == found.first.get("loss") else "")
        )
        click.echo(f"{step:>8}{a:>14.6f}{b:>14.6f}{a - b:>12.2g}{said}")
    click.echo(f"\n{found.headline()}")
    for line in (*_facts(found), *found.notes):
        click.echo(f"  {line}")
    click.echo(f"\nfrozen in both, and not the same: {len(differ) or 'nothing'}")
    wide = max(map(len, differ), default=0) + 2
    for key, (a, b) in differ.items():
        click.echo(f"  {key:<{wide}}{_short(a)}  |  {_short(b)}")


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:22]}…{text[-22:]}"


def spark(values: Sequence[float], low: float, high: float) -> str:
    """Draw values as one line of bars; "!" where one is no number."""
    if len(values) > WIDE:
        stride = len(values) / WIDE
        values = [_mean(values[int(i * stride) : int((i + 1) * stride)]) for i in range(WIDE)]
    span = (high - low) or 1.0
    return "".join(
        BARS[min(7, max(0, int(8 * (v - low) / span)))] if math.isfinite(v) else "!" for v in values
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def chosen(found: Comparison) -> list[int]:
    """Choose the steps of the terminal's table: evenly, with those where something happens."""
    shared = found.shared
    stride = max(1, len(shared) // (ROWS - 2))
    keep = {*shared[::stride], shared[-1]}
    keep |= {s for s in (found.parted, found.first.get("loss")) if s is not None}
    return [step for step in shared if step in keep]
