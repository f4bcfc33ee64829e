"""The prompts of a benchmark that training rows are compared with."""

from __future__ import annotations

from pathlib import Path

from corpus import prompts
from corpus.prompts import Benchmark
from scoring.mcq import test_split


def read_prompts(
    name: str, path: Path, field: str | None = None, *, every: bool = False
) -> Benchmark:
    """Read a benchmark's prompts: of PubMedQA those that are scored, where the list is there.

    Args:
        name: of the benchmark.
        path: its file.
        field: that holds the prompt, in a file of no known schema.
        every: the items that are not listed are scored as well.
    """
    return prompts.read(name, path, field, only=None if every else test_split(path))


def outside(one: Benchmark) -> str:
    """Say which rows of a benchmark's file are not held against anything, and why."""
    left = len(one.prompts) - len(one.outside)
    return (f"{one.name}: {left:,} of {len(one.prompts):,} rows, by the list of pubids beside the "
            "file; the others are no test items, and may be trained on")  # fmt: skip
