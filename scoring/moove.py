"""Auto-MOOVE: two models' answers to a vignette, compared by a judge on named criteria.

Each pair is judged in both orders (or, as published, in one drawn at random; here with a seed).
The file of vignettes is read in vignettes.py; the numbers that follow from the rulings are in
checks/preferences.py, the judge's agreement with people in checks/rater_agreement.py.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from checks.items import Item
from checks.preferences import Judgement, Ruling, Vignette, Winner, scores_by_vignette
from checks.rubric import speaks_to_judge
from scoring.client import Client
from scoring.judge_prompts import JudgePrompt
from scoring.judge_protocol import Protocol, Question, ask_until_read

__all__ = ["judge_pairs", "read_ruling", "ruling_rows", "to_items", "with_votes"]

_WINNERS: dict[str, Winner] = {"model 1": "first", "model 2": "second", "tie": "tie"}


# --- reading ------------------------------------------------------------------------------------


def read_ruling(text: str, criteria: Sequence[str], *, strict: bool = False) -> Ruling | None:
    """Read a judge's reply; None where it names no winner.

    Args:
        text: "Criterion: score" lines for one model, then for the other, then "Winner: …".
        criteria: whose scores are looked for; each counts where it is found twice.
        strict: refuse a reply that names two different winners, or one as a part of another word
            ("Model 12"; upstream takes the first there is), and scores of which it is not clear
            whose or which they are: Model 2's before Model 1's, or the 1 of 10 (upstream takes the
            first two digits from 1 to 5, the first as Model 1's).
    """
    edge = r"\b" if strict else ""
    named = re.findall(rf"{edge}winner:\s*(model 1|model 2|tie){edge}", text, re.IGNORECASE)
    winners = [_WINNERS[name.lower()] for name in named]
    if not winners or (strict and len(set(winners)) > 1):
        return None
    heads = [text.lower().find(f"model {n} scores") for n in (1, 2)]
    whole = r"(?!\d|[.,]\d)" if strict else ""
    scores = {}
    for criterion in () if strict and 0 <= heads[1] < heads[0] else criteria:
        found = re.findall(rf"{re.escape(criterion)}:\s*([1-5]){whole}", text, re.IGNORECASE)
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
        protocol, pairs=True,
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


# --- items ---------------------------------------------------------------------------------------


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
    scores = scores_by_vignette(judgements)
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
