"""The judge's canary: grades that were frozen are asked for again before a judged run.

A judge that is served with other weights, another template or another version of its server may
grade otherwise, and every score of the run would move with it. So a fixed set of graded answers is
graded again first; where more grades differ than the margin allows, the run is invalid.

File: JSONL with id, messages (ending with the answer), criterion, points, met (true or false).
`freeze` makes one out of a judged run's items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.items import Item
from checks.rubric import Criterion
from kit.errors import KitError
from scoring.client import Client
from scoring.healthbench import question, read_grade, read_turns
from scoring.judge_protocol import Protocol, ask_until_read, read_rows

__all__ = ["Canary", "freeze", "read_canary", "sing"]

FROZEN = 100  # grades that freeze keeps


@dataclass(frozen=True)
class Canary:
    """One frozen grade."""

    id: str
    turns: tuple[dict[str, str], ...]
    criterion: Criterion
    met: bool


def read_canary(path: Path) -> list[Canary]:
    """Read frozen grades.

    Raises:
        KitError: naming the line of what is none.
    """
    out = []
    for where, row in read_rows(path, "judge's canary"):
        turns, text, points = row.get("messages"), row.get("criterion"), row.get("points")
        last = turns[-1] if isinstance(turns, list) and len(turns) > 1 else None
        content = last.get("content") if isinstance(last, dict) else None
        if (
            not isinstance(turns, list)
            or not isinstance(content, str)
            or not isinstance(text, str)
            or isinstance(points, bool)
            or not isinstance(points, int | float)
            or not isinstance(row.get("met"), bool)
        ):
            raise KitError(
                "this is no frozen grade",
                where=where,
                cause="a line has id, messages (ending with the answer), criterion, points and met",
                fix="freeze one again from a judged run",
            )
        asked = read_turns(turns[:-1], where)
        answer = {"role": "assistant", "content": content}
        everything = (*(dict(t) for t in asked), answer)
        out.append(Canary(str(row.get("id")), everything, Criterion(text, points), row["met"]))
    return out


def sing(
    frozen: Sequence[Canary], client: Client, template: str, protocol: Protocol, margin: float
) -> dict[str, Any]:
    """Grade the frozen answers again.

    Args:
        frozen: what was graded before.
        client: of the judge as it is now.
        template: of the grader.
        protocol: as in the run.
        margin: points that may differ.

    Returns:
        n, changed, unread, drift and margin (points), changed_ids, and problem: why the run is
        invalid, "" where it is not.
    """
    questions = [
        question(template, c.turns, c.criterion, f"the canary's grade {c.id}") for c in frozen
    ]
    outcomes = ask_until_read(
        client, questions, lambda t: read_grade(t, strict=protocol.strict), protocol
    )
    unread = [c.id for c, o in zip(frozen, outcomes, strict=True) if o.value is None]
    changed = [
        c.id for c, o in zip(frozen, outcomes, strict=True) if o.value and o.value[0] != c.met
    ]
    drift = 100 * (len(unread) + len(changed)) / len(frozen)
    problem = ""
    if drift > margin:
        problem = (
            f"the judge grades {len(changed):,} of {len(frozen):,} frozen answers otherwise than "
            f"before and {len(unread):,} not at all: {drift:.1f} points of drift, {margin:g} are "
            "allowed"
        )
    return {
        "n": len(frozen), "changed": len(changed), "unread": len(unread), "drift": drift,
        "margin": margin, "changed_ids": changed[:50], "problem": problem,
    }  # fmt: skip


def freeze(items: Sequence[Item], most: int = FROZEN) -> list[dict[str, Any]]:
    """Give the rows of a canary out of a judged run's items: grades spread evenly over them.

    Raises:
        KitError: the items hold no grades.
    """
    rows = [
        {
            "id": f"{item.id}/{number}",
            "messages": [*_turns(item), {"role": "assistant", "content": item.response or ""}],
            "criterion": grade["criterion"],
            "points": grade["points"],
            "met": grade["met"],
        }
        for item in items
        for number, grade in enumerate(_grades(item), 1)
        if isinstance(grade.get("met"), bool)
    ]
    if not rows:
        raise KitError(
            "these items hold no grades",
            cause="they are of a benchmark without a rubric",
            fix="give the items of a HealthBench evaluation",
        )
    step = max(1, len(rows) // most)
    return rows[::step][:most]


def _turns(item: Item) -> list[dict[str, str]]:
    found = item.extra.get("messages")
    return [dict(turn) for turn in found] if isinstance(found, list) else []


def _grades(item: Item) -> list[dict[str, Any]]:
    found = item.extra.get("grades")
    return [g for g in found if isinstance(g, dict)] if isinstance(found, list) else []
