"""Intervals, sizes and comparisons, all in shares of 1 (not per cent), from scipy and statsmodels.

What is computed where: :func:`wilson` for counts of right answers, :func:`mean_interval` for
rubric scores and repeated items, :func:`smallest_margin` and :func:`items_needed` for what a
number of items can decide. Comparisons of two evaluations are in :mod:`checks.comparisons`.

scipy and statsmodels take about a second to import, so they are imported where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from checks.items import LOWEST_RUBRIC

__all__ = [
    "LEVEL",
    "POWER",
    "Interval",
    "clustered_error",
    "finite_interval",
    "items_needed",
    "mean_interval",
    "mean_items_needed",
    "mean_smallest_margin",
    "share_interval",
    "smallest_margin",
    "wilson",
]

LEVEL = 0.95
POWER = 0.80
MOST_ITEMS = 10_000_000  # beyond this, "no number of items will do"


class Interval(NamedTuple):
    """An estimate with its standard error and interval, in shares of 1.

    Attributes:
        estimate: the observed share or mean.
        standard_error: of the estimate.
        low: lower end of the interval.
        high: upper end.
        method: how it was computed, in words for the report.
    """

    estimate: float
    standard_error: float
    low: float
    high: float
    method: str


def wilson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Give the interval for k right answers of n (Wilson 1927, JASA 22:209).

    Args:
        k: right answers, 0..n; need not be whole where n is an effective number.
        n: items, above 0.
        level: coverage, such as 0.95.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not (n > 0 and 0 <= k <= n):
        raise ValueError(f"no interval for {k} of {n}")
    low, high = proportion_confint(k, n, alpha=1 - level, method="wilson")
    # An end that is 0, 1 or the estimate itself comes out some 1e-17 off.
    return max(0.0, min(float(low), k / n)), min(1.0, max(float(high), k / n))


def share_interval(k: float, n: int, level: float = LEVEL) -> Interval:
    """Give the share of right answers with its binomial standard error and Wilson interval."""
    rate = k / n
    low, high = wilson(k, n, level)
    return Interval(rate, math.sqrt(rate * (1 - rate) / n), low, high, "Wilson")


def finite_interval(k: float, n: int, of: int, level: float = LEVEL) -> tuple[float, float]:
    """Give the interval for the share right among all ``of`` items when n of them were scored.

    The Wilson interval at the effective size n (of − 1)/(of − n), which is the finite population
    correction (Cochran 1977, Sampling Techniques, 2.6), cut to what is still possible: the items
    not yet scored can at worst all be wrong and at best all be right.
    """
    if not 0 < n <= of:
        raise ValueError(f"{n} items scored of {of}")
    if n == of:
        return k / n, k / n
    effective = n * (of - 1) / (of - n)
    low, high = wilson(k / n * effective, effective, level)
    return max(low, k / of), min(high, (k + of - n) / of)


def mean_interval(
    scores: Sequence[float], clusters: Sequence[Hashable] | None = None, level: float = LEVEL
) -> Interval:
    """Give the mean of scores with a Student t interval, by cluster where there are clusters.

    The standard error of clustered scores is the sandwich estimator of Liang and Zeger 1986
    (Biometrika 73:13) for a regression on a constant, with as many degrees of freedom as
    clusters less one. The interval is not cut at 0 and 1.

    Where the scores do not vary, or there is only one cluster, the data give no standard error,
    and an interval of no width would be a lie: the Wilson interval of the mean over the clusters
    is given instead, which is wider than that of any other scores in 0..1 with this mean. Where a
    score is below 0, it is stretched over the whole range that such scores may have.

    Args:
        scores: each from 0 to 1, rubric scores with penalties from -10; at least one.
        clusters: for each score the group that it is not independent of, such as the item's id
            where items were repeated.
        level: coverage.
    """
    names = list(clusters) if clusters is not None else list(range(len(scores)))
    mean, error, count = clustered_error(scores, names)
    if error < 1e-12:
        floor = LOWEST_RUBRIC if min(scores) < 0 else 0.0
        bounded = min(1.0, max(0.0, (mean - floor) / (1 - floor)))
        low, high = (floor + (1 - floor) * x for x in wilson(bounded * count, count, level))
        spread = (1 - floor) * math.sqrt(bounded * (1 - bounded) / count)
        return Interval(mean, spread, low, high, "Wilson, as the scores do not vary")
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, count - 1)) * error
    method = "Student t" if count == len(scores) else f"Student t, {count:,} clusters"
    return Interval(mean, error, mean - half, mean + half, method)


def clustered_error(
    values: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, float, int]:
    """Give the mean, its clustered standard error (0 for a single cluster), and the clusters."""
    import numpy as np

    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0:
        raise ValueError("no mean of no values")
    codes = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    count, mean = len(codes), float(numbers.mean())
    if count < 2:
        return mean, 0.0, count
    if count == numbers.size:
        return mean, float(numbers.std(ddof=1) / math.sqrt(count)), count
    from statsmodels.regression.linear_model import OLS

    groups = np.array([codes[name] for name in clusters])
    fit = OLS(numbers, np.ones(numbers.size)).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    return mean, float(fit.bse[0]), count


def smallest_margin(rate: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """Give the smallest margin that n items can decide when nothing is wrong.

    If the true share is ``rate``, the Wilson interval of n items lies wholly within ``rate`` ±
    this margin with a probability of at least ``power``. Computed from the binomial distribution
    itself, not from its normal approximation.
    """
    import numpy as np
    from scipy.stats import binom
    from statsmodels.stats.proportion import proportion_confint

    # Beyond 12 standard deviations there is no probability left worth adding up.
    spread = 12 * math.sqrt(rate * (1 - rate) * n) + 12
    k = np.arange(max(0, math.floor(rate * n - spread)), min(n, math.ceil(rate * n + spread)) + 1)
    low, high = proportion_confint(k, n, alpha=1 - level, method="wilson")
    reach = np.maximum(high - rate, rate - low)
    order = np.argsort(reach)
    total = np.cumsum(binom.pmf(k, n, rate)[order])
    return float(reach[order][min(int(np.searchsorted(total, power)), len(k) - 1)])


def items_needed(
    rate: float, margin: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Give about how many items decide a margin: the inverse of :func:`smallest_margin`.

    Args:
        rate: the published share, 0..1.
        margin: how far a score may be off, above 0, in shares of 1.
        level: coverage of the interval.
        power: how often the items must suffice when the true share is ``rate``.

    Returns:
        The number, or None where more than ten million would be needed.
    """
    if margin <= 0:
        return None
    high = 1
    while smallest_margin(rate, high, level, power) > margin:
        high *= 2
        if high > MOST_ITEMS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if smallest_margin(rate, middle, level, power) > margin:
            low = middle
        else:
            high = middle
    return high


def mean_smallest_margin(
    standard_error: float, clusters: int, level: float = LEVEL, power: float = POWER
) -> float:
    """Give the smallest margin that a mean with this standard error can decide.

    Both ends of the interval must lie within the margin, so each end may be missed with half of
    1 − power: (t + z) standard errors.
    """
    from scipy.stats import norm, t

    return float(
        (t.ppf((1 + level) / 2, max(1, clusters - 1)) + norm.ppf((1 + power) / 2)) * standard_error
    )


def mean_items_needed(
    standard_error: float, n: int, margin: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """Give about how many items a mean needs to decide a margin, from the spread seen in n."""
    from scipy.stats import norm

    if margin <= 0:
        return None
    factor = float(norm.ppf((1 + level) / 2) + norm.ppf((1 + power) / 2))
    needed = math.ceil(n * (factor * standard_error / margin) ** 2)
    return max(2, needed) if needed <= MOST_ITEMS else None
