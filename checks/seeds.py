"""Several trainings of one recipe: how far their scores lie apart, and what that decides.

The rule, for two or more training seeds: the interval that is held against the margin is the
wider of two, end by end. One is that of the items, taken over all seeds. The other says where
the score of one further seed falls (95% prediction interval, Student t), because the published
score is one such seed. So the seeds must agree with each other *and* the items must be many
enough: more seeds never make a verdict laxer than the items allow.

With two seeds the prediction interval is 22 times as wide as they lie apart, so that hardly
anything is decided; three to five seeds are where it begins to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from checks.items import Item
from checks.verdict_types import Observation, Seeds

__all__ = ["measure_seeds", "seeds_needed", "seeds_of", "widen"]

MOST_SEEDS = 1000  # beyond this, "no number of seeds will do"


def seeds_of(items: Sequence[Item]) -> dict[int | None, list[Item]]:
    """Sort items by training seed, in order of the seeds; None where a row names none."""
    groups: dict[int | None, list[Item]] = {}
    for item in items:
        groups.setdefault(item.seed, []).append(item)
    return dict(sorted(groups.items(), key=lambda pair: (pair[0] is not None, pair[0] or 0)))


def measure_seeds(items: Sequence[Item]) -> Seeds | None:
    """Measure how far the scores of several training seeds lie apart.

    Returns:
        The seeds' scores, their standard deviation and where one further seed's score falls (95%);
        None where fewer than two seeds were scored.
    """
    from checks.comparisons import prediction_interval  # scipy: half a second

    means: dict[str, float] = {}
    for seed, group in seeds_of(items).items():
        scores = [item.score for item in group if item.score is not None]
        if seed is not None and scores:
            means[str(seed)] = 100 * math.fsum(scores) / len(scores)
    if len(means) < 2:
        return None
    values = list(means.values())
    centre = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))
    return Seeds(
        scores={seed: round(value, 4) for seed, value in means.items()},
        spread=round(spread, 4),
        interval=[round(end, 4) for end in prediction_interval(values)],
    )


def widen(seen: Observation, seeds: Seeds | None) -> Observation:
    """Give the observation the wider of the items' and the seeds' interval, end by end."""
    if seeds is None or seen.interval is None:
        return seen
    (low, high), (low_next, high_next) = seen.interval, seeds.interval
    method = (
        f"the wider of the items' ({seen.interval_method}, {low:.2f}–{high:.2f}) and of one "
        f"further seed's ({len(seeds.scores)} seeds, {low_next:.2f}–{high_next:.2f})"
    )
    both = [min(low, low_next), max(high, high_next)]
    return replace(seen, interval=both, interval_method=method)


def seeds_needed(spread: float, room: float) -> int | None:
    """Give how many seeds of this spread put a further seed within ``room`` of their mean.

    Args:
        spread: standard deviation between seeds, in points.
        room: distance from the mean to the nearest edge of the margin, in points.

    Returns:
        The number, from 2; None where no number of seeds will do.
    """
    from scipy.stats import t

    for n in range(2, MOST_SEEDS + 1):
        if float(t.ppf(0.975, n - 1)) * spread * math.sqrt(1 + 1 / n) <= room:
            return n
    return None


def problem(items: Sequence[Item]) -> str:
    """Say why items of several seeds cannot be taken together; empty where they can.

    Every seed must have answered the same items, as often: seeds that answered other questions
    differ for that alone.
    """
    groups = seeds_of(items)
    if len(groups) < 2:
        return ""
    if None in groups:
        return (
            f"{len(groups[None]):,} rows name no training seed and the others do: "
            "give every row its seed."
        )
    keys = {
        seed: {(i.id, i.repeat) for i in g if i.score is not None} for seed, g in groups.items()
    }
    every = set().union(*keys.values())
    for seed, own in keys.items():
        if own != every:
            return f"Seed {seed} lacks {len(every - own):,} items that other seeds have."
    return ""


def undecided(seeds: Seeds, published: float, margin: float) -> bool:
    """Whether the seeds alone leave it open that one further seed's score lies within the margin.

    Args:
        seeds: as measured.
        published: per cent.
        margin: points.
    """
    low, high = seeds.interval
    return not (published - margin <= low and high <= published + margin)


def explain(seeds: Seeds, room: float) -> tuple[int | None, str]:
    """Give how many seeds would decide, None where no number does, and a sentence that says so.

    Args:
        seeds: as measured.
        room: distance from their mean to the nearest edge of the margin, in points.
    """
    needed = seeds_needed(seeds.spread, room)
    have = len(seeds.scores)
    apart = f" The {have} seeds lie {seeds.spread:.2f} points apart (SD)"
    if needed is None:
        return None, f"{apart}: no number of seeds decides this margin."
    return needed, f"{apart}: about {max(needed, have + 1)} seeds would do."
