"""Where the loss of a right run lies at each step: the band that training is held against.

    python -m bench.loss_bands RUN RUN … --out recipes/pocket/loss.json

Takes finished runs of one recipe that differ in their seed alone. At each step the median of the
last few losses is taken, as envelope.Guard takes it; its mean over the runs is the middle. The
width is one number for the whole curve: WIDTH standard deviations of a further run, by the spread
between the runs, pooled over all steps (a few seeds say little about a single step). A run that is
left out must lie within the band that the others give; how far it comes to its edge is printed.

Of one run alone the middle is a straight line through its medians, and the spread is theirs about
it: batches differ within a run as between runs, since another seed is another order of rows.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import linear_regression, mean, median
from typing import Any

from kit.files import read_json, tail_jsonl

#: Standard deviations: wide, since few seeds tell the spread and a right run must not be stopped;
#: wrong ones are meant to be far outside.
WIDTH = 5.0
#: Steps of the median.
WINDOW = 5

Curve = dict[int, float]


def curve(losses: Curve, window: int = WINDOW) -> Curve:
    """Give the median of the last `window` losses at each step."""
    steps = sorted(losses)
    return {
        step: median(losses[s] for s in steps[max(0, n + 1 - window) : n + 1])
        for n, step in enumerate(steps)
    }


def losses_of(run: Path) -> Curve:
    """Read a run's loss by step; after a resume the later line of a step counts."""
    rows = tail_jsonl(run / "train" / "progress.jsonl")
    return {row["step"]: row["loss"] for row in rows if isinstance(row.get("loss"), float)}


def spread(curves: list[Curve]) -> float:
    """Give the standard deviation between runs, pooled over the steps that all have."""
    if len(curves) == 1:
        line = straight(curves[0])
        return math.sqrt(mean((loss - line[s]) ** 2 for s, loss in curves[0].items()))
    steps = set.intersection(*(set(c) for c in curves))
    squares = [
        sum((c[s] - mean(d[s] for d in curves)) ** 2 for c in curves) / (len(curves) - 1)
        for s in steps
    ]
    return math.sqrt(mean(squares))


def straight(found: Curve) -> Curve:
    """Give the straight line through a curve's points, by least squares."""
    slope, level = linear_regression(list(found), list(found.values()))
    return {step: level + slope * step for step in found}


def bands(curves: list[Curve], width: float = WIDTH) -> list[tuple[int, float, float]]:
    """Give (step, lowest, highest) for each step that all curves have."""
    half = width * spread(curves) * math.sqrt(1 + 1 / len(curves))
    steps = sorted(set.intersection(*(set(c) for c in curves)))
    one = len(curves) == 1
    middle = straight(curves[0]) if one else {s: mean(c[s] for c in curves) for s in steps}
    return [(s, round(max(0.0, middle[s] - half), 4), round(middle[s] + half, 4)) for s in steps]


def edge(left_out: Curve, others: list[Curve]) -> float:
    """Give how far a run comes from the middle of the others' band to its edge; 1: outside."""
    box = {s: (low, high) for s, low, high in bands(others)}
    return max(
        abs(left_out[s] - (low + high) / 2) / ((high - low) / 2)
        for s, (low, high) in box.items()
        if s in left_out
    )


def main() -> None:
    """Read runs, write the file, print how the left-out ones lie."""
    import tomllib

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    curves, corpora, seeds = [], set(), []
    for run in options.runs:
        spec: dict[str, Any] = tomllib.loads((run / "run.toml").read_text())
        seeds.append(int(spec["recipe"]["data"]["train"]["seed"]))
        corpora.add((read_json(run / "corpus" / "outputs.json") or {}).get("sha256", ""))
        curves.append(curve(losses_of(run)))
    if len(corpora) != 1:
        raise SystemExit(f"these runs trained on {len(corpora)} different files of rows")
    found = bands(curves)
    if len(curves) > 2:
        for number, seed in enumerate(seeds):
            others = [c for n, c in enumerate(curves) if n != number]
            print(f"seed {seed}: {edge(curves[number], others):.0%} of the way to the others' edge")
    text = {
        "about": f"median of {WINDOW} losses: mean of {len(seeds)} seeds, {WIDTH:g} standard "
        f"deviations of a further run either way (pooled: {spread(curves):.3f})"
        if len(seeds) > 1
        else f"median of {WINDOW} losses of one run: a line, {WIDTH:g} standard deviations "
        f"of its own medians either way ({spread(curves):.3f}); between seeds not measured",
        "made": "python -m bench.loss_bands, from runs of the recipe as it is",
        "window": WINDOW, "corpus": corpora.pop(), "seeds": seeds, "steps": found,
    }  # fmt: skip
    lines = json.dumps({k: v for k, v in text.items() if k != "steps"}, indent=1)[:-2]
    rows = ",\n  ".join(json.dumps(list(row)) for row in found)
    options.out.write_text(f'{lines},\n "steps": [\n  {rows}\n ]\n}}\n')
    print(f"{options.out}: {len(found)} steps, ±{(found[0][2] - found[0][1]) / 2:.3f}")


if __name__ == "__main__":
    main()
