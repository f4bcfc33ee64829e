"""What Slurm says about jobs: one question for any number of them.

squeue answers for jobs that the controller still knows (also for some minutes after their end);
sacct, where there is one, for older ones. Neither is believed alone: whether a stage is finished is
on disk (`launch.run.Run.whole`).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

#: Slurm's words for a job that will run, or runs, without anybody's help.
ALIVE = frozenset({
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT",
})  # fmt: skip
#: What an ended job's state means to the person who waits for it.
MEANING = {
    "TIMEOUT": "it ran into its time limit before it had saved and stopped",
    "NODE_FAIL": "a node was lost",
    "OUT_OF_MEMORY": "a node ran out of memory",
    "CANCELLED": "it was cancelled, or the job that it waited for had failed",
    "PREEMPTED": "a job of higher priority took its place and Slurm did not requeue it",
    "BOOT_FAIL": "a node did not start",
    "DEADLINE": "its deadline passed",
    "FAILED": "its command ended with an error",
}
TIMEOUT_S = 20
_FIELDS = ("JobArrayID", "State", "Reason", "RestartCnt", "NumNodes", "NodeList", "TimeUsed",
           "TimeLeft", "StartTime")  # fmt: skip


class SlurmSilentError(Exception):
    """Slurm gave no answer: not installed here, or its controller is away for the moment."""


@dataclass(frozen=True)
class Job:
    """One job as Slurm describes it.

    Attributes:
        number: job id, for an array's element `123_4`.
        state: Slurm's long word, for example RUNNING.
        reason: why it waits, or "None".
        restarts: how often it was requeued.
        nodes: number of nodes.
        where: its nodes, in Slurm's notation.
        used, left: times as Slurm prints them.
        begins: expected or real start.
    """

    number: str
    state: str
    reason: str = ""
    restarts: int = 0
    nodes: int = 0
    where: str = ""
    used: str = ""
    left: str = ""
    begins: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs, or will run without anybody's help."""
        return self.state in ALIVE

    @property
    def never(self) -> bool:
        """Whether it waits for something that cannot happen any more."""
        return self.state == "PENDING" and self.reason == "DependencyNeverSatisfied"


def ask(numbers: Iterable[str], *, history: bool = False) -> dict[str, Job]:
    """Give what Slurm knows about these jobs, by number; unknown ones are left out.

    Args:
        numbers: job ids.
        history: also ask sacct, where there is one, for those that the controller has forgotten.

    Raises:
        SlurmSilentError: no squeue here, or no answer.
    """
    wanted = list(dict.fromkeys(numbers))
    if not wanted:
        return {}
    # The user's own jobs, whatever their number: a list of ids fails as a whole for one wrong id.
    pattern = ",".join(f"{field}:|" for field in _FIELDS)
    known = read_squeue(
        _call(["squeue", "--me", "--array", "--noheader", "--states=all", "-O", pattern])
    )
    lost = [n for n in wanted if n not in known]
    if history and lost and shutil.which("sacct"):
        known |= _history(lost)
    return {n: known[n] for n in wanted if n in known}


def _history(numbers: list[str]) -> dict[str, Job]:
    # No "Restarts": Slurm 22.05's sacct refuses a question that names it; -D tells it by its lines.
    fields = "JobID,State,NNodes,NodeList,Elapsed"
    words = ["sacct", "-X", "-n", "-P", "-D", "-j", ",".join(numbers), "-o", fields]
    try:
        return read_sacct(_call(words))
    except SlurmSilentError:
        # Without accounting sacct is there and always fails; the disk then decides alone.
        return {}


def read_squeue(text: str) -> dict[str, Job]:
    """Read lines of squeue's fields, each ended by a bar."""
    out = {}
    for line in text.splitlines():
        parts = [p.strip() for p in line.split("|")]
        if len(parts) < len(_FIELDS):
            continue
        number, state, reason, restarts, nodes, where, used, left, begins = parts[: len(_FIELDS)]
        out[number] = Job(number, state, reason, _int(restarts), _int(nodes), where, used, left,
                          begins)  # fmt: skip
    return out


def read_sacct(text: str) -> dict[str, Job]:
    """Read `sacct -P -D`: a line for each start of a job, of which the last one counts."""
    out: dict[str, Job] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) < 5 or "." in parts[0]:
            continue
        number, state, nodes, where, used = parts[:5]
        restarts = out[number].restarts + 1 if number in out else 0
        # "CANCELLED by 1000" is one word of state and one of detail.
        out[number] = Job(number, state.split(" ")[0], "", restarts, _int(nodes), where, used)
    return out


def _int(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _call(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S)
    except FileNotFoundError:
        raise SlurmSilentError(f"{words[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise SlurmSilentError(f"{words[0]} gave no answer in {TIMEOUT_S} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SlurmSilentError(f"{words[0]}: {lines[-1]}")
    return done.stdout


def cancel(numbers: Iterable[str]) -> None:
    """Cancel jobs; those that have ended already are no error.

    Raises:
        SlurmSilentError: no scancel here, or no answer.
    """
    wanted = list(numbers)
    if wanted:
        _call(["scancel", "--quiet", *wanted])
