"""Processes: whether one is still there, their end with their parent's, and the end of a group.

Standard library only: workers load this before anything else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int | None = None) -> None:
    """Have Linux kill this process once the thread that started it is gone; elsewhere do nothing.

    For a child before it executes a program, or for a program as it begins.

    Args:
        parent: the process that started this one, where it is known: if that has gone already, too
            early for Linux to say so, this process ends here.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # a C library without prctl
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def when_gone(pid: int, then: Callable[[], object], *, every_s: float = 0.5) -> None:
    """Call `then` in a thread soon after a process of this machine has gone.

    Args:
        pid: the process. Of a parent, that it is no longer this process's parent is its end.
        then: what is done.
        every_s: seconds between two looks.
    """
    child, begun = os.getppid() == pid, start_time(pid)

    def watch() -> None:
        while os.getppid() == pid if child else is_alive(pid, begun):
            time.sleep(every_s)
        then()

    threading.Thread(target=watch, name=f"until {pid} is gone", daemon=True).start()


def start_time(pid: int) -> int | None:
    """Give when a process began, in clock ticks since the machine did; None where not known.

    With its number it names a process for good: numbers are given to others in time.
    """
    found = _stat(pid)
    try:
        return int(found[19])  # field 22 of proc(5); the first of these is its field 3
    except (IndexError, ValueError):
        return None


def is_alive(pid: int, begun: int | None = None) -> bool:
    """Whether a process of this machine is alive; one that only waits to be reaped is not.

    Args:
        pid: its number.
        begun: its start time, where it is known: another process with its number is not it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, and there
    found = _stat(pid)
    if found[:1] and found[0] in ("Z", "X"):
        return False
    return begun is None or start_time(pid) in (None, begun)


def end_group(pid: int, *, grace_s: float = 5.0) -> None:
    """End the process group that `pid` leads: SIGTERM, and SIGKILL after the grace time.

    What outlives the leader is killed too: it would keep ports, and the memory of GPUs.
    """
    for sig, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(pid, sig)
        except (ProcessLookupError, PermissionError):
            return
        end = time.monotonic() + wait_s
        while is_alive(pid) and time.monotonic() < end:
            time.sleep(0.05)


def name_group(pid: int) -> dict[str, object]:
    """Give what names the group that `pid` leads, for `end_left_group` of a later process."""
    return {"pid": pid, "begun": start_time(pid), "boot": _boot()}


def end_left_group(named: Mapping[str, object]) -> list[int]:
    """Kill what is left of a group whose leader was killed; gives the processes that were there.

    A kernel gives a group's number to nobody while one of its members lives. So a leader with
    another start time is a stranger, and members without a leader are those that were left.

    Args:
        named: as `name_group` gave it, perhaps on another machine or before a restart of this one:
            then nothing is done.
    """
    pid, begun = named.get("pid"), named.get("begun")
    if not isinstance(pid, int) or pid <= 1 or named.get("boot") != _boot() or not _boot():
        return []
    if start_time(pid) not in (None, begun):
        return []
    left = [one for one in _processes() if _stat(one)[2:3] == [str(pid)] and is_alive(one)]
    if left:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    return left


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - many
    except OSError:
        return []


def _boot() -> str:
    """Give what names this start of this machine; "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def kill_own_group() -> None:
    """End this process and everything in its group, at once."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Give the fields of /proc/PID/stat after the name: state, parent, …; empty where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The name stands in brackets and may itself hold brackets and blanks.
    return text.rpartition(")")[2].split()
