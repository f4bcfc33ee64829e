"""The benchmarks by name: how each is scored, and which file of a folder is whose.

choice   a letter is read out of the answer (mcq.py, harness.py)
suite    lm-evaluation-harness asks and scores it by its own task files (suites.py)
rubric   a grader goes through a rubric, criterion by criterion (healthbench.py)
pairs    a judge compares the answer with another model's (moove.py)
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from kit.errors import KitError
from scoring import mcq, suites

__all__ = [
    "AGAINST",
    "BASE",
    "CHOICE",
    "JUDGED",
    "KINDS",
    "PAIRS",
    "RUBRIC",
    "SUITE",
    "check",
    "draw",
    "find_benchmarks",
    "items_of",
    "kind",
]

T = TypeVar("T")
CHOICE, SUITE, RUBRIC, PAIRS = "choice", "suite", "rubric", "pairs"
#: Kinds that another model decides on.
JUDGED = (RUBRIC, PAIRS)
#: Comparisons, and whose answers each holds the trained model's against, as a run calls that model.
BASE = "base"
AGAINST = {"auto_moove": BASE, "auto_moove_medgemma": "medgemma"}
#: Benchmarks that ask another one's items: they have no file of their own.
SHARED = {"auto_moove_medgemma": "auto_moove"}
#: Every benchmark that the kit reads, in the order in which they are shown.
KINDS = {
    **dict.fromkeys(mcq.BENCHMARKS, CHOICE),
    **dict.fromkeys(suites.SUITES, SUITE),
    "healthbench": RUBRIC,
    "healthbench_hard": RUBRIC,
    "healthbench_consensus": RUBRIC,
    **dict.fromkeys(AGAINST, PAIRS),
}


def kind(name: str) -> str:
    """Say how a benchmark is scored; a name that is not known counts as multiple choice."""
    return KINDS.get(name, CHOICE)


def items_of(name: str) -> str:
    """Name the benchmark whose items, and so whose file, a benchmark asks: mostly its own."""
    return SHARED.get(name, name)


def check(name: str, path: Path) -> int:
    """Read a benchmark's file as its evaluation will; gives the number of items.

    Raises:
        KitError: naming the line, for whatever could not be asked or scored.
    """
    if kind(name) == RUBRIC:
        from scoring.healthbench import read_conversations

        return len(read_conversations(path))
    if kind(name) == PAIRS:
        from scoring.vignettes import read_vignettes

        return len(read_vignettes(path).vignettes)
    if kind(name) == SUITE:
        return len(suites.read(name, path).rows)
    return len(mcq.read_benchmark(path, name))


def find_benchmarks(folder: Path) -> dict[str, Path]:
    """Find the benchmark files of a folder by the beginning of their names.

    `medqa.jsonl` and `medqa_test.jsonl` are both MedQA, `healthbench_hard.jsonl` is HealthBench
    Hard and not HealthBench. Other files are left alone. One file serves every comparison of its
    vignettes.

    Raises:
        KitError: no such folder, no benchmark in it, or two files for one benchmark.
    """
    if not folder.is_dir():
        raise KitError(
            "The folder of benchmarks is not there.",
            where=str(folder),
            cause="a misspelt path, or the files have not been fetched",
            fix="give a folder of JSONL files in the benchmarks' native schemas",
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.jsonl")):
        name = _whose(path)
        if name is None:
            continue
        if name in found:
            raise KitError(
                f"Two files claim to be {name}: {found[name].name} and {path.name}.",
                where=str(folder),
                cause="a benchmark is found by the beginning of its file's name",
                fix="keep one of the two in this folder",
            )
        found[name] = path
    if not found:
        raise KitError(
            "No benchmark is in this folder.",
            where=str(folder),
            cause=f"file names must begin with {', '.join(KINDS)} and end in .jsonl",
            fix="rename the files, or give another folder",
        )
    return {name: found[items_of(name)] for name in KINDS if items_of(name) in found}


def _whose(path: Path) -> str | None:
    """Give the longest name of a benchmark that a file's name begins with, as a whole word."""
    stem = path.stem.lower().replace("-", "_")
    if stem.endswith("_fewshot"):  # the examples that are shown before the questions
        return None
    own = (n for n in KINDS if n not in SHARED)
    fitting = [n for n in own if re.match(rf"{re.escape(n)}(?![a-z])", stem)]
    return max(fitting, key=len, default=None)


def draw(items: Sequence[T], limit: int, seed: int, benchmark: str) -> list[T]:
    """Take a random sample, in the file's order. The first N would be whatever was sorted first.

    Args:
        items: of the file.
        limit: how many; 0, or more than there are: all.
        seed: with the benchmark's name, decides which.
        benchmark: its name; benchmarks of the same items draw the same, so that an answer which
            one of them has is the other's too.
    """
    if limit <= 0 or limit >= len(items):
        return list(items)
    rng = random.Random(f"{seed}:{items_of(benchmark)}")  # noqa: S311 - a sample, not a secret
    return [items[i] for i in sorted(rng.sample(range(len(items)), limit))]
