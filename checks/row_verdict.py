"""One benchmark's verdict: what was observed, against what was published, by the tier's rule.

*retrain*: other weights, so the items stand for all the items that could have been asked. The
95% interval of the observed score lies wholly within published ± margin (*reproduced*), wholly
outside (*not reproduced*) or across an edge (*inconclusive*). Several training seeds widen that
interval by how far they lie apart (:mod:`checks.seeds`).

*weights*: the published weights or answers themselves, on the same items. Nothing was sampled,
so the yardstick is the noise of repeating an evaluation: the difference itself is held against
the margin. Only where items are missing is there a sample, of a finite set.

Whatever is missing, doubled, unknown or failed makes *invalid*: it is never a pass.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from checks import seeds
from checks.items import Item
from checks.tables import Benchmark, Score
from checks.verdict_types import Observation, Outcome, Preferences, Row, Rubric, Seeds, Tier

__all__ = ["Evidence", "judge_benchmark", "observe"]

REPEAT_NOISE = 1.0  # points; for released weights where the noise of repeats was not measured
_KEPT = ("items", "of", "why", "sha256")  # of the plan, in the verdict
_EPSILON = 1e-9


class Evidence(NamedTuple):
    """What is known about one benchmark.

    Attributes:
        key: the benchmark.
        column: the table's column; None where the table has none.
        published: the table's cell; None where it has none.
        items: what was scored.
        tier: which rule decides.
        planned: {"items", "of", "why", "sha256", "ids", "problem"} of this run, as far as known.
        allow_partial: whether missing items are allowed.
        failed: the message of the failed task, if it failed.
        before: the items of the untrained model, if there are any.
        judged: what a judge's grades or rulings come to, passed through.
    """

    key: str
    column: Benchmark | None
    published: Score | None
    items: Sequence[Item]
    tier: Tier
    planned: Mapping[str, Any] | None = None
    allow_partial: bool = False
    failed: str = ""
    before: Sequence[Item] | None = None
    judged: Rubric | Preferences | None = None

    @property
    def plan(self) -> Mapping[str, Any]:
        """What is known of the plan, possibly nothing."""
        return self.planned or {}

    @property
    def size(self) -> int | None:
        """How many items the benchmark has: by the table, else by its file."""
        return (self.column.items if self.column else None) or self.plan.get("of")


class _Margin(NamedTuple):
    """How far a score may be off, in points, and why."""

    points: float
    why: str


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A benchmark that can be judged: what was seen, what was published, what may be between."""

    seen: Observation
    observed: float
    interval: tuple[float, float]
    standard_error: float
    published: float
    margin: float
    metric: str
    seeds: Seeds | None

    @property
    def difference(self) -> float:
        """Observed less published, points."""
        return _round(self.observed - self.published)


class _Decision(NamedTuple):
    """The rule's answer, with what it changed of the observation to give it."""

    verdict: Outcome
    reason: str
    interval: tuple[float, float] | None = None
    interval_method: str = ""
    items_needed: int | None = None
    seeds_needed: int | None = None


def observe(items: Sequence[Item], metric: str = "accuracy") -> Observation:
    """Measure a score, in per cent, with its interval.

    Args:
        items: items of one benchmark; those with score None are left out.
        metric: ``accuracy`` (Wilson, unless items repeat) or ``mean`` (Student t, clustered).

    Returns:
        The observation; ``n`` counts distinct items, ``observed`` is None where none was scored.
    """
    from checks.statistics import mean_interval, share_interval  # scipy: half a second

    scored = [item for item in items if item.score is not None]
    scores = [item.score for item in scored if item.score is not None]
    n = len({item.id for item in scored})
    counts = Observation(
        n=n, evaluations=len(scored), unparsed=sum(item.unparsed for item in items)
    )
    if not scores:
        return counts
    clusters = [item.cluster if item.cluster is not None else item.id for item in scored]
    whole = all(score in (0.0, 1.0) for score in scores)
    counted = metric == "accuracy" and whole and len(set(clusters)) == len(scored)
    measured = share_interval(int(sum(scores)), n) if counted else mean_interval(scores, clusters)
    return replace(
        counts,
        observed=_points(measured.estimate),
        k=int(sum(scores)) if whole and n == len(scored) else None,
        interval=[_points(measured.low), _points(measured.high)],
        interval_method=measured.method,
        standard_error=_points(measured.standard_error),
    )


