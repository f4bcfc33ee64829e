"""What a command costs: wall seconds, and the peak memory of it and all its children together.

    python -m bench.cost -- mfo run smoke
    python -m bench.cost --repeat 9 -- mfo --help

Memory is the sum of each process's proportional share (PSS) twice a second, so that pages shared
between ranks count once; a command shorter than that shows none. Needs Linux and psutil (which the
train extra brings).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import psutil


def memory(root: psutil.Process) -> int:
    """Give the bytes that a process and its children hold, shared pages divided between them."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the listing and the look
    return total


def measure(command: list[str], *, show: bool) -> tuple[float, int, int]:
    """Run a command; gives (wall seconds, peak bytes, exit code)."""
    begun = time.monotonic()
    quiet = None if show else subprocess.DEVNULL
    process = psutil.Popen(command, stdout=quiet, stderr=quiet)
    peak = 0
    while process.poll() is None:
        try:
            process.wait(timeout=0.5)
        except psutil.TimeoutExpired:
            try:
                peak = max(peak, memory(process))
            except psutil.Error:
                break
    return time.monotonic() - begun, peak, process.wait()


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
        wall, peak, code = measure(command, show=options.repeat == 1)
        walls.append(wall)
        line = f"run {number + 1}: {wall:.2f} s, exit {code}"
        print(line + (f", peak {peak / 2**30:.2f} GiB" if peak else ""), file=sys.stderr)
    print(f"{' '.join(command)}: median {statistics.median(walls):.2f} s of {len(walls)}")


if __name__ == "__main__":
    main()
