"""A job on this machine ends when the command that started it is gone.

`kill -9` of a launcher gives nobody the chance to clean up, and torchrun's children then go on
writing checkpoints beside the run that was resumed. So each process watches the one above it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

#: Set by the launcher for its jobs: the process whose end is theirs.
VARIABLE = "MFO_LAUNCHER_PID"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def follow_launcher() -> None:
    """End this process's whole group soon after the launcher has gone; without one, do nothing."""
    launcher = os.environ.get(VARIABLE)
    if launcher:
        threading.Thread(target=_watch, args=(int(launcher),), daemon=True).start()


def _watch(launcher: int) -> None:
    while there(launcher):
        time.sleep(0.5)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def die_with_parent() -> None:
    """In a child, before exec: have Linux kill it once the process that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def there(pid: int) -> bool:
    """Whether a process of this machine is alive; one that only waits to be reaped is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # After the name in brackets, which may itself hold brackets, comes the state (proc(5)).
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True  # no /proc here: the signal's word stands
    return state not in ("Z", "X")


def end_group(pid: int, *, grace_s: float = 5.0) -> None:
    """End the process group that `pid` leads: SIGTERM, and SIGKILL after the grace time."""
    for sig, wait in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(pid, sig)
        except (ProcessLookupError, PermissionError):
            return
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if not there(pid):
                return
            time.sleep(0.05)
