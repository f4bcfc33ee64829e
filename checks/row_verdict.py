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
from typing import Any, Literal, NamedTuple

from checks import seeds
from checks.items import Item
from checks.tables import Benchmark, Score

__all__ = ["Evidence", "Tier", "judge_benchmark", "observe"]

Tier = Literal["weights", "retrain"]
REPEAT_NOISE = 1.0  # points; for released weights where the noise of repeats was not measured
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


def observe(items: Sequence[Item], metric: str = "accuracy") -> dict[str, Any]:
    """Measure a score, in per cent, with its interval.

    Args:
        items: items of one benchmark; those with score None are left out.
        metric: ``accuracy`` (Wilson, unless items repeat) or ``mean`` (Student t, clustered).

    Returns:
        observed, k, n (distinct items), evaluations, unparsed, interval, interval_method and
        standard_error; ``observed`` is None where nothing was scored.
    """
    from checks.statistics import mean_interval, share_interval

    scored = [item for item in items if item.score is not None]
    scores = [item.score for item in scored if item.score is not None]
    n = len({item.id for item in scored})
    row: dict[str, Any] = {
        "observed": None,
        "k": None,
        "n": n,
        "evaluations": len(scored),
        "unparsed": sum(item.unparsed for item in items),
        "interval": None,
        "interval_method": "",
        "standard_error": None,
    }
    if not scores:
        return row
    clusters = [item.cluster if item.cluster is not None else item.id for item in scored]
    whole = all(score in (0.0, 1.0) for score in scores)
    if whole and n == len(scored):
        row["k"] = int(sum(scores))
    counted = metric == "accuracy" and whole and len(set(clusters)) == len(scored)
    measured = share_interval(int(sum(scores)), n) if counted else mean_interval(scores, clusters)
    row["observed"] = _points(measured.estimate)
    row["interval"] = [_points(measured.low), _points(measured.high)]
    row["interval_method"] = measured.method
    row["standard_error"] = _points(measured.standard_error)
    return row


def judge_benchmark(evidence: Evidence) -> dict[str, Any]:
    """Give one benchmark's row of verdict.json; see docs of :func:`checks.verdict.judge`."""
    column, planned = evidence.column, evidence.planned or {}
    metric = column.metric if column else "accuracy"
    row: dict[str, Any] = {
        "benchmark": evidence.key,
        "title": column.title if column else evidence.key,
        "metric": metric,
        "verdict": "invalid",
        "reason": "",
        **observe(evidence.items, metric),
        "missing": 0,
        "items_published": column.items if column else None,
        "planned": {k: planned[k] for k in ("items", "of", "why", "sha256") if k in planned},
        "published": evidence.published.value if evidence.published else None,
        "published_pm": evidence.published.pm if evidence.published else None,
        "published_seeds": list(evidence.published.seeds) if evidence.published else [],
        "decimals": column.decimals if column else 2,
        "chance": column.chance if column else None,
        "difference": None,
        "margin": None,
        "margin_why": "",
        "items_needed": None,
        "seeds": seeds.measure_seeds(evidence.items),
        "before": None,
    }
    seeds.widen(row)
    if evidence.before:
        row["before"] = observe(evidence.before, metric)
    if row["observed"] is not None and row["published"] is not None:
        row["difference"] = _round(row["observed"] - row["published"])
    problem = _problem(evidence, row)
    if problem or column is None:
        row["reason"] = problem
        return row
    _set_margin(evidence, row)
    if evidence.tier == "weights":
        _judge_weights(evidence, row)
    else:
        _judge_retrain(evidence, row)
    _never_pass_another_benchmark(evidence, row)
    return row


def _problem(evidence: Evidence, row: dict[str, Any]) -> str:
    """Say what makes the evidence invalid; empty where nothing does."""
    column, items, planned = evidence.column, evidence.items, evidence.planned or {}
    if evidence.failed:
        return f"The evaluation failed: {evidence.failed}"
    if planned.get("problem"):
        return str(planned["problem"])
    if column is None:
        return f"The published table has no benchmark {evidence.key}: there is no reference value."
    if evidence.published is None:
        return f"The table gives no {column.title} score for this model: no reference value."
    strangers = {item.benchmark for item in items} - {evidence.key}
    if strangers:
        return f"Items of another benchmark are among these: {', '.join(sorted(strangers))}."
    if not row["n"]:
        return "No item was scored."
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
    return _incomplete(evidence, row)


