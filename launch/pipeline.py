"""The walk through the stages: what is whole is skipped, what is missing is run as a job.

`execute` runs inside a stage's job, `walk` in the launcher.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.errors import ACTIONABLE, KitError
from launch.files import read_json, write_json
from launch.stages.table import STAGES

if TYPE_CHECKING:
    from launch.run import Run


#: How names begin that stay when a stage is begun anew: what was said, and the job that runs it.
KEPT = ("log", "status", "job.json", "environment.toml", "stop.")


class StageFailedError(KitError):
    """A stage ended without its outputs."""


def execute(run: Run, name: str) -> str:
    """Run one stage here, in this process; gives "finished" or "skipped".

    Raises:
        KitError, or whatever the stage raised: after it was written down in the stage's status.
    """
    stage = STAGES[name]
    folder = run.folder(name)
    try:
        inputs = stage.inputs(run)
        if run.whole(name, inputs):
            run.set_status(name, "finished")
            return "skipped"
        _make_ready(run, name, inputs)
        run.set_status(name, "running")
        files, facts = stage.execute(run)
        run.seal(name, files, **facts)
    except KeyboardInterrupt:
        run.set_status(name, "interrupted", message="stopped by a signal")
        raise
    except ACTIONABLE as error:
        _write_failure(run, name, error.what, error.where, error.cause, error.fix)
        print(error, flush=True)
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"the disk is full in stage {name}" if full else f"stage {name}: {error}"
        cause = f"{_free(folder)} left on {folder}" if full else "see the log"
        fix = f"make room, then mfo resume {run.name}" if full else f"mfo logs {run.name} {name}"
        _write_failure(run, name, what, str(error.filename or folder), cause, fix)
        raise
    except Exception as error:
        traceback.print_exc()
        what = f"stage {name} ended with {type(error).__name__}: {error}"
        _write_failure(run, name, what, str(folder / "log"), "", f"mfo logs {run.name} {name}")
        raise
    run.set_status(name, "finished")
    return "finished"


def _make_ready(run: Run, name: str, inputs: Mapping[str, object]) -> None:
    """Clear what a stage left half done, unless it can go on from it with the same inputs."""
    folder = run.folder(name)
    folder.mkdir(exist_ok=True)
    (folder / "outputs.json").unlink(missing_ok=True)
    from launch.run import plain

    same = read_json(folder / "inputs.json") == plain(inputs)
    if not (same and STAGES[name].resumable):
        for path in folder.iterdir():
            if not path.name.startswith(KEPT):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(folder / "inputs.json", inputs)


def _write_failure(run: Run, name: str, what: str, where: str, cause: str, fix: str) -> None:
    # On a full disk even this may fail; the launcher then reports from the job's own log.
    with contextlib.suppress(OSError):
        run.set_status(name, "failed", what=what, where=where, cause=cause, fix=fix)


def _free(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB"
    return "nothing"


def finished(run: Run, name: str) -> bool:
    """Whether a stage's outputs are whole and made from what its inputs are now."""
    try:
        return run.whole(name, STAGES[name].inputs(run))
    except (KitError, OSError):
        return False


def walk(run: Run, observer: Observer) -> None:
    """Bring every stage of a run to its end, in order, as jobs.

    Args:
        run: whose stages are walked; hold it (`launch.run.held`) for this launcher.
        observer: told what happens, and asked to wait for each job.

    Raises:
        StageFailedError: a stage failed; finished stages stay as they are.
        KeyboardInterrupt: after the running stage was ended.
    """
    from launch.cluster import lifeline
    from launch.cluster.submit import submit_local

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
                lifeline.end_group(int(status["pid"]))
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
