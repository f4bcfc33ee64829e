"""What is kept of measured runs in docs/: a page without its items, and the loss of every seed.

    python -m bench.kept_pages RUN RUN … --bands recipes/pocket/loss.json --out docs/pocket

The page is the first run's, judged anew by the table as it is now. The figure has a line for each
run and the edges of the band within which training goes on.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from bench.loss_bands import losses_of
from checks.report import write_report
from checks.report.lines import Axis, Series, chart, standalone
from launch.run.folder import open_run
from launch.stages import judge
from launch.stages.envelope import read_bands

#: An absolute path, and its last name.
PATH = re.compile(r"(?<![\w.:/])(?:/[\w.+@-]+)+/([\w.+@-]+)")


def without_places(value: Any) -> Any:
    """Give a verdict without this machine's folders: of an absolute path the last name is left."""
    if isinstance(value, str):
        return PATH.sub(r"…/\1", value)
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items()}
    return [without_places(one) for one in value] if isinstance(value, list) else value


def curves(runs: list[Path], bands: Path | None) -> str:
    """Draw the losses by step, one line a run, and the band's edges."""
    series = []
    for path in runs:
        seed = open_run(path).recipe.table("train").get("seed")
        series.append(Series(f"seed {seed}", [(float(s), v) for s, v in losses_of(path).items()]))
    if bands is not None:
        found = read_bands(bands)
        edges = [
            [(float(step), edge[n]) for step, edge in sorted(found.steps.items())] for n in (0, 1)
        ]
        series += [Series("band", edges[0], tone=3), Series("", edges[1], tone=3)]
    step, loss = Axis("step"), Axis("nats a token")
    return standalone(chart(series, x=step, y=loss, width=760, title="Training loss", floor=0.0))


def main() -> None:
    """Write index.html and loss.svg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--bands", type=Path)
    parser.add_argument("--table", help="a published table other than the recipe's, and its model")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = open_run(options.runs[0].resolve())
    asked = {"published": options.table, "model": options.model}
    verdict = judge.derive(run, {key: value for key, value in asked.items() if value})
    page = write_report(without_places(verdict), options.out, None)
    figure = options.out / "loss.svg"
    figure.write_text(curves(options.runs, options.bands))
    for file in (page, figure):
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
