"""Auto-MOOVE's numbers: from a judge's rulings to items, shares and position bias.

A win counts 1, a tie one half; a vignette's score is the mean over its orders, and the mean over
vignettes is the tie-adjusted rate: the published "preferred" is wins plus half the ties. Intervals
are clustered by vignette, since its two orders are not independent.

Position bias is how many points being shown first is worth: the share of judgements won by the
first answer less the share won by the second. With both orders it is measured vignette by vignette,
so that the better answer cancels out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from checks.benchmarks.judging import Protocol, speaks_to_judge
from checks.benchmarks.moove import Judgement
from checks.benchmarks.vignettes import Vignette
from checks.items import Item
from kit.errors import KitError

__all__ = ["ruling_rows", "summarise", "to_items", "vignette_scores", "with_votes"]

WORTH = {"ours": 1.0, "tie": 0.5, "theirs": 0.0}


def _scores(judgements: Sequence[Judgement]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in judgements:
        values = found.setdefault(one.id, [])
        if one.outcome is not None:
            values.append(WORTH[one.outcome])
    return found


def vignette_scores(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Give each vignette's score, the mean over its orders; those without a ruling are left out."""
    return {key: sum(v) / len(v) for key, v in _scores(judgements).items() if v}


def to_items(
    vignettes: Sequence[Vignette],
    ours: Sequence[str],
    theirs: Sequence[str],
    judgements: Sequence[Judgement],
    benchmark: str,
    protocol: Protocol,
) -> list[Item]:
    """Give one line of items/*.jsonl a vignette: its tie-adjusted score, and both rulings.

    A vignette of which no ruling could be read has no score; under `strict` one unread ruling of
    two is enough.
    """
    scores = _scores(judgements)
    by_id: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_id[judgement.id].append(judgement)
    out = []
    for one, mine, other in zip(vignettes, ours, theirs, strict=True):
        own = by_id[one.id]
        unread = sum(j.ruling is None for j in own)
        lost = not scores[one.id] or (protocol.strict and unread > 0)
        said = [f"{'ours' if j.ours_first else 'theirs'} first: {j.outcome or 'unread'}" for j in own]  # fmt: skip  # noqa: E501
        out.append(
            Item(
                benchmark=benchmark,
                id=one.id,
                score=None if lost else sum(scores[one.id]) / len(scores[one.id]),
                unparsed=lost,
                question=one.prompt,
                response=mine,
                cluster=one.id,
                why="; ".join(said),
                extra={
                    "protocol": protocol.name,
                    "order": protocol.order,
                    "against": other,
                    "rulings": ruling_rows(own),
                    "unread_rulings": unread,
                    "speaks_to_judge": [speaks_to_judge(mine), speaks_to_judge(other)],
                },
            )
        )
    return out


def with_votes(item: Item, vignette: Vignette, judgements: Sequence[Judgement]) -> Item:
    """Give the item with people's votes on the vignette's own answers, and the judge's rulings."""
    if not vignette.votes:
        return item
    own = ruling_rows([j for j in judgements if j.id == vignette.id])
    votes = [{"rater": vote.rater, "winner": vote.winner} for vote in vignette.votes]
    more = {"votes": votes, "vote_rulings": own}
    return dataclasses.replace(item, extra={**item.extra, **more})


def ruling_rows(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Give judgements as an item keeps them, scores as (ours, theirs)."""
    return [_ruling_row(one) for one in judgements]


def _ruling_row(one: Judgement) -> dict[str, Any]:
    ruling = one.ruling
    return {
        "ours_first": one.ours_first, "outcome": one.outcome, "tries": one.tries,
        "scores": {k: one.pair(k) for k in ruling.scores} if ruling else {}, "text": one.text,
    }  # fmt: skip


def summarise(
    judgements: Sequence[Judgement], criteria: Sequence[str], protocol: Protocol
) -> dict[str, Any]:
    """Give the comparison's numbers, in shares of 1.

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
    scores = {key: values for key, values in _scores(read).items() if values}
    means = [sum(v) / len(v) for v in scores.values()]
    preferred = mean_interval(means)
    whole = Counter("win" if m > 0.5 else "loss" if m < 0.5 else "tie" for m in means)
    both = [values for values in scores.values() if len(values) == 2]
    return {
        "protocol": protocol.name,
        "order": protocol.order,
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
