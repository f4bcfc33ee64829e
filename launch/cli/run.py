"""`mfo run`, `mfo resume` and `mfo cancel`: bring a run to its end, here or on Slurm."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import tomli_w
from rich.console import Console

from checks.terminal import print_verdict
from checks.verdict import read_verdict
from kit.errors import KitError
from kit.printing import emit
from kit.process import end_group
from launch.cli.compare import show as show_comparison
from launch.cli.options import (
    JSON,
    RUN,
    RUNS,
    SET,
    complete_recipes,
    complete_runs,
    complete_sites,
    shaped,
)
from launch.inputs import base_model as base_models
from launch.inputs import numbers
from launch.inputs.wanted import look
from launch.plan import choices, opened, stack
from launch.plan import fit as plan
from launch.plan.prepare import prepare
from launch.run import compare as curves
from launch.run import job_env
from launch.run import site as sites
from launch.run.folder import Run, find, freeze, held, kit_state
from launch.run.recipe import Recipe, parse_setting
from launch.run.site import Site, who
from launch.slurm import chain, jobs, pipeline
from launch.slurm.progress import Bars
from launch.slurm.script import make
from launch.stages import graders, train

INTERRUPTED = 130


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.option(
    "--site",
    default="laptop",
    show_default=True,
    shell_complete=complete_sites,
    help="Where to run.",
)
@SET
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of initialisation, data order and training."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    help="So many runs, with seeds that follow each other; on Slurm side by side.",
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, exists=True),
    help="Train on this .toml, .jsonl or .parquet instead.",
)
@click.option(
    "--benchmarks",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Score the benchmark files in this folder instead.",
)
@click.option("--limit", type=click.IntRange(min=0), help="Items per benchmark, drawn at random.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the training stage (Slurm).")
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@click.option(
    "--compare",
    metavar="RUN",
    shell_complete=complete_runs,
    help="Then hold its loss curve against RUN's, as mfo compare does.",
)
@click.option(
    "--ignore-plan", is_flag=True, help="On Slurm: submit although memory does not fit by the plan."
)
@click.option("--dry-run", is_flag=True, help="Print what would be run, exactly; run nothing.")
@RUNS
@JSON
def run(
    recipe: str,
    site: str,
    settings: tuple[str, ...],
    dry_run: bool,
    runs: Path,
    as_json: bool,
    nodes: int | None,
    detach: bool,
    seeds: int,
    compare: str | None,
    ignore_plan: bool,
    **shorthands: Any,
) -> int:
    """Walk a recipe through all its stages to a verdict.

    \b
    mfo run smoke                                the miniature, on this machine
    mfo run smoke --seed 7                       the same with another seed
    mfo run smoke --set train.learning_rate=0    a run that must not reproduce
    """
    place = shaped(sites.load(site), nodes)
    beside = None if compare is None else _beside(compare, runs, alone=seeds == 1 and not detach)
    given = [parse_setting(s) for s in settings]

    def resolve(**other: Any) -> tuple[Recipe, list[str]]:
        one, decisions = choices.resolve(recipe, given, **{**shorthands, **other})
        one, measured = numbers.settle(one, place)
        return one, [*decisions, *measured]

    chosen, decisions = resolve()
    if dry_run:
        show_dry_run(chosen, place, decisions, seeds=seeds)
        return 0
    create = partial(prepare, site=place, stages=choices.FULL, runs=runs, ignore_plan=ignore_plan)
    if seeds > 1:
        first = int(chosen.table("train").get("seed", 0))
        several = [create(*resolve(seed=first + n), checked=n > 0) for n in range(seeds)]
        return run_seeds(several, as_json, detach=detach)
    made = create(chosen, decisions)
    if beside is None:
        return walk_and_show(made, as_json, detach=detach)
    try:
        return walk_and_show(made, as_json)
    finally:  # a training that failed is what one wants to compare most
        _compare_after(made, beside, as_json)


@click.command()
@RUN
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@RUNS
@JSON
def resume(run: str | None, runs: Path, as_json: bool, detach: bool) -> int:
    """Go on with RUN where it stopped.

    RUN is a name or a folder; the latest run without one. Stages whose inputs are the same and
    whose outputs are whole are not run again; training goes on from its last whole checkpoint.
    """
    return walk_and_show(find(run, runs), as_json, detach=detach)


@click.command()
@RUN
@RUNS
def cancel(run: str | None, runs: Path) -> int:
    """End RUN's jobs; what is finished is kept.

    `mfo resume` goes on.
    """
    return end(find(run, runs))


def end(run: Run) -> int:
    """Cancel a run's jobs, or end its local launcher; gives the exit code."""
    if run.site.scheduler == "slurm":
        ended = chain.cancel(run)
        for stage, job in ended.items():
            click.echo(f"cancelled job {job.number}: {stage}, was {job.state}")
        if not ended:
            click.echo("no job of this run is alive")
    else:
        running = [s for s in run.stages if run.status(s)["state"] == "running"]
        for stage in running:
            end_group(int(run.status(stage)["pid"]))
            click.echo(f"ended {stage}")
        if not running:
            click.echo("nothing of this run is running")
    click.echo(f"next:  mfo resume {run.name} goes on where it stopped")
    return 0


