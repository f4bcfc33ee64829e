"""The judged part of an evaluation (judged_child.py) as a process that a test can kill."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.run.folder import Run

CHILD = Path(__file__).with_name("judged_child.py")


def start(run: Run, what: str = "evaluate") -> subprocess.Popen[bytes]:
    """Begin one of judged_child.py's works on a run."""
    counts = run.path / "counts"
    counts.mkdir(exist_ok=True)
    log = (run.path / "child.log").open("ab")
    return subprocess.Popen(
        [sys.executable, str(CHILD), what, str(run.path), str(counts)],
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def finish(run: Run, what: str = "evaluate") -> dict[str, Any]:
    """Do it to its end; gives the summary."""
    process = start(run, what)
    assert process.wait(120) == 0, (run.path / "child.log").read_text()
    return dict(json.loads((run.path / "summary.json").read_text()))


def counted(run: Run) -> dict[str, Counter[str]]:
    """Give how often each request was answered, as the servers counted."""
    return {f.name: Counter(f.read_text().split()) for f in (run.path / "counts").iterdir()}


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something holds; gives what it was found to be."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def servers(run: Run) -> list[int]:
    """Give the process ids of this run's servers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(run.path / "counts") in words and "serve" in words:
            found.append(int(entry.parent.name))
    return found
