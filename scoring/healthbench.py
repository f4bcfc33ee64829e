"""HealthBench: conversations with a rubric each, graded criterion by criterion by another model.

Scores and the benchmark's numbers follow from the grades in checks/rubric.py.

File: JSONL with prompt_id, prompt [{role, content}], rubrics [{criterion, points, tags}],
example_tags. Full (5,000), Hard (1,000) and Consensus are three files of that form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checks.items import LOWEST_RUBRIC, Item
from checks.rubric import Conversation, Criterion, Graded, speaks_to_judge
from kit.errors import KitError
from scoring.client import Client
from scoring.judge_prompts import fill
from scoring.judge_protocol import Protocol, Question, ask_until_read, read_rows

__all__ = ["grade", "read_conversations", "read_grade", "to_item", "turns_as_text"]

ROLES = ("system", "user", "assistant")


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


class _TwiceError(ValueError):
    pass


def read_grade(text: str, *, strict: bool = False) -> tuple[bool, str] | None:
    """Read a rubric grade: one JSON object, bare or in a fence, whose criteria_met is a boolean.

    Args:
        text: the grader's reply.
        strict: refuse an object that says the same key twice; upstream takes the last.

    Returns:
        Whether the criterion is met, and the explanation; None where it cannot be read: prose,
        broken JSON, "true" in quotes, two objects, nothing.
    """
    bare = text.strip()
    if bare.startswith("```json"):
        bare = bare[len("```json") :].lstrip()
    bare = bare.removesuffix("```").rstrip()
    try:
        found = json.loads(bare, object_pairs_hook=_once if strict else None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("criteria_met"), bool):
        return None
    explanation = found.get("explanation")
    return found["criteria_met"], explanation if isinstance(explanation, str) else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _TwiceError
    return dict(pairs)


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


# --- items --------------------------------------------------------------------------------------


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