def _incomplete(evidence: Evidence, row: dict[str, Any]) -> str:
    column, planned = evidence.column, evidence.planned or {}
    expected = planned.get("items") or (column.items if column else None)
    per_id = Counter(i.id for i in evidence.items if i.score is not None)
    repeats = max(per_id.values(), default=1)
    if expected is None:
        if evidence.allow_partial:
            return ""
        return (
            "The table does not say how many items the benchmark has, so nobody can tell "
            "whether some are missing. Add items = N to the table, or allow partial results."
        )
    if row["n"] > expected:
        return (
            f"There are {row['n']:,} items where {expected:,} were expected: "
            f"{row['n'] - expected:,} are unknown to the benchmark."
        )
    row["missing"] = expected - row["n"]
    uneven = sum(repeats - count for count in per_id.values())
    if evidence.allow_partial or not (row["missing"] or uneven):
        return ""
    if not row["missing"]:
        return f"{uneven:,} of the {repeats} evaluations of each item are missing."
    return (
        f"{row['missing']:,} of {expected:,} items are missing. Score them, or allow partial "
        "results on purpose (--allow-partial)."
    )


def _set_margin(evidence: Evidence, row: dict[str, Any]) -> None:
    """Choose the margin in points: the table's, else the tier's rule, and say why."""
    column, published = evidence.column, evidence.published
    if column is None or published is None:
        return
    if column.margin is not None:
        row["margin"] = column.margin
        row["margin_why"] = column.margin_why or "fixed in the published table's file"
        return
    if evidence.tier == "weights":
        noise = _repeat_noise(evidence.items)
        if noise is None:
            row["margin"] = REPEAT_NOISE
            row["margin_why"] = "1 point: the same items, and the noise of repeats is not measured"
        else:
            runs, width = noise
            row["margin"] = _round(max(REPEAT_NOISE, width))
            row["margin_why"] = (
                f"the larger of 1 point and the noise between {runs} repeats "
                f"(a further one falls within ±{width:.2f} points, 95%)"
            )
        return
    from checks import statistics

    # The benchmark's own size, never the number scored: fewer items must not widen the margin.
    size = column.items or (evidence.planned or {}).get("of") or row["n"]
    if column.metric == "accuracy":
        margin = statistics.smallest_margin(published.value / 100, size)
        spread = ""
    else:
        error = row["standard_error"] / 100 * math.sqrt(row["n"] / size)
        margin = statistics.mean_smallest_margin(error, size)
        spread = ", given the spread of these scores"
    row["margin"] = _points(margin)
    row["margin_why"] = (
        f"the smallest that the benchmark's {size:,} items can decide with 80% power{spread}"
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


def _judge_weights(evidence: Evidence, row: dict[str, Any]) -> None:
    from checks import statistics

    column = evidence.column
    size = (column.items if column else None) or (evidence.planned or {}).get("of") or row["n"]
    rounding = 0.5 * 10 ** -row["decimals"]
    allowed = row["margin"] + rounding + _EPSILON
    away = abs(row["difference"])
    if row["n"] >= size:
        row["verdict"] = "reproduced" if away <= allowed else "not reproduced"
        side = "within" if away <= allowed else "beyond"
        row["reason"] = (
            f"All {size:,} items were scored; {_off(row)}, {side} the margin of {_margin(row)}."
        )
        return
    share, n = row["observed"] / 100, row["n"]
    if row["metric"] == "accuracy" and row["interval_method"] == "Wilson":
        low, high = statistics.finite_interval(share * n, n, size)
        row["interval"] = [_points(low), _points(high)]
    else:
        narrow = math.sqrt((size - n) / (size - 1))
        row["interval"] = [_round(row["observed"] + (x - row["observed"]) * narrow)
                           for x in row["interval"]]  # fmt: skip
    row["interval_method"] += f", for the whole set of {size:,}"
    _by_interval(row, allowed, f"{n:,} of {size:,} items were scored")
    if row["verdict"] == "inconclusive":
        free = _needed(row, published_rate=True)
        # With a finite set, fewer will do: n0 / (1 + (n0 − 1)/N), Cochran 1977, section 4.5.
        needed = size if free is None else math.ceil(free / (1 + (free - 1) / size))
        row["items_needed"] = min(size, max(needed, n + 1))
        row["reason"] += f" About {row['items_needed']:,} of the {size:,} items would do."


def _judge_retrain(evidence: Evidence, row: dict[str, Any]) -> None:
    size = (evidence.planned or {}).get("of") or row["items_published"]
    scored = f"{row['n']:,} items were scored"
    if size and row["n"] < size:
        scored = f"{row['n']:,} of {size:,} items were scored"
    why = (evidence.planned or {}).get("why")
    if why and size and row["n"] < size:
        scored += f" ({why})"
    if row["seeds"]:
        scored = f"{len(row['seeds']['scores'])} training seeds; {scored}"
    _by_interval(row, row["margin"] + _EPSILON, scored)
    if row["verdict"] != "inconclusive":
        return
    if said := seeds.explain(row):
        row["reason"] += said
        return
    needed = _needed(row, published_rate=True)
    if needed is not None and needed > row["n"]:
        row["items_needed"] = needed
        row["reason"] += f" About {needed:,} items would do"
    else:
        # Enough items to confirm the published score, but this one lies near the margin's edge.
        row["items_needed"] = _needed(row, published_rate=False)
        if row["items_needed"] is None:
            row["reason"] += " The score lies on the margin's edge: no number of items decides it."
            return
        row["reason"] += (
            f" The score lies near the margin's edge: about {row['items_needed']:,} items with "
            "this share of right answers would do"
        )
    if size and row["items_needed"] > size:
        row["reason"] += f", more than the {size:,} that the benchmark has"
    row["reason"] += "."


def _by_interval(row: dict[str, Any], allowed: float, scored: str) -> None:
    low, high = row["interval"]
    bottom, top = row["published"] - allowed, row["published"] + allowed
    band = f"published ± {_margin(row)}"
    interval = f"the 95% interval [{low:.2f}, {high:.2f}]"
    if bottom <= low and high <= top:
        row["verdict"] = "reproduced"
        row["reason"] = f"{scored}; {_off(row)}, and {interval} lies within {band}."
    elif high < bottom or low > top:
        row["verdict"] = "not reproduced"
        row["reason"] = f"{scored}; {_off(row)}, and {interval} lies outside {band}."
    else:
        row["verdict"] = "inconclusive"
        row["reason"] = f"{scored}; {_off(row)}, but {interval} crosses an edge of {band}."


def _needed(row: dict[str, Any], *, published_rate: bool) -> int | None:
    """Give the items that decide: at the published rate, or at the observed one."""
    from checks import statistics

    if published_rate:
        margin, rate, power = row["margin"], row["published"], statistics.POWER
    else:  # the distance to the nearest edge is what the interval's half must fit into
        margin = abs(row["margin"] - abs(row["difference"]))
        rate, power = row["observed"], 0.0
    if margin < 0.01:
        return None
    if row["metric"] == "accuracy" or not row["standard_error"]:  # what does not vary is counted
        return statistics.items_needed(rate / 100, margin / 100, power=power)
    return statistics.mean_items_needed(
        row["standard_error"] / 100, row["n"], margin / 100, power=power
    )


def _never_pass_another_benchmark(evidence: Evidence, row: dict[str, Any]) -> None:
    """Take back a pass on a file of items that is not as long as the published one."""
    of, published = (evidence.planned or {}).get("of"), row["items_published"]
    if not of or not published or of == published:
        return
    other = f"The file holds {of:,} items where the published score is over {published:,}"
    if row["verdict"] == "reproduced" and (of > published or not evidence.allow_partial):
        row["verdict"] = "invalid"
        row["reason"] = f"{other}: they are not the same items, so agreement shows nothing."
    else:
        row["reason"] += f" {other}."


def _off(row: dict[str, Any]) -> str:
    difference = row["difference"]
    if abs(difference) < 0.005:
        return "the score is the published one"
    side = "above" if difference > 0 else "below"
    return f"the score is {abs(difference):.2f} points {side} the published one"


def _margin(row: dict[str, Any]) -> str:
    return f"{row['margin']:.2f} points"


def _points(share: float) -> float:
    return _round(100 * share)


def _round(value: float) -> float:
    """Keep four decimals: enough for every table, and the same bytes on every machine."""
    return round(value, 4) + 0.0
