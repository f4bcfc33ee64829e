"""The matching blocks of two token sequences, exactly as difflib finds them, but faster.

difflib takes the longest block that two ranges share (of equally long ones the first in a, then the
first in b), then does the same left and right of it. Here only blocks of at least MIN_BLOCK tokens
count, so a range whose longest block is shorter is done: what lies in it counts for nothing. And a
longest block of that size is a maximal run of equal tokens cut to the range, so the runs, found
once by their MIN_BLOCK-grams, replace difflib's walk over every token of every range.

difflib also joins blocks that touch on both sides. Without junk none do: the block that was found
first would have been longer. tests/corpus/test_decontaminate.py holds this against difflib.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.rule import MIN_BLOCK, Run

#: Equal MIN_BLOCK-grams of one pair of texts beyond which their positions are not listed (memory).
MOST_PAIRS = 5_000_000

Tokens = npt.NDArray[np.uint32]
Grams = npt.NDArray[np.uint64]


def runs(a: Tokens, b: Tokens, grams_a: Grams, grams_b: Grams) -> list[Run] | None:
    """Find every maximal run of at least MIN_BLOCK equal tokens.

    Args:
        a, b: token ids, of shape (tokens,).
        grams_a, grams_b: hashes of their MIN_BLOCK-grams, equal where the grams are.

    Returns:
        (start in a, start in b, length), in no order. None where they cannot be had this way: too
        many pairs, or two different grams of one hash.
    """
    order = np.argsort(grams_b, kind="stable")
    ordered = grams_b[order]
    first = np.searchsorted(ordered, grams_a, side="left")
    many = np.searchsorted(ordered, grams_a, side="right") - first
    here = np.flatnonzero(many)
    if not len(here):
        return []
    many = many[here]
    total = int(many.sum())
    if total > MOST_PAIRS:
        return None
    i = np.repeat(here, many)
    within = np.arange(total) - np.repeat(np.cumsum(many) - many, many)
    j = order[np.repeat(first[here], many) + within]
    # Along a diagonal i - j is the same: a run is a stretch of consecutive i on one.
    diagonal = i - j
    by = np.lexsort((i, diagonal))
    i, j, diagonal = i[by], j[by], diagonal[by]
    new = np.ones(total, dtype=bool)
    new[1:] = (np.diff(diagonal) != 0) | (np.diff(i) != 1)
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, total)) + MIN_BLOCK - 1
    found = list(zip(i[starts].tolist(), j[starts].tolist(), lengths.tolist(), strict=True))
    if all(np.array_equal(a[x : x + k], b[y : y + k]) for x, y, k in found):
        return found
    return None


def blocks(found: list[Run], length_a: int, length_b: int) -> list[Run]:
    """Choose among maximal runs as SequenceMatcher.get_matching_blocks does.

    Returns:
        The matching blocks of at least MIN_BLOCK tokens, in order.
    """
    out = []
    todo = [(0, length_a, 0, length_b, found)]
    while todo:
        a0, a1, b0, b1, near = todo.pop()
        inside: list[Run] = []
        best, best_i, best_j = 0, 0, 0
        for run in near:
            i, j, length = run
            cut = max(0, a0 - i, b0 - j)
            k = min(length, a1 - i, b1 - j) - cut
            if k < MIN_BLOCK:
                continue  # nor in any smaller range
            inside.append(run)
            i, j = i + cut, j + cut
            if k > best or (k == best and (i, j) < (best_i, best_j)):
                best, best_i, best_j = k, i, j
        if best:
            out.append((best_i, best_j, best))
            todo.append((a0, best_i, b0, best_j, inside))
            todo.append((best_i + best, a1, best_j + best, b1, inside))
    return sorted(out)


def blocks_by_difflib(a: Tokens, b: Tokens) -> list[Run]:
    """Give the same blocks by difflib itself: slow, but its memory does not grow with the pairs."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, a.tolist(), b.tolist(), autojunk=False)
    return [(m.a, m.b, m.size) for m in matcher.get_matching_blocks() if m.size >= MIN_BLOCK]
