"""HealthBench: conversations with a rubric each, graded criterion by criterion by another model.

The published rule (Arora et al. 2025, and upstream's script): a conversation's score is the points
of its met criteria over the sum of its positive points, so that penalties can take it below 0; the
benchmark's is the mean, clipped to 0..1. Both are given here, and beside them the unclipped mean
with its interval, which is what the verdict reads.

File: JSONL with prompt_id, prompt [{role, content}], rubrics [{criterion, points, tags}],
example_tags. Full (5,000), Hard (1,000) and Consensus are three files of that form.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.benchmarks.client import Client
from checks.benchmarks.judging import (
    Protocol,
    Question,
    ask_until_read,
    read_grade,
    read_rows,
    speaks_to_judge,
)
from checks.benchmarks.templates import fill
from checks.items import LOWEST_RUBRIC, Item
from kit.errors import KitError

__all__ = [
    "Conversation", "Criterion", "Graded", "grade", "read_conversations", "score", "summarise",
    "to_item", "turns_as_text",
]  # fmt: skip

RESAMPLES = 1000  # of the published bootstrap
ROLES = ("system", "user", "assistant")


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


# --- reading ------------------------------------------------------------------------------------


def read_conversations(path: Path) -> list[Conversation]:
    """Read a file of conversations in the published form.

    Raises:
        KitError: naming the line, for a missing field, an empty turn, a conversation that does not
            end with the user, a rubric without positive points (its score is not defined), points
            that are no number, or an id that is there twice.
    """
    out: list[Conversation] = []
    seen: set[str] = set()
    for where, row in read_rows(path, "file of conversations"):
        one = _conversation(row, where)
        if one.id in seen:
            raise _bad(f"the prompt_id {one.id!r} is there twice", where)
        seen.add(one.id)
        out.append(one)
    return out


def _bad(what: str, where: str, cause: str = "") -> KitError:
    return KitError(
        what, where=where, cause=cause or "not HealthBench's published form, or a damaged file",
        fix="fetch the file again; each line needs prompt_id, prompt, rubrics and example_tags",
    )  # fmt: skip


def _conversation(row: Mapping[str, Any], where: str) -> Conversation:
    identity = row.get("prompt_id")
    if not isinstance(identity, str) or not identity:
        raise _bad(f"prompt_id is {identity!r}, not text", where)
    messages = read_turns(row.get("prompt"), where)
    rubrics = row.get("rubrics")
    if not isinstance(rubrics, list) or not rubrics:
        raise _bad("the conversation has no rubric", where)
    criteria = tuple(_criterion(r, where) for r in rubrics)
    if not any(c.points > 0 for c in criteria):
        raise _bad(
            f"no criterion of {identity!r} has positive points", where,
            "the score divides by the sum of the positive points",
        )  # fmt: skip
    lowest = sum(c.points for c in criteria if c.points < 0)
    if lowest < LOWEST_RUBRIC * sum(c.points for c in criteria if c.points > 0):
        raise _bad(f"the penalties of {identity!r} are more than ten times what it can earn", where)
    return Conversation(identity, messages, criteria, _tags(row.get("example_tags", []), where))


def read_turns(value: object, where: str) -> tuple[Mapping[str, str], ...]:
    """Check a list of turns that ends with the user's.

    Raises:
        KitError: it is none.
    """
    if not isinstance(value, list) or not value:
        raise _bad("the conversation has no turns", where)
    out = []
    for turn in value:
        role = turn.get("role") if isinstance(turn, dict) else None
        content = turn.get("content") if isinstance(turn, dict) else None
        if role not in ROLES or not isinstance(content, str) or not content.strip():
            raise _bad(f"a turn needs a role ({', '.join(ROLES)}) and text, not {turn!r:.80}", where)  # fmt: skip  # noqa: E501
        out.append({"role": str(role), "content": content})
    if out[-1]["role"] != "user":
        raise _bad("the last turn is not the user's, so there is nothing to answer", where)
    return tuple(out)


def _criterion(value: object, where: str) -> Criterion:
    raw = value if isinstance(value, dict) else {}
    text, points = raw.get("criterion"), raw.get("points")
    if not isinstance(text, str) or not text.strip():
        raise _bad("a criterion has no text", where)
    if (
        isinstance(points, bool)
        or not isinstance(points, int | float)
        or not math.isfinite(points)
        or points == 0
    ):
        raise _bad(f"the points of a criterion are {points!r}, not a number other than 0", where)
    return Criterion(text, points, _tags(raw.get("tags", []), where))


def _tags(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise _bad(f"tags must be a list of texts, not {value!r:.80}", where)
    return tuple(dict.fromkeys(value))


# --- grading ------------------------------------------------------------------------------------


def turns_as_text(messages: Sequence[Mapping[str, str]]) -> str:
    """Give a conversation as the grader is shown it."""
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages)


def question(template: str, turns: Sequence[Mapping[str, str]], criterion: Criterion,
             label: str) -> Question:  # fmt: skip
    """Give what the grader is asked about one criterion; `turns` end with the answer."""
    fields = {"conversation": turns_as_text(turns), "rubric_item": str(criterion)}
    return Question(label, [{"role": "user", "content": fill(template, fields)}])


def grade(
    conversations: Sequence[Conversation],
    answers: Sequence[tuple[str, bool]],
    client: Client,
    template: str,
    protocol: Protocol,
    *,
    repeat: int = 0,
) -> list[Graded]:
    """Have every criterion of every answer graded.

    Args:
        conversations: what was asked.
        answers: for each its answer, and whether that ended at the token limit.
        client: of the grader.
        template: with <<conversation>> and <<rubric_item>>.
        protocol: temperatures, tries, and what is read strictly.
        repeat: kept with each result.
    """
    questions = [
        question(
            template,
            [*one.messages, {"role": "assistant", "content": answer}],
            criterion,
            f"the grade of criterion {number} of {one.id}",
        )
        for one, (answer, _) in zip(conversations, answers, strict=True)
        for number, criterion in enumerate(one.criteria, 1)
    ]
    outcomes = iter(
        ask_until_read(client, questions, lambda t: read_grade(t, strict=protocol.strict), protocol)
    )
    out = []
    for one, (answer, cut) in zip(conversations, answers, strict=True):
        found = [next(outcomes) for _ in one.criteria]
        out.append(
            Graded(
                one,
                answer,
                tuple(f.value[0] if f.value else None for f in found),
                tuple(f.value[1] if f.value else "" for f in found),
                tuple(len(f.replies) for f in found),
                repeat,
                cut,
            )
        )
    return out


# --- scoring ------------------------------------------------------------------------------------


def score(criteria: Sequence[Criterion], met: Sequence[bool]) -> float:
    """Give the points of met criteria as a share of the positive points.

    Raises:
        ValueError: no criterion has positive points.
    """
    possible = sum(c.points for c in criteria if c.points > 0)
    if not possible:
        raise ValueError("no positive points")
    return sum(c.points for c, m in zip(criteria, met, strict=True) if m) / possible


def to_item(graded: Graded, benchmark: str, protocol: Protocol) -> Item:
    """Give one line of items/*.jsonl, with every grade in it."""
    lost = protocol.strict and graded.unread > 0
    grades: list[dict[str, Any]] = [
        {"criterion": c.text, "points": c.points, "tags": list(c.tags), "met": met,
         "explanation": why, "tries": tries}
        for c, met, why, tries in zip(
            graded.conversation.criteria, graded.met, graded.explanations, graded.tries,
            strict=True,
        )
    ]  # fmt: skip
    words = {True: "met", False: "not met", None: "no grade could be read"}
    return Item(
        benchmark=benchmark,
        id=graded.conversation.id,
        score=None if lost else graded.published(),
        repeat=graded.repeat,
        unparsed=lost,
        question=turns_as_text(graded.conversation.messages),
        response=graded.answer,
        cluster=graded.conversation.id,
        why="; ".join(f"[{g['points']:+g}] {g['criterion']}: {words[g['met']]}" for g in grades),
        extra={
            "protocol": protocol.name,
            "messages": [dict(m) for m in graded.conversation.messages],
            "tags": list(graded.conversation.tags),
            "grades": grades,
            "unread_grades": graded.unread,
            "reach": list(graded.reach()),
            "cut": graded.cut,
            "speaks_to_judge": speaks_to_judge(graded.answer),
        },
    )


def summarise(results: Sequence[Graded], protocol: Protocol) -> dict[str, Any]:
    """Give the benchmark's numbers, in shares of 1.

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
        "protocol": protocol.name,
        "items": len(results),
        "score": min(1.0, max(0.0, math.fsum(scores) / len(scores))),
        "bootstrap_error": clipped_bootstrap(scores, protocol.seed),
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
