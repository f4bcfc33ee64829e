"""The reading of answers: explicit ones, corrected ones, none, and hostile ones."""

import re
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.answers import (
    EXTRACTIONS,
    LINEAR,
    PUBLISHED,
    extract_answer,
    first_match,
)

FOUR, TEN = "ABCD", "ABCDEFGHIJ"


@pytest.mark.parametrize(
    ("response", "letters", "answer"),
    [
        ("It acts on the liver. Final Answer: (B)", FOUR, "B"),
        ("Final Answer: The correct choice is (C)", FOUR, "C"),  # upstream's pattern finds nothing
        ("The answer is a combination. Final Answer: (D)", FOUR, "D"),  # upstream's finds A
        ("The answer is A combination of both", FOUR, None),
        ("The answer is A because it is shorter", FOUR, "A"),
        ("Answer A is wrong; the answer is **B**.", FOUR, "B"),
        ("Final Answer: (A). No, wait. Final Answer: (B)", FOUR, "B"),
        ("**Final Answer:** $\\boxed{A}$", FOUR, "A"),
        ("so \\boxed{\\text{(C)}}", FOUR, "C"),
        ("The correct option is C", FOUR, "C"),
        ("Answer:\n\nC", FOUR, "C"),
        ("final answer: b", FOUR, "B"),
        ("(B).", FOUR, "B"),
        ("Final Answer: (J)", TEN, "J"),
        ("Final Answer: (J)", FOUR, None),
        ("Final Answer: (X), where X is the letter", FOUR, None),  # the instruction, repeated
        ("Final Answer: (A) and (B)", FOUR, None),
        ("Answer: Both A and C", FOUR, None),
        ("Answer: B-cell lymphoma", FOUR, None),
        ("Answer: I think so", TEN, None),
        ("The liver, as in option B", FOUR, None),
        ('{"step_by_step_thinking": "an answer A?", "answer_choice": "C. maybe"}', FOUR, "C"),
        ('{"thinking": "x", "answer_choice": "A/B"}', FOUR, None),
        ('{"thinking": "x", "answer": "None of the above"}', FOUR, None),
        ("", FOUR, None),
    ],
)
def test_answer_extraction(response: str, letters: str, answer: str | None) -> None:
    assert extract_answer(response, letters) == answer


@given(st.text(max_size=400), st.sampled_from([FOUR, TEN, "ABC"]))
def test_answer_is_an_option_or_nothing(response: str, letters: str) -> None:
    assert extract_answer(response, letters) in {*letters, None}


# Reasoning that never says "answer" (nor "option is"): whatever it holds, the closing line counts.
REASONING = st.text(string.ascii_lowercase + " .,()\n*ABCD", max_size=200).filter(
    lambda text: not any(word in text for word in ("answer", "option", "choice"))
)
DRESSED: list[Callable[[str], str]] = [
    lambda x: f"Final Answer: ({x})",
    lambda x: f"**Final Answer: {x}**",
    lambda x: f"Final answer: {x}.",
    lambda x: f"The answer is {x}",
    lambda x: f"Final Answer: $\\boxed{{{x}}}$",
]


@given(REASONING, st.sampled_from(FOUR), st.sampled_from(DRESSED))
def test_closing_line_decides(reasoning: str, letter: str, dress: Callable[[str], str]) -> None:
    assert extract_answer(f"{reasoning}\n{dress(letter)}", FOUR) == letter


@given(st.sampled_from(FOUR), st.sampled_from(FOUR), REASONING)
def test_last_answer_wins(first: str, last: str, between: str) -> None:
    response = f"Final Answer: ({first}). {between}. Final Answer: ({last})"
    assert extract_answer(response, FOUR) == last


