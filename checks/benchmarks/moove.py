"""Auto-MOOVE: two models' answers to a vignette, compared by a judge on named criteria.

Each pair is judged in both orders (or, as published, in one drawn at random; here with a seed).
The file of vignettes is read in vignettes.py; what the rulings come to is in moove_scores.py, and
how the judge agrees with people in moove_agreement.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from checks.benchmarks.client import Client
from checks.benchmarks.judging import Protocol, Question, ask_until_read
from checks.benchmarks.templates import JudgePrompt
from checks.benchmarks.vignettes import Vignette, Winner

__all__ = ["Judgement", "Ruling", "judge_pairs", "read_ruling"]

_WINNERS: dict[str, Winner] = {"model 1": "first", "model 2": "second", "tie": "tie"}


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
