"""What torch allocates in this process, by torch's own profiler: every tensor, freed ones as well.

On a CPU there is no torch.cuda.max_memory_allocated; this counts the same thing. What the process
needs beside its tensors (Python, the libraries, gloo's sockets) is not in it.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

#: Of a training that a plugin measures, the last step, whose FLOPs are counted: its memory is not,
#: because the counter would disturb it.
COUNTED = 6


class Recorder:
    """Records from its making until `stop`; a mark begins a phase. Times are ns of the day."""

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self.profile.start()
        self.marks: list[tuple[int, str]] = []

    def mark(self, phase: str) -> None:
        self.marks.append((time.time_ns(), phase))

    def stop(self) -> list[dict[str, Any]]:
        """Give each phase's peak and end in bytes, with what lived at its peak by size."""
        self.profile.stop()
        events = sorted(
            (event.start_ns(), event.nbytes())
            for event in self.profile.profiler.kineto_results.events()
            if event.name() == "[memory]"
        )
        out: list[dict[str, Any]] = []
        live: Counter[int] = Counter()
        total = number = 0
        begins = [0, *(at for at, _ in self.marks)]
        names = ["before", *(name for _, name in self.marks)]
        for name, end in zip(names, [*begins[1:], None], strict=True):
            most, sizes = total, Counter(live)
            while number < len(events) and (end is None or events[number][0] < end):
                size = events[number][1]
                total += size
                live[abs(size)] += 1 if size > 0 else -1
                if total > most:
                    most, sizes = total, Counter(live)
                number += 1
            largest = sorted(
                ((s, n) for s, n in sizes.items() if n > 0), key=lambda e: -e[0] * e[1]
            )
            out.append({"phase": name, "peak": most, "end": total, "live": largest[:24]})
        return out
