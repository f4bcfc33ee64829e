"""The one format that verdicts read: a JSONL file with one line for each scored item.

Two kinds of row are understood::

    {"benchmark": "medqa", "id": "17", "score": 1.0, "repeat": 0, ...}
    {"id": "17", "gold": "C", "answer": "B", "response": "..."}      # with the benchmark named

An answer of ``null`` says that none could be read out of the response. Such an item scores 0, as
the published evaluations score it, and is counted as *unparsed* wherever the score is shown.

A score is a share of what the item can earn, 0..1. Rubric scores (``metric = "mean"`` in the
published table) may carry penalties and are read unclipped: from -10 to 1. They cannot exceed 1,
as no more than all points can be earned; below -10 a number is taken for raw points rather than
for a share. Rows of several training seeds are told apart by ``"seed": 42``.
lm-evaluation-harness's ``samples_*.jsonl`` and CSV files are read by :mod:`checks.item_formats`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from checks import item_formats
from kit.errors import KitError
from kit.files import os_errors, read_jsonl, write_jsonl

__all__ = ["LOWEST_RUBRIC", "Item", "by_benchmark", "read_items", "write_items"]

LOWEST_RUBRIC = -10.0  # penalties of ten times what an item can earn
SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True, slots=True)
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
    extra: Mapping[str, object] = field(default_factory=dict)

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


def read_items(
    path: Path, benchmark: str | None = None, *, rubric: Collection[str] = ()
) -> list[Item]:
    """Read a file of items, or every ``*.jsonl`` and ``*.csv`` of a folder.

    Args:
        path: a file or a folder.
        benchmark: the benchmark that rows without the key ``benchmark`` belong to; rows that
            name another one are refused.
        rubric: benchmarks whose scores may be below 0 (:meth:`checks.tables.Table.rubric`).

    Raises:
        KitError: on a missing or empty file, a broken or truncated line, broken UTF-8, a score
            that is not a number from 0 to 1 (rubric: -10 to 1), the same id, seed and repeat
            twice, or rows that belong to another benchmark or to none. It names the file and
            the line.
    """
    path = Path(path)
    items: list[Item] = []
    for file in _files(path):
        items.extend(_read_file(file, benchmark, rubric))
    seen: dict[tuple[str, str, int | None, int], None] = {}
    for item in items:
        key = (item.benchmark, item.id, item.seed, item.repeat)
        if key in seen:
            raise KitError(
                f"item {item.id!r} of {item.benchmark} is there twice (repeat {item.repeat})",
                where=str(path),
                cause="two evaluations were written into one place, or a run was appended to",
                fix='keep one of the two, or tell them apart with the key "repeat": 0, 1, … '
                'or, for several trainings, "seed"',
            )
        seen[key] = None
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items as JSONL, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, (item.row() for item in items), finite=True)


def by_benchmark(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Sort items into their benchmarks, in order of first appearance."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.benchmark, []).append(item)
    return groups


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise KitError(
            f"there is no file or folder {path}",
            where=str(path),
            cause="a mistyped path, or an evaluation that has not finished",
            fix="give the folder items/ of a run, or one file of it",
        )
    if not path.is_dir():
        return [path]
    files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file())
    if not files:
        raise KitError(
            "the folder holds no file of items",
            where=str(path),
            cause="the evaluation has not run, or wrote elsewhere",
            fix=f"give a folder with {' or '.join('*' + s for s in SUFFIXES)} files",
        )
    return files


def _read_file(path: Path, benchmark: str | None, rubric: Collection[str]) -> list[Item]:
    if path.suffix == ".csv":
        with os_errors("the file of items cannot be read", path):
            data = path.read_bytes()
        rows = list(item_formats.csv_rows(path, data)) if data.strip() else []
    else:
        lines = read_jsonl(
            path, "file of items", finite=True, fix="evaluate again, or copy the file again"
        )
        rows = [(f"{path}:{number}", row) for number, row in lines]
        if rows and item_formats.is_lm_eval(rows[0][1]):
            rows = item_formats.lm_eval_rows(rows, path, benchmark)
            benchmark = None  # each row names it
    if not rows:
        raise KitError(
            "the file of items is empty",
            where=str(path),
            cause="the evaluation was stopped before it wrote anything, or the disk was full",
            fix="evaluate again",
        )
    return [_item(row, where, benchmark, rubric) for where, row in rows]


_FIELDS = {field.name for field in fields(Item)} - {"extra"}


def _item(
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
