"""Benchmark prompts as an index of hashed grams, and a bound that never loses a match.

The gram is MIN_BLOCK = 5 tokens, whatever n-gram the rule asks candidates to share, because only
blocks of 5 tokens and more count. The bound, for a text t and a prompt p of L tokens that is
matched from T = ceil(threshold * L) tokens on:

    Every token of p that counts lies in a matching block of at least 5 tokens, so in a 5-gram of p
    that also stands in t. So what counts is at most the number of tokens of p that are covered by
    5-grams which stand in t.

    Grams that many prompts share ("Which of the following is the most likely") would make almost
    every text a candidate. Of each prompt some of them are therefore left out of the index, as long
    as together they cover C <= (T - 1) // 2 of its tokens. Covered(all) <= C + covered(indexed), so
    a match needs covered(indexed) >= T - C >= 1. What falls short is dropped; nothing else is.

Grams are compared by 64-bit hashes. Equal grams have equal hashes, so a collision can only make the
bound larger: it adds work for the exact check (corpus.blocks), and loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.blocks import Grams, Tokens
from corpus.rule import MIN_BLOCK, Rule

#: A gram in more prompts than this may be left out of a prompt's index.
COMMON = 16
#: Bits a key of the tables that most grams of ordinary text are turned away by.
BITS_A_KEY = 32
#: Keys that are put into a table at a time.
STEP = 2**16

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]


def hash_grams(tokens: Tokens) -> Grams:
    """Hash every MIN_BLOCK-gram: out[i] stands for tokens[i : i + MIN_BLOCK].

    Args:
        tokens: ids, of shape (tokens,).

    Returns:
        Of shape (max(0, tokens - MIN_BLOCK + 1),), the same for equal grams wherever they stand.
    """
    count = max(0, len(tokens) - MIN_BLOCK + 1)
    out = np.zeros(count, dtype=np.uint64)
    if not count:
        return out
    # Neighbouring ids become unrelated words first; then a polynomial modulo 2**64.
    words = tokens.astype(np.uint64)
    words += np.uint64(1)
    words *= np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(29)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(32)
    for k in range(MIN_BLOCK):
        out *= np.uint64(0xD1342543DE82EF95)
        out += words[k : k + count]
    out ^= out >> np.uint64(31)
    out *= np.uint64(0x94D049BB133111EB)
    return out


def flatten(texts: Sequence[Tokens]) -> tuple[Tokens, Ints]:
    """Lay texts end to end; gives (tokens, ends), where text i is tokens[ends[i] : ends[i + 1]]."""
    ends = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(t) for t in texts], out=ends[1:])
    return (np.concatenate(texts) if texts else np.zeros(0, dtype=np.uint32)), ends


def inner(count: int, ends: Ints) -> npt.NDArray[np.bool_]:
    """Tell which of `count` grams of texts laid end to end lie within one text."""
    out = np.ones(count, dtype=bool)
    for k in range(1, MIN_BLOCK):
        at = ends[1:-1] - k
        out[at[(at >= 0) & (at < count)]] = False
    return out


def firsts(ordered: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell where a new value begins in an ordered array.

    (np.unique would do, but it loads numpy.ma: 6 MiB in each process.)
    """
    out = np.ones(len(ordered), dtype=bool)
    out[1:] = ordered[1:] != ordered[:-1]
    return out


@dataclass(frozen=True)
class Pairs:
    """Candidates: text i of a batch may match prompt p. Arrays of shape (pairs,), by text.

    Attributes:
        text: number of the text in the batch.
        prompt: number of the prompt.
        most: upper bound of the prompt's tokens that can count.
    """

    text: Ints
    prompt: Ints
    most: Ints


