"""Auto-MOOVE's numbers: from a judge's rulings to scores, shares and position bias.

A win counts 1, a tie one half; a vignette's score is the mean over its orders, and the mean over
vignettes is the tie-adjusted rate: the published "preferred" is wins plus half the ties. Intervals
are clustered by vignette, since its two orders are not independent.

Position bias is how many points being shown first is worth: the share of judgements won by the
first answer less the share won by the second. With both orders it is measured vignette by vignette,
so that the better answer cancels out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kit.errors import KitError

__all__ = [
    "Judgement",
    "Ruling",
    "Vignette",
    "Vote",
    "Winner",
    "scores_by_vignette",
    "summarise",
    "vignette_scores",
]

Winner = Literal["first", "second", "tie"]
WORTH = {"ours": 1.0, "tie": 0.5, "theirs": 0.0}


@dataclass(frozen=True)
class Vote:
    """What somebody thought of a pair of answers.

    Attributes:
        winner: which they preferred.
        rater: who, as a number in the order of the file; "" where the row does not say. Nobody's
            account goes into a run's items.
    """

    winner: Winner
    rater: str = ""


@dataclass(frozen=True)
class Vignette:
    """One item.

    Attributes:
        id: unique in its file.
        prompt: what both models are asked.
        answers: two answers that people compared; None where the file has none.
        votes: which of them each preferred.
    """

    id: str
    prompt: str
    answers: tuple[str, str] | None = None
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True)
class Ruling:
    """What a judge said of two answers: the winner, and for each criterion both scores, 1 to 5."""

    winner: Winner
    scores: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Judgement:
    """One comparison, turned back into ours and theirs.

    Attributes:
        id: of the vignette.
        ours_first: whether our answer was shown first.
        ruling: None where nothing could be read.
        tries: how often the judge was asked.
        text: its last reply.
    """

    id: str
    ours_first: bool
    ruling: Ruling | None
    tries: int = 1
    text: str = ""

    @property
    def outcome(self) -> str | None:
        """`ours`, `theirs` or `tie`."""
        if self.ruling is None:
            return None
        if self.ruling.winner == "tie":
            return "tie"
        return "ours" if (self.ruling.winner == "first") == self.ours_first else "theirs"

    def pair(self, criterion: str) -> tuple[int, int] | None:
        """Give our score and theirs."""
        found = self.ruling.scores.get(criterion) if self.ruling else None
        return found if found is None or self.ours_first else (found[1], found[0])


def scores_by_vignette(judgements: Sequence[Judgement]) -> dict[str, list[float]]:
    """Give what each vignette's rulings score, 0 to 1; an empty list where none could be read."""
    found: dict[str, list[float]] = {}
    for one in judgements:
        values = found.setdefault(one.id, [])
        if one.outcome is not None:
            values.append(WORTH[one.outcome])
    return found


def vignette_scores(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Give each vignette's score, the mean over its orders; those without a ruling are left out."""
    return {key: sum(v) / len(v) for key, v in scores_by_vignette(judgements).items() if v}


def summarise(
    judgements: Sequence[Judgement],
    criteria: Sequence[str],
    protocol: str = "published",
    order: str = "both",
) -> dict[str, Any]:
    """Give the comparison's numbers, in shares of 1.

    Args:
        judgements: of all vignettes.
        criteria: whose scores are compared.
        protocol: its name, passed through.
        order: in which the answers were shown, passed through.

    Returns:
        win, tie, loss (of all rulings that could be read), preferred (wins plus half the ties,
        with interval), by_vignette (the two orders put together: win, tie, loss, where a win and a
        loss make a tie), position_bias {size, interval, p_value, biased}, consistent (share of
        vignettes with one outcome in both orders), criteria {name: {ours, theirs, difference,
        interval, n}}, and counts.

    Raises:
        KitError: no ruling could be read.
    """
    from checks.statistics import mean_interval

    read = [j for j in judgements if j.outcome is not None]
    if not read:
        raise KitError(
            "no ruling of the judge could be read",
            cause="the judge does not answer in the form that its prompt asks for",
            fix="look at its replies in the record of calls",
        )
    count = Counter(j.outcome for j in read)
    scores = {key: values for key, values in scores_by_vignette(read).items() if values}
    means = [sum(v) / len(v) for v in scores.values()]
    preferred = mean_interval(means)
    whole = Counter("win" if m > 0.5 else "loss" if m < 0.5 else "tie" for m in means)
    both = [values for values in scores.values() if len(values) == 2]
    return {
        "protocol": protocol,
        "order": order,
        "vignettes": len({j.id for j in judgements}),
        "rulings": len(judgements),
        "unread": len(judgements) - len(read),
        "retried": sum(j.tries > 1 for j in judgements),
        "win": count["ours"] / len(read),
        "tie": count["tie"] / len(read),
        "loss": count["theirs"] / len(read),
        "preferred": preferred.estimate,
        "interval": [preferred.low, preferred.high],
        "by_vignette": {k: whole[k] / len(means) for k in ("win", "tie", "loss")},
        "consistent": sum(v[0] == v[1] for v in both) / len(both) if both else None,
        "position_bias": _position_bias(read),
        "criteria": {name: found for name in criteria if (found := _criterion(read, name))},
    }


def _position_bias(read: Sequence[Judgement]) -> dict[str, Any]:
    """Measure what being first is worth; biased where the interval leaves 0 out."""
    from checks.statistics import mean_interval

    worth = {"first": 1.0, "second": -1.0, "tie": 0.0}
    values: dict[str, list[float]] = defaultdict(list)
    orders: dict[str, set[bool]] = defaultdict(set)
    for one in read:
        if one.ruling:
            values[one.id].append(worth[one.ruling.winner])
            orders[one.id].add(one.ours_first)
    # Where some pairs have both orders, only those: in a single one the better answer has a part.
    whole = [key for key in values if len(orders[key]) == 2]
    means = [sum(values[key]) / len(values[key]) for key in (whole or values)]
    found = mean_interval(means)
    interval: list[float] | None = [found.low, found.high]
    biased = found.low > 0 or found.high < 0
    if len(means) < 2 or max(means) == min(means):
        # Nothing varies: no error can be measured. All pairs alike and not 0 is bias all the same.
        interval, biased = None, abs(found.estimate) > 1e-12 and len(means) > 1
    towards = "first" if found.estimate > 0 else "second" if found.estimate < 0 else "neither"
    return {
        "size": found.estimate, "interval": interval, "biased": biased, "towards": towards,
        "pairs": len(means), "both_orders": bool(whole),
    }  # fmt: skip


def _criterion(read: Sequence[Judgement], name: str) -> dict[str, Any] | None:
    from checks.statistics import mean_interval

    pairs = [(pair, j.id) for j in read if (pair := j.pair(name)) is not None]
    if not pairs:
        return None
    # mean_interval takes shares: a difference of Likert scores lies within 4 points either way.
    found = mean_interval([(a - b) / 4 for (a, b), _ in pairs], [key for _, key in pairs])
    return {
        "ours": sum(a for (a, _), _ in pairs) / len(pairs),
        "theirs": sum(b for (_, b), _ in pairs) / len(pairs),
        "difference": 4 * found.estimate,
        "interval": [max(-4.0, 4 * found.low), min(4.0, 4 * found.high)],
        "n": len(pairs),
    }
