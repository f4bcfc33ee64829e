"""How long the published pattern takes on hostile text, and its linear twin on the same.

    python -m bench.extraction

Upstream's is tried on 100 to 800 characters alone: its time grows eightfold with each doubling.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from checks.answers import EXTRACTIONS, PUBLISHED

HOSTILE = {
    "no answer follows": "Answer" + "x" * 100_000,
    "colons": "Answer" + ":" * 100_000,
    "Answer, again and again": "Answer" * 17_000,
    "boxed, again and again": "Answer" + "boxed" * 20_000,
    "answer is, again and again": "answer is : " * 8_000,
}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print both tables."""
    pattern = re.compile(PUBLISHED["D"])
    print("upstream's pattern:")
    for size in (100, 200, 400, 800):
        text = "Answer" + "x" * size
        print(f"  {len(text):>7,} characters  {_seconds(lambda t=text: pattern.search(t)):8.3f} s")  # type: ignore[misc]
    for rule, read in EXTRACTIONS.items():
        print(f"{rule}, as the kit reads it:")
        for name, text in HOSTILE.items():
            spent = _seconds(lambda t=text, r=read: r(t, "ABCD"))  # type: ignore[misc]
            print(f"  {len(text):>7,} characters  {spent:8.3f} s  {name}")


if __name__ == "__main__":
    main()