def judge_benchmark(evidence: Evidence) -> Row:
    """Give one benchmark's row of verdict.json; see docs of :func:`checks.verdict.judge`."""
    column, published = evidence.column, evidence.published
    metric = column.metric if column else "accuracy"
    spread = seeds.measure_seeds(evidence.items)
    seen = seeds.widen(observe(evidence.items, metric), spread)
    reason, missing = _problem(evidence, seen.n)
    decision, margin = _Decision("invalid", reason), None
    if not reason and column is not None and published is not None:
        margin = _margin(evidence, column, published, seen)
        decision = _decide(evidence, _case(seen, published, margin, metric, spread))
    if spread is not None:
        spread = replace(spread, needed=decision.seeds_needed)
    difference = None
    if seen.observed is not None and published is not None:
        difference = _round(seen.observed - published.value)
    return Row(
        benchmark=evidence.key,
        title=column.title if column else evidence.key,
        metric="mean" if metric == "mean" else "accuracy",
        verdict=decision.verdict,
        reason=decision.reason,
        observed=seen.observed,
        k=seen.k,
        n=seen.n,
        evaluations=seen.evaluations,
        unparsed=seen.unparsed,
        interval=list(decision.interval) if decision.interval else seen.interval,
        interval_method=seen.interval_method + decision.interval_method,
        standard_error=seen.standard_error,
        missing=missing,
        items_published=column.items if column else None,
        planned={k: evidence.plan[k] for k in _KEPT if k in evidence.plan},
        published=published.value if published else None,
        published_pm=published.pm if published else None,
        published_seeds=list(published.seeds) if published else [],
        decimals=column.decimals if column else 2,
        chance=column.chance if column else None,
        difference=difference,
        margin=margin.points if margin else None,
        margin_why=margin.why if margin else "",
        items_needed=decision.items_needed,
        seeds=spread,
        before=observe(evidence.before, metric) if evidence.before else None,
        judged=evidence.judged,
    )


def _problem(evidence: Evidence, n: int) -> tuple[str, int]:
    """Say what makes the evidence invalid, "" where nothing does, and how many items are missing.

    Args:
        evidence: what is known.
        n: distinct items scored.
    """
    column, items, planned = evidence.column, evidence.items, evidence.plan
    problem = ""
    if evidence.failed:
        problem = f"The evaluation failed: {evidence.failed}"
    elif planned.get("problem"):
        problem = str(planned["problem"])
    elif column is None:
        problem = (
            f"The published table has no benchmark {evidence.key}: there is no reference value."
        )
    elif evidence.published is None:
        problem = f"The table gives no {column.title} score for this model: no reference value."
    elif strangers := {item.benchmark for item in items} - {evidence.key}:
        problem = f"Items of another benchmark are among these: {', '.join(sorted(strangers))}."
    elif not n:
        problem = "No item was scored."
    else:
        problem = _wrong_items(evidence, column)
    return (problem, 0) if problem else _incomplete(evidence, n)


def _wrong_items(evidence: Evidence, column: Benchmark) -> str:
    items, planned = evidence.items, evidence.plan
    counts = Counter((i.id, i.seed, i.repeat) for i in items)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        return f"{len(twice):,} items are there twice, such as {twice[0][0]!r}."
    if uneven := seeds.problem(items):
        return uneven
    if column.metric == "accuracy" and any(i.score not in (0.0, 1.0, None) for i in items):
        return "The table counts right answers, but some scores are neither 0 nor 1."
    if column.sha256 and planned.get("sha256") and planned["sha256"] != column.sha256:
        return "The file of items is not the published one: its sha256 differs."
    known = planned.get("ids")
    unknown = {item.id for item in items} - {str(i) for i in known} if known else set()
    if unknown:
        return f"{len(unknown):,} items are unknown to the benchmark, such as {min(unknown)!r}."
    return ""


def _incomplete(evidence: Evidence, n: int) -> tuple[str, int]:
    column = evidence.column
    expected = evidence.plan.get("items") or (column.items if column else None)
    per_id = Counter(i.id for i in evidence.items if i.score is not None)
    repeats = max(per_id.values(), default=1)
    if expected is None:
        if evidence.allow_partial:
            return "", 0
        return (
            "The table does not say how many items the benchmark has, so nobody can tell "
            "whether some are missing. Add items = N to the table, or allow partial results."
        ), 0
    if n > expected:
        return (
            f"There are {n:,} items where {expected:,} were expected: "
            f"{n - expected:,} are unknown to the benchmark."
        ), 0
    missing = expected - n
    uneven = sum(repeats - count for count in per_id.values())
    if evidence.allow_partial or not (missing or uneven):
        return "", missing
    if not missing:
        return f"{uneven:,} of the {repeats} evaluations of each item are missing.", 0
    return (
        f"{missing:,} of {expected:,} items are missing. Score them, or allow partial "
        "results on purpose (--allow-partial)."
    ), missing


