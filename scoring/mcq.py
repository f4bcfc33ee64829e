"""Multiple-choice benchmarks: four native schemas in, one kind of question out.

Schemas, told apart by their fields:
    medmcqa     id, question, opa..opd, cop (0-based)
    medqa       id, sent1, sent2, ending0..ending3, label (0-based)
    pubmedqa    pubid, question, context.contexts, final_decision (yes, no or maybe)
    medxpertqa  id, question (with "Answer Choices: ..."), options {letter: text}, label (letter)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.files import read_jsonl

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLOSING = (
    "Reason briefly, then close with one line: Final Answer: (X), "
    "where X is the letter of your choice."
)
_FIELDS = {
    "medmcqa": ("id", "question", "opa", "opb", "opc", "opd", "cop"),
    "medqa": ("id", "sent1", "sent2", "ending0", "ending1", "ending2", "ending3", "label"),
    "pubmedqa": ("pubid", "question", "context", "final_decision"),
    "medxpertqa": ("id", "question", "options", "label"),
}
BENCHMARKS = tuple(_FIELDS)
_DECISIONS = {"A": "yes", "B": "no", "C": "maybe"}


@dataclass(frozen=True)
class Question:
    """One item, ready to be asked.

    Attributes:
        id: unique within its benchmark.
        prompt: the text of the user's turn, options and closing instruction included.
        options: text by letter, in the order shown.
        gold: the right letter.
        benchmark: medmcqa, medqa, pubmedqa or medxpertqa.
        row: the item as its file has it, for task files that put the question in their own words.
        listed: whether it is one of the published selection; None where there is no selection.
    """

    id: str
    prompt: str
    options: dict[str, str]
    gold: str
    benchmark: str
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    listed: bool | None = None


def build_prompt(question: str, options: Mapping[str, str], *, listed: bool = False) -> str:
    """Put a question as the user's turn. `listed`: the question holds its options already."""
    lines = [question.strip()]
    if not listed:
        lines += [f"{letter}. {text}" for letter, text in options.items()]
    return "\n".join([*lines, CLOSING])


# --- reading ------------------------------------------------------------------------------------


def read_benchmark(
    path: Path, benchmark: str | None = None, *, every: bool = False
) -> list[Question]:
    """Read a benchmark file, one JSON object a line.

    Where the folder also holds `<name>_test_pubids.json` (PubMedQA's published selection of 500
    of its 1,000 labelled items), only the listed items are given.

    Args:
        path: the JSONL file.
        benchmark: the schema that is expected; None: whichever the fields show.
        every: give the items that are not listed as well.

    Raises:
        KitError: naming the file and line, for a file that is missing, empty, not UTF-8 or not
            JSON, for another schema, and for an item without question, gold answer or own id.
    """
    if benchmark is not None and benchmark not in _FIELDS:
        raise KitError(
            f"Unknown benchmark {benchmark!r}.",
            where=str(path),
            cause=f"the kit reads {', '.join(BENCHMARKS)}",
            fix="name one of these",
        )
    selected = test_split(path)
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, row in read_jsonl(path, "benchmark file"):
        where = f"{path}:{number}"
        schema = _detect_schema(row, benchmark, where)
        benchmark = benchmark or schema
        question = _PARSERS[schema](row, where)
        listed = None if selected is None else question.id in selected
        if listed is False and not every:
            continue
        if question.id in seen:
            raise KitError(
                f"The id {question.id!r} appears twice.",
                where=where,
                cause=f"it is on line {seen[question.id]} already; each item may count once",
                fix="remove one of the lines",
            )
        seen[question.id] = number
        questions.append(replace(question, row=row, listed=listed))
    if not questions:
        raise KitError(
            "The benchmark has no items.",
            where=str(path),
            cause="the file is empty" if selected is None else "no item is in the selection",
            fix="fetch the file again",
        )
    if selected is not None and (missing := selected - seen.keys()):
        raise KitError(
            f"{len(missing)} of the {len(selected)} selected items are not in the file, "
            f"{min(missing)} first.",
            where=str(path),
            cause="the file is cut short or of another version than its list of ids",
            fix="fetch both files again",
        )
    return questions


def test_split(path: Path) -> set[str] | None:
    """Give the ids of the items that count, where the file's folder lists them (PubMedQA).

    Raises:
        KitError: the list cannot be read.
    """
    name = re.split(r"[^a-z]", path.name.lower(), maxsplit=1)[0]
    listing = path.with_name(f"{name}_test_pubids.json")
    if not listing.is_file():
        return None
    try:
        ids = json.loads(listing.read_text(encoding="utf-8"))
        return {str(value) for value in ids}
    except (OSError, ValueError, TypeError) as error:
        raise KitError(
            "The list of selected items cannot be read.",
            where=str(listing),
            cause=f"{error}; it must be a JSON list of ids",
            fix="fetch it again, or remove it to take every item",
        ) from error


