"""What a judge's work comes to, derived again from scored items alone.

The items of a judged benchmark hold every grade or ruling, so whoever has the items can see the
numbers behind the score, and that the score follows from them. A bundle's check relies on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from checks import preferences, rubric
from checks.items import Item
from checks.preferences import Judgement, Ruling, Vignette, Vote
from checks.rater_agreement import agreement
from checks.rubric import Conversation, Criterion, Graded
from checks.verdict_types import Preferences, Rubric
from kit.errors import KitError

__all__ = ["ORDERS", "PROTOCOLS", "details"]

#: Rules for replies that cannot be read, and orders in which two answers are shown.
PROTOCOLS = ("published", "strict")
ORDERS = ("both", "random")

#: What of `rubric.summarise` and `preferences.summarise` is kept, shares of 1 as there.
RUBRIC_KEYS = [key for key in Rubric.__annotations__ if key not in ("kind", "too_long")]
PAIRS_KEYS = [
    key for key in Preferences.__annotations__ if key not in ("kind", "too_long", "agreement")
]


def details(items: Sequence[Item]) -> tuple[Rubric | Preferences | None, str]:
    """Give the numbers behind a judged benchmark's score, in shares of 1.

    Returns:
        {"kind": "rubric", …RUBRIC_KEYS, "too_long"} or {"kind": "pairs", …PAIRS_KEYS, "too_long",
        "agreement"}, None where the items hold neither grades nor rulings; and why the score cannot
        be believed, "" where it can.
    """
    if not items:
        return None, ""
    if all("grades" in item.extra for item in items):
        return _rubric(items)
    if all("rulings" in item.extra for item in items):
        return _pairs(items)
    return None, ""


def _protocol(items: Sequence[Item]) -> tuple[str, str]:
    """Give the names of protocol and order; refuse those that are not known."""
    out = []
    for key, known in (("protocol", PROTOCOLS), ("order", ORDERS)):
        value = str(items[0].extra.get(key, known[0]))
        if value not in known:
            raise KitError(f"{key} is {value!r}; known: {', '.join(known)}")
        out.append(value)
    return out[0], out[1]


def _rubric(items: Sequence[Item]) -> tuple[Rubric, str]:
    protocol, _ = _protocol(items)
    graded = [_graded(item) for item in items]
    wrong = [
        item.id
        for item, one in zip(items, graded, strict=True)
        if item.score is not None and abs(item.score - one.published()) > 1e-9
    ]
    found = rubric.summarise(graded, protocol)
    out = {"kind": "rubric", **{k: found[k] for k in RUBRIC_KEYS}, "too_long": _too_long(items)}
    lost = sum(item.score is None for item in items)
    return cast(Rubric, out), _problem(wrong, lost, "grade")


def _graded(item: Item) -> Graded:
    rows: Any = item.extra["grades"]
    criteria = tuple(
        Criterion(str(g["criterion"]), float(g["points"]), tuple(g.get("tags", ()))) for g in rows
    )
    tags: Any = item.extra.get("tags", ())
    return Graded(
        Conversation(item.id, (), criteria, tuple(tags)),
        item.response or "",
        tuple(g["met"] for g in rows),
        tries=tuple(int(g.get("tries", 1)) for g in rows),
        repeat=item.repeat,
        cut=item.extra.get("cut") is True,
    )


def _pairs(items: Sequence[Item]) -> tuple[Preferences | None, str]:
    judgements = [j for item in items for j in _judgements(_key(item), item.extra["rulings"])]
    lost = sum(item.score is None for item in items)
    if not any(j.ruling for j in judgements):
        return None, _problem([], lost, "ruling")
    worth = preferences.vignette_scores(judgements)
    wrong = [
        item.id
        for item in items
        if item.score is not None and abs(item.score - worth.get(_key(item), -1.0)) > 1e-9
    ]
    names = list(dict.fromkeys(name for j in judgements if j.ruling for name in j.ruling.scores))
    found = preferences.summarise(judgements, names, *_protocol(items))
    out: dict[str, Any] = {"kind": "pairs", **{k: found[k] for k in PAIRS_KEYS}}
    out["too_long"] = _too_long(items)
    # People voted once, however many trainings answered.
    voted = list({item.id: item for item in items if "votes" in item.extra}.values())
    sets = [Vignette(i.id, "", ("", ""), _votes(i.extra["votes"])) for i in voted]
    own = [j for i in voted for j in _judgements(i.id, i.extra.get("vote_rulings", ()))]
    out["agreement"] = agreement(sets, own)
    return cast(Preferences, out), _problem(wrong, lost, "ruling")


def _too_long(items: Sequence[Item]) -> int:
    """Count answers that are empty because their prompt was longer than the model's window."""
    counts: list[Any] = [item.extra.get("too_long", 0) for item in items]
    return sum(n for n in counts if isinstance(n, int))


def _votes(rows: Any) -> tuple[Vote, ...]:
    return tuple(Vote(row["winner"], str(row["rater"])) for row in rows)


def _key(item: Item) -> str:
    """Tell apart the answers of several trainings to one vignette."""
    return item.id if item.seed is None else f"{item.id}, seed {item.seed}"


def _judgements(identity: str, rows: Any) -> list[Judgement]:
    return [_judgement(identity, row) for row in rows]


def _judgement(identity: str, row: Mapping[str, Any]) -> Judgement:
    first, outcome = row["ours_first"] is True, row["outcome"]
    if outcome is None:
        return Judgement(identity, first, None, int(row.get("tries", 1)))
    winners = {"tie": "tie", "ours": "first" if first else "second",
               "theirs": "second" if first else "first"}  # fmt: skip
    # Kept as (ours, theirs); a ruling has them as they were shown.
    scores = {str(k): (int(v[0]), int(v[1])) if first else (int(v[1]), int(v[0]))
              for k, v in row["scores"].items()}  # fmt: skip
    ruling = Ruling(winners[str(outcome)], scores)  # type: ignore[arg-type]
    return Judgement(identity, first, ruling, int(row.get("tries", 1)))


def _problem(wrong: Sequence[str], lost: int, what: str) -> str:
    if wrong:
        return (
            f"The score of {len(wrong):,} items does not follow from their {what}s, such as "
            f"{wrong[0]!r}."
        )
    if lost:
        return (
            f"{lost:,} items have no score, because a {what} of theirs could not be read, such as "
            "under the protocol strict."
        )
    return ""
