"""What HealthBench and Auto-MOOVE share: the protocol, tries until a reply can be read, and rows.

A judge's reply is hostile text: it is only ever parsed. What cannot be read is asked again, each
time a little warmer as upstream does it, and after the last try it is *unread*: never a grade.
What is then made of it is the protocol's choice, and is counted either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from checks.judge_statistics import ORDERS, PROTOCOLS
from kit.errors import KitError
from kit.files import read_jsonl
from scoring.client import Call, Client, Reply

__all__ = ["Outcome", "Protocol", "Question", "ask_until_read", "read_rows"]

T = TypeVar("T")
#: How many BOS tokens a prompt has, and what becomes of special tokens in a reply.
BOS, SPECIAL_TOKENS = ("published", "once"), ("published", "dropped")


@dataclass(frozen=True)
class Protocol:
    """How answers are made and judged; the defaults are upstream's.

    Attributes:
        name: `published` reproduces upstream's rules for what cannot be read; `strict` gives such
            an item no score, which makes the benchmark invalid.
        temperature, max_tokens: of the answers.
        judge_temperature: of the first try; each further one is `warmer` by so much, up to 1.
        judge_max_tokens: of a judge's reply.
        retries: tries after the first.
        seed: of every request, and of the random order.
        order: Auto-MOOVE asks for every pair in `both` orders; `random` is the published way,
            one order a pair, here drawn with the seed.
        bos: `published`: the tokenizer adds its own to the rendered chat, on top of the template's
            (upstream hands vLLM the rendered text), so that most prompts of Gemma begin with two;
            `once`: the template's alone.
        special_tokens: `published`: kept in the texts of Auto-MOOVE's answers and rulings, as
            upstream's script keeps them; `dropped`: in none. HealthBench's never have them.
    """

    name: str = "published"
    temperature: float = 0.7
    max_tokens: int = 2048
    judge_temperature: float = 0.1
    warmer: float = 0.2
    judge_max_tokens: int = 2048
    retries: int = 3
    seed: int = 42
    order: str = "both"
    bos: str = "published"
    special_tokens: str = "published"

    def __post_init__(self) -> None:
        for key, value, known in (("protocol", self.name, PROTOCOLS), ("order", self.order, ORDERS),
                                  ("bos", self.bos, BOS),
                                  ("special_tokens", self.special_tokens, SPECIAL_TOKENS)):  # fmt: skip  # noqa: E501
            if value not in known:
                raise KitError(f"{key} is {value!r}; known: {', '.join(known)}")

    @property
    def strict(self) -> bool:
        """Whether what cannot be read makes the benchmark invalid."""
        return self.name == "strict"

    def options(self, *, pairs: bool) -> dict[str, bool]:
        """Give the fields of vLLM's that a request has; none where they would be its defaults.

        Args:
            pairs: of Auto-MOOVE, answers and rulings; otherwise of HealthBench.
        """
        out = {"add_special_tokens": True} if self.bos == "published" else {}
        if pairs and self.special_tokens == "published":
            out["skip_special_tokens"] = False
        return out

    def warmth(self, attempt: int) -> float:
        """Give the judge's temperature at a try, counted from 0."""
        return round(min(1.0, self.judge_temperature + attempt * self.warmer), 6)


@dataclass(frozen=True)
class Question:
    """Something to be judged: its turns, and what it is called in the record."""

    label: str
    messages: Sequence[Mapping[str, str]]


@dataclass
class Outcome(Generic[T]):
    """What came of a question: the value read, or None, and every reply on the way."""

    value: T | None = None
    replies: list[Reply] = field(default_factory=list)


def ask_until_read(
    client: Client,
    questions: Sequence[Question],
    read: Callable[[str], T | None],
    protocol: Protocol,
    *,
    pairs: bool = False,
) -> list[Outcome[T]]:
    """Ask a judge, and ask again what could not be read, but for a prompt that does not fit.

    Args:
        client: of the judge.
        questions: what it is asked.
        read: gives a reply's value, or None where it has none.
        protocol: temperatures, tries, seed and what else a request has.
        pairs: whether two answers are compared, or one is graded.
    """
    out: list[Outcome[T]] = [Outcome() for _ in questions]
    pending = list(range(len(questions)))
    for attempt in range(protocol.retries + 1):
        calls = [
            Call(
                questions[i].messages,
                temperature=protocol.warmth(attempt),
                max_tokens=protocol.judge_max_tokens,
                seed=protocol.seed,
                options=protocol.options(pairs=pairs),
                label=questions[i].label,
                take=attempt,
            )
            for i in pending
        ]
        for index, reply in zip(pending, client.ask(calls) if calls else [], strict=True):
            out[index].replies.append(reply)
            out[index].value = read(reply.text)
        pending = [i for i in pending if out[i].value is None and not out[i].replies[-1].too_long]
    return out


# --- files --------------------------------------------------------------------------------------


def read_rows(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give (where, object) for each line of a JSONL file; blank lines are passed over.

    Raises:
        KitError: naming file and line, where the file is missing, empty, not UTF-8 or not JSON
            objects.
    """
    found = False
    for number, row in read_jsonl(path, what):
        found = True
        yield f"{path}:{number}", row
    if not found:
        raise KitError(f"the {what} is empty", where=str(path), fix="fetch the file again")
