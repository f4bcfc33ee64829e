"""Auto-MOOVE: two models' answers to a vignette, compared by a judge on named criteria.

Each pair is judged in both orders (or, as published, in one drawn at random; here with a seed).
A win counts 1, a tie one half; a vignette's score is the mean over its orders, and the mean over
vignettes is the tie-adjusted rate: the published "preferred" is wins plus half the ties. Intervals
are clustered by vignette, since its two orders are not independent.

Position bias is how many points being shown first is worth: the share of judgements won by the
first answer less the share won by the second. With both orders it is measured vignette by vignette,
so that the better answer cancels out.

File: JSONL with `prompt` or `question`; optional `id` (else parentContribution.value, else a hash
of the text), and for agreement with people `firstAnswer`, `secondAnswer` and `vote` ("1", "2", or
"12" for a tie).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from checks.benchmarks.client import Client
from checks.benchmarks.judging import Protocol, Question, ask_until_read, read_rows, speaks_to_judge
from checks.benchmarks.templates import JudgePrompt
from checks.errors import KitError
from checks.items import Item

__all__ = [
    "Judgement", "Ruling", "Vignette", "agreement", "judge_pairs", "read_ruling", "read_vignettes",
    "summarise", "to_items",
]  # fmt: skip

Winner = Literal["first", "second", "tie"]
VOTES: dict[str, Winner] = {"1": "first", "2": "second", "12": "tie"}
WORTH = {"ours": 1.0, "tie": 0.5, "theirs": 0.0}
_WINNERS: dict[str, Winner] = {"model 1": "first", "model 2": "second", "tie": "tie"}


@dataclass(frozen=True)
class Vignette:
    """One item.

    Attributes:
        id: unique in its file.
        prompt: what both models are asked.
        answers: two answers that people compared; None where the file has none.
        vote: which of them they preferred.
    """

    id: str
    prompt: str
    answers: tuple[str, str] | None = None
    vote: Winner | None = None


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


# --- reading ------------------------------------------------------------------------------------


def read_vignettes(path: Path) -> tuple[list[Vignette], int]:
    """Read a file of vignettes; of several rows with one id the first counts, as published.

    Returns:
        The vignettes, and how many rows were left out because their id was there already.

    Raises:
        KitError: naming the line, for an empty vignette or a vote that is none.
    """
    out: dict[str, Vignette] = {}
    doubled = 0
    for where, row in read_rows(path, "file of vignettes"):
        prompt = row.get("prompt") or row.get("question")
        if not isinstance(prompt, str) or not prompt.strip():
            raise KitError(
                "the vignette is empty",
                where=where,
                cause="neither prompt nor question holds text; an empty question compares nothing",
                fix="take the line out on purpose, or fetch the file again",
            )
        one = _vignette(row, prompt, where)
        if one.id in out:
            doubled += 1
        else:
            out[one.id] = one
    return list(out.values()), doubled


def _vignette(row: Mapping[str, Any], prompt: str, where: str) -> Vignette:
    parent = row.get("parentContribution")
    value = parent.get("value") if isinstance(parent, dict) else None
    answers = row.get("firstAnswer"), row.get("secondAnswer")
    named = row.get("id", value)
    if named is None:
        text = "\n".join([prompt, *(a for a in answers if isinstance(a, str))])
        named = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    if isinstance(named, bool) or not isinstance(named, str | int) or named == "":
        raise KitError(f"the id of the vignette is {named!r}, not text", where=where)
    both = all(isinstance(a, str) and a.strip() for a in answers)
    vote = row.get("vote")
    if vote is not None and (str(vote) not in VOTES or not both):
        raise KitError(
            f"the vote {vote!r} cannot be used",
            where=where,
            cause='a vote is "1", "2" or "12" (a tie) and is about firstAnswer and secondAnswer',
        )
    return Vignette(
        str(named),
        prompt,
        (str(answers[0]), str(answers[1])) if both else None,
        VOTES[str(vote)] if vote is not None else None,
    )


def read_ruling(text: str, criteria: Sequence[str], *, strict: bool = False) -> Ruling | None:
    """Read a judge's reply; None where it names no winner.

    Args:
        text: "Criterion: score" lines for one model, then for the other, then "Winner: …".
        criteria: whose scores are looked for; each counts where it is found twice.
        strict: refuse a reply that names two different winners; upstream takes the first.
    """
    named = re.findall(r"\bwinner:\s{0,9}(model 1|model 2|tie)\b", text, re.IGNORECASE)
    winners = [_WINNERS[name.lower()] for name in named]
    if not winners or (strict and len(set(winners)) > 1):
        return None
    scores = {}
    for criterion in criteria:
        found = re.findall(rf"{re.escape(criterion)}:\s{{0,9}}([1-5])", text, re.IGNORECASE)
        if len(found) == 2 or (len(found) > 2 and not strict):
            scores[criterion] = (int(found[0]), int(found[1]))
    return Ruling(winners[0], scores)


# --- judging ------------------------------------------------------------------------------------


def judge_pairs(
    vignettes: Sequence[Vignette],
    ours: Sequence[str],
    theirs: Sequence[str],
    client: Client,
    prompt: JudgePrompt,
    protocol: Protocol,
) -> list[Judgement]:
    """Have every pair of answers judged, in both orders or in one that is drawn with the seed."""
    jobs = [
        (one, mine, other, first)
        for one, mine, other in zip(vignettes, ours, theirs, strict=True)
        for first in _orders(one.id, protocol)
    ]
    questions = [
        Question(
            f"the comparison of {one.id}, {'ours' if first else 'theirs'} first",
            prompt.messages(one.prompt, *((mine, other) if first else (other, mine))),
        )
        for one, mine, other, first in jobs
    ]
    outcomes = ask_until_read(
        client, questions, lambda t: read_ruling(t, prompt.criteria, strict=protocol.strict),
        protocol,
    )  # fmt: skip
    return [
        Judgement(one.id, first, o.value, len(o.replies), o.replies[-1].text)
        for (one, _, _, first), o in zip(jobs, outcomes, strict=True)
    ]


def _orders(identity: str, protocol: Protocol) -> tuple[bool, ...]:
    if protocol.order == "both":
        return True, False
    draw = random.Random(f"{protocol.seed}:{identity}")  # noqa: S311 - an order, not a secret
    return (draw.random() < 0.5,)


# --- scoring ------------------------------------------------------------------------------------


def _scores(judgements: Sequence[Judgement]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in judgements:
        values = found.setdefault(one.id, [])
        if one.outcome is not None:
            values.append(WORTH[one.outcome])
    return found


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
                    "against": other,
                    "rulings": [_ruling_row(j) for j in own],
                    "unread_rulings": unread,
                    "speaks_to_judge": [speaks_to_judge(mine), speaks_to_judge(other)],
                },
            )
        )
    return out


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


def agreement(
    vignettes: Sequence[Vignette], judgements: Sequence[Judgement]
) -> dict[str, Any] | None:
    """Hold the judge against people's votes on the same two answers (Cohen's kappa).

    Args:
        vignettes: those with a vote count.
        judgements: of the vignettes' own `answers`, the first taken as ours.

    Returns:
        n, agree (share), kappa and its interval (statsmodels); None without votes. Where an order
        decides, the vignette counts as a tie. Kappa is None where it is not defined, as all votes
        and rulings are one word.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    means = {key: sum(v) / len(v) for key, v in _scores(judgements).items() if v}
    votes = [(v.vote, means[v.id]) for v in vignettes if v.vote is not None and v.id in means]
    if not votes:
        return None
    rows = ("first", "tie", "second")
    table = np.zeros((3, 3))
    for vote, mean in votes:
        judged = "first" if mean > 0.5 else "second" if mean < 0.5 else "tie"
        table[rows.index(vote), rows.index(judged)] += 1
    share = float(np.trace(table) / table.sum())
    out: dict[str, Any] = {"n": len(votes), "agree": share, "kappa": None, "interval": None}
    chance = float((table.sum(0) * table.sum(1)).sum() / table.sum() ** 2)
    if chance < 1 - 1e-12:
        found = cohens_kappa(table)
        out["kappa"] = float(found.kappa)
        out["interval"] = [float(found.kappa_low), float(found.kappa_upp)]
    return out
