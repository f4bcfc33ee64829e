"""Auto-MOOVE: two models' answers to a vignette, compared by a judge on named criteria.

Each pair is judged in both orders (or, as published, in one drawn at random; here with a seed).
What the rulings come to is in moove_scores.py.

File: JSONL with `prompt` or `question`; optional `id` (else parentContribution.value, else a hash
of the text), and for agreement with people `firstAnswer`, `secondAnswer` and `vote` ("1", "2", or
"12" for a tie).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from checks.benchmarks.client import Client
from checks.benchmarks.judging import Protocol, Question, ask_until_read, read_rows
from checks.benchmarks.templates import JudgePrompt
from checks.errors import KitError

__all__ = ["Judgement", "Ruling", "Vignette", "judge_pairs", "read_ruling", "read_vignettes"]

Winner = Literal["first", "second", "tie"]
VOTES: dict[str, Winner] = {"1": "first", "2": "second", "12": "tie"}
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
