"""The state of a run on Slurm: what the disk and Slurm say together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from launch.slurm import commands as slurm
from launch.slurm.chain import job_number

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.slurm.pipeline import Observer

#: Seconds between two questions to Slurm while a launcher waits.
ASK_EVERY_S = 5.0
#: Seconds that outputs may stay invisible after a job's end: shared file systems are slow to tell.
SETTLE_S = 15.0


def stage_state(disk: dict[str, Any], job: slurm.Job | None, *, asked: bool) -> dict[str, Any]:
    """Join what a stage's status file and Slurm say.

    Args:
        disk: the stage's status; "finished" there is final, whatever Slurm says.
        job: the stage's job, None where Slurm does not know it (any more).
        asked: whether Slurm answered at all; if not, the disk decides alone.
    """
    state = disk.get("state", "waiting")
    if state == "finished" or not asked or "job" not in disk:
        return disk
    if job is None:
        if state in ("running", "queued", "requeued"):
            return {**disk, "state": "interrupted",
                    "message": f"Slurm does not know job {disk['job']} any more"}  # fmt: skip
        return disk
    more = {"slurm": job.state, "restarts": job.restarts, "where": job.where, "left": job.left}
    if job.state == "PENDING":
        if job.never:
            return {**disk, **more, "state": "interrupted",
                    "message": "the job that it waits for has failed"}  # fmt: skip
        waits = f"waits: {job.reason}" + (f", expected {job.begins}" if "T" in job.begins else "")
        again = f"; was requeued {job.restarts} times" if job.restarts else ""
        return {**disk, **more, "state": "queued", "message": waits + again}
    if job.alive:
        # "failed" was written by the process itself: its job is about to end.
        return {**disk, **more, "state": state if state == "failed" else "running"}
    if state == "failed":
        return {**disk, **more}
    if job.state == "COMPLETED":
        return {**disk, **more, "state": "interrupted",
                "message": "its job ended without its outputs"}  # fmt: skip
    why = slurm.MEANING.get(job.state, f"Slurm says {job.state}")
    ended = "interrupted" if job.state in ("CANCELLED", "PREEMPTED") else "failed"
    words = {"what": f"stage job {job.number} ended as {job.state}: {why}", "where": job.where,
             "cause": "", "fix": ""}  # fmt: skip
    return {**disk, **more, "state": ended, "message": why, **(words if ended == "failed" else {})}


def numbers(run: Run) -> list[str]:
    """Jobs of a run that Slurm must be asked for: those of stages that are not finished."""
    return [n for s in run.stages
            if run.status(s)["state"] != "finished" and (n := job_number(run, s))]  # fmt: skip


def stages(run: Run, known: dict[str, slurm.Job] | None) -> dict[str, dict[str, Any]]:
    """Give the joined state of every stage.

    Args:
        known: Slurm's answer by job number; None where it did not answer.
    """
    out = {}
    for name in run.stages:
        disk = run.status(name)
        number = job_number(run, name)
        if number:
            disk = {**disk, "job": number}
        job = (known or {}).get(number or "")
        out[name] = stage_state(disk, job, asked=known is not None)
    return out


def wait(run: Run, observer: Observer) -> None:
    """Show a submitted run's progress until all stages are finished or one cannot go on.

    Raises:
        StageFailedError: a stage's job ended, or can never start, without its outputs.
        KeyboardInterrupt: the watching is over, the jobs go on.
    """
    from launch.stages import execution

    for name in run.stages:
        if execution.finished(run, name):
            observer.skipped(name)
            continue
        observer.started(name)
        watched = _Watched(run, name)
        observer.wait(name, watched.over)
        if not execution.finished(run, name):
            observer.ended(name, "failed")
            raise _failure(run, name, watched.last)
        observer.ended(name, "finished")


class _Watched:
    """One stage's job, asked for now and then."""

    def __init__(self, run: Run, stage: str) -> None:
        self.run, self.stage = run, stage
        self.next = 0.0
        self.ended_at: float | None = None
        self.last: dict[str, Any] = {}

    def over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        if self.run.status(self.stage)["state"] == "finished":
            return True
        if time.monotonic() < self.next:
            return False
        self.next = time.monotonic() + ASK_EVERY_S
        try:
            known = slurm.ask(numbers(self.run), history=True)
        except slurm.SlurmSilentError:
            return False  # restarting; the jobs do not mind
        self.last = stages(self.run, known)[self.stage]
        if self.last["state"] in ("running", "queued", "requeued", "waiting"):
            self.ended_at = None
            return False
        job = known.get(job_number(self.run, self.stage) or "")
        if job is not None and job.alive and not job.never:
            return False
        now = time.monotonic()
        self.ended_at = self.ended_at or now
        return now - self.ended_at > SETTLE_S or self.last["state"] == "failed"


def _failure(run: Run, name: str, last: dict[str, Any]) -> KitError:
    from launch.slurm.pipeline import StageFailedError

    return StageFailedError(
        last.get("what") or f"stage {name}: {last.get('message', 'it ended without outputs')}",
        where=str(last.get("where") or run.folder(name) / "log"),
        cause=str(last.get("cause") or ""),
        fix=str(last.get("fix") or f"mfo diagnose {run.name}; then mfo resume {run.name}"),
    )
