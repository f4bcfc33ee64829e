"""What a command costs: wall seconds, and the peak memory of it and all its children together.

    python -m bench.cost -- mfo run smoke
    python -m bench.cost --repeat 9 -- mfo --help

Memory is the sum of each process's proportional share (PSS), twenty times a second, so that pages
which processes share count once. Needs Linux and psutil (which the train extra brings).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

#: Seconds between two looks at the memory.
EVERY = 0.05


@dataclass(frozen=True)
class Cost:
    """What a command came to.

    Attributes:
        wall, cpu: seconds; CPU of it and all its children.
        peak: bytes that it and all its children held together.
        code: its exit code.
    """

    wall: float
    cpu: float
    peak: int
    code: int


def memory(root: psutil.Process) -> int:
    """Give the bytes that a process and its children hold, shared pages divided between them."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the listing and the look
    return total


def measure(command: list[str], *, show: bool) -> Cost:
    """Run a command to its end; `show`: let it print."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    quiet = None if show else subprocess.DEVNULL
    process = psutil.Popen(command, stdout=quiet, stderr=quiet)
    peak = 0
    while process.poll() is None:
        try:
            process.wait(timeout=EVERY)
        except psutil.TimeoutExpired:
            try:
                peak = max(peak, memory(process))
            except psutil.Error:
                break
    code = process.wait()
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, peak, code)


def main() -> None:
    """Measure and print one line a run, then the median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("nothing to measure: python -m bench.cost -- mfo --help")
    walls = []
    for number in range(options.repeat):
        cost = measure(command, show=options.repeat == 1)
        walls.append(cost.wall)
        print(f"run {number + 1}: {cost.wall:.2f} s, {cost.cpu:.2f} s CPU, exit {cost.code}, "
              f"peak {cost.peak / 2**30:.2f} GiB", file=sys.stderr)  # fmt: skip
    print(f"{' '.join(command)}: median {statistics.median(walls):.2f} s of {len(walls)}")


if __name__ == "__main__":
    main()
