"""Holding evaluations against each other: paired, independent, equivalent, many at once.

All differences are *ours less theirs*, in shares of 1. Which one answers what:

- the same items, two models or two runs: :func:`paired` (exact McNemar test, McNemar 1947,
  Psychometrika 12:153; clustered bootstrap interval);
- other items, or only the published share: :func:`independent` (Newcombe 1998, Statistics in
  Medicine 17:873, method 10);
- "no difference that matters": :func:`equivalent` (two one-sided tests, Schuirmann 1987);
- where the next seed will fall: :func:`prediction_interval`;
- several benchmarks: :func:`any_differs` (Holm 1979) and :func:`all_within` (intersection–union,
  Berger 1982), which needs no correction.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from checks.items import Item
from checks.statistics import LEVEL, clustered_error, wilson

__all__ = [
    "Paired",
    "all_within",
    "any_differs",
    "equivalent",
    "independent",
    "paired",
    "prediction_interval",
]

RESAMPLES = 4000
SEED = 20260515  # fixed: the same items give the same interval


class Paired(NamedTuple):
    """Two evaluations of the same items.

    Attributes:
        items: how many both have scored.
        difference: mean of ours less theirs.
        low: lower end of the 95% interval of the difference.
        high: upper end.
        ours_only: items that only ours got right; None for rubric scores.
        theirs_only: items that only theirs got right; None for rubric scores.
        p_value: exact McNemar, or of the clustered t test for rubric scores; 1 where all agree.
        p_equivalent: two one-sided tests within the margin; None where no margin was given.
        method: in words.
    """

    items: int
    difference: float
    low: float
    high: float
    ours_only: int | None
    theirs_only: int | None
    p_value: float
    p_equivalent: float | None
    method: str


def paired(
    ours: Sequence[Item], theirs: Sequence[Item], margin: float | None = None
) -> Paired | None:
    """Compare two evaluations of the same items, item by item.

    Repeats of an item are averaged first. Items that only one side has scored are left out;
    :attr:`Paired.items` tells how many remain.

    Args:
        ours: one side's items of one benchmark.
        theirs: the other side's.
        margin: of equivalence, in shares of 1.

    Returns:
        The comparison, or None where no item was scored on both sides.
    """
    left, right = _means(ours), _means(theirs)
    shared = [key for key in left if key in right]
    if not shared:
        return None
    differences = [left[key] - right[key] for key in shared]
    names = {item.id: item.cluster or item.id for item in ours}
    clusters = [names[key] for key in shared]
    whole = all(value in (0.0, 1.0) for key in shared for value in (left[key], right[key]))
    single = len(set(clusters)) == len(clusters)
    mean, error, groups = clustered_error(differences, clusters)
    low, high = _bootstrap(differences, clusters)
    ours_only = theirs_only = None
    if whole and single:
        from statsmodels.stats.contingency_tables import mcnemar

        ours_only = sum(d > 0 for d in differences)
        theirs_only = sum(d < 0 for d in differences)
        agree = len(shared) - ours_only - theirs_only
        test = mcnemar([[agree, ours_only], [theirs_only, 0]], exact=True)
        p_value, method = min(1.0, float(test.pvalue)), "exact McNemar test"
    else:
        p_value, method = _t_test(mean, error, groups), f"t test over {groups:,} clusters"
    equal = None if margin is None else _tost(mean, error, groups, margin)
    return Paired(
        len(shared),
        mean,
        low,
        high,
        ours_only,
        theirs_only,
        p_value,
        equal,
        f"{method}; interval by clustered bootstrap",
    )


def _means(items: Sequence[Item]) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    for item in items:
        if item.score is not None:
            scores[item.id].append(item.score)
    return {key: sum(values) / len(values) for key, values in scores.items()}


def _bootstrap(values: Sequence[float], clusters: Sequence[str]) -> tuple[float, float]:
    """Resample whole clusters; give the percentile interval of the mean.

    Where no two clusters differ there is nothing to resample. What was seen in none of n clusters
    may still hold for some share of all: the interval reaches as far as Wilson's for 0 of n.
    """
    import numpy as np

    codes = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([codes[name] for name in clusters])
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    counts = np.bincount(index).astype(float)
    draw = np.random.default_rng(SEED)
    size, means = len(codes), np.empty(RESAMPLES)
    if np.ptp(sums / counts) < 1e-12:
        centre, reach = float(sums[0] / counts[0]), wilson(0, size)[1]
        bound = max(1.0, abs(centre))  # rubric scores with penalties may differ by more than 1
        return max(-bound, centre - reach), min(bound, centre + reach)
    step = max(1, 4_000_000 // size)  # so many resamples at a time keep memory small
    for start in range(0, RESAMPLES, step):
        stop = min(RESAMPLES, start + step)
        chosen = draw.integers(0, size, (stop - start, size))
        means[start:stop] = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _t_test(mean: float, error: float, groups: int) -> float:
    if error < 1e-12 or groups < 2:
        return 1.0 if abs(mean) < 1e-12 else 0.0
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / error, groups - 1))


def _tost(mean: float, error: float, groups: int, margin: float) -> float:
    """Give the larger p-value of "not below −margin" and "not above margin"."""
    if abs(mean) >= margin:
        return 1.0
    if error < 1e-12 or groups < 2:
        # No cluster differs from another: how often that is so if a share ``margin`` would.
        return (1 - margin + abs(mean)) ** groups
    from scipy.stats import t

    return float(t.sf((margin - abs(mean)) / error, groups - 1))


def equivalent(
    k1: int, n1: int, k2: int, n2: int, margin: float, level: float = LEVEL
) -> tuple[bool, float]:
    """Test whether two independent shares differ by less than a margin.

    Returns:
        Whether they do at ``level``, and the p-value of the two one-sided tests.
    """
    from statsmodels.stats.proportion import tost_proportions_2indep

    if k1 * k2 == n1 * n2 or k1 + k2 == 0:  # no variance to estimate: the interval must decide
        low, high = independent(k1, n1, k2, n2, 1 - 2 * (1 - level))
        inside = -margin < low and high < margin
        return inside, 0.0 if inside else 1.0
    found = tost_proportions_2indep(k1, n1, k2, n2, -margin, margin, method="agresti-caffo")
    p_value = float(found.pvalue)
    return p_value < 1 - level, p_value


def independent(k1: int, n1: int, k2: int, n2: int, level: float = LEVEL) -> tuple[float, float]:
    """Give the interval for the difference of two independent shares, k1/n1 less k2/n2."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(
        k1, n1, k2, n2, method="newcomb", compare="diff", alpha=1 - level
    )
    return float(low), float(high)


def prediction_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Give where one further value falls, such as the score of the next training seed.

    mean ± t √(1 + 1/n) s with n − 1 degrees of freedom, for values that are about normal.

    Raises:
        ValueError: with fewer than two values: one seed says nothing about the next.
    """
    if len(values) < 2:
        raise ValueError("one value says nothing about the next")
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * spread * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


def any_differs(p_values: Mapping[str, float], level: float = LEVEL) -> dict[str, float]:
    """Give Holm's adjusted p-value of each; those below 1 − level differ, errors kept in check."""
    if not p_values:
        return {}
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(list(p_values.values()), alpha=1 - level, method="holm")[1]
    return {key: float(p) for key, p in zip(p_values, adjusted, strict=True)}


def all_within(p_values: Mapping[str, float]) -> float:
    """Give the p-value of "all are equivalent": the largest one; 1 where there is none."""
    return max(p_values.values(), default=1.0)
