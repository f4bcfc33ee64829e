"""lm-eval's own rule for what does not fit cuts the question; the kit's shortens the reply."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance
from lm_eval.models.utils import maybe_truncate

from scoring.models import _whole_prompts

WINDOW = 4096


def test_lm_eval_cuts_the_question_away_below_the_whole_window() -> None:
    """What the kit has to keep from it; the published limit is spared by a slip of slices."""
    kept = {most: len(maybe_truncate(list(range(300)), most, WINDOW, verbose=False)[0])
            for most in (3000, 3900, 4000, 4095, 4096)}  # fmt: skip
    assert kept == {3000: 300, 3900: 196, 4000: 96, 4095: 1, 4096: 300}


class Lm:
    """Stands in for lm-eval's vLLM model: truncates by its own function, and answers its length."""

    max_length = WINDOW
    truncated = 0

    def tok_encode(self, text: str) -> list[int]:
        return list(range(len(text)))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        out = []
        for request in requests:
            prompt, settings = request.args
            tokens = self.tok_encode(prompt)
            kept, most = maybe_truncate(tokens, settings["max_gen_toks"], self.max_length,
                                        verbose=False)  # fmt: skip
            # vLLM: a prompt that fills the window is refused, and ends the whole evaluation.
            assert len(kept) < self.max_length
            self.truncated += len(kept) < len(tokens)
            # It generates until the window is full, whatever the limit.
            out.append(f"{len(kept)} {min(most, self.max_length - len(kept))}")
        return out


def ask(lengths: list[int], most: int) -> tuple[list[str], Any, list[str]]:
    said: list[str] = []
    lm = _whole_prompts(Lm, said.append)()
    asked = [Instance("generate_until", {}, ("x" * n, {"max_gen_toks": most}), i)
             for i, n in enumerate(lengths)]  # fmt: skip
    return lm.generate_until(asked), lm, said


@given(st.lists(st.integers(1, 4200), max_size=8), st.integers(1, WINDOW))
def test_no_prompt_is_cut_and_none_ends_the_evaluation(lengths: list[int], most: int) -> None:
    replies, lm, said = ask(lengths, most)
    assert lm.truncated == 0
    for length, reply in zip(lengths, replies, strict=True):
        room = WINDOW - length
        assert reply == (f"{length} {min(most, room)}" if room > 0 else "")
    without = sum(n >= WINDOW for n in lengths)
    assert said == ([f"{without:,} of {len(lengths):,} prompts fill the window of 4,096 tokens "
                     "alone: their responses are empty"] if without else [])  # fmt: skip


def test_without_the_kit_the_same_requests_are_cut() -> None:
    """The check above can fail: the model alone cuts."""
    lm = Lm()
    request = SimpleNamespace(args=("x" * 300, {"max_gen_toks": 4000}))
    assert lm.generate_until([request]) == ["96 4000"]
    assert lm.truncated == 1
