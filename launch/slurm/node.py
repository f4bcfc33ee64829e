"""Inside a Slurm job: one task a node runs this, and torchrun under it.

Task 0 does the stage's bookkeeping and, for training, publishes where the ranks meet; the other
tasks wait for that and start their torchrun with it.

A signal (the time limit comes near, preemption, a requeue) does not end anything here. It leaves a
stop request on disk; the training plugin sees it at the end of a step, saves a checkpoint and
stops; then the job's script requeues the job. What gets no chance to save is killed by Slurm and
goes on from the last whole checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import KitError
from kit.files import read_json, write_json
from kit.process import kill_own_group
from launch.run import attempt as attempts
from launch.run.attempt import Attempt, StoppedError

if TYPE_CHECKING:
    from launch.run.folder import Run

#: Exit code of a job that wants to be requeued: not 0, or the next stage would be started.
AGAIN = 75
#: Seconds that a task waits for task 0 to publish the attempt (a base model may be built first).
MEETING_S = 1800.0


def run_stage(run: Run, stage: str) -> str:
    """Run one node's part of a stage. Ends the process with AGAIN where a requeue is wanted."""
    from launch.slurm.script import REQUEUE_DIR
    from launch.stages import execution

    attempt = attempts.current()
    if attempt is None:
        raise KitError("this is not a task of a Slurm job")
    folder = run.folder(stage)
    _listen(folder, attempt, stage)
    if attempt.task:
        return _follow(run, stage, attempt)
    threading.Thread(target=_watch_attempt, args=(folder, attempt), daemon=True).start()
    try:
        return execution.execute(run, stage)
    except StoppedError as stopped:
        run.set_status(stage, "requeued", message=stopped.what)
        flags = Path(os.environ.get(REQUEUE_DIR) or folder)
        (flags / f"requeue.{os.environ['SLURM_JOB_ID']}.{attempt.restart}").touch()
        sys.stdout.flush()
        os._exit(AGAIN)
    finally:
        # Tasks that still wait for a meeting (the stage was whole already, or failed) may go home.
        if attempt.tasks > 1 and not _ours(folder, attempt):
            write_json(folder / "attempt.json", {"attempt": attempt.key, "over": True})


def _listen(folder: Path, attempt: Attempt, stage: str) -> None:
    """Turn the job's signals into a stop request; in place of submitit's own handlers."""

    def ask(signum: int, _frame: object) -> None:
        name = signal.Signals(signum).name
        print(f"{name}: asking the {stage} stage to save and stop", flush=True)
        with contextlib.suppress(OSError):
            write_json(attempts.stop_file(folder, attempt), {"signal": name, "time": time.time()})

    def note(signum: int, _frame: object) -> None:
        print(f"{signal.Signals(signum).name}: this stage cannot stop half-way", flush=True)

    handler = ask if stage == "train" else note
    for signum in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(signum, handler)


def _ours(folder: Path, attempt: Attempt) -> bool:
    return (read_json(folder / "attempt.json") or {}).get("attempt") == attempt.key


def _watch_attempt(folder: Path, attempt: Attempt) -> None:
    """End this task when another attempt has begun: its node was thought lost, and was not.

    Two attempts that write the same checkpoints would spoil both.
    """
    seen = False
    while True:
        now = (read_json(folder / "attempt.json") or {}).get("attempt")
        if now == attempt.key:
            seen = True
        elif seen and now:
            print(f"attempt {now} has begun elsewhere: {attempt.key} ends here", flush=True)
            kill_own_group()
        time.sleep(2)


def _follow(run: Run, stage: str, attempt: Attempt) -> str:
    """Wait for task 0's meeting point, then run this node's torchrun."""
    folder = run.folder(stage)
    end = time.monotonic() + MEETING_S
    while not _ours(folder, attempt):
        if time.monotonic() > end:
            raise KitError(
                f"node {attempt.task} waited {MEETING_S / 60:.0f} minutes for node 0 in vain",
                where=str(folder / "attempt.json"),
                cause="node 0 is stuck before training, or the file systems of the two differ",
                fix=f"mfo logs {run.name} {stage}",
            )
        time.sleep(0.2)
    meeting = read_json(folder / "attempt.json") or {}
    if meeting.get("over"):
        return "nothing to do"
    threading.Thread(target=_watch_attempt, args=(folder, attempt), daemon=True).start()
    from launch.stages import train

    env = {
        **os.environ,
        **train.environment(run.recipe, run.path, run.facts("corpus").get("sha256")),
        **attempts.variables(folder, run.site),
    }
    command = attempts.torchrun(run.site, Path(meeting["config"]), folder, meeting)
    train.call(command, env, folder, f"training on node {attempt.task}")
    return "followed"
