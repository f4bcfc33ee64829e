"""Texts that are passed over without being tokenised never match: tried on many tokenizers."""

import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import ngrams, prefilter, surfaces, tokens
from corpus.compare import Matcher
from corpus.prompts import Benchmark
from corpus.rule import MODES, Rule

sys.path.insert(0, str(Path(__file__).parent))
import plain

tk = pytest.importorskip("tokenizers")
SAMPLE = (
    "the patient of the ward has a fever, and is given 25 mg a day.\nA. liver\nB. spleen\n\nC. no. "
    "Überraschung, naïve café — 体温 ▁▁ 12.5% of  them <s> return\tto it; 'tis it's <0x41> "
)
WORDS = [*SAMPLE.split(" "), "\n", "\n\n", "  ", " ", "e\u0301", "é", "ﬁ", "😀", "體", "<s>",
         "</s>", "▁", "<0x0A>", "\t", "<pad>", "[x]", "a", "b"]  # fmt: skip


def bpe(**more: Any) -> Any:
    return tk.models.BPE(**more)


def byte_level(made: Any) -> list[str]:
    made.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return list(tk.pre_tokenizers.ByteLevel.alphabet())


def split_and_byte_level(made: Any) -> list[str]:
    made.pre_tokenizer = tk.pre_tokenizers.Sequence(
        [
            tk.pre_tokenizers.Split(tk.Regex(r"\s+|\d{1,3}|[^\s\d]+"), "isolated"),
            tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = tk.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return list(tk.pre_tokenizers.ByteLevel.alphabet())


def composed_byte_level(made: Any) -> list[str]:
    made.normalizer = tk.normalizers.NFC()
    return split_and_byte_level(made)


def replaced_blanks(made: Any) -> list[str]:
    made.normalizer = tk.normalizers.Replace(" ", "▁")
    made.pre_tokenizer = tk.pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = tk.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return []


def prepended_mark(made: Any) -> list[str]:
    made.normalizer = tk.normalizers.Sequence(
        [tk.normalizers.Prepend("▁"), tk.normalizers.Replace(" ", "▁")]
    )
    return []


def metaspace(made: Any) -> list[str]:
    made.pre_tokenizer = tk.pre_tokenizers.Metaspace(prepend_scheme="first")
    return []


def lowered(made: Any) -> list[str]:
    made.normalizer = tk.normalizers.Sequence([tk.normalizers.NFKC(), tk.normalizers.Lowercase()])
    made.pre_tokenizer = tk.pre_tokenizers.Digits(individual_digits=True)
    return []


KINDS: dict[str, tuple[Callable[[Any], list[str]], bool]] = {
    "byte-level": (byte_level, False),
    "split, byte-level, begin and end": (split_and_byte_level, False),
    "composed, byte-level": (composed_byte_level, False),
    "replaced blanks, byte fallback": (replaced_blanks, True),
    "a mark before, byte fallback": (prepended_mark, True),
    "metaspace, byte fallback": (metaspace, True),
    "lower case, unknown characters": (lowered, False),
}
SPECIAL = ["<s>", "</s>", "<unk>"]


@cache
def tokenizer(kind: str) -> Any:
    """Train one of a kind; the pieces are few and short, so that blocks end anywhere."""
    configure, fallback = KINDS[kind]
    unknown = {} if "byte-level" in kind else {"unk_token": "<unk>"}
    made = tk.Tokenizer(bpe(byte_fallback=fallback, **unknown))
    alphabet = configure(made)
    extra = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
    trainer = tk.trainers.BpeTrainer(
        vocab_size=700 if extra else 420, initial_alphabet=alphabet,
        limit_alphabet=1000 if alphabet else 60,
        special_tokens=SPECIAL + extra, show_progress=False,
    )  # fmt: skip
    rng = random.Random(3)  # noqa: S311
    made.train_from_iterator((" ".join(rng.sample(WORDS, 12)) for _ in range(300)), trainer)
    if extra:  # byte tokens are pieces, not added tokens: made again without them among the added
        import json

        data = json.loads(made.to_str())
        data["added_tokens"] = [a for a in data["added_tokens"] if a["content"] in SPECIAL]
        made = tk.Tokenizer.from_str(json.dumps(data))
    made.add_tokens([tk.AddedToken(w, normalized=False) for w in ("\n\n", "  ", "\t")])
    made.add_tokens([tk.AddedToken("[x]", lstrip=True, rstrip=True)])
    return made


TEXTS = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join) | st.text(max_size=60)


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_are_parts_of_the_bytes(kind: str) -> None:
    made = tokenizer(kind)
    known = surfaces.find(made)
    assert known is not None
    told = 0

    @settings(max_examples=150, deadline=None)
    @given(TEXTS)
    def check(text: str) -> None:
        nonlocal told
        text = text.encode("utf-8", "replace").decode()
        assert prefilter.holds(known, text, made.encode(text).ids)
        told += known.bytes_of(text) is not None

    check()
    assert told > 10  # it says something, not nothing about everything


def planted(rng: random.Random) -> tuple[list[str], list[str]]:
    """Prompts, and texts with parts of them in them, whole and cut at any character."""
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 25))) for _ in range(rng.randint(1, 6))]
    texts = []
    for _ in range(8):
        text = ""
        for _ in range(rng.randint(0, 4)):
            source = rng.choice(prompts) or "nothing"
            begin = rng.randrange(len(source))
            piece = source[begin : begin + rng.choice((8, 20, 60, 200))]
            text += rng.choice((piece, " " + piece, " ".join(rng.choices(WORDS, k=4))))
        texts.append(text)
    return prompts, texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_matches_is_passed_over(
    kind: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, made = random.Random(kind + mode), tokenizer(kind)  # noqa: S311
    passed = found = used = 0
    for _ in range(60):
        prompts, texts = planted(rng)
        rule = Rule(mode, rng.randint(1, 12), rng.choice((0.1, 0.3, 0.5, 0.8, 1.0)))
        monkeypatch.setattr(ngrams, "COMMON", rng.choice((0, 1, 16)))
        monkeypatch.setattr(prefilter, "BLOCK", rng.choice((64, 1000, 2**15)))
        monkeypatch.setattr(prefilter, "STEP", rng.choice((1, 40, 2**15)))
        monkeypatch.setattr(ngrams, "STEP", rng.choice((3, 2**16)))
        monkeypatch.setattr(tokens, "SLICE", rng.choice((1, 50, 2**16)))
        matcher = Matcher(rule, made, [Benchmark("b", tuple(prompts), "")])
        rows = matcher._find(texts, [(n, 0) for n in range(len(texts))])
        fast = [(rows[n][0].prompt, rows[n][0].covered) if n in rows else None for n in range(8)]
        ids = [made.encode(text).ids for text in prompts]
        slow = [
            plain.best_match([made.encode(t).ids], ids, mode, rule.ngram, rule.threshold)
            for t in texts
        ]
        assert fast == slow
        found += sum(match is not None for match in slow)
        if matcher.prefilter is not None:
            pairs, unknown = matcher.prefilter.candidates(texts)
            passed += len(texts) - len({*pairs.text.tolist(), *unknown})
            used += 1
    assert found > 50
    assert used > 10
    assert passed > 5  # the bound does turn texts away


def test_other_tokenizers_are_left_alone() -> None:
    words = {"?": 0, "a": 1}
    word_level = tk.Tokenizer(tk.models.WordLevel(words, unk_token="?"))  # noqa: S106
    dropping = tk.Tokenizer(bpe(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    removing = tk.Tokenizer(bpe(vocab={"?": 0, "a": 1}, merges=[], unk_token="?"))  # noqa: S106
    removing.pre_tokenizer = tk.pre_tokenizers.Split(" ", "removed")
    whitespace = tk.Tokenizer(bpe(vocab={"?": 0, "a": 1}, merges=[], unk_token="?"))  # noqa: S106
    whitespace.pre_tokenizer = tk.pre_tokenizers.Whitespace()
    prefixed = tk.Tokenizer(tokenizer("byte-level").model)
    prefixed.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=True)
    random_ = tk.Tokenizer(bpe(vocab={"?": 0, "a": 1}, merges=[], unk_token="?", dropout=0.1))  # noqa: S106
    for one in (word_level, dropping, removing, whitespace, prefixed, random_, object()):
        assert surfaces.find(one) is None


def test_a_wrong_claim_is_noticed_before_it_is_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tokenizer("byte-level")
    ids = [np.array(made.encode("liver and spleen").ids, dtype=np.uint32)]
    assert prefilter.build(made, ["liver and spleen"], ids, Rule())[0] is not None
    monkeypatch.setattr(surfaces.Surfaces, "bytes_of", lambda *_: b"something else")
    found, why = prefilter.build(made, ["liver and spleen"], ids, Rule())
    assert found is None
    assert "every text is tokenised" in why


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=100), st.sampled_from(prefilter.WIDTHS))
def test_equal_windows_have_equal_hashes_wherever_they_stand(data: bytes, width: int) -> None:
    def hashes(text: bytes) -> dict[bytes, set[int]]:
        array = np.frombuffer(text, dtype=np.uint8)
        out: dict[bytes, set[int]] = {}
        for at, h in enumerate(
            prefilter.hash_windows(prefilter.words_of(array), len(array), width).tolist()
        ):
            if at + width <= len(text):
                out.setdefault(text[at : at + width], set()).add(h)
        return out

    here, there = hashes(data), hashes(b"xyz" + data + b"tail of another text")
    assert all(len(found) == 1 for found in there.values())
    assert all(there[window] == found for window, found in here.items())
