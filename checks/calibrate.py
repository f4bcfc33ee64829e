"""How often the checker errs: its verdicts on evaluations whose truth is known.

For each benchmark of a model's row the verdict's own code is asked what it says to each possible
score; then scores are drawn from evaluations with nothing wrong, with faults of 1 to 5 points,
and with the coarse faults that happen. The answers of a run with nothing wrong vary as follows:

- *retrain*: the number right is binomial at the published rate. Seeds add to this; nobody knows
  how much, so it is not in the table.
- *weights*: the same answers, but one item in fifty comes out otherwise on other hardware, as
  often for the better as for the worse.

Rubric scores are drawn with a standard deviation of 25 points. A few seconds on a laptop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from checks.items import Item
from checks.row_verdict import Evidence, judge_benchmark
from checks.tables import Benchmark, Score, Table
from checks.verdict_types import Row, Tier
from kit.errors import KitError

__all__ = ["FAULTS", "calibrate", "calibration_markdown"]

RUBRIC_SPREAD = 0.25
FLIPS = 0.02
GRID = 10_000  # steps of 0.01 points for rubric means
FAULTS: tuple[tuple[str, str, float], ...] = (
    # What is wrong, how it acts, by how much.
    ("nothing", "points", 0.0),
    ("1 point lost", "points", 0.01),
    ("2 points lost", "points", 0.02),
    ("3 points lost", "points", 0.03),
    ("5 points lost", "points", 0.05),
    ("10% unparsed", "share", 0.10),
    ("15% cut off", "share", 0.15),
    ("chat template lost", "lead", 0.33),
)
FAULT_NOTES = (
    "Unparsed and cut-off answers are taken as wrong ones, at random. A lost chat template is "
    "taken to cost a third of the lead over chance. Both are assumptions, not measurements."
)


def calibrate(
    table: Table,
    model: str,
    benchmarks: Sequence[str] | None = None,
    *,
    tier: Tier = "retrain",
    runs: int = 20_000,
    seed: int = 1,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Simulate the checker.

    Args:
        table: the published table.
        model: its row.
        benchmarks: which; all with a score and a number of items where none are named.
        tier: which rule.
        runs: evaluations drawn for each fault.
        seed: of the draws; the same seed gives the same table.
        progress: told the name of each benchmark as it begins.

    Returns:
        {"table", "model", "tier", "runs", "seed", "rows": [{"benchmark", "title", "items",
        "published", "margin", "margin_why", "faults": [{"fault", "true", "reproduced",
        "not reproduced", "inconclusive"}]}]}: shares of the runs, of 1.

    Raises:
        KitError: where a benchmark has no score or no number of items.
    """
    import numpy as np

    entry = table.model(model)
    keys = list(benchmarks or (k for k in entry.scores if table.benchmarks[k].items))
    rows = []
    for number, key in enumerate(keys):
        column, cell = table.benchmarks.get(key), entry.scores.get(key)
        if column is None or cell is None or not column.items:
            raise KitError(
                f"{key} cannot be calibrated: no score, or no number of items, in the table",
                where=table.name,
                fix=f"choose from: {', '.join(entry.scores)}",
            )
        if progress:
            progress(column.title)
        rule = _Rule(column, cell, tier)
        draw = np.random.default_rng([seed, number])
        faults = []
        for name, kind, size in FAULTS:
            true = _true(cell.value / 100, kind, size, (column.chance or 0.0) / 100)
            words = rule.verdicts(_draws(draw, column, cell, true, tier, runs))
            faults.append({"fault": name, "true": round(100 * true, 2), **words})
        row = rule.judged(rule.centre)
        rows.append(
            {
                "benchmark": key,
                "title": column.title,
                "items": column.items,
                "published": cell.value,
                "margin": row.margin,
                "margin_why": row.margin_why,
                "faults": faults,
            }
        )
    return {
        "table": table.name,
        "model": model,
        "tier": tier,
        "runs": runs,
        "seed": seed,
        "rows": rows,
    }


def _true(published: float, kind: str, size: float, chance: float) -> float:
    """Give the true share of a faulty evaluation."""
    lost = {"points": size, "share": published * size, "lead": (published - chance) * size}[kind]
    return min(1.0, max(0.0, published - lost))


