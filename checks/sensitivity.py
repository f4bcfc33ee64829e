"""How far each choice of the multiple-choice protocol moves a score.

On the same generations, one choice at a time:

    as scored      the answers that the items hold
    published      the first match of upstream's pattern
    robust         the last explicit answer
    missing is A   as scored, but an item without an answer counts as answered A, as MIRAGE has it
                   (arXiv 2402.13178)
    listed         PubMedQA's 500 published items out of the 1,000

Nothing is chance here: the same responses are read in another way. A chat template changes the
generations themselves: :func:`compare` holds two evaluations of the same items against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from checks.answers import EXTRACTIONS
from checks.comparisons import paired
from checks.items import Item
from checks.tables import ModelRow, Table
from checks.verdict_types import Readings
from kit.errors import KitError

__all__ = ["AS_SCORED", "ask", "compare", "outline", "sensitivity"]

AS_SCORED, MISSING_IS_A, LISTED = "as scored", "missing is A", "listed"
ABOUT = {
    AS_SCORED: "the answers that the items hold",
    "published": "the first match of upstream's pattern",
    "robust": "the last explicit answer",
    MISSING_IS_A: "as scored, an item without an answer counts as answered A (MIRAGE's rule)",
    LISTED: "as scored, PubMedQA's 500 published items alone",
}
#: Option letters of items that do not hold their options.
LETTERS = {"medxpertqa": "ABCDEFGHIJ", "mmlu_pro": "ABCDEFGHIJ", "pubmedqa": "ABC"}


def sensitivity(
    items: Mapping[str, Sequence[Item]], table: Table | None = None, model: str | None = None
) -> list[dict[str, Any]]:
    """Read every benchmark's responses by each rule.

    Args:
        items: benchmark -> items; those whose right answer is no letter have no such choice and
            are left out.
        table: where published scores and titles are taken from.
        model: its row.

    Returns:
        For each benchmark {"benchmark", "title", "published" (per cent or None), "items",
        "variants": [{"name", "about", "items", "right", "score" (per cent), "unparsed",
        "difference" (points), "gained", "lost"}], "changed": [{"id", "gold", and the answer by
        each rule}], "cannot": [{"choice", "why"}]}. Differences are less the first variant's.
    """
    row = table.model(model) if table is not None and model is not None else None
    return [_one(name, group, table, row) for name, group in items.items() if _lettered(group)]


def outline(found: Sequence[Mapping[str, Any]]) -> list[Readings]:
    """Leave out the single items and what changes nothing to look at: for verdict.json."""
    return [
        {"benchmark": one["benchmark"], "title": one["title"], "variants": one["variants"]}
        for one in found
        if len(one["variants"]) > 1
    ]


def ask(found: Sequence[Mapping[str, Any]]) -> None:
    """Refuse where no choice could be tried on any benchmark.

    Raises:
        KitError: saying why not.
    """
    if any(len(one["variants"]) > 1 for one in found):
        return
    whys = [c["why"] for one in found for c in one["cannot"] if c["choice"] == "extraction"]
    raise KitError(
        "no choice of the protocol can be tried on these items",
        where=", ".join(one["benchmark"] for one in found) or "--sensitivity",
        cause=whys[0] if whys else "none of them is multiple choice: the right answer is no letter",
        fix='give items with their texts: each line holds "gold" and "response"',
    )


def _lettered(items: Sequence[Item]) -> bool:
    golds = [item.gold.strip() for item in items if item.gold]
    return bool(golds) and all(len(gold) == 1 and gold.isalpha() for gold in golds)


def _one(
    name: str, group: Sequence[Item], table: Table | None, row: ModelRow | None
) -> dict[str, Any]:
    items = [item for item in group if item.score is not None]
    column = table.benchmarks.get(name) if table is not None else None
    score = row.scores.get(name) if row is not None else None
    readings, cannot = _readings(name, items)
    base = _variant(AS_SCORED, items, None)
    variants = [base] + [_variant(rule, items, found) for rule, found in readings.items()]
    if name == "pubmedqa":
        listed = [item for item in items if item.extra.get("listed") is True]
        if 0 < len(listed) < len(items):
            variants.append(_variant(LISTED, listed, None))
        else:
            cannot.append({"choice": "PubMedQA 500 or 1,000", "why": _one_split(items, listed)})
    for variant in variants:
        variant["difference"] = round(variant["score"] - base["score"], 4)
    cannot.append({
        "choice": "chat template",
        "why": "it changes what is generated: the model has to be asked again",
    })  # fmt: skip
    return {
        "benchmark": name,
        "title": column.title if column is not None else name,
        "published": score.value if score is not None else None,
        "items": len(items),
        "variants": variants,
        "changed": _changed(items, readings),
        "cannot": cannot,
    }


def _readings(
    name: str, items: Sequence[Item]
) -> tuple[dict[str, list[str | None]], list[dict[str, str]]]:
    """Give each item's answer by each rule that can be tried."""
    out: dict[str, list[str | None]] = {}
    cannot = []
    silent = sum(item.response is None for item in items)
    if silent:
        some = "no item has" if silent == len(items) else f"{silent:,} of {len(items):,} items lack"
        cannot.append({"choice": "extraction", "why": f"{some} a response, only its reading"})
    else:
        for rule, read in EXTRACTIONS.items():
            out[rule] = [read(i.response or "", _letters(name, i)) for i in items]
    known = all(item.unparsed or item.answer is not None for item in items)
    if known and any(item.unparsed for item in items):
        out[MISSING_IS_A] = [item.answer or "A" for item in items]
    return out, cannot


