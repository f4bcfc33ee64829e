"""Which texts need not be tokenised at all: a bound on their bytes that never loses a match.

Tokenising is nearly all of the work, and nearly no text matches. For a tokenizer with surfaces
(corpus.surfaces), tokens that a text shares with a prompt in a row are bytes that both contain. A
match needs T = ceil(threshold * L) of the prompt's L tokens in blocks of at least MIN_BLOCK tokens,
so in MIN_BLOCK-grams of the prompt that stand in the text, so

    T <= tokens of the prompt covered by MIN_BLOCK-grams whose bytes stand in the text.

Not the whole bytes of a gram are looked for but a *window* of them, which stands in the text where
the gram does: the first window of 16 bytes whose hash ends in two zeros (of a text only such
windows are looked up, a quarter; and neighbouring grams share theirs), else its first 16, 12, 8 or
5 bytes. Of a gram with tokens without a surface the longest part between them is taken; one that
has fewer than 5 bytes there counts as found everywhere. Whatever is found by accident (a window
without its gram, two windows of one hash) makes the bound larger: the text is tokenised and checked
exactly. Texts of which `Surfaces.bytes_of` knows nothing are tokenised, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus import surfaces
from corpus.blocks import Grams, Tokens
from corpus.ngrams import Coverage, Ints, Pairs, Table, firsts, flatten
from corpus.rule import MIN_BLOCK, Rule

#: Bytes of a window, the longest first.
WIDTHS = (16, 12, 8, 5)
#: Bits that are zero in the hash of an anchored window, which has WIDTHS[0] bytes.
ZEROS = np.uint64(3)
#: Positions that are hashed at a time: small enough to stay in the processor's cache.
BLOCK = 2**15
#: Tokens of prompts whose windows are chosen at a time.
STEP = 2**15
#: Kinds of windows beside their WIDTHS: anchored, and of a gram that has none.
ANCHORED, NOWHERE = 0, 255
NONE = np.zeros(0, dtype=np.int64)
#: Never part of UTF-8, so that no window reaches from one text into the next.
BETWEEN = b"\xff" * WIDTHS[0]
#: Prompts that the surfaces are tried on before they are relied on.
TRIED = 200

_ODD = tuple(
    np.uint64(n)
    for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD1342543DE82EF95)
)


def words_of(text: npt.NDArray[np.uint8]) -> Grams:
    """Give the 8 bytes from each byte on as one number, the text continued by 0xff."""
    count = len(text) + WIDTHS[0]
    padded = np.full(count + 8, 0xFF, dtype=np.uint8)
    padded[: len(text)] = text
    out = np.empty(count, dtype=np.uint64)
    for k in range(8):
        every = (count - k + 7) // 8
        out[k::8] = np.frombuffer(padded, dtype="<u8", count=every, offset=k)
    return out


def hash_windows(words: Grams, count: int, width: int) -> Grams:
    """Hash the windows that begin at the first `count` bytes of a text.

    Args:
        words: `words_of` the text.
        count: at most the text's bytes.
        width: one of WIDTHS.
    """
    if width < 8:
        out = words[:count] & np.uint64((1 << 8 * width) - 1)
        out *= _ODD[0]
    else:
        out = words[:count] * _ODD[1]
        for done in range(8, width, 8):
            step = min(done, width - 8)  # the last word overlaps the one before
            out ^= words[step : step + count]
            out *= _ODD[2]
    out ^= out >> np.uint64(29)
    out *= _ODD[3]
    out ^= out >> np.uint64(32)
    return out


class _Written:
    """Prompts' bytes, and where each of their tokens begins in them.

    Args:
        surface: each token's bytes; None: it has none.
        tokens: ids of the prompts laid end to end.
        unique: the ids that `surface` is about, in order.
    """

    def __init__(self, surface: Sequence[bytes | None], tokens: Tokens, unique: Tokens) -> None:
        which = np.searchsorted(unique, tokens)
        text = b"".join([surface[k] or b"" for k in which.tolist()])
        self.text = np.frombuffer(text + BETWEEN, dtype=np.uint8)
        self.begins = _sums(np.array([len(part or b"") for part in surface])[which])
        self.none = np.array([part is None for part in surface], dtype=bool)[which]

    def grams(self) -> tuple[Ints, Ints]:
        """Give (first byte, byte after the last) of every gram; with gaps, of its longest part."""
        begin, end = self.begins[:-MIN_BLOCK].copy(), self.begins[MIN_BLOCK:].copy()
        nones = _sums(self.none)
        for at in np.flatnonzero(nones[MIN_BLOCK:] > nones[:-MIN_BLOCK]).tolist():
            gaps = np.flatnonzero(self.none[at : at + MIN_BLOCK])
            cuts = [at - 1, *(at + gaps).tolist(), at + MIN_BLOCK]
            parts = [
                (int(self.begins[x + 1]), int(self.begins[y])) for x, y in pairwise(cuts) if y > x
            ]
            begin[at], end[at] = max(parts, key=lambda part: part[1] - part[0])
        return begin, end

    def windows(self) -> tuple[Grams, npt.NDArray[np.uint8]]:
        """Choose a window for every gram: its hash, and its kind."""
        begin, end = self.grams()
        words, count = words_of(self.text), len(self.text)
        every = hash_windows(words, count, WIDTHS[0])
        where = np.flatnonzero((every & ZEROS) == 0)
        # One more, which lies behind every gram: there is always a next one.
        where, every = np.append(where, count), np.append(every[where], np.uint64(0))
        near = np.searchsorted(where, begin)
        hashes = every[near]
        kinds = np.where(where[near] + WIDTHS[0] <= end, ANCHORED, NOWHERE).astype(np.uint8)
        for width in WIDTHS:
            mine = np.flatnonzero((kinds == NOWHERE) & (end - begin >= width))
            hashes[mine] = hash_windows(words, count, width)[begin[mine]]
            kinds[mine] = width
        return hashes, kinds


def _windows(
    known: surfaces.Surfaces, prompts: Sequence[Tokens], ends: Ints
) -> tuple[Grams, npt.NDArray[np.uint8]]:
    """Choose a window for every gram of the prompts laid end to end: (hashes, kinds).

    Some prompts at a time: what is needed on the way is many times what comes out.
    """
    ordered = np.sort(flatten(prompts)[0])
    unique = ordered[firsts(ordered)]
    del ordered
    surface = list(known.of(unique.tolist()).values())
    hashes = np.zeros(int(ends[-1]), dtype=np.uint64)
    kinds = np.full(len(hashes), NOWHERE, dtype=np.uint8)
    first = 0
    while first < len(prompts):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + STEP, side="right")) - 1)
        tokens = flatten(prompts[first:last])[0]
        count = len(tokens) - MIN_BLOCK + 1
        if count > 0:
            begin = int(ends[first])
            found = _Written(surface, tokens, unique).windows()
            hashes[begin : begin + count], kinds[begin : begin + count] = found
        first = last
    return hashes, kinds


class Prefilter:
    """Prompts' windows; made by `build`.

    Args:
        known: the tokenizer's surfaces.
        prompts: token ids of each prompt.
        rule: threshold and mode.

    Attributes:
        coverage: of the prompts by their windows.
        tables: of windows by their kind.
    """

    def __init__(self, known: surfaces.Surfaces, prompts: Sequence[Tokens], rule: Rule) -> None:
        self.surfaces = known
        ends = _sums(np.array([len(p) for p in prompts], dtype=np.int64))
        hashes, kinds = _windows(known, prompts, ends)
        used = [kind for kind in (ANCHORED, *WIDTHS) if kind == ANCHORED or np.any(kinds == kind)]
        self.tables = {kind: Table(hashes[kinds == kind]) for kind in used}
        self.coverage = Coverage(hashes, ends, rule, free=kinds == NOWHERE)

    def candidates(self, texts: Sequence[str]) -> tuple[Pairs, list[int]]:
        """Give every (text, prompt) that the bound does not exclude.

        Args:
            texts: without half surrogates.

        Returns:
            The pairs, and the numbers of the texts of which nothing is known: any may match.
        """
        given = [self.surfaces.bytes_of(text) for text in texts]
        parts = [(part or b"") + BETWEEN for part in given]
        begins = _sums(np.array([len(part) for part in parts], dtype=np.int64))
        joined = np.frombuffer(b"".join(parts), dtype=np.uint8)
        text_of, key_of = [NONE], [NONE]
        for start in range(0, len(joined), BLOCK):
            block = joined[start : start + BLOCK + WIDTHS[0]]
            for at, key in self._look_up(words_of(block), min(BLOCK, len(block))):
                text_of.append(np.searchsorted(begins, at + start, side="right") - 1)
                key_of.append(key)
        pairs = self.coverage.pairs(np.concatenate(text_of), np.concatenate(key_of))
        return pairs, [number for number, part in enumerate(given) if part is None]

    def _look_up(self, words: Grams, count: int) -> Iterator[tuple[Ints, Ints]]:
        """Find the prompts' windows in a block: (where they begin, their keys)."""
        hashes = hash_windows(words, count, WIDTHS[0])
        anchors = np.flatnonzero((hashes & ZEROS) == 0)
        at, key = self.coverage.find(hashes[anchors], self.tables[ANCHORED])
        yield anchors[at], key
        for width, table in self.tables.items():
            if width != ANCHORED:
                hashes = hash_windows(words, count, width)
                yield self.coverage.find(hashes, table)


