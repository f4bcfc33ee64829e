"""The work of one stage, in the process of its own job: what is whole is not made again."""

from __future__ import annotations

import contextlib
import errno
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import KitError
from kit.files import read_json, write_json
from launch.run import image
from launch.run.identity import as_json
from launch.stages import misfit
from launch.stages.stage import context
from launch.stages.table import STAGES

if TYPE_CHECKING:
    from launch.run.folder import Run

#: How names begin that stay when a stage is begun anew: what was said, and the job that runs it.
KEPT = ("log", "status", "job.json", "environment.toml", "stop.")


def execute(run: Run, name: str) -> str:
    """Run one stage here, in this process; gives "finished" or "skipped".

    Raises:
        KitError, or whatever the stage raised: after it was written down in the stage's status.
    """
    stage = STAGES[name]
    folder = run.folder(name)
    try:
        inputs = stage.inputs(run)
        deciding = as_json(inputs)
        if run.whole(name, deciding):
            run.set_status(name, "finished")
            return "skipped"
        image.check_unchanged(run.images, name, run.site)
        _make_ready(run, name, deciding)
        run.set_status(name, "running")
        files, facts = stage.execute(inputs, context(run, name))
        run.seal(name, files, **facts)
    except KeyboardInterrupt:
        run.set_status(name, "interrupted", message="stopped by a signal")
        raise
    except KitError as error:
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
        if told := misfit.explain(error):
            _write_failure(run, name, told.what, told.where, told.cause, told.fix)
            print(told, flush=True)
            raise told from error
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
    same = read_json(folder / "inputs.json") == inputs
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
        return run.whole(name, as_json(STAGES[name].inputs(run)))
    except (KitError, OSError):
        return False