def _compare_after(made: Run, beside: Run, as_json: bool) -> None:
    """Show a new run's losses beside another's; whether that works does not decide the run."""
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        try:
            click.echo("")
            show_comparison(made, beside)
        except KitError as error:
            click.echo(f"not compared: {error}")


def _beside(name: str, runs: Path, *, alone: bool) -> Run:
    """Find the run to compare with, before anything is spent.

    Raises:
        KitError: it is not there, has no loss curve, or nobody will wait for the new run.
    """
    if not alone:
        raise KitError(
            "--compare waits for one run to end; --seeds and --detach do not",
            fix="mfo compare RUN RUN afterwards",
        )
    found = find(name, runs)
    curves.read(found)
    return found


def show_dry_run(recipe: Recipe, site: Site, decisions: list[str], *, seeds: int = 1) -> None:
    """Print run.toml, Axolotl's file and the command as a run would use them.

    What was not fetched, or cannot be read, is a line of the decisions and refuses nothing.
    """
    recipe, found = look(recipe, site, choices.FULL)
    decisions = decisions + [
        words if there else f"NOT FETCHED: {words}; next: {command}"
        for there, words, command in found
    ]
    if all(there for there, _, _ in found):  # what was not fetched cannot be opened
        decisions += [
            f"{what}: {words}"
            if error is None
            else f"NOT READABLE: {what}: {error.what} ({error.where}); next: {error.fix}"
            for what, words, error in opened.look(recipe, site, choices.FULL)
        ]
    folder, base = Path("RUN") / "train", str(base_models.base_model_path(recipe, site))
    config = train.axolotl_config(
        recipe,
        site,
        base=base,
        train_file=Path("RUN/corpus/train.jsonl"),
        folder=folder,
        name="RUN",
    )
    try:
        decisions = decisions + choices.decide(recipe, site, choices.FULL)
        decisions += plan.guard(recipe, site)
        decisions += stack.check(recipe, site)
    except KitError as error:
        decisions = [*decisions, f"NOT RUNNABLE HERE: {error.what}; next: {error.fix}"]
    click.echo("# --- run.toml")
    click.echo(tomli_w.dumps(freeze(recipe, site, choices.FULL, decisions)))
    click.echo("# --- train/axolotl.yaml")
    click.echo(train.to_yaml(config))
    for serving in graders.servers(recipe, site, folder / "model", base):
        click.echo(
            f"# --- evaluate: the server of {serving.name}, one at a time\n"
            f"{shlex.join(serving.command)}"
        )
    if site.scheduler == "slurm":
        print_scripts(recipe, site, Path("RUN").resolve(), seeds=seeds)
        click.echo(f"# next: mfo run {recipe.name} --site {site.name}")
        return
    click.echo("# --- train: environment and command, on each node")
    environment = {**job_env.variables(site, "train"), **train.environment(recipe, Path("RUN"))}
    for key, value in sorted(environment.items()):
        click.echo(f"export {key}={value}")
    click.echo(" ".join(["python", *train.command(site, folder / "axolotl.yaml")[1:]]))
    click.echo(f"\n# next: mfo run {recipe.name} --site {site.name}")


def print_scripts(recipe: Recipe, site: Site, run: Path, *, seeds: int = 1) -> None:
    """Print each stage's sbatch file and what stands beside it, exactly as they would be sent.

    Where an account is wanted and none is given, the line that names it is missing, and said to be.
    """
    try:
        who(site)
    except KitError as error:
        click.echo(f"# NOT RUNNABLE HERE: {error.what}; next: {error.fix}")
        click.echo("# until then no script below names an account")
        site = replace(site, account_required=False)
    before: str | None = None
    for stage in choices.FULL:
        script = make(recipe, site, stage, run, count=seeds).after(before)
        click.echo(f"# --- {stage}: sbatch")
        click.echo(script.text())
        for path, text in script.files.items():
            click.echo(f"# --- {path}")
            click.echo(text)
        before = f"JOB_OF_{stage.upper()}"