def _sums(values: npt.NDArray[Any]) -> Ints:
    out = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=out[1:])
    return out


def build(
    tokenizer: Any, texts: Sequence[str], prompts: Sequence[Tokens], rule: Rule
) -> tuple[Prefilter | None, str]:
    """Make a prefilter where the tokenizer allows for one; gives also why, or why not.

    Args:
        tokenizer: what `corpus.tokens.load` gives.
        texts: the prompts.
        prompts: their token ids.
        rule: threshold and mode.
    """
    known = surfaces.find(tokenizer)
    if known is None:
        return None, "every text is tokenised: of this kind of tokenizer the bytes are not known"
    for text, ids in list(zip(texts, prompts, strict=True))[:TRIED]:
        if not holds(known, text, ids.tolist()):
            return None, "every text is tokenised: a prompt's tokens are not its bytes"
    made = Prefilter(known, prompts, rule)
    if made.coverage.open:
        return None, "every text is tokenised: a prompt could match by tokens of unknown bytes"
    return made, "only texts that share enough bytes with a prompt are tokenised; no match is lost"


def holds(known: surfaces.Surfaces, text: str, ids: Sequence[int]) -> bool:
    """Whether a text's surfaces are parts of its bytes, as corpus.surfaces says."""
    whole = known.bytes_of(text)
    if whole is None:
        return True
    written = known.of(set(ids))
    piece = b""
    for number in [*ids, None]:
        part = None if number is None else written[number]
        if part is not None:
            piece += part
        elif piece not in whole:
            return False
        else:
            piece = b""
    return True