def _margin(evidence: Evidence, column: Benchmark, published: Score, seen: Observation) -> _Margin:
    """Choose the margin: the table's, else by the tier's rule."""
    if column.margin is not None:
        return _Margin(column.margin, column.margin_why or "fixed in the published table's file")
    if evidence.tier == "weights":
        noise = _repeat_noise(evidence.items)
        if noise is None:
            return _Margin(
                REPEAT_NOISE, "1 point: the same items, and the noise of repeats is not measured"
            )
        runs, width = noise
        return _Margin(
            _round(max(REPEAT_NOISE, width)),
            f"the larger of 1 point and the noise between {runs} repeats "
            f"(a further one falls within ±{width:.2f} points, 95%)",
        )
    from checks import statistics  # scipy: half a second

    # The benchmark's own size, never the number scored: fewer items must not widen the margin.
    size = evidence.size or seen.n
    if column.metric == "accuracy":
        margin = statistics.smallest_margin(published.value / 100, size)
        spread = ""
    else:
        error = (seen.standard_error or 0.0) / 100 * math.sqrt(seen.n / size)
        margin = statistics.mean_smallest_margin(error, size)
        spread = ", given the spread of these scores"
    return _Margin(
        _points(margin),
        f"the smallest that the benchmark's {size:,} items can decide with 80% power{spread}",
    )


def _repeat_noise(items: Sequence[Item]) -> tuple[int, float] | None:
    """Give how many repeats there are and the 95% prediction half-width between them, in points.

    The published score is one run and ours the mean of r, so the difference has the variance
    s² (1 + 1/r).
    """
    runs: dict[int, list[float]] = {}
    for item in items:
        if item.score is not None:
            runs.setdefault(item.repeat, []).append(item.score)
    count = len(runs)
    if count < 2:
        return None
    from scipy.stats import t

    means = [100 * sum(scores) / len(scores) for scores in runs.values()]
    centre = sum(means) / count
    spread = math.sqrt(sum((m - centre) ** 2 for m in means) / (count - 1))
    return count, float(t.ppf(0.975, count - 1)) * spread * math.sqrt(1 + 1 / count)


def _case(
    seen: Observation, published: Score, margin: _Margin, metric: str, spread: Seeds | None
) -> _Case:
    """Put together what a rule decides by; something was scored, as `_problem` made sure."""
    if seen.observed is None or seen.interval is None or seen.standard_error is None:
        raise ValueError("no item was scored")
    return _Case(
        seen=seen,
        observed=seen.observed,
        interval=(seen.interval[0], seen.interval[1]),
        standard_error=seen.standard_error,
        published=published.value,
        margin=margin.points,
        metric=metric,
        seeds=spread,
    )


def _decide(evidence: Evidence, case: _Case) -> _Decision:
    rule = _decide_weights if evidence.tier == "weights" else _decide_retrained
    return _never_pass_another_benchmark(evidence, rule(evidence, case))


def _decide_weights(evidence: Evidence, case: _Case) -> _Decision:
    from checks import statistics  # scipy: half a second

    n = case.seen.n
    size = evidence.size or n
    decimals = evidence.column.decimals if evidence.column else 2
    allowed = case.margin + 0.5 * 10**-decimals + _EPSILON
    if n >= size:
        near = abs(case.difference) <= allowed
        side = "within" if near else "beyond"
        return _Decision(
            "reproduced" if near else "not reproduced",
            f"All {size:,} items were scored; {_off(case)}, {side} the margin of {_width(case)}.",
        )
    if case.metric == "accuracy" and case.seen.interval_method == "Wilson":
        low, high = statistics.finite_interval(case.observed / 100 * n, n, size)
        interval = (_points(low), _points(high))
    else:
        narrow = math.sqrt((size - n) / (size - 1))
        low, high = (_round(case.observed + (x - case.observed) * narrow) for x in case.interval)
        interval = (low, high)
    case = replace(case, interval=interval)
    found = _by_interval(case, allowed, f"{n:,} of {size:,} items were scored")._replace(
        interval=interval, interval_method=f", for the whole set of {size:,}"
    )
    if found.verdict != "inconclusive":
        return found
    free = _needed(case, published_rate=True)
    # With a finite set, fewer will do: n0 / (1 + (n0 − 1)/N), Cochran 1977, section 4.5.
    needed = size if free is None else math.ceil(free / (1 + (free - 1) / size))
    needed = min(size, max(needed, n + 1))
    return found._replace(
        items_needed=needed,
        reason=f"{found.reason} About {needed:,} of the {size:,} items would do.",
    )


