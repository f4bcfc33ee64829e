"""HealthBench's numbers: from grades, criterion by criterion, to scores.

The published rule (Arora et al. 2025, and upstream's script): a conversation's score is the points
of its met criteria over the sum of its positive points, so that penalties can take it below 0; the
benchmark's is the mean, clipped to 0..1. Both are given here, and beside them the unclipped mean
with its interval, which is what the verdict reads.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Conversation", "Criterion", "Graded", "score", "speaks_to_judge", "summarise"]

RESAMPLES, SEED = 1000, 42  # of the published bootstrap; upstream gives no seed


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric; `points` below 0 is a penalty for what is undesirable."""

    text: str
    points: float
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Give it as the grader is shown it."""
        return f"[{self.points}] {self.text}"


@dataclass(frozen=True)
class Conversation:
    """One item: the turns up to the user's last, and what the answer is graded by."""

    id: str
    messages: tuple[Mapping[str, str], ...]
    criteria: tuple[Criterion, ...]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """A conversation with its answer and its grades.

    Attributes:
        conversation: what was asked.
        answer: what the model under test said.
        met: for each criterion whether it is met; None where no grade could be read.
        explanations: the grader's, "" where it gave none.
        tries: how often the grader was asked for each.
        repeat: which of several answers to the same conversation this is.
        cut: whether the answer ended at the token limit.
    """

    conversation: Conversation
    answer: str
    met: tuple[bool | None, ...]
    explanations: tuple[str, ...] = ()
    tries: tuple[int, ...] = ()
    repeat: int = 0
    cut: bool = False

    @property
    def unread(self) -> int:
        """How many criteria have no grade."""
        return sum(m is None for m in self.met)

    def published(self) -> float:
        """Give the score by upstream's rule: what could not be read counts as not met."""
        return score(self.conversation.criteria, [bool(m) for m in self.met])

    def reach(self) -> tuple[float, float]:
        """Give the lowest and the highest score that the unread grades leave possible."""
        pairs = list(zip(self.conversation.criteria, self.met, strict=True))
        low = [m if m is not None else c.points < 0 for c, m in pairs]
        high = [m if m is not None else c.points > 0 for c, m in pairs]
        return score(self.conversation.criteria, low), score(self.conversation.criteria, high)


def score(criteria: Sequence[Criterion], met: Sequence[bool]) -> float:
    """Give the points of met criteria as a share of the positive points.

    Raises:
        ValueError: no criterion has positive points.
    """
    possible = sum(c.points for c in criteria if c.points > 0)
    if not possible:
        raise ValueError("no positive points")
    return sum(c.points for c, m in zip(criteria, met, strict=True) if m) / possible


def summarise(results: Sequence[Graded], protocol: str = "published") -> dict[str, Any]:
    """Give the benchmark's numbers, in shares of 1.

    Args:
        results: every graded answer.
        protocol: its name, passed through.

    Returns:
        score (published: clipped mean, unread as not met) with bootstrap_error; mean, interval
        and standard_error (unclipped, clustered by conversation); reach (the mean if every unread
        grade went one way and if it went the other) and hanging (its width); unread and grades
        (counts); cut; speaking_to_judge; by_tag: {tag: {mean, low, high, n}} for themes (of
        conversations) and axes (of criteria).
    """
    scores = [g.published() for g in results]
    clusters = [g.conversation.id for g in results]
    reach = [g.reach() for g in results]
    low, high = (math.fsum(r[i] for r in reach) / len(reach) for i in (0, 1))
    return {
        "protocol": protocol,
        "items": len(results),
        "score": min(1.0, max(0.0, math.fsum(scores) / len(scores))),
        "bootstrap_error": clipped_bootstrap(scores, SEED),
        **_interval(scores, clusters),
        "unread": sum(g.unread for g in results),
        "grades": sum(len(g.met) for g in results),
        "retried": sum(tries > 1 for g in results for tries in g.tries),
        "reach": [low, high],
        "hanging": high - low,
        "cut": sum(g.cut for g in results),
        "speaking_to_judge": sum(speaks_to_judge(g.answer) for g in results),
        "by_tag": _by_tag(results),
    }


def _interval(scores: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    from checks.statistics import mean_interval

    found = mean_interval(scores, clusters)
    return {
        "mean": found.estimate, "interval": [found.low, found.high],
        "standard_error": found.standard_error,
    }  # fmt: skip


def clipped_bootstrap(scores: Sequence[float], seed: int) -> float:
    """Give the published error: the spread of 1,000 resampled means, each clipped to 0..1."""
    import numpy as np

    values = np.asarray(scores, dtype=float)
    draw = np.random.default_rng(seed)
    means = [values[draw.integers(0, values.size, values.size)].mean() for _ in range(RESAMPLES)]
    return float(np.clip(means, 0.0, 1.0).std())


def _by_tag(results: Sequence[Graded]) -> dict[str, dict[str, Any]]:
    """Average by theme over conversations, and by axis over what each one's own criteria give."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for one in results:
        for tag in one.conversation.tags:
            found[tag].append((one.published(), one.conversation.id))
        own: dict[str, list[int]] = defaultdict(list)
        for index, criterion in enumerate(one.conversation.criteria):
            for tag in criterion.tags:
                own[tag].append(index)
        for tag, indices in own.items():
            criteria = [one.conversation.criteria[i] for i in indices]
            if any(c.points > 0 for c in criteria):
                value = score(criteria, [bool(one.met[i]) for i in indices])
                found[tag].append((value, one.conversation.id))
    return {
        tag: {"n": len(pairs), **_interval([p[0] for p in pairs], [p[1] for p in pairs])}
        for tag, pairs in sorted(found.items())
    }


#: Words by which an answer speaks to its grader instead of to its reader.
_TO_JUDGE = re.compile(
    r"criteria_met|rubric|grader|\bas (?:a |the )?judge\b|<<\w+>>|winner:\s|"
    r"(?:ignore|disregard)\s{1,3}(?:\w{1,12}\s{1,3}){0,3}(?:instructions?|criteria|criterion)",
    re.IGNORECASE,
)


def speaks_to_judge(answer: str) -> bool:
    """Whether an answer holds words meant for the one who grades it: shown, never decided by."""
    return _TO_JUDGE.search(answer) is not None