def _letters(name: str, item: Item) -> Sequence[str]:
    return list(item.options) if item.options else LETTERS.get(name, "ABCD")


def _one_split(items: Sequence[Item], listed: Sequence[Item]) -> str:
    if listed:
        return "the items are the 500 published ones: the others were not asked"
    if any("listed" in item.extra for item in items):
        return "none of the 500 published items is among these"
    return "the items do not say which of them are the 500 published ones"


def _right(item: Item, answer: str | None) -> bool:
    return answer is not None and answer == (item.gold or "").strip().upper()


def _variant(rule: str, items: Sequence[Item], found: list[str | None] | None) -> dict[str, Any]:
    before = scores = [float(item.score or 0) for item in items]
    unparsed = sum(item.unparsed for item in items)
    if found is not None:
        scores = [float(_right(i, a)) for i, a in zip(items, found, strict=True)]
        unparsed = sum(answer is None for answer in found)
    total = float(sum(scores))
    return {
        "name": rule,
        "about": ABOUT[rule],
        "items": len(items),
        "right": int(total) if total.is_integer() else total,
        "score": round(100 * total / len(items), 4) if items else 0.0,
        "unparsed": unparsed,
        "gained": sum(new > old for new, old in zip(scores, before, strict=True)),
        "lost": sum(new < old for new, old in zip(scores, before, strict=True)),
    }


def _changed(
    items: Sequence[Item], readings: Mapping[str, Sequence[str | None]]
) -> list[dict[str, Any]]:
    """List the items that are right by one rule and wrong by another."""
    out = []
    for number, item in enumerate(items):
        answers = {rule: found[number] for rule, found in readings.items()}
        outcomes = {_right(item, answer) for answer in answers.values()}
        if outcomes | {bool(item.score)} == {True, False}:
            row: dict[str, Any] = {"id": item.id}
            if item.repeat or item.seed is not None:
                row |= {"repeat": item.repeat, "seed": item.seed}
            out.append({**row, "gold": item.gold, AS_SCORED: item.answer, **answers})
    return out


def compare(
    ours: Mapping[str, Sequence[Item]],
    theirs: Mapping[str, Sequence[Item]],
    table: Table | None = None,
) -> list[dict[str, Any]]:
    """Hold two evaluations of the same items against each other, by every way to read them.

    Args:
        ours: benchmark -> items.
        theirs: the same with another protocol, such as without a chat template.
        table: where titles are taken from.

    Returns:
        For each benchmark that both have, {"benchmark", "title", "rows": [{"name", "items",
        "ours", "theirs" (per cent), "difference" (ours less theirs, points), "interval", "p_value",
        "ours_only", "theirs_only", "method"}]}.

    Raises:
        KitError: they share no benchmark or no item, or the same item has two right answers.
    """
    out = []
    for name in ours:
        if name not in theirs or not (_lettered(ours[name]) and _lettered(theirs[name])):
            continue
        sides = [[i for i in side[name] if i.score is not None] for side in (ours, theirs)]
        _same_questions(name, *sides)
        rules: dict[str, Callable[[Item], Item]] = {AS_SCORED: lambda item: item}
        if all(item.response is not None for side in sides for item in side):
            rules |= {rule: _rescore(name, rule) for rule in EXTRACTIONS}
        rows = []
        for rule, read in rules.items():
            left, right = ([read(item) for item in side] for side in sides)
            found = paired(left, right)
            if found is None:
                raise KitError(
                    f"the two evaluations of {name} share no item",
                    where=name,
                    cause="they were asked other items, or the ids are of other versions",
                    fix="evaluate both on the same file with the same eval.limit and eval.seed",
                )
            shared = {i.id for i in left} & {i.id for i in right}
            rows.append({
                "name": rule,
                "items": found.items,
                "ours": _mean([i for i in left if i.id in shared]),
                "theirs": _mean([i for i in right if i.id in shared]),
                "difference": round(100 * found.difference, 4),
                "interval": [round(100 * found.low, 4), round(100 * found.high, 4)],
                "ours_only": found.ours_only,
                "theirs_only": found.theirs_only,
                "p_value": found.p_value,
                "method": found.method,
            })  # fmt: skip
        column = table.benchmarks.get(name) if table is not None else None
        out.append({"benchmark": name, "title": column.title if column else name, "rows": rows})
    if not out:
        raise KitError(
            "the two evaluations share no multiple-choice benchmark",
            where="--sensitivity",
            cause=f"one has {', '.join(ours) or 'none'}, the other {', '.join(theirs) or 'none'}",
            fix="evaluate both on the same benchmarks",
        )
    return out


def _mean(items: Sequence[Item]) -> float:
    return round(100 * sum(float(item.score or 0) for item in items) / len(items), 4)


def _rescore(name: str, rule: str) -> Callable[[Item], Item]:
    def read(item: Item) -> Item:
        answer = EXTRACTIONS[rule](item.response or "", _letters(name, item))
        return dataclasses.replace(item, answer=answer, score=float(_right(item, answer)))

    return read


def _same_questions(name: str, ours: Sequence[Item], theirs: Sequence[Item]) -> None:
    golds = {item.id: item.gold for item in ours}
    for item in theirs:
        if item.id in golds and golds[item.id] != item.gold:
            raise KitError(
                f"item {item.id!r} has the right answer {golds[item.id]} on one side and "
                f"{item.gold} on the other",
                where=name,
                cause="two versions of the benchmark",
                fix="evaluate both on the same file",
            )
