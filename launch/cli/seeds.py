"""`mfo run … --seeds N`: the same recipe with several seeds, and one verdict over all of them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from launch.run.folder import Run


def run_seeds(runs: list[Run], as_json: bool, *, detach: bool = False) -> int:
    """Bring every run to its end; on Slurm each stage is one job array, and all train side by side.

    Args:
        runs: new ones, one for each seed, of one recipe and site.
        as_json: print each verdict as JSON.
        detach: on Slurm, submit and return.

    Returns:
        The exit code of the first run that did not reproduce, else 0.
    """
    from launch.cli import walk

    codes = []
    if runs[0].site.scheduler == "slurm":
        _submit(runs, as_json)
        codes = [] if detach else [_wait(run, as_json) for run in runs]
    else:
        codes = [walk.walk_and_show(run, as_json) for run in runs]
    names = " ".join(run.name for run in runs)
    click.echo(f"next:  mfo verify {names} judges all seeds together", err=as_json)
    return next((code for code in codes if code), 0)


def _submit(runs: list[Run], as_json: bool) -> None:
    from launch.run.folder import held
    from launch.slurm import chain

    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(held(run))
        numbers = chain.submit_together(runs)
    click.echo(f"{runs[0].recipe.title}, {len(runs)} seeds", err=as_json)
    for decision in runs[0].spec.get("decisions", []):
        click.echo(f"  {decision}", err=as_json)
    for run, told in zip(runs, numbers, strict=True):
        seed = run.recipe.table("train").get("seed")
        jobs = ", ".join(f"{stage} {number}" for stage, number in told.items())
        click.echo(f"  seed {seed}: {run.name}; jobs {jobs}", err=as_json)


def _wait(run: Run, as_json: bool) -> int:
    from rich.console import Console

    from launch.cli import walk
    from launch.cli.slurm_commands import watch

    console = Console(stderr=as_json, highlight=False)
    code = watch(run, console)
    return walk.show(run, as_json) if code is None else code
