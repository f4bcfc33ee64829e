"""One attempt at a stage inside a Slurm job: where its ranks meet, and how they are started.

Task 0 publishes train/attempt.json, which names this attempt (job and restart count) and where the
ranks meet; the other tasks wait for the file of their own attempt (launch.slurm.node).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import read_json, tail_jsonl, write_json
from kit.process import die_with_parent
from launch.run import pace, ports

if TYPE_CHECKING:
    from launch.run.site import Site

#: Attempts in a row that may start from the same step before training is given up.
STUCK = 3
#: Torch's name for the file that asks for a stop; launch.stages.axolotl_watch reads it.
STOP_FILE = "MFO_STOP_FILE"
STOPPED_FILE = "MFO_STOPPED_FILE"


@dataclass(frozen=True)
class Attempt:
    """One start of one job: its number, how often it was requeued, and this task's place in it."""

    job: str
    restart: int
    task: int
    tasks: int

    @property
    def key(self) -> str:
        """A name for files, the same on all nodes."""
        return f"{self.job}.{self.restart}"


def current() -> Attempt | None:
    """This process's attempt; None outside a job that mfo submitted to Slurm."""
    env = os.environ
    if env.get("SUBMITIT_EXECUTOR") != "slurm" or "SLURM_JOB_ID" not in env:
        return None
    return current_task()


def current_task() -> Attempt:
    """This process's place in its Slurm job; call it inside one."""
    env = os.environ
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    # A job's own number serves scontrol; in an array it differs from the one that users see.
    number = env["SLURM_JOB_ID"] if not array else f"{array}_{task}"
    return Attempt(
        number, int(env.get("SLURM_RESTART_COUNT", "0")),
        int(env.get("SLURM_PROCID", "0")), int(env.get("SLURM_NTASKS", "1")),
    )  # fmt: skip


def log_suffix() -> str:
    """What this task's log is called beside `log`, which is node 0's."""
    attempt = current()
    return f".node{attempt.task}" if attempt and attempt.task else ""


class StoppedError(KitError):
    """Training saved a checkpoint and stopped because it was asked to."""


def stop_file(folder: Path, attempt: Attempt) -> Path:
    """The file whose presence asks this attempt, and no other, to save and stop."""
    return folder / f"stop.{attempt.key}"


def publish(folder: Path, config: Path, start: int) -> dict[str, Any] | None:
    """Open this attempt's meeting point; None outside Slurm.

    Args:
        folder: the train stage's.
        config: Axolotl's file, read by every node.
        start: step of the checkpoint that training goes on from.

    Raises:
        KitError: the last attempts all began at the same step.
    """
    attempt = current()
    if attempt is None:
        return None
    log = folder / "attempts.jsonl"
    before = [row.get("from") for row in tail_jsonl(log)][-STUCK:]
    if len(before) == STUCK and set(before) == {start} and attempt.restart >= STUCK:
        raise KitError(
            f"{STUCK} attempts in a row began at step {start}: training makes no progress",
            where=str(log),
            cause="the time limit, or the time between preemptions, is shorter than it takes to "
            "start, train one step and save",
            fix="give the site a longer time_min.train, or train.save_steps a smaller number",
        )
    row = {"attempt": attempt.key, "from": start, "time": time.time(), "nodes": attempt.tasks}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    for name in ("stopped.json",):
        (folder / name).unlink(missing_ok=True)
    meeting = {"attempt": attempt.key, "host": reachable_name(), "port": free_port(attempt),
               "config": str(config)}  # fmt: skip
    print(f"meeting: {meeting['host']}:{meeting['port']} for {attempt.tasks} nodes", flush=True)
    write_json(folder / "attempt.json", meeting)
    return meeting


def reachable_name() -> str:
    """A name of this node that the others can resolve: Slurm's own, else the host's."""
    names = [os.environ.get("SLURMD_NODENAME", ""), socket.gethostname()]
    for name in filter(None, names):
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, None)
            return name
    raise KitError(
        "no name of this node can be resolved", where=", ".join(names),
        cause="the container has no /etc/hosts or DNS of the site",
        fix="mount the site's /etc/hosts, or ask the site",
    )  # fmt: skip


def free_port(attempt: Attempt) -> int:
    """A free port that other jobs on this node do not try first: each starts at its own number."""
    return ports.free_port(int(attempt.job.replace("_", "")) * 8 + attempt.restart % 8)


def torchrun(site: Site, config: Path, folder: Path, meeting: dict[str, Any]) -> list[str]:
    """Give one node's torchrun command.

    Static rendezvous: the dynamic one orders nodes as they come, and a rank that moves to another
    node changes the order of sums, and so the weights' last bits.
    """
    attempt = current()
    rank = attempt.task if attempt else 0
    # torchrun must not take SIGTERM for its end either; a failed rank still ends the others, which
    # ignore SIGTERM, by SIGKILL after the shutdown time.
    return [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={site.nodes}",
        f"--nproc-per-node={site.processes_per_node}", f"--node-rank={rank}",
        "--rdzv-backend=static", f"--master-addr={meeting['host']}",
        f"--master-port={meeting['port']}", "--max-restarts=0",
        "--signals-to-handle=SIGINT,SIGHUP,SIGQUIT", "--shutdown-timeout=5",
        *(["--numa-binding=node"] if site.gpus_per_node else []),
        f"--log-dir={rank_logs(folder, meeting['attempt'], rank)}", "--tee=3",
        "-m", "axolotl.cli.train", str(config),
    ]  # fmt: skip


def rank_logs(folder: Path, attempt: str, task: int) -> Path:
    """Where torchrun keeps what each rank of a node prints: RUN_ID/attempt_0/LOCAL_RANK/*.log."""
    return folder / "ranks" / attempt / f"node{task}"


def variables(folder: Path, site: Site) -> dict[str, str]:
    """What ranks need to hear of this attempt; nothing outside Slurm."""
    from launch.run.site import minutes

    attempt = current()
    if attempt is None:
        return {}
    return {STOP_FILE: str(stop_file(folder, attempt)),
            STOPPED_FILE: str(folder / "stopped.json"),
            pace.VARIABLE: str(60 * minutes(site, "train"))}  # fmt: skip


def shield() -> None:
    """In a child, before exec: the job's signals are for the job, and it dies with the job."""
    for signum in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    die_with_parent()


def popen(command: list[str], env: dict[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start a command; in a Slurm job out of its signals' way."""
    before = shield if current() else None
    return subprocess.Popen(command, env=env, cwd=cwd, preexec_fn=before)


def raise_if_stopped(folder: Path) -> None:
    """Tell that training ended because it was asked to, with a checkpoint.

    Raises:
        StoppedError: it did.
    """
    stopped = read_json(folder / "stopped.json")
    if stopped is not None:
        raise StoppedError(
            f"saved at step {stopped['step']} and stopped, as asked", where=str(folder)
        )
