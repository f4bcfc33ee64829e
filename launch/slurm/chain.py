"""A run's stages as Slurm jobs, each after the one before it.

`<stage>/job.json` says which job is a stage's: {"job", "submitted", "nodes"}. Whether the job still
lives is Slurm's to say, whether the stage is finished is the disk's.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import read_json, write_json, write_text
from launch.run import image
from launch.slurm import commands as slurm
from launch.slurm import container
from launch.slurm.script import Script, data_paths, make

if TYPE_CHECKING:
    from launch.run.folder import Run

#: What sbatch says when it refuses, and what that usually means.
REFUSALS = (
    ("invalid account", "the account does not exist, or you are not in it",
     "export {account}=YOUR_PROJECT, then mfo resume {run}"),
    ("invalid partition", "this cluster has no such partition; `sinfo` lists them",
     "export {partition}=NAME, then mfo resume {run}"),
    ("invalid qos", "the account may not use this quality of service",
     "export {qos}=NAME, or unset it; then mfo resume {run}"),
    ("node configuration", "no node of the partition has that many GPUs, cores or that much memory",
     "compare `mfo site show {site}` with `sinfo -o '%P %c %m %G'`"),
    ("time limit", "the partition allows less time than the site's profile asks for",
     "lower time_min in your own profile of the site; `sinfo -o '%P %l'` shows the limits"),
    ("submit limit", "you have as many jobs as the cluster allows",
     "wait for some to end, then mfo resume {run}"),
    ("unable to contact", "Slurm's controller does not answer", "mfo resume {run}, later"),
)  # fmt: skip


def job_number(run: Run, stage: str) -> str | None:
    """The job that was last submitted for a stage."""
    found = read_json(run.folder(stage) / "job.json")
    return str(found["job"]) if found and "job" in found else None


def alive(run: Run) -> dict[str, slurm.Job]:
    """Jobs of this run that run or wait, by stage.

    Raises:
        SlurmSilentError: Slurm gave no answer.
    """
    numbers = {s: n for s in run.stages if (n := job_number(run, s))}
    known = slurm.ask(numbers.values())
    return {s: known[n] for s, n in numbers.items() if n in known and known[n].alive}


def submit(run: Run) -> dict[str, str]:
    """Submit every stage that is not whole, chained; gives job numbers by stage.

    Hold the run (`launch.run.held`) while calling this.

    Raises:
        KitError: jobs of this run are alive, Slurm is not here or does not answer, sbatch refused.
    """
    from launch.stages import execution

    missing = [s for s in run.stages if not execution.finished(run, s)]
    if not missing:
        return {}
    _check_slurm(run, missing)
    _check_images(run, missing)
    # A stage after a missing one is done again too: its inputs may change.
    return _send_all([run], run.stages[run.stages.index(missing[0]) :], run.path, [])[0]


def submit_together(runs: list[Run]) -> list[dict[str, str]]:
    """Submit new runs of one recipe and site that differ in their seed, each stage a job array.

    Element i of an array waits for element i of the one before it, so a seed that fails does not
    keep the others. Hold the runs while calling this.

    Returns:
        Job numbers ("ARRAY_ELEMENT") by stage, for each run.

    Raises:
        KitError: as of `submit`.
    """
    first = runs[0]
    for run in runs:
        _check_slurm(run, run.stages)
    _check_images(first, first.stages)
    # What the arrays share: submitit's pickles, which run code, and container files.
    home = first.path.parent / f".seeds-{first.name}"
    home.mkdir(mode=0o700, exist_ok=True)
    for stage in first.stages:
        (home / stage).mkdir(exist_ok=True)
    return _send_all(runs, first.stages, home, [first.path.parent, *data_paths(first.recipe)])


def _send_all(
    runs: list[Run], stages: list[str], home: Path, sources: list[Path]
) -> list[dict[str, str]]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    numbers: list[dict[str, str]] = [{} for _ in runs]
    before: str | None = None
    for stage in stages:
        one = runs[0]
        script = make(one.recipe, one.site, stage, home, sources=sources or None, count=len(runs))
        for run in runs:
            run.folder(stage).mkdir(exist_ok=True)
        for path, text in script.files.items():
            write_text(path, text)
        try:
            jobs = _send(script.after(before), runs)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            slurm_error = _refused(one, stage, error)
            # A chain without its end would train and then tell nobody.
            with contextlib.suppress(slurm.SlurmSilentError):
                slurm.cancel(n for told in numbers for n in told.values())
            raise slurm_error from None
        before = jobs[0].partition("_")[0]
        for run, number, told in zip(runs, jobs, numbers, strict=True):
            told[stage] = number
            write_json(run.folder(stage) / "job.json", {
                "job": number, "nodes": script.parameters["nodes"],
                "submitted": datetime.now(UTC).isoformat(timespec="seconds"),
            })  # fmt: skip
            run.set_status(stage, "queued", job=number)
    return numbers


def _send(script: Script, runs: list[Run]) -> list[str]:
    """Submit one stage of these runs, as an array where there are several; gives their numbers."""
    executor = script.executor()
    if len(runs) == 1:
        return [str(executor.submit(_callable(runs[0], script.stage)).job_id)]
    with executor.batch():
        jobs = [executor.submit(_callable(run, script.stage)) for run in runs]
    return [str(job.job_id) for job in jobs]


def _callable(run: Run, stage: str) -> Any:
    from launch.slurm.submit import StageJob

    return StageJob(run.path, stage)


def _check_slurm(run: Run, missing: list[str]) -> None:
    if shutil.which("sbatch") is None:
        raise KitError(
            f"site {run.site.name} submits to Slurm, and there is no sbatch here",
            where="PATH",
            cause="this is not a login node of that cluster",
            fix=f"run mfo on the cluster; here, mfo run {run.recipe.name} --site {run.site.name} "
            "--dry-run shows what it would submit",
        )
    try:
        # A stage that is finished on disk may have a job that is still being tidied up.
        living = {s: j for s, j in alive(run).items() if s in missing}
    except slurm.SlurmSilentError as error:
        raise KitError(
            f"Slurm does not say whether jobs of this run are alive: {error}",
            where=run.name,
            cause="its controller is away or restarting",
            fix=f"mfo resume {run.name}, a little later",
        ) from None
    if living:
        words = ", ".join(f"{s} is job {j.number}, {j.state}" for s, j in living.items())
        raise KitError(
            f"jobs of this run are alive: {words}",
            where=str(run.path),
            fix=f"mfo status {run.name}; mfo cancel {run.name} ends them",
        )


def _check_images(run: Run, missing: list[str]) -> None:
    for stage in missing:
        image.check_unchanged(run.images, stage, run.site)
    for role in dict.fromkeys(image.ROLES[stage] for stage in missing):
        reason = container.missing_image(container.describe(run.site, role, run.path, []))
        if reason:
            raise KitError(
                f"the {role} image cannot be used: {reason}",
                where=f"images.{role} of site {run.site.name}",
                fix="build it (containers/), or name yours in a profile of your own; "
                f"mfo site check {run.site.name}",
            )


def _refused(run: Run, stage: str, error: Exception) -> KitError:
    lines = [line.strip() for line in str(error).splitlines() if "sbatch:" in line]
    said = "; ".join(lines) or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    names = {"account": run.site.account_env, "partition": run.site.partition_env,
             "qos": run.site.qos_env, "run": run.name, "site": run.site.name}  # fmt: skip
    cause, fix = "", f"mfo site show {run.site.name}, then mfo resume {run.name}"
    for word, why, how in REFUSALS:
        if word in said.lower():
            cause, fix = why, how.format(**names)
            break
    return KitError(f"sbatch refused the {stage} job: {said}", where=str(run.path), cause=cause,
                    fix=fix)  # fmt: skip


def cancel(run: Run) -> dict[str, slurm.Job]:
    """Cancel what is alive of a run; gives the jobs that were.

    Raises:
        KitError: Slurm gave no answer.
    """
    try:
        living = alive(run)
        slurm.cancel(job.number for job in reversed(living.values()))
    except slurm.SlurmSilentError as error:
        raise KitError(
            f"the jobs could not be cancelled: {error}", where=run.name,
            fix=f"mfo cancel {run.name}, a little later",
        ) from None  # fmt: skip
    return living