@pytest.mark.parametrize(
    ("response", "letters", "answer"),
    [
        ("Final Answer: (B)", FOUR, "B"),
        ("final answer: b", FOUR, "B"),
        ("Final Answer: The correct choice is (C)", FOUR, None),  # the c of "correct" is in the way
        ("The answer is a combination. Final Answer: (D)", FOUR, "A"),
        ("To answer this question, we need", FOUR, "D"),  # the d of "need"
        ("To answer this: a stone. Final Answer: (D)", FOUR, "A"),
        ("Final Answer: $\\boxed{C}$", FOUR, "C"),
        ("Answer boxedboxed (B)", FOUR, "B"),
        ("Answer boxed be (B)", FOUR, None),
        ("Final Answer: (J)", TEN, "J"),
        ("Final Answer: (J)", FOUR, None),
        ("Final Answer: (D)", "ABC", "D"),  # an answer, and a wrong one: PubMedQA's pattern has a D
        ("Answer: ı", TEN, "ı"),  # [A-J] matches it without regard to case; no option equals it
        ("Antwort: B. An\u017fwer: C", FOUR, "C"),  # so does "Answer" match a long s
        ("答案 Answer：（B）", FOUR, "B"),
        ("B", FOUR, None),
        ("", FOUR, None),
    ],
)
def test_the_published_rule_takes_the_first_match(
    response: str, letters: str, answer: str | None
) -> None:
    assert first_match(response, letters) == answer


def plain_first_match(response: str, last: str) -> str | None:
    """Do by hand what upstream's pattern says, without a pattern."""

    def option(character: str) -> bool:
        return character.upper() in string.ascii_uppercase[: string.ascii_uppercase.index(last) + 1]

    def past_the_others(text: str, at: int) -> int:
        while at < len(text) and not option(text[at]):
            at += 1
        return at

    def word(character: str) -> bool:
        return character.isalnum() or character == "_"

    text = response.lower()
    assert len(text) == len(response)  # the alphabet below has no character that lower() makes two
    for start in range(len(text)):
        if not text.startswith("answer", start):
            continue
        at = past_the_others(text, start + len("answer"))
        while text.startswith("boxed", at):
            at += len("boxed")
        at = past_the_others(text, at)
        if at < len(text) and not (at + 1 < len(text) and word(text[at + 1])):
            return text[at].upper()
    return None


# Texts that are dense in what the pattern is made of.
PIECES = st.lists(
    st.sampled_from(["Answer", "answer", "ANSWER", "nswer", "boxed", "Boxed", "b", "x", ":", " ",
                     "A", "c", "D", "e", "J", "k", "(", ")", "_", "é", "\n", "1", "is"]),
    max_size=14,
).map("".join)  # fmt: skip


@given(PIECES, st.sampled_from("DJ"))
def test_the_linear_pattern_finds_what_upstreams_pattern_finds(text: str, last: str) -> None:
    theirs = re.findall(PUBLISHED[last], text)
    assert re.findall(LINEAR[last], text) == theirs
    found = first_match(text, TEN if last == "J" else FOUR)
    assert found == (theirs[0].upper() if theirs else None)


@given(PIECES, st.sampled_from("DJ"))
def test_the_published_rule_agrees_with_one_written_by_hand(text: str, last: str) -> None:
    assert first_match(text, TEN if last == "J" else FOUR) == plain_first_match(text, last)


@given(st.text(max_size=60), st.sampled_from("DJ"))
def test_the_linear_pattern_agrees_on_any_text(text: str, last: str) -> None:
    written = f"Answer{text}"
    assert re.findall(LINEAR[last], written) == re.findall(PUBLISHED[last], written)


@pytest.mark.parametrize("rule", ["published", "robust"])
@pytest.mark.parametrize(
    "piece",
    [
        "answer" + " " * 100_000,
        "Answer" + "x" * 100_000,
        "Answer" + ":" * 100_000,
        "Answer" * 17_000,
        "Answer" + "boxed" * 20_000,
        "answer is : " * 8_000,
        "\\boxed{" * 14_000,
        '"answer_choice": "' * 6_000,
    ],
)
def test_hostile_response_costs_little(piece: str, rule: str) -> None:
    started = time.perf_counter()
    EXTRACTIONS[rule](piece, FOUR)
    assert time.perf_counter() - started < 3
