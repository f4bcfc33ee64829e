"""The reading of answers: explicit ones, corrected ones, none, and hostile ones."""

import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.benchmarks.answers import extract_answer

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
    "piece", ["answer" + " " * 50_000, "answer is : " * 5_000, "\\boxed{" * 9_000]
)
def test_hostile_response_costs_little(piece: str) -> None:
    started = time.perf_counter()
    extract_answer(piece, FOUR)
    assert time.perf_counter() - started < 3
