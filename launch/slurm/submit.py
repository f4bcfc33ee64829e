"""Stages as submitit jobs. One job is one stage; the state of a run is what is on disk.

submitit's own `done()` and result pickles only say that a process ended: whether a stage is
finished is for outputs.json to say (`Run.whole`).
"""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import process
from launch.run import job_env
from launch.run.recipe import ROOT

if TYPE_CHECKING:
    from launch.run.folder import Run

#: Minutes: longer than any local stage; submitit stops a local job after this.
LOCAL_LIMIT_MIN = 7 * 24 * 60
#: In the environment of a local job: the process whose end is its own.
LAUNCHER = "MFO_LAUNCHER_PID"


class StageJob:
    """The callable that a job runs: plain text inside, so its pickle holds no state or secret."""

    def __init__(self, run: Path, stage: str) -> None:
        self.run, self.stage = str(run), stage

    def __call__(self) -> str:
        """Run the stage in a process group of its own, with its output in the stage's log."""
        from launch.run import attempt
        from launch.run.folder import open_run
        from launch.slurm import node
        from launch.stages import execution

        run = open_run(Path(self.run))
        if attempt.current():
            self._log_to(run, suffix=attempt.log_suffix())
            print(job_env.raise_open_files(), flush=True)
            return node.run_stage(run, self.stage)
        # A terminal's Ctrl-C must reach the launcher alone, which then ends this group in order.
        os.setsid()
        # `kill -9` of the launcher gives nobody the chance to clean up: torchrun's workers would
        # go on writing checkpoints beside the run that was resumed.
        if launcher := os.environ.get(LAUNCHER):
            process.when_gone(int(launcher), process.kill_own_group)
        # submitit leaves SIGTERM as a log line; here it ends the stage.
        signal.signal(signal.SIGTERM, _stop)
        self._log_to(run)
        print(job_env.raise_open_files(), flush=True)
        return execution.execute(run, self.stage)

    def _log_to(self, run: Run, suffix: str = "") -> None:
        folder = run.folder(self.stage)
        folder.mkdir(exist_ok=True)
        log = (folder / f"log{suffix}").open("a", buffering=1)
        for fd in (1, 2):
            os.dup2(log.fileno(), fd)


def _stop(signum: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {signum}")


def submit_local(run: Run, stage: str) -> Any:
    """Start one stage on this machine; gives submitit's job, whose process is already running."""
    import submitit

    run.folder(stage).mkdir(exist_ok=True)
    python = run.python(stage)
    executor = submitit.LocalExecutor(
        folder=run.path / ".submitit" / stage, python=shlex.quote(python) if python else None
    )
    executor.update_parameters(
        timeout_min=LOCAL_LIMIT_MIN,
        tasks_per_node=1,
        gpus_per_node=run.site.gpus_per_node,
        stderr_to_stdout=True,
    )
    before = dict(os.environ)
    # The job unpickles StageJob, so it must find this package wherever it is started from.
    paths = [str(ROOT), before.get("PYTHONPATH", "")]
    os.environ.update(
        {
            **job_env.variables(run.site, stage),
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
            LAUNCHER: str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
    )
    try:
        return executor.submit(StageJob(run.path, stage))
    finally:
        os.environ.clear()
        os.environ.update(before)
