"""The fast decontamination is the plain one: same rows, same prompts; bad input is said clearly."""

import random
import sys
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpus import blocks, ngrams
from corpus.compare import Matcher
from corpus.prompts import Benchmark
from corpus.rule import MODES, Rule

sys.path.insert(0, str(Path(__file__).parent))
import plain


def array(tokens: list[int]) -> blocks.Tokens:
    return np.array(tokens, dtype=np.uint32)


class Digits:
    """A tokenizer for tests: a text is numbers, a number is its token."""

    def encode_batch_fast(self, texts: list[str]) -> list[Any]:
        class Ids:
            def __init__(self, ids: list[int]) -> None:
                self.ids = ids

        return [Ids([int(word) for word in text.split()]) for text in texts]


# A small alphabet repeats itself, so that blocks tie and runs are many; a large one does not.
TOKENS = st.one_of(
    st.lists(st.integers(0, 2), max_size=40),
    st.lists(st.integers(0, 6), max_size=60),
    st.lists(st.integers(0, 1000), max_size=60),
)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Prompts, and rows of texts with parts of the prompts planted in them."""
    prompts = draw(st.lists(TOKENS, min_size=1, max_size=6))
    stock = draw(st.lists(st.integers(0, 9), min_size=5, max_size=12))
    prompts = [p + stock if draw(st.booleans()) else p for p in prompts]
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        texts = []
        for _ in range(draw(st.integers(0, 2))):
            text: list[int] = []
            for _ in range(draw(st.integers(0, 4))):
                if draw(st.booleans()):
                    source = draw(st.sampled_from(prompts))
                    begin = draw(st.integers(0, len(source)))
                    text += source[begin : draw(st.integers(begin, len(source)))]
                else:
                    text += draw(st.lists(st.integers(0, 9), max_size=8))
            texts.append(text)
        rows.append(texts)
    return rows, prompts


def fast(
    rows: list[list[list[int]]], prompts: list[list[int]], rule: Rule
) -> list[tuple[int, int] | None]:
    said = tuple(" ".join(map(str, p)) for p in prompts)
    matcher = Matcher(rule, Digits(), [Benchmark("b", said, "")])
    owners = [(r, t) for r, texts in enumerate(rows) for t in range(len(texts))]
    found = matcher.match([array(text) for texts in rows for text in texts], owners)
    return [
        (found[r][0].prompt, found[r][0].covered) if r in found else None for r in range(len(rows))
    ]


@settings(max_examples=600, deadline=None)
@given(
    corpora(),
    st.sampled_from(MODES),
    st.integers(1, 14),
    st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.51, 0.75, 0.9, 1.0]) | st.floats(0.001, 1.0),
    st.sampled_from([0, 1, 16]),
)
def test_fast_and_plain_agree(
    corpus: tuple[list[list[list[int]]], list[list[int]]],
    mode: str,
    n: int,
    threshold: float,
    common: int,
) -> None:
    rows, prompts = corpus
    usual = ngrams.COMMON
    ngrams.COMMON = common  # at 0 every gram may be left out of the index
    try:
        found = fast(rows, prompts, Rule(mode, n, threshold))
    finally:
        ngrams.COMMON = usual
    assert found == [plain.best_match(texts, prompts, mode, n, threshold) for texts in rows]


@settings(max_examples=600, deadline=None)
@given(TOKENS, TOKENS)
@example([1] * 30, [1] * 12)
@example([1, 2] * 12, [2, 1, 2, 1, 2, 1, 1, 2, 1, 2, 1])
def test_blocks_are_difflibs(a: list[int], b: list[int]) -> None:
    runs = blocks.runs(array(a), array(b), *(ngrams.hash_grams(array(x)) for x in (a, b)))
    assert runs is not None
    found = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    expected = [(m.a, m.b, m.size) for m in found if m.size >= 5]
    assert blocks.blocks(runs, len(a), len(b)) == expected
    assert blocks.blocks_by_difflib(array(a), array(b)) == expected


@settings(max_examples=100, deadline=None)
@given(corpora(), st.sampled_from(MODES), st.integers(1, 12))
def test_too_many_pairs_and_colliding_hashes_lose_nothing(
    corpus: tuple[list[list[list[int]]], list[list[int]]], mode: str, n: int
) -> None:
    rows, prompts = corpus
    expected = [plain.best_match(texts, prompts, mode, n, 0.5) for texts in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "MOST_PAIRS", 0)
        assert fast(rows, prompts, Rule(mode, n, 0.5)) == expected
    real = ngrams.hash_grams
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "hash_grams", lambda tokens: real(tokens) & np.uint64(1))
        assert fast(rows, prompts, Rule(mode, n, 0.5)) == expected


def pieced(rng: random.Random) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Prompts out of stock phrases, and rows out of pieces of them around the sizes that count."""
    wide = rng.choice((3, 12, 500))
    stock = [[rng.randrange(wide) for _ in range(rng.randint(5, 9))] for _ in range(4)]
    prompts = []
    for _ in range(rng.randint(1, 5)):
        prompt: list[int] = []
        for _ in range(rng.randint(1, 4)):
            prompt += rng.choice((rng.choice(stock), [rng.randrange(wide) for _ in range(6)]))
        prompts.append(prompt)
    prompts += [p[: rng.randint(1, len(p))] for p in prompts[: rng.randint(0, 2)]]
    rows = []
    for _ in range(3):
        text: list[int] = []
        for _ in range(rng.randint(1, 4)):
            source = rng.choice(prompts)
            begin = rng.randrange(len(source))
            text += source[begin : begin + rng.choice((4, 5, 6, 7, 8, 9, 12, 40))]
            text += [rng.randrange(wide) for _ in range(rng.randint(0, 2))]
        rows.append([text])
    return rows, prompts


@pytest.mark.parametrize("mode", MODES)
def test_fast_and_plain_agree_where_it_is_close(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(11)  # noqa: S311
    found_any = 0
    for _ in range(700):
        rows, prompts = pieced(rng)
        n, threshold = rng.randint(1, 12), rng.choice((0.2, 0.4, 0.5, 0.6, 0.8, 1.0))
        monkeypatch.setattr(ngrams, "COMMON", rng.choice((0, 1, 2, 16)))
        found = fast(rows, prompts, Rule(mode, n, threshold))
        assert found == [plain.best_match(t, prompts, mode, n, threshold) for t in rows]
        found_any += sum(match is not None for match in found)
    assert found_any > 300
