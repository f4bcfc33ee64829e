"""A process is told from another with its number, and ends with its parent or its group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


def until(true: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


def start(code: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload,no-any-return]


def test_a_process_is_alive_until_it_ended_even_while_nobody_reaped_it() -> None:
    child = start("input()", stdin=subprocess.PIPE)
    assert process.is_alive(child.pid)
    child.kill()
    assert until(lambda: not process.is_alive(child.pid))
    assert child.wait() == -signal.SIGKILL
    assert not process.is_alive(child.pid)


@LINUX
def test_another_process_with_the_same_number_is_another() -> None:
    begun = process.start_time(os.getpid())
    assert begun is not None
    assert process.is_alive(os.getpid(), begun)
    assert not process.is_alive(os.getpid(), begun - 1)
    with start("input()", stdin=subprocess.PIPE) as child:
        later = process.start_time(child.pid)
        assert later is not None
        assert later >= begun
    assert process.start_time(child.pid) is None


@LINUX
def test_the_start_time_is_read_behind_any_name(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 (x"
    program.symlink_to(Path(sys.executable).resolve())
    child = subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        # The kernel counts in clock ticks since the machine began.
        up = float(Path("/proc/uptime").read_text().split()[0])
        begun = process.start_time(child.pid)
        assert begun is not None
        assert abs(begun / os.sysconf("SC_CLK_TCK") - up) < 60
        assert process.is_alive(child.pid, begun)
    finally:
        child.kill()
        child.wait()


CHILD = """
import os, subprocess, sys, time
from kit import process
child = subprocess.Popen([sys.executable, "-c", {code!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


@LINUX
@pytest.mark.parametrize(
    "code",
    [
        "import time; from kit import process; process.die_with_parent(); time.sleep(60)",
        "import os, time; from kit import process\n"
        "process.when_gone(os.getppid(), lambda: os._exit(1), every_s=0.05); time.sleep(60)",
    ],
)
def test_a_child_ends_with_a_parent_that_is_killed(code: str) -> None:
    with start(CHILD.format(code=code)) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)  # until it looks
        assert process.is_alive(child)
        parent.kill()
    assert until(lambda: not process.is_alive(child))


@LINUX
def test_a_child_whose_parent_has_gone_already_ends() -> None:
    code = "from kit import process; process.die_with_parent(1 << 30); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_what_waits_for_a_stranger_is_called_when_that_ends() -> None:
    seen: list[int] = []
    with start("input()", stdin=subprocess.PIPE) as stranger:
        process.when_gone(stranger.pid, lambda: seen.append(1), every_s=0.02)
        time.sleep(0.2)
        assert not seen
        stranger.kill()
        assert until(lambda: seen)


DEAF = """
import signal, subprocess, sys, time
{leader}
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("leader", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_the_end_of_a_group_is_that_of_whoever_ignores_it(leader: str) -> None:
    with start(DEAF.format(leader=leader), process_group=0) as first:
        assert first.stdout is not None
        child = int(first.stdout.readline())
        process.end_group(first.pid, grace_s=0.3)
        assert first.wait(5) in (-signal.SIGTERM, -signal.SIGKILL)
    assert until(lambda: not process.is_alive(child))


def test_a_group_that_is_gone_is_no_error() -> None:
    with start("pass", process_group=0) as child:
        child.wait()
    process.end_group(child.pid)


def test_a_group_that_others_lead_now_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                          process_group=0) as child:  # fmt: skip
        named = process.name_group(child.pid)
        for change in ({"begun": 1}, {"boot": "another"}, {"pid": "x"}, {"pid": 1}, {"boot": ""}):
            assert process.end_left_group({**named, **change}) == []
        assert process.is_alive(child.pid)
        assert process.end_left_group(named) == [child.pid]
    assert process.end_left_group(named) == []
