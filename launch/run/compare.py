"""Two runs' training, step by step: where do they part, and what do they differ in?

Read from each run's train/progress.jsonl (launch.stages.axolotl_watch says what stands there). A
step that was logged twice, because a resume did it again, counts as it was logged last. Values are
compared as they were logged, in float64.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import tail_jsonl
from launch.run.recipe_keys import PATHS, flat

if TYPE_CHECKING:
    from launch.run.folder import Run

#: Loss difference in nats a token beyond which two runs have parted, unless the user says another.
#: About what another kernel's rounding makes of a bfloat16 run; a guess, and printed as the bound.
BOUND = 0.01
#: What is compared to the last digit.
QUANTITIES = ("loss", "grad_norm", "learning_rate")


@dataclass(frozen=True)
class Curve:
    """What one run logged.

    Attributes:
        steps: step -> quantity -> value; NaN where what was logged is no number.
        of: steps that were planned; None where that was not logged.
        again: steps that a resume did again.
        changed: those of them that came out otherwise the second time.
        broken: lines of the file that cannot be read.
        step_s: median seconds a step; None where there are too few.
    """

    name: str
    steps: dict[int, dict[str, float]]
    of: int | None = None
    again: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    broken: int = 0
    step_s: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two curves held against each other.

    Attributes:
        one, other: the curves.
        bound: difference of the loss, in nats a token, beyond which they have parted.
        shared: steps that both logged, in order.
        first: quantity -> first shared step where it is not the same to the last digit.
        parted: first shared step where the loss differs by more than the bound, or is no number.
        largest: (step, difference) of the largest finite difference of the loss.
        notes: what a reader has to know: resumes, gaps, lengths, numbers that are none.
    """

    one: Curve
    other: Curve
    bound: float
    shared: list[int]
    first: dict[str, int]
    parted: int | None
    largest: tuple[int, float] | None
    notes: list[str] = field(default_factory=list)

    def headline(self) -> str:
        """Say in one sentence how they compare."""
        count = f"{len(self.shared):,} shared step{'s' * (len(self.shared) > 1)}"
        if not self.first:
            return f"the same to the last digit, in all {count}"
        apart = ", ".join(f"{name} at step {step}" for name, step in self.first.items())
        if self.parted is not None:
            return (f"they part: beyond {self.bound:g} nats at step {self.parted} "
                    f"(first digit apart: {apart})")  # fmt: skip
        most = f"; most at step {self.largest[0]}: {self.largest[1]:.2g}" if self.largest else ""
        return f"within {self.bound:g} nats in all {count} (first digit apart: {apart}{most})"

    def loss(self, step: int) -> tuple[float, float]:
        """Give both losses of a shared step."""
        return self.one.steps[step]["loss"], self.other.steps[step]["loss"]


def read(run: Run) -> Curve:
    """Read what a run's training logged.

    Raises:
        KitError: it has no training, or has logged no step with a loss.
    """
    if "train" not in run.stages:
        raise KitError(
            f"{run.name} has no training: it scored weights that were there",
            where=str(run.path), fix="mfo status lists the runs",
        )  # fmt: skip
    file = run.folder("train") / "progress.jsonl"
    found = curve(run.name, file)
    if not found.steps:
        state = run.status("train")["state"]
        raise KitError(
            f"{run.name} has logged no training step: its training is {state}",
            where=str(file),
            cause="it has not come to its first step, or its progress was lost"
            if file.is_file() else "the file is not there",
            fix=f"mfo status {run.name}",
        )  # fmt: skip
    return found


def curve(name: str, file: Path) -> Curve:
    """Read a progress.jsonl; one that is not there has no steps."""
    rows, lines = tail_jsonl(file), _lines(file)
    steps: dict[int, dict[str, float]] = {}
    again, changed, times = set(), set(), []
    of = None
    for row in rows:
        step = row.get("step")
        if isinstance(step, bool) or not isinstance(step, int) or "loss" not in row:
            continue  # the trainer's summary repeats the last step without a loss
        values = {key: _number(row.get(key)) for key in QUANTITIES if key in row}
        if step in steps:
            again.add(step)
            if not _same(steps[step]["loss"], values["loss"]):
                changed.add(step)
        steps[step] = values
        of = row["of"] if isinstance(row.get("of"), int) else of
        times.append((step, _number(row.get("time"))))
    paces = [b[1] - a[1] for a, b in itertools.pairwise(times) if b[0] == a[0] + 1]
    paces = [pace for pace in paces if math.isfinite(pace) and pace > 0]
    return Curve(
        name, dict(sorted(steps.items())), of, tuple(sorted(again)), tuple(sorted(changed)),
        lines - len(rows), statistics.median(paces) if len(paces) > 2 else None,
    )  # fmt: skip


