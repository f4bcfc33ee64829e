"""What `mfo run`, `resume` and `cancel` do where a site has Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.errors import KitError

if TYPE_CHECKING:
    from rich.console import Console

    from launch.run.folder import Run
    from launch.run.recipe import Recipe
    from launch.run.site import Site

DETACHED = 130


def shaped(site: Site, nodes: int | None) -> Site:
    """Give the site with the number of training nodes that was asked for.

    Raises:
        KitError: several nodes on a site without a scheduler.
    """
    from dataclasses import replace

    if nodes is None:
        return site
    if nodes > 1 and site.scheduler == "local":
        raise KitError(
            f"site {site.name} is one machine; {nodes} nodes need a scheduler",
            fix="mfo run … --site slurm-generic, or a site of your own: mfo site show",
        )
    return replace(site, nodes=nodes)


def print_scripts(recipe: Recipe, site: Site, run: Path, *, seeds: int = 1) -> None:
    """Print each stage's sbatch file and what stands beside it, exactly as they would be sent.

    Where an account is wanted and none is given, the line that names it is missing, and said to be.
    """
    from dataclasses import replace

    from launch.run.site import who
    from launch.slurm.script import make

    try:
        who(site)
    except KitError as error:
        click.echo(f"# NOT RUNNABLE HERE: {error.what}; next: {error.fix}")
        click.echo("# until then no script below names an account")
        site = replace(site, account_required=False)
    before: str | None = None
    for stage in ("corpus", "train", "evaluate", "judge"):
        script = make(recipe, site, stage, run, count=seeds).after(before)
        click.echo(f"# --- {stage}: sbatch")
        click.echo(script.text())
        for path, text in script.files.items():
            click.echo(f"# --- {path}")
            click.echo(text)
        before = f"JOB_OF_{stage.upper()}"


def submit_and_show(run: Run, console: Console, *, detach: bool) -> int | None:
    """Submit what is missing, then wait for it; gives an exit code, or None once all is finished.

    Raises:
        KitError: see launch.slurm.chain.submit; or a stage failed.
    """
    from launch.run.folder import held
    from launch.slurm import chain

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
    from launch.slurm import jobs
    from launch.slurm.progress import Bars

    try:
        jobs.wait(run, Bars(run, console))
    except KeyboardInterrupt:
        console.print(
            f"no longer watching; the jobs go on.\nnext:  mfo status {run.name}; "
            f"mfo cancel {run.name} ends them",
            soft_wrap=True,
        )
        return DETACHED
    return None


def cancel(run: Run) -> int:
    """Cancel a run's jobs, or end its local launcher; gives the exit code."""
    if run.site.scheduler == "slurm":
        from launch.slurm import chain

        ended = chain.cancel(run)
        for stage, job in ended.items():
            click.echo(f"cancelled job {job.number}: {stage}, was {job.state}")
        if not ended:
            click.echo("no job of this run is alive")
    else:
        from launch.run import lifeline

        running = [s for s in run.stages if run.status(s)["state"] == "running"]
        for stage in running:
            lifeline.end_group(int(run.status(stage)["pid"]))
            click.echo(f"ended {stage}")
        if not running:
            click.echo("nothing of this run is running")
    click.echo(f"next:  mfo resume {run.name} goes on where it stopped")
    return 0
