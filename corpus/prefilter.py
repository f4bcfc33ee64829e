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
from corpus.ngrams import Coverage, Ints, Pairs, Table, flatten
from corpus.rule import MIN_BLOCK, Rule

#: Bytes of a window, the longest first.
WIDTHS = (16, 12, 8, 5)
#: Bits that are zero in the hash of an anchored window, which has WIDTHS[0] bytes.
ZEROS = np.uint64(3)
#: Positions that are hashed at a time: small enough to stay in the processor's cache.
BLOCK = 2**16
#: The same while the index is made, where memory is what counts.
STEP = 2**18
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


def _anchors(text: npt.NDArray[np.uint8]) -> tuple[Ints, Grams]:
    """Give where the anchored windows of a text begin, and their hashes."""
    where, hashes = [NONE], [np.zeros(0, dtype=np.uint64)]
    for start in range(0, len(text), STEP):
        block = text[start : start + STEP + WIDTHS[0]]
        every = hash_windows(words_of(block), min(STEP, len(block)), WIDTHS[0])
        at = np.flatnonzero((every & ZEROS) == 0)
        where.append(at + start)
        hashes.append(every[at])
    return np.concatenate(where), np.concatenate(hashes)


def _hash_at(text: npt.NDArray[np.uint8], width: int, where: Ints) -> Grams:
    """Hash the windows of a text that begin at some of its bytes."""
    out = np.zeros(len(where), dtype=np.uint64)
    for start in range(0, len(text), STEP):
        block = text[start : start + STEP + WIDTHS[0]]
        here = np.flatnonzero((where >= start) & (where < start + STEP))
        if len(here):
            every = hash_windows(words_of(block), min(STEP, len(block)), width)
            out[here] = every[where[here] - start]
    return out


class _Written:
    """The prompts' bytes, and where each gram of tokens begins and ends in them."""

    def __init__(self, known: surfaces.Surfaces, prompts: Sequence[Tokens]) -> None:
        flat = flatten(prompts)[0]
        unique, which = np.unique(flat, return_inverse=True)
        which = which.astype(np.int32)
        table = list(known.of(unique.tolist()).values())
        text = bytearray()
        for start in range(0, len(which), STEP):
            text += b"".join([table[k] or b"" for k in which[start : start + STEP].tolist()])
        self.text = np.frombuffer(text + BETWEEN, dtype=np.uint8)
        sizes = np.array([len(part or b"") for part in table], dtype=np.int64)
        self.none = np.array([part is None for part in table], dtype=bool)[which]
        self.begins = _sums(sizes[which])
        self.nones = _sums(self.none)

    def grams(self, first: Ints) -> tuple[Ints, Ints]:
        """Give (first byte, byte after the last) of grams; of one with gaps, its longest part.

        Args:
            first: number of each gram's first token.
        """
        begin, end = self.begins[first], self.begins[first + MIN_BLOCK]
        for at in np.flatnonzero(self.nones[first + MIN_BLOCK] > self.nones[first]).tolist():
            a, n = int(first[at]), MIN_BLOCK
            cuts = [a - 1, *(a + np.flatnonzero(self.none[a : a + n])).tolist(), a + n]
            parts = [
                (int(self.begins[x + 1]), int(self.begins[y])) for x, y in pairwise(cuts) if y > x
            ]
            begin[at], end[at] = max(parts, key=lambda part: part[1] - part[0])
        return begin, end


def _windows(written: _Written) -> tuple[Grams, npt.NDArray[np.bool_], dict[int, Table]]:
    """Choose a window for each gram: (its hash, whether there is none, tables by width)."""
    count = max(0, len(written.begins) - MIN_BLOCK)
    begin, end = written.grams(np.arange(count))
    where, every = _anchors(written.text)
    # One more, which lies behind every gram: there is always a next one.
    where, every = np.append(where, len(written.text)), np.append(every, np.uint64(0))
    near = np.searchsorted(where, begin)
    hashes, todo = every[near], where[near] + WIDTHS[0] > end
    del where, every, near
    tables = {0: Table(hashes[~todo])}
    for width in WIDTHS:
        mine = np.flatnonzero(todo & (end - begin >= width))
        if len(mine):
            hashes[mine] = _hash_at(written.text, width, begin[mine])
            tables[width] = Table(hashes[mine])
            todo[mine] = False
    return hashes, todo, tables


class Prefilter:
    """Prompts' windows; made by `build`.

    Args:
        known: the tokenizer's surfaces.
        prompts: token ids of each prompt.
        rule: threshold and mode.

    Attributes:
        coverage: of the prompts by their windows.
        tables: of the anchored windows (0), and of the others by their bytes.
    """

    def __init__(self, known: surfaces.Surfaces, prompts: Sequence[Tokens], rule: Rule) -> None:
        self.surfaces = known
        hashes, free, self.tables = _windows(_Written(known, prompts))
        ends = _sums(np.array([len(p) for p in prompts], dtype=np.int64))
        self.coverage = Coverage(hashes, ends, rule, free=free)

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
        at, key = self.coverage.find(hashes[anchors], self.tables[0])
        yield anchors[at], key
        for width, table in self.tables.items():
            if width:
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