def _lines(file: Path) -> int:
    try:
        return sum(1 for line in file.read_bytes().splitlines() if line.strip())
    except OSError:
        return 0


def _number(value: object) -> float:
    """Give what was logged as a number; NaN for text (what is not finite is logged as text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def _same(a: float, b: float) -> bool:
    return a == b  # NaN is never the same: nothing is known about it


def compare(one: Curve, other: Curve, bound: float = BOUND) -> Comparison:
    """Hold two curves against each other.

    Raises:
        KitError: no step was logged by both.
    """
    shared = [step for step in one.steps if step in other.steps]
    if not shared:
        raise KitError(
            f"{one.name} and {other.name} share no step: {_span(one)} and {_span(other)}",
            cause="another logging interval, or one of them was cut",
            fix="compare runs that log every step (train.logging_steps = 1)",
        )
    first: dict[str, int] = {}
    parted: int | None = None
    largest: tuple[int, float] | None = None
    for step in shared:
        a, b = one.steps[step], other.steps[step]
        for name in QUANTITIES:
            if name in a and name in b and not _same(a[name], b[name]):
                first.setdefault(name, step)
        apart = abs(a["loss"] - b["loss"])
        if parted is None and not apart <= bound:  # NaN is beyond every bound
            parted = step
        if math.isfinite(apart) and (largest is None or apart > largest[1]):
            largest = (step, apart)
    return Comparison(one, other, bound, shared, first, parted, largest,
                      _notes(one, other, shared))  # fmt: skip


def _span(curve: Curve) -> str:
    return f"{min(curve.steps)} to {max(curve.steps)}"


def _notes(one: Curve, other: Curve, shared: list[int]) -> list[str]:
    notes = []
    for curve in (one, other):
        if curve.again:
            what = "to the same losses"
            if curve.changed:
                what = f"{len(curve.changed)} with another loss, first step {curve.changed[0]}"
            notes.append(f"{curve.name} was resumed: {len(curve.again)} steps between "
                         f"{curve.again[0]} and {curve.again[-1]} were done again, {what}; what "
                         "was logged last counts")  # fmt: skip
        if curve.broken:
            notes.append(f"{curve.name}: {curve.broken} lines of its progress cannot be read")
        lost = [step for step, values in curve.steps.items() if not math.isfinite(values["loss"])]
        if lost:
            notes.append(f"{curve.name}: the loss is no number in {len(lost)} steps, first in step "
                         f"{lost[0]}; such a step is never the same as another")  # fmt: skip
        if curve.of and max(curve.steps) < curve.of:
            notes.append(f"{curve.name} has not come to its end: step {max(curve.steps)} of "
                         f"{curve.of}")  # fmt: skip
    if one.of and other.of and one.of != other.of:
        notes.append(f"they plan {one.of} and {other.of} steps: the schedules differ")
    if len(shared) < max(len(one.steps), len(other.steps)):
        notes.append(f"different lengths: steps {_span(one)} ({len(one.steps)} logged) and "
                     f"{_span(other)} ({len(other.steps)}); {len(shared)} are in both and are "
                     "compared")  # fmt: skip
    return notes


def differing(one: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    """Give what two runs differ in: recipe, site, versions, corpus and weights; None: not set."""
    a, b = _frozen(one), _frozen(other)
    return {k: (a.get(k), b.get(k)) for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)}


def _frozen(run: Run) -> dict[str, Any]:
    spec = {k: v for k, v in run.spec.items() if isinstance(v, Mapping)}
    recipe = dict(spec.pop("recipe"))
    table = flat({"recipe": recipe.get("name"), **recipe.get("data", {})})
    for key in PATHS:  # another checkout of the kit is no difference; the corpus has its sha256
        _, kit, below = str(table.get(key)).rpartition("/recipes/")
        table |= {key: f"recipes/{below}"} if kit else {}
    # What a site's lines rest on says nothing about training.
    table |= {k: v for k, v in flat(spec).items() if not k.startswith("site.evidence.")}
    facts: dict[str, Any] = {
        "corpus sha256": run.facts("corpus").get("sha256"),
        "weights sha256": run.facts("train").get("weights"),
    }
    return table | {k: v for k, v in facts.items() if v is not None}


def as_json(found: Comparison, differ: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Give a comparison for programs; a value that is no number is null."""

    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "runs": [found.one.name, found.other.name],
        "headline": found.headline(),
        "bound": found.bound,
        "first_apart": found.first,
        "parted": found.parted,
        "largest": found.largest,
        "notes": found.notes,
        "seconds_a_step": [found.one.step_s, found.other.step_s],
        "differ": {k: list(v) for k, v in differ.items()},
        "steps": [
            {"step": s, "loss": [plain(v) for v in found.loss(s)]} for s in found.shared
        ],
    }  # fmt: skip
