"""How Auto-MOOVE's judge agrees with people: with their panel, and as one of them.

The published validation asks whether the judge could be told from a person. Of every pair that two
named people or more voted on, each rater is held against the panel of the others (Cohen's kappa,
raters with at least ten such pairs), and the judge against the whole panel; then the judge's kappa
is placed in the distribution of the raters'. With ties as a third class, and on the pairs where
neither side ties.

A panel's verdict is its most frequent vote, a tie where two are as frequent. The judge's is the
winner of its ruling, of two orders together (where they contradict each other, a tie).
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from checks.preferences import Judgement, Vignette, Winner, vignette_scores

__all__ = ["LEAST", "agreement", "kappa", "panel"]

LEAST = 10  # pairs of a rater that counts, as published
RESAMPLES, SEED = 1000, 42  # of the bootstrap; published are 1,000, without a seed
CLASSES: tuple[Winner, ...] = ("first", "tie", "second")
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
Pairs = Sequence[tuple[Winner, Winner]]


def agreement(
    vignettes: Sequence[Vignette], judgements: Sequence[Judgement]
) -> dict[str, Any] | None:
    """Hold the judge against people's votes on the same two answers.

    Args:
        vignettes: those with votes count.
        judgements: of the vignettes' own `answers`, the first taken as ours.

    Returns:
        Of all pairs with a vote and a ruling: n, votes, raters, agree (share, with the panel),
        kappa and its interval (statsmodels; None where not defined, as all verdicts are one word).
        As one of the raters, or None where no pair has votes of two: {"with_ties", "without_ties"},
        each {"raters": [{rater, n, kappa}], "mean", "sd", "quantiles", "judge": {n, agree, kappa,
        interval}, "z", "above" (share of raters), "within" (two standard deviations)}. None for
        the whole without votes.
    """
    ruled = {key: _winner(mean) for key, mean in vignette_scores(judgements).items()}
    voted = [one for one in vignettes if one.votes and one.id in ruled]
    if not voted:
        return None
    pairs = [(panel([v.winner for v in one.votes]), ruled[one.id]) for one in voted]
    return {
        "n": len(pairs),
        "votes": sum(len(one.votes) for one in voted),
        "raters": len({v.rater for one in voted for v in one.votes if v.rater}),
        **_with_interval(pairs),
        "as_rater": _as_rater(vignettes, ruled),
    }


def panel(votes: Sequence[Winner]) -> Winner:
    """Give the verdict of several people.

    Raises:
        ValueError: there is no vote.
    """
    if not votes:
        raise ValueError("a panel without a vote")
    (top, most), *rest = Counter(votes).most_common(2)
    return "tie" if rest and rest[0][1] == most else top


def kappa(pairs: Pairs, classes: Sequence[Winner] = CLASSES) -> float:
    """Give Cohen's kappa; 1 where chance alone agrees always, as published."""
    one, other = _codes(pairs, classes)
    return _kappa(one, other, len(classes))


def _codes(pairs: Pairs, classes: Sequence[Winner]) -> Any:
    import numpy as np

    return np.array([[classes.index(a), classes.index(b)] for a, b in pairs]).T


def _kappa(one: Any, other: Any, classes: int) -> float:
    agree = float((one == other).mean())
    chance = float(sum((one == c).mean() * (other == c).mean() for c in range(classes)))
    return (agree - chance) / (1 - chance) if chance < 1 else 1.0


def _winner(mean: float) -> Winner:
    return "first" if mean > 0.5 else "second" if mean < 0.5 else "tie"


def _with_interval(pairs: Pairs) -> dict[str, Any]:
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.zeros((len(CLASSES), len(CLASSES)))
    for people, judge in pairs:
        table[CLASSES.index(people), CLASSES.index(judge)] += 1
    share = float(np.trace(table) / table.sum())
    out: dict[str, Any] = {"agree": share, "kappa": None, "interval": None}
    chance = float((table.sum(0) * table.sum(1)).sum() / table.sum() ** 2)
    if chance < 1 - 1e-12:
        with np.errstate(invalid="ignore"):  # a table with empty rows has no variance
            found = cohens_kappa(table)
        ends = [float(found.kappa_low), float(found.kappa_upp)]
        out["kappa"] = float(found.kappa)
        out["interval"] = ends if np.isfinite(ends).all() else None
    return out


# --- as one of the raters -------------------------------------------------------------------------


def _as_rater(
    vignettes: Sequence[Vignette], ruled: Mapping[str, Winner]
) -> dict[str, dict[str, Any]] | None:
    people: dict[str, list[tuple[Winner, Winner]]] = defaultdict(list)
    judge: list[tuple[Winner, Winner]] = []
    for one in vignettes:
        named = [vote for vote in one.votes if vote.rater]
        if len(named) < 2:
            continue
        for place, vote in enumerate(named):
            others = [v.winner for n, v in enumerate(named) if n != place]
            people[vote.rater].append((vote.winner, panel(others)))
        if one.id in ruled:
            judge.append((ruled[one.id], panel([v.winner for v in named])))
    if not people:
        return None
    decided = {rater: _decided(pairs) for rater, pairs in people.items()}
    return {
        "with_ties": _placed(people, judge, CLASSES),
        "without_ties": _placed(decided, _decided(judge), ("first", "second")),
    }


def _decided(pairs: Pairs) -> list[tuple[Winner, Winner]]:
    return [(a, b) for a, b in pairs if a != "tie" and b != "tie"]


def _placed(people: Mapping[str, Pairs], judge: Pairs, classes: Sequence[Winner]) -> dict[str, Any]:
    """Place the judge's kappa in the distribution of the raters'."""
    import numpy as np

    raters = [
        {"rater": rater, "n": len(pairs), "kappa": kappa(pairs, classes)}
        for rater, pairs in people.items()
        if len(pairs) >= LEAST
    ]
    values = np.array([one["kappa"] for one in raters], dtype=float)
    out: dict[str, Any] = {
        "raters": raters,
        "mean": float(values.mean()) if len(values) else None,
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "quantiles": [float(q) for q in np.quantile(values, QUANTILES)] if len(values) else None,
        "judge": _judge(judge, classes) if judge else None,
        "z": None, "above": None, "within": None,
    }  # fmt: skip
    if judge and out["sd"]:
        own = out["judge"]["kappa"]
        out["z"] = (own - out["mean"]) / out["sd"]
        out["above"] = float((values < own).mean())
        out["within"] = abs(out["z"]) <= 2
    return out


def _judge(pairs: Pairs, classes: Sequence[Winner]) -> dict[str, Any]:
    return {
        "n": len(pairs),
        "agree": sum(a == b for a, b in pairs) / len(pairs),
        "kappa": kappa(pairs, classes),
        "interval": _bootstrap(pairs, classes),
    }


def _bootstrap(pairs: Pairs, classes: Sequence[Winner]) -> list[float] | None:
    """Give kappa's 95% interval over resampled pairs: BCa, or percentiles where that has none."""
    import numpy as np
    from scipy.stats import bootstrap

    def statistic(one: Any, other: Any) -> float:
        return _kappa(one, other, len(classes))

    for method in ("BCa", "percentile"):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # a sample that does not vary: no interval
                found = bootstrap(
                    tuple(_codes(pairs, classes)), statistic, paired=True, vectorized=False,
                    n_resamples=RESAMPLES, method=method, rng=np.random.default_rng(SEED),
                ).confidence_interval  # fmt: skip
        except ValueError:
            continue
        if np.isfinite([found.low, found.high]).all():
            return [float(found.low), float(found.high)]
    return None