def _console(*, stderr: bool = False) -> Console:
    # Run names and paths are data: nothing in them is markup or worth colouring.
    return Console(stderr=stderr, highlight=False)


def walk_and_show(found: Run, as_json: bool, *, detach: bool = False) -> int:
    """Walk a run's stages, then show its verdict; gives the exit code.

    Args:
        detach: on Slurm, submit and return.
    """
    console = _console(stderr=as_json)
    console.print(f"[bold]{found.recipe.title}[/] · {found.path}", soft_wrap=True)
    for decision in found.spec.get("decisions", []):
        console.print(f"  {decision}", style="dim", markup=False, soft_wrap=True)
    if found.site.scheduler == "slurm":
        code = submit_and_show(found, console, detach=detach)
        return show(found, as_json) if code is None else code
    with held(found):
        _warn_if_changed(found, console)
        try:
            pipeline.walk(found, Bars(found, console))
        except KeyboardInterrupt:
            console.print(
                f"interrupted; what was finished is kept.\nnext:  mfo resume {found.name}",
                soft_wrap=True,
            )
            return INTERRUPTED
    return show(found, as_json)


def _warn_if_changed(found: Run, console: Console) -> None:

    was, now = found.spec.get("kit", {}), kit_state()
    if was.get("commit") != now.get("commit"):
        console.print(
            f"[yellow]note:[/] the run was made at kit commit {str(was.get('commit'))[:12]}, this "
            f"is {str(now.get('commit'))[:12]}; finished stages are kept"
        )


def show(found: Run, as_json: bool) -> int:
    """Print a finished run's verdict and where its page is."""
    verdict = read_verdict(found.verdict)
    if as_json:
        emit(verdict)
    else:
        print_verdict(verdict, _console())
        _console().print(f"report: {found.report}", soft_wrap=True)
    return int(verdict["exit_code"])


def submit_and_show(run: Run, console: Console, *, detach: bool) -> int | None:
    """Submit what is missing, then wait for it; gives an exit code, or None once all is finished.

    Raises:
        KitError: see launch.slurm.chain.submit; or a stage failed.
    """
    with held(run):
        numbers = chain.submit(run)
    for stage, number in numbers.items():
        nodes = f", {run.site.nodes} nodes" if stage == "train" and run.site.nodes > 1 else ""
        console.print(f"  job {number}: {stage}{nodes}")
    if detach:
        console.print(f"next:  mfo status {run.name}", soft_wrap=True)
        return 0
    return watch(run, console)


def watch(run: Run, console: Console) -> int | None:
    """Wait for a submitted run; gives an exit code, or None once all is finished."""
    try:
        jobs.wait(run, Bars(run, console))
    except KeyboardInterrupt:
        console.print(
            f"no longer watching; the jobs go on.\nnext:  mfo status {run.name}; "
            f"mfo cancel {run.name} ends them",
            soft_wrap=True,
        )
        return INTERRUPTED
    return None


def run_seeds(runs: list[Run], as_json: bool, *, detach: bool = False) -> int:
    """Bring every run to its end; on Slurm each stage is one job array, and all train side by side.

    Args:
        runs: new ones, one for each seed, of one recipe and site.
        as_json: print each verdict as JSON.
        detach: on Slurm, submit and return.

    Returns:
        The exit code of the first run that did not reproduce, else 0.
    """
    codes = []
    if runs[0].site.scheduler == "slurm":
        _submit(runs, as_json)
        codes = [] if detach else [_wait(run, as_json) for run in runs]
    else:
        codes = [walk_and_show(run, as_json) for run in runs]
    names = " ".join(run.name for run in runs)
    click.echo(f"next:  mfo verify {names} judges all seeds together", err=as_json)
    return next((code for code in codes if code), 0)


def _submit(runs: list[Run], as_json: bool) -> None:

    with contextlib.ExitStack() as locks:
        for run in runs:
            locks.enter_context(held(run))
        numbers = chain.submit_together(runs)
    click.echo(f"{runs[0].recipe.title}, {len(runs)} seeds", err=as_json)
    for decision in runs[0].spec.get("decisions", []):
        click.echo(f"  {decision}", err=as_json)
    for run, jobs_of in zip(runs, numbers, strict=True):
        seed = run.recipe.table("train").get("seed")
        numbered = ", ".join(f"{stage} {number}" for stage, number in jobs_of.items())
        click.echo(f"  seed {seed}: {run.name}; jobs {numbered}", err=as_json)


def _wait(run: Run, as_json: bool) -> int:

    console = Console(stderr=as_json, highlight=False)
    code = watch(run, console)
    return show(run, as_json) if code is None else code
