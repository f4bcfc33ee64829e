"""The sbatch script of a stage, as submitit writes it, and the files beside it.

Nothing is sent from here: the same text is printed by `--dry-run`, kept as a golden file by the
tests, and submitted by `launch.slurm.chain`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.run import interpreter, job_env, judged_benchmarks
from launch.run.image import ROLES
from launch.run.recipe import ROOT, Recipe
from launch.run.site import minutes, who
from launch.slurm import container

if TYPE_CHECKING:
    from launch.run.site import Site

#: Stages that need the site's GPUs.
ON_GPUS = ("train", "evaluate")
#: Keys of [judge] that name files.
JUDGE_FILES = ("grader_prompt", "pairs_prompt", "vignettes", "canary", "script")
#: A signal that comes while Python still starts must not end the job; the kit's handler, once it is
#: there, takes the place of this. (coreutils 8.31 or newer)
DEAF = "env --ignore-signal=USR2,TERM"
#: Folder where training asks for a requeue, by a file of this job and restart.
REQUEUE_DIR = "MFO_REQUEUE_DIR"
#: Runs on the node, outside any container, when the script ends. Cancelled jobs are left alone:
#: Slurm would requeue those as well.
REQUEUE = """\
# There is no scontrol inside a container: training leaves a file, and this shell requeues the job.
requeue() {
  flag=$MFO_REQUEUE_DIR/requeue.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
  [ -e "$flag" ] || return 0
  for pause in 2 5 10 20 30 60; do
    case "$(scontrol show job -o "$SLURM_JOB_ID" 2>&1)" in
      *JobState=RUNNING*) scontrol requeue "$SLURM_JOB_ID" && return 0 ;;
      *JobState=*) return 0 ;;
    esac
    sleep "$pause"  # the controller is away
  done
}
trap requeue EXIT
# A signal for the job is for its tasks; this shell stays until they have saved and stopped.
trap : TERM USR2"""


@dataclass(frozen=True)
class Script:
    """One stage's job before it is sent.

    Attributes:
        stage: its name.
        parameters: submitit's, without the dependency.
        python: what stands for the interpreter, raw shell.
        files: to write before submission.
        folder: submitit's own, with pickles and logs.
        count: elements of the job array; 1: no array.
    """

    stage: str
    parameters: dict[str, Any]
    python: str
    folder: Path
    files: dict[Path, str] = field(default_factory=dict)
    count: int = 1

    def after(self, number: str | None) -> Script:
        """The same job, to be started only once another one has ended well.

        An array's element waits for the element of its own number.
        """
        if number is None:
            return self
        kind = "afterok" if self.count == 1 else "aftercorr"
        return replace(self, parameters={**self.parameters, "dependency": f"{kind}:{number}"})

    def executor(self) -> Any:
        """submitit's executor with these parameters."""
        made = _executor_class()(folder=self.folder, python=f"{DEAF} {self.python}")
        made.update_parameters(**self.parameters)
        return made

    def text(self) -> str:
        """The sbatch file, exactly as it will be sent."""
        made = self.executor()
        if self.count > 1:
            made.parameters["map_count"] = self.count  # as submitit does within its batch()
        text = made._make_submission_file_text(made._submitit_command_str, "")
        return str(text).rstrip("\n") + "\n"


def _executor_class() -> Any:
    import submitit

    class Executor(submitit.SlurmExecutor):  # type: ignore[misc]
        """submitit's, also where there is no srun: then only the text is wanted."""

        @classmethod
        def affinity(cls) -> int:
            return 2

        @classmethod
        def name(cls) -> str:
            return "slurm"

    return Executor


def make(
    recipe: Recipe, site: Site, stage: str, run: Path, *,
    sources: list[Path] | None = None, count: int = 1,
) -> Script:  # fmt: skip
    """Give the job of one stage.

    Args:
        recipe: what is run.
        site: where.
        stage: corpus, train, evaluate or judge.
        run: the run's folder; of an array, the folder that its runs share.
        sources: files outside the run, the kit and the cache that the stage reads.
        count: runs that differ in their seed alone, for a job array.
    """
    nodes = site.nodes if stage == "train" else 1
    folder = run / stage
    box = container.describe(
        site, ROLES[stage], run, sources or data_paths(recipe), gpus=stage in ON_GPUS,
        environment=job_env.variables(site, stage),
    )  # fmt: skip
    if own := interpreter.of(recipe, site, stage):
        box = replace(box, python=own)
    begun = container.start(box, folder)
    limit = minutes(site, stage)
    more: dict[str, Any] = {
        "requeue": True,
        "kill-on-invalid-dep": "yes",
        "export": "ALL",  # tokens reach the job by its environment, and by nothing else
        "chdir": str(run),
        **site.sbatch,
    }
    # Slurm 22.05 and later do not hand the batch job's cores on to srun by themselves.
    srun = ["--kill-on-bad-exit=1", *site.srun, *begun.srun]
    parameters: dict[str, Any] = {
        "job_name": f"mfo-{recipe.name}-{stage}",
        "nodes": nodes,
        "ntasks_per_node": 1,
        "time": limit,
        "signal_delay_s": min(site.signal_s, limit * 30),
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own would be refused where such keys are checked
        "setup": _setup(site, stage, folder),
        "additional_parameters": more,
        **who(site),
    }
    if site.cpus_per_node:
        parameters["cpus_per_task"] = site.cpus_per_node
        srun.insert(0, f"--cpus-per-task={site.cpus_per_node}")
    if site.gpus_per_node and stage in ON_GPUS:
        parameters["gpus_per_node"] = site.gpus_per_node
    if site.memory:
        more["mem"] = site.memory
    if site.exclusive:
        parameters["exclusive"] = True
    parameters["srun_args"] = srun
    return Script(stage, parameters, begun.python, run / ".submitit" / stage, begun.files, count)


def _setup(site: Site, stage: str, folder: Path) -> list[str]:
    lines = list(site.setup)
    lines.append(f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}")
    lines.append("export PYTHONUNBUFFERED=1")
    given = job_env.variables(site, stage)
    lines += [f"export {k}={shlex.quote(v)}" for k, v in sorted(given.items())]
    if stage == "train":
        lines.append(f"export {REQUEUE_DIR}={shlex.quote(str(folder))}")
        lines += REQUEUE.splitlines()
    return lines


def data_paths(recipe: Recipe) -> list[Path]:
    """Files and folders outside the kit that a recipe reads; the container must see them."""
    given = [recipe.table("model").get("weights"), recipe.table("model").get("base"),
             recipe.table("corpus").get("sources"),
             recipe.table("eval").get("benchmark_files"),
             *(recipe.table("judge").get(key) for key in JUDGE_FILES),
             *(one.model for one in judged_benchmarks.comparators(recipe).values())]  # fmt: skip
    found = [Path(str(g)) for g in given if g and str(g).startswith("/")]
    return [p if p.is_dir() else p.parent for p in found]
