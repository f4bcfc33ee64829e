"""Read the answer to a multiple-choice question from what a model wrote, by one of two rules.

    EXTRACTIONS["published"](response, letters)    the first match of upstream's pattern
    EXTRACTIONS["robust"](response, letters)       the last explicit answer

The published scores were read by the first. It has weak spots that the second mends: "Final Answer:
The correct choice is (C)" yields nothing, an earlier "answer is a combination" yields A, and so
does the article in "To answer this, a look at …". What cannot be read is no answer, by both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

#: Upstream's patterns: the first is MedXpertQA's, the second the other three benchmarks'. A fact of
#: the published protocol (lm-evaluation-harness runs `findall` and takes the first).
PUBLISHED = {
    "J": r"(?i)Answer[^A-J]*(?::)*[^A-J]*(?:boxed)*[^A-J]*([A-J])\b",
    "D": r"(?i)Answer[^A-D]*(?::)*[^A-D]*(?:boxed)*[^A-D]*([A-D])\b",
}
# The same matches in linear time. Upstream's neighbouring repeats share out a run of n characters
# in about n^3 ways, all of which are tried where no answer follows: 800 characters take 7 s. But a
# run cannot pass an option's letter, and "boxed" begins with one, so that at each "Answer" there is
# one way to match or none: nothing taken needs to be given back (possessive repeats).
LINEAR = {
    last: rf"(?i)Answer[^A-{last}]*+(?:(?:boxed)++[^A-{last}]*+)?([A-{last}])\b"
    for last in PUBLISHED
}
_LINEAR = {last: re.compile(pattern) for last, pattern in LINEAR.items()}

# What may stand around a letter. Every repeat is bounded: a response is hostile text, and unbounded
# neighbours would make the matching of "answer" and ten thousand blanks take hours.
_MARKS = r"[\s*_`$#>~\"'(\[{\\]{0,6}"
_WHOM = r"\banswers?(?:_choice)?\b|\b(?:correct|right|best)\s{1,3}(?:option|choice)\b"
_LINK = r"(?:\s{0,3}(?:is|was|would\s+be|should\s+be|must\s+be|:|=|-|–|—)){0,3}"
_NOUN = (
    r"(?:\s{0,3}(?:the\s{1,3})?(?:(?:correct|right|best|final)\s{1,3})?"
    r"(?:option|choice|answer|letter))?"
)
# The letter stands alone: neither "Both" nor "B-cell" is an answer B.
_LETTER = r"(?:\\?(?:boxed|text|mathbf|textbf)\s?\{[\s(]{0,3}){0,3}([A-Za-z])(?![A-Za-z0-9'’]|-\w)"
_EXPLICIT = re.compile(
    rf"(?:{_WHOM}){_MARKS}{_LINK}{_MARKS}{_NOUN}{_LINK}{_MARKS}{_LETTER}", re.IGNORECASE
)
_BOXED = re.compile(rf"\\boxed\s?\{{{_MARKS}{_LETTER}")
_BARE = re.compile(r"[\s*_`$(\[]{0,6}([A-Z])[\s*_`$)\].:]{0,6}")
# "A" and "I" are words too: before a small letter they are the answer only if one of these follows.
_GOES_ON = (
    "and|as|based|because|but|by|due|for|from|given|in|is|not|on|or|since|so|that|therefore|this|"
    "was|which|while|with"
)
_SECOND = re.compile(r"[\s)\]}*_`]{0,4}(?:,|/|&|\band\b|\bor\b)[\s(\[*]{0,4}([A-Z])(?![\w'’]|-\w)")


def first_match(response: str, letters: Iterable[str]) -> str | None:
    """Find the letter that upstream's filter finds: the first match of its pattern.

    Args:
        response: what the model wrote; hostile text, matched in linear time.
        letters: the item's letters; with one beyond D, MedXpertQA's pattern is used.

    Returns:
        The letter as a capital, also where it is no option of the item (PubMedQA has no D, and its
        pattern finds one): upstream counts it as an answer, and as wrong. Likewise "ı" and "İ",
        which the pattern takes for an I and the comparison does not. None where nothing matches.
    """
    match = _LINEAR["J" if max(letters, default="D") > "D" else "D"].search(response)
    if match is None:
        return None
    return match[1].upper() if match[1].isascii() else match[1]


def extract_answer(response: str, letters: Iterable[str]) -> str | None:
    """Find the letter that a response settles on: the last explicit answer that it gives.

    An explicit answer is "Final Answer: (B)", "the answer is **B**", "\\boxed{B}" and their like; a
    response that is nothing but a letter counts as well. A letter that is no option of the item is
    no answer, and two letters at once ("A and C") are none either. Later answers override earlier
    ones, since a model may correct itself.

    Args:
        response: what the model wrote; hostile text, only ever matched against.
        letters: the item's letters.

    Returns:
        The letter, or None where no answer can be read (it then scores 0: fail closed).
    """
    allowed = set(letters)
    matches = [m for pattern in (_EXPLICIT, _BOXED) for m in pattern.finditer(response)]
    for match in sorted(matches, key=lambda m: m.start(1), reverse=True):
        letter = match.group(1).upper()
        if letter not in allowed or _is_word(match.group(1), response[match.end(1) :]):
            continue
        second = _SECOND.match(response, match.end(1))
        if second and second.group(1) in allowed and second.group(1) != letter:
            return None
        return letter
    bare = _BARE.fullmatch(response.strip())
    return bare.group(1) if bare and bare.group(1) in allowed else None


def _is_word(written: str, after: str) -> bool:
    """Tell "the answer is a combination" and "Answer: I think" from an answer A or I."""
    if written.islower():
        # A small letter counts only where it is dressed as one: "(b)", "b.", "**b**", or the end.
        return re.match(r"\s?(?:[)\]}.,;:*_`$\n]|$)", after) is None
    if written not in "AI" or not re.match(r"[ \t]{1,3}[a-z]", after):
        return False
    return re.match(rf"[ \t]{{1,3}}(?:{_GOES_ON})\b", after) is None


#: The ways to read an answer, by name.
EXTRACTIONS: dict[str, Callable[[str, Iterable[str]], str | None]] = {
    "published": first_match,
    "robust": extract_answer,
}