def _draws(draw: Any, column: Benchmark, cell: Score, true: float, tier: Tier, runs: int) -> Any:
    """Draw scores: numbers right, or means in steps of 0.01 points."""
    import numpy as np

    items = column.items or 1
    if column.metric == "mean":
        noise = RUBRIC_SPREAD * (np.sqrt(2 * FLIPS) if tier == "weights" else 1.0)
        means = draw.normal(true, noise / np.sqrt(items), runs)
        return np.clip(np.rint(means * GRID), 0, GRID).astype(int)
    if tier == "retrain":
        return draw.binomial(items, true, runs)
    right = round(cell.value / 100 * items)
    lost = right - round(true * items)
    kept = right - lost
    # As many are expected to turn right as to turn wrong.
    turned = min(items * FLIPS / 2, kept, items - kept)
    worse = draw.binomial(kept, turned / max(1, kept), runs)
    better = draw.binomial(items - kept, turned / max(1, items - kept), runs)
    return kept - worse + better


class _Rule:
    """The verdict as a function of the score, asked of the checker itself.

    Going away from the published score the verdict passes from *reproduced* over *inconclusive*
    to *not reproduced*, so that four borders say everything and bisection finds them.
    """

    def __init__(self, column: Benchmark, cell: Score, tier: Tier) -> None:
        self.column, self.cell, self.tier = column, cell, tier
        self.size = GRID if column.metric == "mean" else column.items or 1
        self.centre = round(cell.value / 100 * self.size)
        self.asked: dict[int, Row] = {}
        self.low_pass = self._border(self.centre, 0, "reproduced")
        self.high_pass = self._border(self.centre, self.size, "reproduced")
        self.low_open = self._border(self.centre, 0, "reproduced", "inconclusive")
        self.high_open = self._border(self.centre, self.size, "reproduced", "inconclusive")

    def judged(self, score: int) -> Row:
        """Give the checker's row for a score."""
        if score not in self.asked:
            items = self._items(score)
            evidence = Evidence(self.column.key, self.column, self.cell, items, self.tier)
            self.asked[score] = judge_benchmark(evidence)
        return self.asked[score]

    def _items(self, score: int) -> list[Item]:
        count = self.column.items or 1
        if self.column.metric != "mean":
            return [Item(self.column.key, str(i), float(i < score)) for i in range(count)]
        # Two values around the mean, with the spread that rubric scores are taken to have.
        mean = score / GRID
        reach = min(RUBRIC_SPREAD, mean, 1 - mean)
        return [
            Item(self.column.key, str(i), min(1.0, max(0.0, mean + (reach if i % 2 else -reach))))
            for i in range(count)
        ]

    def _border(self, start: int, end: int, *words: str) -> int | None:
        """Give the last score from start towards end with one of these verdicts."""
        if self.judged(start).verdict not in words:
            return None
        if self.judged(end).verdict in words:
            return end
        inside, outside = start, end
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            if self.judged(middle).verdict in words:
                inside = middle
            else:
                outside = middle
        return inside

    def verdicts(self, scores: Any) -> dict[str, float]:
        """Give the share of each verdict among scores."""
        within = _between(scores, self.low_pass, self.high_pass)
        open_ = _between(scores, self.low_open, self.high_open)
        return {
            "reproduced": round(float(within.mean()), 4),
            "not reproduced": round(float((~open_).mean()), 4),
            "inconclusive": round(float((open_ & ~within).mean()), 4),
        }


def _between(scores: Any, low: int | None, high: int | None) -> Any:
    import numpy as np

    if low is None or high is None:
        return np.zeros(scores.shape, dtype=bool)
    return (scores >= low) & (scores <= high)


def calibration_markdown(result: dict[str, Any]) -> str:
    """Give the result as a Markdown table, a row a benchmark and fault, in per cent of the runs."""
    lines = [
        f"Model {result['model']}, tier *{result['tier']}*, {result['runs']:,} runs each, "
        f"seed {result['seed']}.",
        "",
        "| Benchmark | Items | Margin | What is wrong | True score | reproduced | inconclusive | "
        "not reproduced |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        for number, fault in enumerate(row["faults"]):
            name, count, margin = "", "", ""
            if not number:
                name, count = row["title"], f"{row['items']:,}"
                margin = f"±{row['margin']:.2f}"
            shares = " | ".join(
                f"{100 * fault[word]:.1f}%"
                for word in ("reproduced", "inconclusive", "not reproduced")
            )
            lines.append(
                f"| {name} | {count} | {margin} | {fault['fault']} | {fault['true']:.2f} | "
                f"{shares} |"
            )
    return "\n".join([*lines, "", FAULT_NOTES]) + "\n"