def _decide_retrained(evidence: Evidence, case: _Case) -> _Decision:
    n = case.seen.n
    size = evidence.plan.get("of") or (evidence.column.items if evidence.column else None)
    scored = f"{n:,} items were scored"
    if size and n < size:
        why = evidence.plan.get("why")
        scored = f"{n:,} of {size:,} items were scored" + (f" ({why})" if why else "")
    if case.seeds:
        scored = f"{len(case.seeds.scores)} training seeds; {scored}"
    found = _by_interval(case, case.margin + _EPSILON, scored)
    if found.verdict != "inconclusive":
        return found
    if case.seeds and seeds.undecided(case.seeds, case.published, case.margin):
        more, reason = seeds.explain(case.seeds, abs(case.margin - abs(case.difference)))
        return found._replace(seeds_needed=more, reason=found.reason + reason)
    needed = _needed(case, published_rate=True)
    if needed is not None and needed > n:
        reason = f" About {needed:,} items would do"
    else:
        # Enough items to confirm the published score, but this one lies near the margin's edge.
        needed = _needed(case, published_rate=False)
        if needed is None:
            edge = " The score lies on the margin's edge: no number of items decides it."
            return found._replace(reason=found.reason + edge)
        reason = (
            f" The score lies near the margin's edge: about {needed:,} items with "
            "this share of right answers would do"
        )
    if size and needed > size:
        reason += f", more than the {size:,} that the benchmark has"
    return found._replace(items_needed=needed, reason=f"{found.reason}{reason}.")


def _by_interval(case: _Case, allowed: float, scored: str) -> _Decision:
    low, high = case.interval
    bottom, top = case.published - allowed, case.published + allowed
    band = f"published ± {_width(case)}"
    interval = f"the 95% interval [{low:.2f}, {high:.2f}]"
    if bottom <= low and high <= top:
        return _Decision(
            "reproduced", f"{scored}; {_off(case)}, and {interval} lies within {band}."
        )
    if high < bottom or low > top:
        return _Decision(
            "not reproduced", f"{scored}; {_off(case)}, and {interval} lies outside {band}."
        )
    return _Decision(
        "inconclusive", f"{scored}; {_off(case)}, but {interval} crosses an edge of {band}."
    )


def _needed(case: _Case, *, published_rate: bool) -> int | None:
    """Give the items that decide: at the published rate, or at the observed one."""
    from checks import statistics  # scipy: half a second

    if published_rate:
        margin, rate, power = case.margin, case.published, statistics.POWER
    else:  # the distance to the nearest edge is what the interval's half must fit into
        margin = abs(case.margin - abs(case.difference))
        rate, power = case.observed, 0.0
    if margin < 0.01:
        return None
    if case.metric == "accuracy" or not case.standard_error:  # what does not vary is counted
        return statistics.items_needed(rate / 100, margin / 100, power=power)
    return statistics.mean_items_needed(
        case.standard_error / 100, case.seen.n, margin / 100, power=power
    )


def _never_pass_another_benchmark(evidence: Evidence, found: _Decision) -> _Decision:
    """Take back a pass on a file of items that is not as long as the published one."""
    of, published = evidence.plan.get("of"), evidence.column.items if evidence.column else None
    if not of or not published or of == published:
        return found
    other = f"The file holds {of:,} items where the published score is over {published:,}"
    if found.verdict == "reproduced" and (of > published or not evidence.allow_partial):
        reason = f"{other}: they are not the same items, so agreement shows nothing."
        return found._replace(verdict="invalid", reason=reason)
    return found._replace(reason=f"{found.reason} {other}.")


def _off(case: _Case) -> str:
    if abs(case.difference) < 0.005:
        return "the score is the published one"
    side = "above" if case.difference > 0 else "below"
    return f"the score is {abs(case.difference):.2f} points {side} the published one"


def _width(case: _Case) -> str:
    return f"{case.margin:.2f} points"


def _points(share: float) -> float:
    return _round(100 * share)


def _round(value: float) -> float:
    """Keep four decimals: enough for every table, and the same bytes on every machine."""
    return round(value, 4) + 0.0
