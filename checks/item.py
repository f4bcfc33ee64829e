"""One scored item, and how a row becomes one (:mod:`checks.items` says what rows look like)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping

from kit.errors import KitError

LOWEST_RUBRIC = -10.0  # penalties of ten times what an item can earn


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One item of a benchmark as one model answered it once.

    Attributes:
        benchmark: the benchmark's key in the published table, such as ``medqa``.
        id: the item's name, unique within its benchmark (and repeat).
        score: 0..1 (rubric scores -10..1), or None where the item was not scored at all (it then
            counts as missing).
        repeat: which of several evaluations of the same item this is, from 0.
        gold: the right answer, such as ``C``.
        answer: the answer that was read out of the response; None where none was found.
        unparsed: true where an answer or a grade was looked for and not found.
        question: the question as put.
        options: option letter -> text.
        response: what the model said.
        cluster: items that are not independent share one (a conversation, a vignette).
        why: why it scored what it did, in words, for the reader of the report.
        seed: the training seed of the weights that answered; None where there is one training.
        extra: every other key of the row, kept as it was.
    """

    benchmark: str
    id: str
    score: float | None
    repeat: int = 0
    gold: str | None = None
    answer: str | None = None
    unparsed: bool = False
    question: str | None = None
    options: Mapping[str, str] | None = None
    response: str | None = None
    cluster: str | None = None
    why: str | None = None
    seed: int | None = None
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """Give the item as a row of the kit's format, without the fields that say nothing."""
        row: dict[str, object] = {"benchmark": self.benchmark, "id": self.id, "score": self.score}
        row["repeat"] = self.repeat
        for key in ("seed", "gold", "question", "options", "response", "cluster", "why"):
            value = getattr(self, key)
            if value is not None:
                row[key] = dict(value) if isinstance(value, Mapping) else value
        if self.answer is not None or self.unparsed:
            row["answer"] = self.answer
        if self.unparsed:
            row["unparsed"] = True
        return {**self.extra, **row}


_FIELDS = {field.name for field in dataclasses.fields(Item)} - {"extra"}


def item_from_row(
    row: Mapping[str, object],
    where: str,
    benchmark: str | None = None,
    rubric: Collection[str] = (),
) -> Item:
    """Turn one row of the kit's format into an item.

    Args:
        row: the row.
        where: the file and line, for error messages.
        benchmark: the benchmark that a row without one belongs to.
        rubric: benchmarks whose scores may be below 0.
    """
    named = row.get("benchmark")
    if named is None and benchmark is None:
        raise KitError(
            "the rows do not say which benchmark they belong to",
            where=where,
            cause='the rows have no key "benchmark"',
            fix="add `--benchmark NAME`",
        )
    if named is not None and benchmark is not None and named != benchmark:
        raise KitError(
            f"this item belongs to {named!r}, not to {benchmark!r}",
            where=where,
            cause="a file of another benchmark, or two files put together",
            fix=f"drop `--benchmark {benchmark}`, or give the file of {benchmark}",
        )
    identity = row.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise KitError(
            "the item has no id",
            where=where,
            cause='the key "id" is missing, empty or not text or a whole number',
            fix="give each item the id that it has in its benchmark",
        )
    repeat = row.get("repeat", 0)
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise KitError(f"repeat is {repeat!r}, not a whole number from 0", where=where)
    seed = row.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise KitError(f"seed is {seed!r}, not a whole number from 0", where=where)
    name = str(named if named is not None else benchmark)
    score, unparsed = _score(row, where, LOWEST_RUBRIC if name in rubric else 0.0)
    options = row.get("options")
    return Item(
        benchmark=name,
        id=str(identity),
        score=score,
        repeat=repeat,
        gold=_text(row.get("gold")),
        answer=_text(row.get("answer")),
        unparsed=unparsed,
        question=_text(row.get("question")),
        options=_options(options),
        response=_text(row.get("response")),
        cluster=_text(row.get("cluster")),
        why=_text(row.get("why")),
        seed=seed,
        extra={key: value for key, value in row.items() if key not in _FIELDS},
    )


def _score(row: Mapping[str, object], where: str, lowest: float) -> tuple[float | None, bool]:
    unparsed = row.get("unparsed") is True or ("answer" in row and row["answer"] is None)
    if "score" in row:
        value = row["score"]
        if value is None:
            return None, unparsed
        if not isinstance(value, bool | int | float):
            raise KitError(
                f"the score is {value!r}, not a number",
                where=where,
                cause="a file of another format",
                fix="a score is a number from 0 to 1, or null where the item was not scored",
            )
        if not math.isfinite(value) or not lowest <= value <= 1:
            raise KitError(
                f"the score {value} is not between {lowest:g} and 1",
                where=where,
                cause="percentages, or raw points instead of a share"
                if value > 0
                else 'only benchmarks with metric = "mean" have penalties, down to -10',
                fix="divide by the most that an item can score",
            )
        return float(value), unparsed
    if "answer" not in row or row.get("gold") is None:
        raise KitError(
            "the item has neither a score nor a gold answer to score by",
            where=where,
            cause=f"the row has the keys {', '.join(sorted(map(str, row)))}",
            fix='each line is {"benchmark", "id", "score"} or {"id", "gold", "answer"}',
        )
    if unparsed:
        return 0.0, True
    return float(_key(row["answer"]) == _key(row["gold"])), False


def _key(value: object) -> str:
    """Compare letters and words without regard to case and blanks around them."""
    return str(value).strip().casefold()


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _options(value: object) -> dict[str, str] | None:
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    if isinstance(value, list):
        return {chr(ord("A") + i): str(text) for i, text in enumerate(value)}
    return None