class Table:
    """A small table that turns most hashes away that are not among some.

    Args:
        keys: the hashes that are let through.
    """

    def __init__(self, keys: Grams) -> None:
        bits = max(10, (BITS_A_KEY * len(keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._bytes = np.zeros(2 ** (bits - 3), dtype=np.uint8)
        for start in range(0, len(keys), STEP):
            slot = keys[start : start + STEP] >> self._shift
            bit = np.left_shift(1, slot & np.uint64(7)).astype(np.uint8)
            np.bitwise_or.at(self._bytes, (slot >> np.uint64(3)).view(np.int64), bit)

    def find(self, hashes: Grams) -> Ints:
        """Give the places of all hashes that are among the keys, and of a few others."""
        slot = hashes >> self._shift
        bits = self._bytes[(slot >> np.uint64(3)).view(np.int64)]
        bits >>= (slot & np.uint64(7)).astype(np.uint8)
        bits &= 1
        return np.flatnonzero(bits)


class Coverage:
    """Which grams stand in which prompts, and how much of a prompt the found ones cover.

    Args:
        grams: a hash for every MIN_BLOCK-gram of the prompts laid end to end.
        ends: of the prompts, as `flatten` gives them.
        rule: threshold and mode.
        free: which grams count as found in every text.

    Attributes:
        least: T of each prompt.
        left_out: tokens of each prompt that count without being looked for.
        open: whether a prompt is a candidate for every text.
    """

    def __init__(
        self,
        grams: Grams,
        ends: Ints,
        rule: Rule,
        *,
        free: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        lengths = np.diff(ends).tolist()
        self.count = len(lengths)
        self.least = np.array([math.ceil(rule.threshold * n) for n in lengths], dtype=np.int64)
        can = np.array([rule.can_match(n) for n in lengths], dtype=bool)
        # Prompts and tokens are counted in 32 bits: the index of a large benchmark stays small.
        many = np.where(can, np.maximum(0, np.diff(ends) - MIN_BLOCK + 1), 0)
        prompt = np.repeat(np.arange(self.count, dtype=np.int32), many)
        position = np.arange(len(prompt), dtype=np.int32)
        position -= np.repeat((np.cumsum(many) - many).astype(np.int32), many)
        at = position + ends[:-1].astype(np.int32)[prompt]
        grams = grams[at]
        given = np.zeros(len(at), dtype=bool) if free is None else free[at]
        del at
        self.left_out = np.zeros(self.count, dtype=np.int64)
        keep = self._leave_out(grams, prompt, position, given)
        self.open = bool(np.any(can & (self.left_out >= self.least)))
        grams, prompt, position = grams[keep], prompt[keep], position[keep]
        # Neighbouring grams with one hash are found together: one entry, which covers them all.
        new = np.ones(len(grams), dtype=bool)
        new[1:] = (np.diff(grams) != 0) | (np.diff(prompt) != 0) | (np.diff(position) != 1)
        starts = np.flatnonzero(new)
        span = (np.diff(starts, append=len(grams)) + MIN_BLOCK - 1).astype(np.int32)
        grams, prompt, position = grams[starts], prompt[starts], position[starts]
        del keep, given, new, starts
        order = np.argsort(grams, kind="stable")
        grams = grams[order]
        self.prompt, self.position, self.span = prompt[order], position[order], span[order]
        del order, prompt, position, span
        first = np.flatnonzero(firsts(grams))
        self.keys = grams[first]
        self.first = np.append(first, len(grams)).astype(np.int32)

    def _leave_out(
        self, grams: Grams, prompt: Ints32, position: Ints32, free: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Choose the common grams that are not indexed, and note how many tokens they cover."""
        keep = ~free
        if not len(grams):
            return keep
        # In this order the prompts of one gram are in order, too.
        order = np.argsort(grams, kind="stable")
        gram = firsts(grams[order])
        pair = gram | firsts(prompt[order])
        starts = np.flatnonzero(gram)
        many = np.add.reduceat(pair, starts, dtype=np.int32)
        spread = np.empty(len(grams), dtype=np.int32)
        spread[order] = np.repeat(many, np.diff(starts, append=len(grams)))
        del order, gram, pair, starts
        spread[free] = np.iinfo(np.int32).max  # first, and whatever they cover
        common = np.flatnonzero(spread > COMMON)
        edges = np.flatnonzero(np.diff(prompt[common], prepend=-1, append=-1))
        for begin, end in pairwise(edges.tolist()):
            mine = common[begin:end]
            which = int(prompt[mine[0]])
            limit = (int(self.least[which]) - 1) // 2
            covered: set[int] = set()
            for one in mine[np.argsort(-spread[mine], kind="stable")].tolist():
                start = int(position[one])
                more = covered.union(range(start, start + MIN_BLOCK))
                if free[one] or len(more) <= limit:
                    covered = more
                    keep[one] = False
            self.left_out[which] = len(covered)
        return keep

    def find(self, grams: Grams, table: Table) -> tuple[Ints, Ints]:
        """Give (index in `grams`, number of the key) of each gram that stands in a prompt.

        Args:
            grams: hashes.
            table: of those keys that they can be.
        """
        at = table.find(grams)
        if not len(at) or not len(self.keys):
            none = np.zeros(0, dtype=np.int64)
            return none, none
        key = np.minimum(np.searchsorted(self.keys, grams[at]), len(self.keys) - 1)
        same = self.keys[key] == grams[at]
        return at[same], key[same]

    def pairs(self, text: Ints, key: Ints) -> Pairs:
        """Give every (text, prompt) that the bound does not exclude.

        Args:
            text: number of the text, for each gram that was found in one.
            key: number of that gram.
        """
        none = np.zeros(0, dtype=np.int64)
        if not len(text):
            return Pairs(none, none, none)
        # A gram that a text repeats counts once.
        once = np.sort(text * len(self.keys) + key)
        text, key = np.divmod(once[firsts(once)], len(self.keys))
        many = self.first[key + 1] - self.first[key]
        total = int(many.sum())
        within = np.arange(total) - np.repeat(np.cumsum(many) - many, many)
        entry = np.repeat(self.first[key], many) + within
        prompt = self.prompt[entry].astype(np.int64)
        position = self.position[entry].astype(np.int64)
        pair = np.repeat(text, many) * self.count + prompt
        order = np.lexsort((position, pair))
        pair, position = pair[order], position[order]
        # Each entry covers its span, less where the next one of the pair starts before its end: an
        # entry that starts later ends later, too.
        covers = self.span[entry][order].astype(np.int64)
        new = firsts(pair)
        covers[:-1][~new[1:]] = np.minimum(covers[:-1], np.diff(position))[~new[1:]]
        starts = np.flatnonzero(new)
        text, prompt = np.divmod(pair[starts], self.count)
        most = np.add.reduceat(covers, starts) + self.left_out[prompt]
        stays = most >= self.least[prompt]
        return Pairs(text[stays], prompt[stays], most[stays])


class Index:
    """The prompts' grams of tokens.

    Args:
        prompts: token ids of each prompt.
        rule: threshold and mode.

    """

    def __init__(self, prompts: Sequence[Tokens], rule: Rule) -> None:
        flat, ends = flatten(prompts)
        every = hash_grams(flat)
        self.coverage = Coverage(every, ends, rule)
        self.table = Table(self.coverage.keys)

    def candidates(self, grams: Grams, ends: Ints) -> Pairs:
        """Give every (text, prompt) of a batch that the bound does not exclude.

        Args:
            grams: `hash_grams` of the batch's texts laid end to end.
            ends: of the texts, as `flatten` gives them.
        """
        at, key = self.coverage.find(grams, self.table)
        within = inner(len(grams), ends)[at]
        return self.coverage.pairs(np.searchsorted(ends, at[within], side="right") - 1, key[within])
