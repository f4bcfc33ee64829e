"""MedQuAD's XML as rows: questions with their answers, and the same as multiple choice.

Source: github.com/abachaa/MedQuAD (Ben Abacha and Demner-Fushman, BMC Bioinformatics 20:511, 2019;
CC BY 4.0). A file is one page of an institute: `<Focus>` says what it is about, each `<QAPair>` has
a `<Question qid=…>` and an `<Answer>`. Three of its twelve folders have no answers, for copyright;
such pairs are left out and counted.

`choice` rows are made here: the beginning of an answer, four pages' subjects, and which of them it
is about. They teach the form in which benchmarks are answered, which a model of a hundred million
parameters does not have by itself. The same files give the same rows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from kit.errors import KitError

#: What a component's `reader` may be: the pairs as they are, or made into multiple choice.
Reader = Literal["medquad", "medquad-choice"]
LETTERS = "ABCD"
#: Words of an answer that a choice shows: enough to know the subject by, short enough to be many.
SHOWN_WORDS = 40
#: How the form of the answer is asked for; several, so that no one wording is learned.
ENDINGS = (
    "Close with one line: Final Answer: (X), where X is the letter of your choice.",
    "Give the letter of your choice as Final Answer: (X).",
    "Which letter is right? Reply with Final Answer: (X).",
)


@dataclass(frozen=True)
class Pair:
    """A question of one page; `answer` is None where the file has none."""

    id: str
    subject: str
    question: str
    answer: str | None


def pairs(path: Path) -> list[Pair]:
    """Read one file.

    Raises:
        KitError: it is no XML, or a question is empty.
    """
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - a pinned file, no entities
    except (OSError, ElementTree.ParseError) as error:
        raise KitError(
            f"this is no file of MedQuAD: {error}", where=str(path),
            cause="an interrupted copy or an edit by hand", fix="fetch it again",
        ) from None  # fmt: skip
    subject = _text(root.find("Focus"))
    out = []
    for number, pair in enumerate(root.iter("QAPair"), 1):
        question = pair.find("Question")
        asked = _text(question)
        if question is None or not asked:
            raise KitError(f"pair {number} has no question", where=str(path))
        name = f"{path.parent.name}/{question.get('qid', f'{path.stem}-{number}')}"
        out.append(Pair(name, subject, asked, _text(pair.find("Answer")) or None))
    return out


def _text(element: ElementTree.Element | None) -> str:
    """Give an element's text with the file's indentation taken out of it."""
    text = "" if element is None else "".join(element.itertext())
    return "\n".join(line for line in map(str.strip, text.splitlines()) if line)


def count(path: Path) -> int:
    """Count the rows that a file gives: its pairs with an answer."""
    return sum(pair.answer is not None for pair in pairs(path))


def read(reader: str, files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Give (place, row) for each pair, in file order; None for a pair without an answer.

    Args:
        reader: one of Reader.
        files: all files of the component; choices take their subjects from all of them.
    """
    known = [(path, pair) for path in files for pair in pairs(path)]
    subjects = sorted({pair.subject for _, pair in known if pair.subject})
    if reader == "medquad-choice" and len(subjects) < len(LETTERS):
        raise KitError(
            f"multiple choice needs {len(LETTERS)} subjects; these files have {len(subjects)}",
            where=str(files[0].parent),
        )
    for path, pair in known:
        row = None
        if pair.answer is not None:
            plain = reader == "medquad" or not pair.subject
            asked, said = (pair.question, pair.answer) if plain else _choice(pair, subjects)
            turns = (("human", asked), ("gpt", said))
            row = {"id": pair.id, "conversations": [{"from": r, "value": v} for r, v in turns]}
        yield f"{path} {pair.id}", row


def _choice(pair: Pair, subjects: Sequence[str]) -> tuple[str, str]:
    """Give question and answer of a choice; the pair's name decides what is drawn."""
    draw = random.Random(pair.id)  # noqa: S311 - no secret
    others = draw.sample([s for s in subjects if s != pair.subject], len(LETTERS) - 1)
    right = draw.randrange(len(LETTERS))
    options = [*others[:right], pair.subject, *others[right:]]
    shown = " ".join(re.split(r"\s+", pair.answer or "")[:SHOWN_WORDS])
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=True))
    asked = f"{shown} …\nWhat is this text about?\n{listed}\n{draw.choice(ENDINGS)}"
    return asked, f"Final Answer: ({LETTERS[right]})"