def _detect_schema(row: dict[str, Any], expected: str | None, where: str) -> str:
    names = [expected] if expected else list(_FIELDS)
    for name in names:
        if all(field in row for field in _FIELDS[name]):
            return name
    if expected:
        wanted = f"{expected} has {', '.join(_FIELDS[expected])}"
    else:
        wanted = "; ".join(f"{name} has {', '.join(fields)}" for name, fields in _FIELDS.items())
    raise KitError(
        f"These are not the fields of {expected or 'any benchmark that the kit reads'}.",
        where=where,
        cause=f"found: {', '.join(map(str, row)) or 'none'}. Expected: {wanted}",
        fix="give the file in the benchmark's own schema, or name the right benchmark",
    )


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise KitError(
            f"The field {field!r} is empty.",
            where=where,
            cause=f"it holds {value!r}; a question and each option need text",
            fix="fetch the file again, or remove the item",
        )
    return value


def _no_gold(field: str, value: object, allowed: str, where: str) -> KitError:
    return KitError(
        f"The item has no usable gold answer: {field} is {value!r}.",
        where=where,
        cause=f"{field} must be {allowed}; a test split may be published without its answers",
        fix="use a split with answers (MedMCQA: validation)",
    )


def _index_gold(row: Mapping[str, Any], field: str, count: int, where: str) -> str:
    value = row[field]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise _no_gold(field, value, f"a whole number from 0 to {count - 1}", where)
    return LETTERS[value]


def _identity(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row[field]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise KitError(
            f"The item has no id: {field} is {value!r}.",
            where=where,
            cause="results are kept by id",
            fix="give each item an id of its own",
        )
    return str(value)


def _parse_medmcqa(row: dict[str, Any], where: str) -> Question:
    fields = ("opa", "opb", "opc", "opd")
    options = {LETTERS[i]: _text(row, field, where) for i, field in enumerate(fields)}
    prompt = build_prompt(_text(row, "question", where), options)
    gold = _index_gold(row, "cop", 4, where)
    return Question(_identity(row, "id", where), prompt, options, gold, "medmcqa")


def _parse_medqa(row: dict[str, Any], where: str) -> Question:
    options = {LETTERS[i]: _text(row, f"ending{i}", where) for i in range(4)}
    # sent2 is empty in the published file; where it is not, it continues the question.
    question = f"{_text(row, 'sent1', where)} {row['sent2'] or ''}"
    gold = _index_gold(row, "label", 4, where)
    identity = _identity(row, "id", where)
    return Question(identity, build_prompt(question, options), options, gold, "medqa")


def _parse_pubmedqa(row: dict[str, Any], where: str) -> Question:
    context = row["context"]
    parts = context.get("contexts") if isinstance(context, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(p, str) for p in parts):
        raise KitError(
            "The item has no abstract.",
            where=where,
            cause="context must be an object with a list of texts under contexts",
            fix="use the file pqa_labeled in its published form",
        )
    question = _text(row, "question", where)
    decision = row["final_decision"]
    letters = [letter for letter, text in _DECISIONS.items() if text == decision]
    if not letters:
        raise _no_gold("final_decision", decision, "yes, no or maybe", where)
    prompt = build_prompt("\n".join([*parts, question]), _DECISIONS)
    return Question(
        _identity(row, "pubid", where), prompt, dict(_DECISIONS), letters[0], "pubmedqa"
    )


def _parse_medxpertqa(row: dict[str, Any], where: str) -> Question:
    options = row["options"]
    expected = list(LETTERS[: len(options)]) if isinstance(options, dict) else None
    if not options or list(options) != expected:
        raise KitError(
            "The options are not lettered from A on.",
            where=where,
            cause=f"options must be an object A, B, C, ...; it is {str(options)[:60]}",
            fix="use the benchmark's own file",
        )
    options = {letter: _text(options, letter, where) for letter in options}
    gold = row["label"]
    if not isinstance(gold, str) or gold not in options:
        raise _no_gold("label", gold, f"a letter from A to {expected[-1]}", where)
    question = _text(row, "question", where)
    prompt = build_prompt(question, options, listed="Answer Choices:" in question)
    return Question(_identity(row, "id", where), prompt, options, gold, "medxpertqa")


_PARSERS: dict[str, Callable[[dict[str, Any], str], Question]] = {
    "medmcqa": _parse_medmcqa,
    "medqa": _parse_medqa,
    "pubmedqa": _parse_pubmedqa,
    "medxpertqa": _parse_medxpertqa,
}
