"""A stand-in for a judge: an OpenAI-compatible server that grades by rule, for the miniature.

    python -m scoring.scripted_judge --port 8700 --key recipes/smoke/judged/key.json

It speaks the protocol of a real judge (vLLM's chat completions) and understands the two prompts of
recipes/smoke/judged and their criteria, nothing else. A criterion is "says one of: "a", "b"" or
"has at most N words"; of two answers, the one that names the right value of the key without a wrong
one is better. It is no measure of anything that a person would call quality.

Settings for trying the kit: --first-bias 0.2 prefers the first answer in a fifth of all pairs,
--count FILE appends a line for each request, so that repeated ones can be counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from kit.errors import KitError
from scoring.chat_server import Server, end_with_parent

GRADER_MARKS = ("=== CONVERSATION ===\n", "\n=== CRITERION ===\n", "\n=== END ===")
JUDGE_MARKS = ("=== VIGNETTE ===\n", "\n=== FIRST ANSWER ===\n", "\n=== SECOND ANSWER ===\n",
               "\n=== END ===")  # fmt: skip
CLEAR_WORDS = 40  # an answer of more words is called long-winded


def parts(text: str, marks: tuple[str, ...]) -> list[str] | None:
    """Cut a prompt at its marks; None where they are not all there, in this order."""
    # From the end: an answer that holds a mark of the prompt must not move the next part.
    places = [text.find(marks[0]), *(text.rfind(mark) for mark in marks[1:])]
    if places[0] < 0 or places != sorted(places):
        return None
    starts = [place + len(mark) for place, mark in zip(places, marks, strict=True)]
    return [text[start:end] for start, end in zip(starts, places[1:], strict=False)]


def grade(conversation: str, criterion: str) -> str:
    """Grade the last assistant's turn by a criterion; prose where the rule is not known."""
    answer = conversation.rpartition("\n\nassistant: ")[2].casefold()
    rule = re.sub(r"^\[[^\]]*\]\s*", "", criterion.strip())
    if rule.startswith("says one of: "):
        phrases = re.findall(r'"([^"]+)"', rule)
        said = [p for p in phrases if p.casefold() in answer]
        met, why = bool(said), f"it says {said[0]}" if said else "it says none of these"
    elif limit := re.match(r"has at most (\d+) words", rule):
        words = len(answer.split())
        met, why = words <= int(limit[1]), f"it has {words} words"
    else:
        return "I know no rule for this criterion."
    return "```json\n" + json.dumps({"explanation": why, "criteria_met": met}) + "\n```"


class Rules:
    """What the stand-in knows.

    Args:
        key: name -> {"right": value, "wrong": [values]}, of what the vignettes ask about.
        criteria: of the comparison, in the order in which they are answered.
        first_bias: share of pairs in which the first answer wins whatever it says, 0 to 1.
    """

    def __init__(
        self, key: dict[str, Any], criteria: list[str] | None = None, first_bias: float = 0.0
    ) -> None:
        self.key, self.criteria, self.first_bias = key, criteria or [], first_bias

    def reply(self, messages: list[dict[str, str]]) -> str:
        """Answer a request as a judge would."""
        text = messages[-1]["content"]
        if found := parts(text, GRADER_MARKS):
            return grade(found[0], found[1])
        if found := parts(text, JUDGE_MARKS):
            return self.compare(found[0], found[1], found[2])
        return "I do not know what is asked of me."

    def compare(self, vignette: str, first: str, second: str) -> str:
        """Score two answers and name a winner in the published form."""
        scores = [self._score(vignette, answer) for answer in (first, second)]
        totals = [sum(s) for s in scores]
        winner = "Tie" if totals[0] == totals[1] else f"Model {1 + (totals[1] > totals[0])}"
        if self._share(vignette, first, second) < self.first_bias:
            winner = "Model 1"
        said = [
            f"Model {n} Scores:\n"
            + "".join(f"{c}: {s}\n" for c, s in zip(self.criteria, own, strict=True))
            for n, own in enumerate(scores, 1)
        ]
        return "\n".join(said) + f"\nReasoning: by rule\nWinner: {winner}"

    def _score(self, vignette: str, answer: str) -> list[int]:
        fact = next((v for name, v in self.key.items() if name in vignette), None)
        text = answer.casefold()
        right = fact is not None and fact["right"] in text
        wrong = fact is not None and any(w in text for w in fact["wrong"])
        truth = (5 if not wrong else 3) if right else (1 if wrong else 2)
        clear = 5 if 0 < len(answer.split()) <= CLEAR_WORDS else 2
        return [clear if c in ("Communication", "Clarity") else truth for c in self.criteria]

    def _share(self, *texts: str) -> float:
        """Give a pair the same number from 0 to 1 in both orders."""
        digest = hashlib.sha256("\0".join(sorted(texts)).encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


def read_key(path: Path) -> dict[str, Any]:
    """Read a key file: {"facts": {name: {"right": value, "wrong": [values]}}, "criteria": [names]}.

    Raises:
        KitError: it cannot be read, or has not this form.
    """
    where = str(path)
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KitError(
            f"the key of the judge's stand-in cannot be read: {error}",
            where=where,
            fix="mend it, or --set judge.base_url=URL for a judge",
        ) from None
    given = raw if isinstance(raw, dict) else {}
    facts, criteria = given.get("facts"), given.get("criteria")
    whole = isinstance(facts, dict) and all(
        isinstance(f, dict) and isinstance(f.get("right"), str) and isinstance(f.get("wrong"), list)
        for f in facts.values()
    )
    if not whole or not isinstance(criteria, list):
        raise KitError(
            "this is no key of the judge's stand-in",
            where=where,
            cause="it needs facts, each with right and wrong values, and criteria",
            fix="restore the recipe's file",
        )
    return raw


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--first-bias", type=float, default=0.0)
    parser.add_argument("--count", type=Path)
    options = parser.parse_args()
    raw = read_key(options.key)
    end_with_parent()
    rules = Rules(raw["facts"], raw["criteria"], options.first_bias)
    Server(options.port, rules.reply, options.count).serve_forever()


if __name__ == "__main__":
    main()
