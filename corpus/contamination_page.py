"""The page that shows removed rows beside the prompts that they match.

Rows and prompts are text of unknown origin: the template escapes everything, and the page's content
security policy allows its own style alone, no script and no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.compare import Match, Matcher
from corpus.tokens import clean
from kit.page import render as page

HERE = Path(__file__).parent
#: Removed rows on the page; the reports list all.
SHOWN = 200
#: Characters of an unmarked stretch that stay; its middle is left out, and that is said.
STRETCH = 600
#: A text of more characters is not tokenised a second time only to be shown.
LONGEST = 1_000_000

#: A piece of text: (text, whether it is shared, characters left out after it).
Piece = tuple[str, bool, int]


@dataclass(frozen=True)
class Shown:
    """One match as the page shows it."""

    id: str
    place: str
    matches: list[dict[str, Any]]


def show(
    matcher: Matcher, raw: Mapping[str, Any], identity: str, place: str, matches: Sequence[Match]
) -> Shown:
    """Prepare a removed row for the page.

    Args:
        matcher: that found it.
        raw: the row.
        identity: its id.
        place: file and line.
        matches: its best match in each benchmark.
    """
    texts = [clean(text) for text in matcher.rule.texts(raw)]
    out = []
    for match in matches:
        number = int(matcher.offsets[match.benchmark]) + match.prompt
        text, prompt = texts[match.text], matcher.prompts[number]
        marked = len(text) <= LONGEST
        mine, theirs = matcher.spans(text, number) if marked else ([], [])
        out.append(
            {
                "benchmark": matcher.benchmarks[match.benchmark].name,
                "prompt": match.prompt,
                "covered": match.covered,
                "length": match.length,
                "share": match.share,
                "marked": marked,
                "which": _which(match.text, len(texts)),
                "row_text": pieces(text, mine),
                "prompt_text": pieces(prompt, theirs),
            }
        )
    return Shown(identity, place, out)


def _which(text: int, texts: int) -> str:
    """Say which text of a row it is; with several turns the last one is all of them joined."""
    if texts == 1:
        return "the user's turn"
    return "the user's turns joined" if text == texts - 1 else f"the user's turn {text + 1}"


def pieces(text: str, spans: Sequence[tuple[int, int]]) -> list[Piece]:
    """Cut a text into shared and other stretches, long other ones shortened.

    Args:
        text: the whole text.
        spans: (begin, end) in characters, in order; they may touch.
    """
    out: list[Piece] = []
    at = 0
    for begin, end in [*spans, (len(text), len(text))]:
        begin, end = max(begin, at), max(end, at)
        other = text[at:begin]
        if len(other) > 2 * STRETCH:
            out.append((other[:STRETCH], False, len(other) - 2 * STRETCH))
            out.append((other[-STRETCH:], False, 0))
        elif other:
            out.append((other, False, 0))
        if end > begin:
            out.append((text[begin:end], True, 0))
        at = end
    return out


def render(summary: Mapping[str, Any], shown: Sequence[Shown]) -> str:
    """Give the page as HTML, in one self-contained text."""
    return page(
        HERE / "contamination_page.html.j2",
        style=(HERE / "contamination_page.css").read_text(encoding="utf-8"),
        s=summary,
        shown=shown,
    )
