"""What counts as contaminated, in two modes that share all code but what stands in this file.

A conversation is contaminated by a benchmark prompt if the two share an n-gram of token ids, and if
the matching blocks of at least MIN_BLOCK tokens that difflib's SequenceMatcher(None, conversation,
prompt, autojunk=False) finds sum to at least `threshold` of the prompt's tokens.

    faithful   upstream's rule, bit for bit: the first turn named "human" alone; a text of L tokens
               has L - n n-grams (its last one is lost, n tokens or fewer have none)
    correct    every user turn by itself, and all of them joined by newlines, because a question may
               be spread over turns; all n-grams; a prompt shorter than n tokens is one gram, so
               that it matches where all of it stands in the conversation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.rows import ROLES, SHAPES
from kit.errors import KitError

#: Shorter matching blocks do not count, in tokens (upstream's constant).
MIN_BLOCK = 5
MODES = ("faithful", "correct")
#: One maximal run of equal tokens: (start in the conversation, start in the prompt, length).
Run = tuple[int, int, int]


@dataclass(frozen=True)
class Rule:
    """One definition of contamination.

    Attributes:
        mode: "faithful" or "correct".
        ngram: tokens of the n-gram that candidates share; at least 1.
        threshold: share of the prompt's tokens, above 0 and at most 1.

    Raises:
        KitError: a value outside these bounds.
    """

    mode: str = "correct"
    ngram: int = 8
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise KitError(
                f"there is no mode {self.mode!r}; known: {', '.join(MODES)}", where="--mode"
            )
        if self.ngram < 1:
            raise KitError(f"an n-gram has at least 1 token, not {self.ngram}", where="--ngram")
        if not 0 < self.threshold <= 1:
            raise KitError(
                f"the threshold is a share above 0 and at most 1, not {self.threshold}",
                where="--threshold",
                cause="at 0 every conversation that shares an n-gram would be removed",
            )

    def texts(self, raw: Mapping[str, Any]) -> list[str]:
        """Give the texts of a row that are compared; none where it has no user turn.

        The hub's shape (`messages`) is upstream's with other names, so in it a turn named "user"
        is upstream's "human" in both modes.

        Raises:
            TypeError: the turns are no list.
        """
        names = ("human",) if self.mode == "faithful" else _USERS
        turns = []
        for shape, speaker, text in SHAPES:
            if raw.get(shape) is None:
                continue
            if not isinstance(raw[shape], list):
                raise TypeError(f"`{shape}` is not a list of turns")
            wanted = _USERS if shape == "messages" else names
            turns = [
                turn[text]
                for turn in raw[shape]
                if isinstance(turn, Mapping)
                and turn.get(speaker) in wanted
                and isinstance(turn.get(text), str)
            ]
            break
        if self.mode == "faithful":
            return turns[:1]
        return [*turns, "\n".join(turns)] if len(turns) > 1 else turns

    def shares_gram(self, runs: Sequence[Run], text: int, prompt: int) -> bool:
        """Whether two texts share an n-gram, from their maximal runs of MIN_BLOCK tokens or more.

        Runs are enough. A match needs a block of MIN_BLOCK tokens, so without a run there is none
        to report. For n >= MIN_BLOCK a shared n-gram lies in a run of at least n tokens; the first
        n-gram of that run is shared as well and is the last to be lost at the ends. For a smaller
        n any run holds a shared n-gram, which the ends do not lose either (a run of MIN_BLOCK > n
        tokens starts before the last n-gram).

        Args:
            runs: what `corpus.blocks.runs` gives.
            text: tokens of the conversation's text.
            prompt: tokens of the benchmark prompt.
        """
        n = self.ngram
        if self.mode == "faithful":
            return any(k >= n and i < text - n and j < prompt - n for i, j, k in runs)
        return any(k >= min(n, prompt) for _, _, k in runs)

    def can_match(self, prompt: int) -> bool:
        """Whether a prompt of so many tokens can contaminate anything at all."""
        return prompt >= MIN_BLOCK and (self.mode == "correct" or prompt > self.ngram)


_USERS = tuple(name for name, role in ROLES.items() if role == "human")
