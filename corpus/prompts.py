"""Benchmarks as the prompts that training data is held against.

Native schemas, told apart by their fields (one JSON object a line):
    medmcqa      question, opa..opd                      "stem\\nA. …\\nB. …\\nC. …\\nD. …"
    medqa        sent1, sent2, ending0..ending3          the same
    pubmedqa     context.contexts, question              contexts joined by blanks, the question
    medxpertqa   question (holds its options), options   the question
    mmlu_pro     question, options, answer, category     "stem\nA. …\nB. …" and so on
    arc          question, choices {label, text}         the same, with the choices' labels
    healthbench  prompt: list of {role, content}         the user's turns joined by newlines
    ifeval       prompt: text                            the text
    auto_moove   prompt or question, with firstAnswer    the text
                 or parentContribution

Any other file: name the field that holds the text (or a list of messages).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.rows import ROLES
from corpus.tokens import clean
from kit.errors import KitError
from kit.files import read_jsonl

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark's prompts.

    Attributes:
        name: names its report, so letters, digits, dots, dashes and underscores alone.
        prompts: in the file's order, blank lines not counted; empty ones are kept, so that an
            index is the row's number in the file.
        source: where they come from.
        outside: indices of rows that do not belong to it; their prompts are empty.
    """

    name: str
    prompts: tuple[str, ...]
    source: str
    outside: frozenset[int] = frozenset()


def parse(given: str) -> tuple[str, Path, str | None]:
    """Read NAME=FILE[:FIELD].

    Raises:
        KitError: another form, or a name that could not name a file.
    """
    name, equals, rest = given.partition("=")
    if not equals or not rest:
        raise KitError(
            f"--prompts takes NAME=FILE[:FIELD], not {given!r}",
            where="--prompts",
            fix="--prompts medqa=medqa_test.jsonl other=items.jsonl:text",
        )
    if not _NAME.fullmatch(name):
        raise KitError(
            f"{name!r} cannot name a benchmark",
            where="--prompts",
            cause="its report is named after it: letters, digits, '.', '_' and '-' alone",
        )
    path, _, field = rest.rpartition(":")
    if path and not Path(rest).is_file():
        return name, Path(path), field
    return name, Path(rest), None


def read(
    name: str, path: Path, field: str | None = None, *, only: Collection[str] | None = None
) -> Benchmark:
    """Read a benchmark's prompts.

    Args:
        name: what it is called in the reports.
        path: JSONL in one of the native schemas, or any other with `field`.
        field: that holds the prompt; None: whichever schema the fields show.
        only: the `pubid`s of the rows that belong to it (PubMedQA's test split); None: all do.

    Raises:
        KitError: naming the line, for a file that is missing, empty, not UTF-8 or not JSON, of
            another schema, or without the field.
    """
    prompts = []
    outside = set()
    for number, row in read_jsonl(path, f"benchmark {name}"):
        if only is None or str(row.get("pubid")) in only:
            prompts.append(clean(_prompt(row, field, f"{path}:{number}")))
        else:
            outside.add(len(prompts))
            prompts.append("")
    if len(prompts) == len(outside):
        raise KitError(
            f"the benchmark {name} has no rows",
            where=str(path),
            cause="no row belongs to its test split"
            if outside
            else "an empty file; against nothing every corpus would look clean",
            fix="fetch it again, or leave it out",
        )
    return Benchmark(name, tuple(prompts), str(path), frozenset(outside))


def _prompt(row: dict[str, Any], field: str | None, where: str) -> str:
    if field is not None:
        if field not in row:
            raise KitError(
                f"there is no field {field!r}", where=where, cause=f"found: {', '.join(row)}"
            )
        return _text(row[field], field, where)
    for fields, build in _SCHEMAS:
        if all(name in row for name in fields):
            return build(row, where)
    raise KitError(
        "these are not the fields of a benchmark that the kit knows",
        where=where,
        cause=f"found: {', '.join(row) or 'none'}; known are MedMCQA, MedQA, PubMedQA, "
        "MedXpertQA, MMLU-Pro, ARC, IFEval and HealthBench",
        fix="name the field that holds the text: --prompts NAME=FILE:FIELD",
    )


def _text(value: Any, field: str, where: str) -> str:
    if isinstance(value, list):
        turns = [t for t in value if isinstance(t, Mapping)]
        texts = [t.get("content") for t in turns if ROLES.get(str(t.get("role"))) == "human"]
        if texts and all(isinstance(text, str) for text in texts):
            return "\n".join(map(str, texts))
    if not isinstance(value, str):
        raise KitError(
            f"the field {field!r} holds neither text nor messages with a user's turn", where=where
        )
    return value


def _choices(row: Mapping[str, Any], stem: str, fields: tuple[str, ...], where: str) -> str:
    options = [_text(row[field], field, where) for field in fields]
    lines = [f"{letter}. {text}" for letter, text in zip("ABCD", options, strict=True)]
    return "\n".join([stem, *lines])


def _medmcqa(row: dict[str, Any], where: str) -> str:
    return _choices(row, _text(row["question"], "question", where), _OPTIONS, where)


def _medqa(row: dict[str, Any], where: str) -> str:
    # sent2 is empty in the published file; where it is not, it continues the question.
    second = _text(row["sent2"] or "", "sent2", where)
    stem = " ".join(part for part in (_text(row["sent1"], "sent1", where), second) if part)
    return _choices(row, stem, _ENDINGS, where)


def _pubmedqa(row: dict[str, Any], where: str) -> str:
    context = row["context"]
    parts = context.get("contexts") if isinstance(context, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise KitError("context holds no list of texts under contexts", where=where)
    return " ".join(parts) + "\n" + _text(row["question"], "question", where)


def _question(row: dict[str, Any], where: str) -> str:
    return _text(row["question"], "question", where)


def _mmlu_pro(row: dict[str, Any], where: str) -> str:
    return _listed(row, "ABCDEFGHIJ", row["options"], where)


def _arc(row: dict[str, Any], where: str) -> str:
    choices = row["choices"] if isinstance(row["choices"], dict) else {}
    return _listed(row, choices.get("label"), choices.get("text"), where)


def _listed(row: dict[str, Any], letters: Any, texts: Any, where: str) -> str:
    """Put a question over its options, each with its letter."""
    if not isinstance(texts, list) or not isinstance(letters, list | str):
        raise KitError("the options are no list of texts", where=where)
    options = [_text(text, "option", where) for text in texts]
    lines = [f"{letter}. {text}" for letter, text in zip(letters, options, strict=False)]
    return "\n".join([_question(row, where), *lines])


def _healthbench(row: dict[str, Any], where: str) -> str:
    return _text(row["prompt"], "prompt", where)


_OPTIONS = ("opa", "opb", "opc", "opd")
_ENDINGS = ("ending0", "ending1", "ending2", "ending3")
_SCHEMAS: tuple[tuple[tuple[str, ...], Callable[[dict[str, Any], str], str]], ...] = (
    (("question", *_OPTIONS), _medmcqa),
    (("sent1", "sent2", *_ENDINGS), _medqa),
    (("context", "question"), _pubmedqa),
    (("question", "options", "label"), _question),
    (("question", "options", "answer", "category"), _mmlu_pro),
    (("question", "choices", "answerKey"), _arc),
    (("prompt",), _healthbench),
    (("question", "firstAnswer"), _question),
    (("question", "parentContribution"), _question),
)
