"""The walk through the stages: what is whole is skipped, what is missing is run as a job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.process import end_group
from launch.stages.execution import finished

if TYPE_CHECKING:
    from launch.run.folder import Run


class StageFailedError(KitError):
    """A stage ended without its outputs."""


def walk(run: Run, observer: Observer) -> None:
    """Bring every stage of a run to its end, in order, as jobs.

    Args:
        run: whose stages are walked; hold it (`launch.run.held`) for this launcher.
        observer: told what happens, and asked to wait for each job.

    Raises:
        StageFailedError: a stage failed; finished stages stay as they are.
        KeyboardInterrupt: after the running stage was ended.
    """
    from launch.slurm.submit import submit_local

    for name in run.stages:
        if finished(run, name):
            observer.skipped(name)
            continue
        (run.folder(name) / "status").unlink(missing_ok=True)
        job = submit_local(run, name)
        observer.started(name)
        try:
            observer.wait(name, lambda job=job: job.done())  # type: ignore[misc]
        except BaseException:
            status = run.status(name)
            if status["state"] == "running":
                end_group(int(status["pid"]))
            _end_controller(job)
            observer.ended(name, "interrupted")
            with contextlib.suppress(OSError):
                run.set_status(name, "interrupted", message="the launcher was interrupted")
            raise
        if not finished(run, name):
            observer.ended(name, "failed")
            raise _failure(run, name, job)
        observer.ended(name, "finished")


def _end_controller(job: Any) -> None:
    """End submitit's own process without the stack trace that its `cancel` (SIGINT) prints."""
    import subprocess

    process = job._process
    for end in (None, process.terminate, process.kill):  # SIGTERM is handed on to the task
        if end is not None:
            end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
            return


def _failure(run: Run, name: str, job: Any) -> StageFailedError:
    status = run.status(name)
    fix = status.get("fix") or f"mfo logs {run.name} {name}"
    if status["state"] == "failed":
        return StageFailedError(
            status["what"], where=status["where"], cause=status["cause"], fix=fix
        )
    # No status: the process was killed, or died before the stage began. submitit's log knows more.
    tail = [line for line in _tail(Path(job.paths.stdout)) if line.strip()][-3:]
    return StageFailedError(
        f"stage {name} ended without saying why",
        where=str(run.folder(name) / "log"),
        cause="; ".join(tail) or "its process was killed (out of memory?)",
        fix=f"mfo logs {run.name} {name}; then mfo resume {run.name}",
    )


def _tail(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    except OSError:
        return []


class Observer:
    """What the launcher shows while it walks; this one shows nothing."""

    def skipped(self, name: str) -> None:
        """Tell that a stage was found whole."""

    def started(self, name: str) -> None:
        """Tell that a stage's job was submitted."""

    def ended(self, name: str, state: str) -> None:
        """Tell that a stage's job has ended, as finished, failed or interrupted."""

    def wait(self, name: str, done: Callable[[], bool]) -> None:  # noqa: ARG002 - for subclasses
        """Return once the job is done."""
        import time

        while not done():
            time.sleep(0.2)
