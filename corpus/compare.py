"""A batch of training rows against every benchmark prompt: which rows match, and what best."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus import blocks, ngrams, prefilter, tokens
from corpus.blocks import Grams, Tokens
from corpus.prompts import Benchmark
from corpus.rule import Rule, Run


@dataclass(frozen=True, slots=True)
class Match:
    """A row's best match in one benchmark.

    Attributes:
        benchmark: number of the benchmark.
        prompt: index of the prompt in the benchmark's file.
        covered: tokens of the prompt in matching blocks.
        length: tokens of the prompt.
        text: which of the row's texts it is (`Rule.texts`).
    """

    benchmark: int
    prompt: int
    covered: int
    length: int
    text: int

    @property
    def share(self) -> float:
        """What of the prompt is covered; equal shares are equal floats at these lengths."""
        return self.covered / self.length

    @property
    def rank(self) -> tuple[float, int, int]:
        """Smaller is better: the largest share, then the lowest index, then the first text."""
        return (-self.share, self.prompt, self.text)


@dataclass
class Checked:
    """What is known of a chunk of rows.

    Attributes:
        rows: how many there are.
        ids: 8 bytes of each row's id, hashed, of shape (rows,).
        flagged: (number of the row in the chunk, its id, best match in each benchmark that has one)
        textless: rows without a turn that the rule reads.
        broken_text: rows with half surrogates.
        error: (number of the line in the chunk, what is wrong) of the first unreadable one.
    """

    rows: int = 0
    ids: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    flagged: list[tuple[int, str | None, list[Match]]] = field(default_factory=list)
    textless: int = 0
    broken_text: int = 0
    error: tuple[int, str] | None = None


class Matcher:
    """Benchmarks, tokenised and indexed, ready to be held against rows.

    Args:
        rule: what counts as contaminated.
        tokenizer: what `corpus.tokens.load` gives.
        benchmarks: with their prompts.
    """

    def __init__(self, rule: Rule, tokenizer: Any, benchmarks: Sequence[Benchmark]) -> None:
        self.rule, self.tokenizer, self.benchmarks = rule, tokenizer, list(benchmarks)
        prompts = [text for benchmark in benchmarks for text in benchmark.prompts]
        self.prompts = prompts
        self.tokens = tokens.encode(tokenizer, prompts)
        self.prefilter, self.prefilter_why = prefilter.build(tokenizer, prompts, self.tokens, rule)
        if self.prefilter is not None:
            tokens.forget_words(tokenizer)
        self._index: ngrams.Index | None = None
        self._lengths = np.array([max(1, len(p)) for p in self.tokens], dtype=np.int64)
        self.offsets = np.cumsum([0, *(len(b.prompts) for b in benchmarks)])
        self.benchmark_of = np.repeat(
            np.arange(len(benchmarks)), [len(b.prompts) for b in benchmarks]
        )

    def check(self, lines: Sequence[bytes]) -> Checked:
        """Read a chunk of JSON lines and find the rows that are contaminated.

        Args:
            lines: one row each, none blank.
        """
        out = Checked()
        ids, texts, owners = [], [], []
        for number, line in enumerate(lines):
            try:
                row = json.loads(line.rstrip())  # a cut line has no end: that is the error then
                if not isinstance(row, dict):
                    raise TypeError(f"a row is an object, not {type(row).__name__}")
                read = self.rule.texts(row)
            except (ValueError, TypeError, RecursionError) as error:
                kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
                shape = isinstance(error, TypeError)
                out.error = (number, str(error) if shape else f"broken {kind}: {error}")
                return out
            identity = row.get("id")
            ids.append(None if identity is None else str(identity))
            cleaned = [tokens.clean(text) for text in read]
            out.broken_text += cleaned != read
            out.textless += not read
            texts += cleaned
            owners += [(number, which) for which in range(len(read))]
        out.rows = len(ids)
        out.ids = np.frombuffer(b"".join(map(_digest, ids)), dtype=np.uint64)
        found = self._find(texts, owners)
        out.flagged = [(row, ids[row], best) for row, best in sorted(found.items())]
        return out

    @property
    def index(self) -> ngrams.Index:
        """The prompts' grams of tokens; made when a text is first tokenised without its bytes."""
        if self._index is None:
            self._index = ngrams.Index(self.tokens, self.rule)
        return self._index

    def _find(self, texts: list[str], owners: Sequence[tuple[int, int]]) -> dict[int, list[Match]]:
        """Give what `match` does, tokenising only the texts that may match."""
        if self.prefilter is None:
            return self.match(tokens.encode(self.tokenizer, texts), owners)
        pairs, unknown = self.prefilter.candidates(texts)
        new = ngrams.firsts(pairs.text)
        known = pairs.text[new]
        ids = tokens.encode(self.tokenizer, [texts[n] for n in known.tolist()])
        found = self._best(
            ids,
            [owners[n] for n in known.tolist()],
            ngrams.Pairs(np.cumsum(new) - 1, pairs.prompt, pairs.most),
        )
        if unknown:
            ids = tokens.encode(self.tokenizer, [texts[n] for n in unknown])
            flat, ends = ngrams.flatten(ids)
            more = self.index.candidates(ngrams.hash_grams(flat), ends)
            self._best(ids, [owners[n] for n in unknown], more, found)
        return _by_row(found)

    def match(
        self, texts: Sequence[Tokens], owners: Sequence[tuple[int, int]]
    ) -> dict[int, list[Match]]:
        """Find each row's best match in each benchmark.

        Args:
            texts: token ids, of shape (tokens,) each.
            owners: (row, number of the text in the row) of each text.

        Returns:
            row -> its matches, in the order of the benchmarks; rows without one are left out.
        """
        flat, ends = ngrams.flatten(texts)
        pairs = self.index.candidates(ngrams.hash_grams(flat), ends)
        return _by_row(self._best(texts, owners, pairs))

    def _best(
        self,
        texts: Sequence[Tokens],
        owners: Sequence[tuple[int, int]],
        pairs: ngrams.Pairs,
        best: dict[tuple[int, int], Match] | None = None,
    ) -> dict[tuple[int, int], Match]:
        """Check candidates exactly; gives the best match of each (row, benchmark) so far."""
        best = {} if best is None else best
        grams: dict[int, Grams] = {}
        # The most promising first: what cannot beat the best so far is not looked at.
        ceiling = pairs.most / self._lengths[pairs.prompt]
        for at in np.argsort(-ceiling, kind="stable").tolist():
            number, prompt = int(pairs.text[at]), int(pairs.prompt[at])
            row, which = owners[number]
            benchmark = int(self.benchmark_of[prompt])
            within = prompt - int(self.offsets[benchmark])
            so_far = best.get((row, benchmark))
            hope = (-min(1.0, float(ceiling[at])), within, which)
            if so_far is not None and hope >= so_far.rank:
                continue
            if number not in grams:
                grams[number] = ngrams.hash_grams(texts[number])
            covered = sum(k for _, _, k in self.blocks(texts[number], grams[number], prompt))
            length = len(self.tokens[prompt])
            if not covered or covered < self.rule.threshold * length:
                continue
            match = Match(benchmark, within, covered, length, which)
            if so_far is None or match.rank < so_far.rank:
                best[row, benchmark] = match
        return best

    def blocks(self, text: Tokens, grams: Grams, prompt: int) -> list[Run]:
        """Give the matching blocks of a text and a prompt; none where they share no n-gram.

        Args:
            text: token ids.
            grams: `hash_grams` of them.
            prompt: its number over all benchmarks.
        """
        other = self.tokens[prompt]
        found = blocks.runs(text, other, grams, ngrams.hash_grams(other))
        if found is None:
            # Every block is a run, or a part of one; what runs there are decides about the n-gram.
            whole = blocks.blocks_by_difflib(text, other)
            return whole if self._shares_slowly(text, other) else []
        if not self.rule.shares_gram(found, len(text), len(other)):
            return []
        return blocks.blocks(found, len(text), len(other))

    def _shares_slowly(self, text: Tokens, prompt: Tokens) -> bool:
        n = self.rule.ngram if self.rule.mode == "faithful" else min(self.rule.ngram, len(prompt))
        lost = 1 if self.rule.mode == "faithful" else 0
        a, b = text.tobytes(), prompt.tobytes()
        size = text.itemsize
        wanted = {b[i * size : (i + n) * size] for i in range(len(prompt) - n + 1 - lost)}
        return any(a[i * size : (i + n) * size] in wanted for i in range(len(text) - n + 1 - lost))

    def spans(self, text: str, prompt: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Give the characters that a text and a prompt share, as (begin, end) in each."""
        one = self.tokenizer.encode(text)
        two = self.tokenizer.encode(self.prompts[prompt])
        ids = np.array(one.ids, dtype=np.uint32)
        found = self.blocks(ids, ngrams.hash_grams(ids), prompt)
        return (
            [_stretch(one.offsets[i : i + k]) for i, _, k in found],
            [_stretch(two.offsets[j : j + k]) for _, j, k in found],
        )


def _by_row(best: dict[tuple[int, int], Match]) -> dict[int, list[Match]]:
    out: dict[int, list[Match]] = {}
    for row, benchmark in sorted(best):
        out.setdefault(row, []).append(best[row, benchmark])
    return out


def _stretch(offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Give the characters of a block; special tokens stand for none and are passed over."""
    real = [pair for pair in offsets if pair[1] > pair[0]]
    return (real[0][0], real[-1][1]) if real else (0, 0)


def _digest(identity: str | None) -> bytes:
    # Rows without an id are told apart by their place; zero marks them.
    if identity is None:
        return bytes(8)
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def count_prompts(matcher: Matcher) -> list[dict[str, int]]:
    """Say of each benchmark how many prompts it has, and how many can never match, and why."""
    out = []
    for number, benchmark in enumerate(matcher.benchmarks):
        begin = int(matcher.offsets[number])
        mine = [n for n in range(len(benchmark.prompts)) if n not in benchmark.outside]
        lengths = [len(matcher.tokens[begin + n]) for n in mine]
        out.append(
            {
                "prompts": len(mine),
                "outside": len(benchmark.outside),
                "empty": sum(not benchmark.prompts[n].strip() for n in mine),
                "shorter_than_ngram": sum(n < matcher.rule.ngram for n in lengths),
                "never_match": sum(not matcher.rule.can_match(n) for n in lengths),
            }
        )
    return out
