"""Auto-MOOVE's file: vignettes, the pair of answers that people compared, and everybody's votes.

By upstream's rule: rows are one pair where their parentContribution.value is the same, or, without
one, the hash of question and both answers; of a pair's rows the first one's question is asked, and
all votes count. A row with a blank question is passed over, and so is a vote that is none or that
has no two answers to be about; each of these is counted.

File: one JSON object a line, or one JSON object of such by id, as Firestore exports them; a line
may be such an object as well. Of a row are read `prompt` or `question`, parentContribution.value,
and for agreement with people `firstAnswer`, `secondAnswer`, `vote` ("1", "2", or "12" for a tie)
and user.value, who voted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.preferences import Vignette, Vote, Winner
from kit.errors import KitError
from scoring.judge_protocol import read_rows

__all__ = ["Reading", "read_vignettes"]

VOTES: dict[str, Winner] = {"1": "first", "2": "second", "12": "tie"}
WHAT = "file of vignettes"


@dataclass
class Reading:
    """What a file came to.

    Attributes:
        vignettes: in the file's order.
        rows: of the file.
        repeated: rows of a pair that was there before.
        without_question: rows that were passed over.
        unknown_votes: votes that are none of "1", "2" and "12".
        votes_without_answers: votes of rows that lack one of two answers.
        raters: people who voted.
    """

    vignettes: list[Vignette] = field(default_factory=list)
    rows: int = 0
    repeated: int = 0
    without_question: int = 0
    unknown_votes: int = 0
    votes_without_answers: int = 0
    raters: int = 0

    def counts(self) -> dict[str, int]:
        """Give every number, for the record."""
        numbers = {k: v for k, v in vars(self).items() if k != "vignettes"}
        return {"vignettes": len(self.vignettes), "votes": self.votes, **numbers}

    @property
    def votes(self) -> int:
        """How many votes count."""
        return sum(len(one.votes) for one in self.vignettes)

    def words(self) -> str:
        """Say what was read, and of what was left out how much."""
        said = f"{len(self.vignettes):,} vignettes of {self.rows:,} rows"
        if self.votes:
            said += f", {self.votes:,} votes" + (
                f" of {self.raters:,} people" if self.raters else ""
            )
        left = {
            "rows repeat a pair": self.repeated,
            "rows without a question passed over": self.without_question,
            "unknown votes ignored": self.unknown_votes,
            "votes without two answers ignored": self.votes_without_answers,
        }
        return said + "".join(f"; {n:,} {what}" for what, n in left.items() if n)


@dataclass
class _Pair:
    id: str
    prompt: str
    answers: tuple[str, str] | None = None
    votes: list[Vote] = field(default_factory=list)


def read_vignettes(path: Path) -> Reading:
    """Read a file of vignettes.

    Raises:
        KitError: naming the row, for a question, an answer or an id that is no text; or no row has
            a question.
    """
    out = Reading()
    pairs: dict[str, _Pair] = {}
    raters: dict[str, str] = {}
    names: set[str] = set()
    for where, row in _rows(path):
        out.rows += 1
        prompt = _text(row, "prompt", where) or _text(row, "question", where)
        if not prompt:
            out.without_question += 1
            continue
        key, name = _identity(row, where)
        if key in pairs:
            out.repeated += 1
        else:
            # The row's own name is the one that people know; where it is taken, the pair's key.
            free = (n for n in (name, key) if n and n not in names)
            named = next(free, f"{key}, pair {len(pairs) + 1}")
            names.add(named)
            pairs[key] = _Pair(named, prompt)
        _add(pairs[key], row, where, raters, out)
    if not pairs:
        raise KitError(
            f"no row of the {WHAT} has a question",
            where=str(path),
            cause="neither prompt nor question holds text: another file, or another export of it",
            fix="give MOOVE's own export (full_moove.jsonl): --set judge.vignettes=FILE",
        )
    out.raters = len(raters)
    out.vignettes = [Vignette(p.id, p.prompt, p.answers, tuple(p.votes)) for p in pairs.values()]
    return out


def _add(
    pair: _Pair, row: Mapping[str, Any], where: str, raters: dict[str, str], out: Reading
) -> None:
    """Take a row's answers and vote into its pair; the first vote says what the pair's are."""
    first, second = (_text(row, key, where) for key in ("firstAnswer", "secondAnswer"))
    both = (first, second) if first and second else None
    raw = row.get("vote")
    winner = VOTES.get(str(raw))
    if winner and both:
        if not pair.votes:
            pair.answers = both
        pair.votes.append(Vote(winner, _rater(row, raters)))
        return
    if winner:
        out.votes_without_answers += 1
    elif raw not in (None, ""):
        out.unknown_votes += 1
    pair.answers = pair.answers or both


def _rater(row: Mapping[str, Any], raters: dict[str, str]) -> str:
    user = row.get("user")
    value = user.get("value") if isinstance(user, dict) else None
    return raters.setdefault(str(value), str(len(raters) + 1)) if value else ""


def _identity(row: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Give what tells a row's pair from others, and what the row calls itself ("": nothing)."""
    parent = row.get("parentContribution")
    value = parent.get("value") if isinstance(parent, dict) else None
    if value:
        return _named(value, "parentContribution.value", where), ""
    own = row.get("id") or row.get("contribution_id") or ""
    texts = [_text(row, key, where, blank=True) for key in ("question", "prompt")]
    answers = [_text(row, key, where, blank=True) for key in ("firstAnswer", "secondAnswer")]
    payload = "".join([texts[0] or texts[1], *answers])
    # Upstream's own key, so that its pairs are ours: a name, no protection.
    found = hashlib.md5(payload.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return found, _named(own, "id", where) if own else ""


def _named(value: object, key: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _no_text(key, value, where)
    return str(value)


def _text(row: Mapping[str, Any], key: str, where: str, *, blank: bool = False) -> str:
    """Give a row's text, "" where it has none; one of blanks alone is none, unless it is asked."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _no_text(key, value, where)
    return value if blank or value.strip() else ""


def _no_text(key: str, value: object, where: str) -> KitError:
    return KitError(
        f"{key} is {value!r:.60}, not text",
        where=where,
        cause="another file than MOOVE's export, or a damaged one",
        fix="take the row out on purpose, or export the file again",
    )


#: Fields of a row that are objects themselves.
_OBJECTS = frozenset({"user", "parentContribution"})


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    whole = _whole(path)
    lines = [(str(path), whole)] if whole is not None else read_rows(path, WHAT)
    for where, row in lines:
        # Rows by their id: of the whole file, or one on each line.
        nested = bool(row) and all(isinstance(value, dict) for value in row.values())
        if nested and row.keys().isdisjoint(_OBJECTS):
            for name, inner in row.items():
                yield f"{where}, {name!r}", {"id": name, **inner}
        else:
            yield where, row


def _whole(path: Path) -> Mapping[str, Any] | None:
    """Give the file as one JSON object; None where it is not one, but for example lines of them."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
