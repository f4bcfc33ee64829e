"""Decontamination straight from its specification: tuples, sets and difflib, no cleverness.

The reference that the fast one must agree with, and that bench/decontaminate.py measures it
against:

    python -m tests.corpus.plain TOKENIZER TRAIN.jsonl PROMPTS.jsonl OUT.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

Tokens = Sequence[int]
USERS = {"faithful": ["human"], "correct": ["human", "user"]}


def grams(tokens: Tokens, n: int, *, lost: int = 0) -> set[tuple[int, ...]]:
    """Every n-gram of a text but the `lost` last ones."""
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1 - lost)}


def user_texts(row: dict[str, Any], mode: str) -> list[str]:
    """What of a row is compared."""
    if row.get("conversations") is not None:
        turns = [t["value"] for t in row["conversations"] if t["from"] in USERS[mode]]
    else:
        turns = [t["content"] for t in row["messages"] if t["role"] in USERS["correct"]]
    if mode == "faithful":
        return turns[:1]
    return turns + (["\n".join(turns)] if len(turns) > 1 else [])


def share_a_gram(text: Tokens, prompt: Tokens, mode: str, n: int) -> bool:
    """Whether a text is a candidate for a prompt."""
    if mode == "faithful":
        return bool(grams(text, n, lost=1) & grams(prompt, n, lost=1))
    k = min(n, len(prompt))
    return k > 0 and bool(grams(text, k) & grams(prompt, k))


def covered(text: Tokens, prompt: Tokens) -> int:
    """Tokens of the prompt in matching blocks of at least five."""
    matcher = SequenceMatcher(None, text, prompt, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks() if block.size >= 5)


def best_match(
    texts: Sequence[Tokens], prompts: Sequence[Tokens], mode: str, n: int, threshold: float
) -> tuple[int, int] | None:
    """Give (index of the prompt, tokens covered) of the best match of a row, if it has one."""
    best = None
    for index, prompt in enumerate(prompts):
        for text in texts:
            if not share_a_gram(text, prompt, mode, n):
                continue
            found = covered(text, prompt)
            if found < threshold * len(prompt):
                continue
            if best is None or found / len(prompt) > best[1] / len(prompts[best[0]]):
                best = (index, found)
    return best


def main(tokenizer: str, train: str, prompts: str, out: str) -> None:
    """Decontaminate with an index of n-grams, as upstream does: rows {conversations}, {text}."""
    from tokenizers import Tokenizer

    n, threshold = 8, 0.5
    encode = Tokenizer.from_file(tokenizer).encode
    rows = [json.loads(line) for line in Path(train).read_bytes().splitlines()]
    asked = [json.loads(line)["text"] for line in Path(prompts).read_bytes().splitlines()]
    ids = [encode(text).ids for text in asked]
    index: dict[tuple[int, ...], set[int]] = {}
    for number, tokens in enumerate(ids):
        for gram in grams(tokens, n, lost=1):
            index.setdefault(gram, set()).add(number)
    texts = [[encode(text).ids for text in user_texts(row, "faithful")] for row in rows]
    report = {}
    for row, mine in zip(rows, texts, strict=True):
        near = {p for text in mine for gram in grams(text, n, lost=1) for p in index.get(gram, ())}
        best = None
        for number in sorted(near):
            found = covered(mine[0], ids[number])
            share = found / len(ids[number])
            if found >= threshold * len(ids[number]) and (best is None or share > best[1]):
                best = (number, share)
        if best:
            report[row["id"]] = best[0]
    with Path(out).open("w", encoding="utf-8") as file:
        for row in rows:
            if row["id"] not in report:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    Path(out).with_suffix(".report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
