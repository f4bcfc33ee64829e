"""What the planner's two benches share: their arguments, and a line for what was measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from launch.plan.memory import Memory

MIB = 2**20


def peaks(phases: list[dict[str, Any]], steps: Iterable[int]) -> dict[str, Any]:
    """Give the least and the most peak of some steps, in bytes.

    Args:
        phases: of `bench.memory.Recorder`, named "WORD STEP[.PART]".
        steps: that count.

    Returns:
        {"peak": the least, with its "phase" and what was "live" in it, "most", "phases": the peak
        of each}.
    """
    by_step: dict[int, list[dict[str, Any]]] = {step: [] for step in steps}
    for phase in phases:
        _, _, number = phase["phase"].partition(" ")
        if number and int(number.split(".")[0]) in by_step:
            by_step[int(number.split(".")[0])].append(phase)
    tops = [max(of, key=lambda p: p["peak"]) for of in by_step.values()]
    least = min(tops, key=lambda p: p["peak"])
    every = {p["phase"]: p["peak"] for p in phases}
    return {**least, "most": max(p["peak"] for p in tops), "phases": every}


def run(
    about: str, cases: Iterable[str], file: Path, measure: Callable[[str], dict[str, Any]],
    predict: Callable[[str], Memory], kept: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:  # fmt: skip
    """Measure the cases that are asked for, print each beside its plan, and keep them with --write.

    Args:
        about: for --help.
        cases: all of them.
        file: where --write keeps them, unless it says another.
        measure: gives a case's least "peak" of a step in bytes and the "most", "words" to show
            beside them, "phases" and "live".
        predict: gives its plan.
        kept: what is written down beside the peaks in MiB.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--case", action="append", choices=list(cases))
    parser.add_argument("--write", nargs="?", type=Path, const=file, metavar="FILE")
    parser.add_argument("--live", action="store_true", help="what lived at the peak, by size")
    options = parser.parse_args()
    keep = options.write
    found = json.loads(keep.read_text()) if keep and keep.is_file() else {}
    print(f"{'case':<36}{'measured, MiB':>16}{'planned':>10}")
    for case in options.case or cases:
        one, planned = measure(case), predict(case)
        here, most = one["peak"] / MIB, one["most"] / MIB
        print(f"{case:<36}{f'{here:.1f} to {most:.1f}':>16}{planned.peak / MIB:>10.1f}  "
              f"{one['words']}, planned: {planned.moment}", flush=True)  # fmt: skip
        if options.live:
            for sizes in (one["phases"], planned.moments, planned.parts):
                print({name: round(size / MIB, 2) for name, size in sizes.items()})
            print(one["live"])
        found[case] = {
            "mib": round(here, 2), "most": round(one["most"] / MIB, 2), **kept(one),
        }  # fmt: skip
        if keep:
            keep.write_text(json.dumps(found, indent=1) + "\n")
