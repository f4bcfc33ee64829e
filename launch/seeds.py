"""`mfo run … --seeds N`: the same recipe with several seeds, and one verdict over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from launch.run import Run


def run_seeds(runs: list[Run], as_json: bool, *, detach: bool = False) -> int:
    """Bring every run to its end; on Slurm all are submitted first, and train side by side.

    Args:
        runs: one for each seed, of one recipe and site.
        as_json: print each verdict as JSON.
        detach: on Slurm, submit and return.

    Returns:
        The exit code of the first run that did not reproduce, else 0.
    """
    from launch import commands

    side_by_side = runs[0].site.scheduler == "slurm"
    if side_by_side:
        for run in runs:
            # Each chain is complete before the next is sent, so a refusal names the seed it hit.
            commands.walk_and_show(run, as_json, detach=True)
    codes = []
    if not (side_by_side and detach):
        codes = [_wait(run, as_json) if side_by_side else commands.walk_and_show(run, as_json)
                 for run in runs]  # fmt: skip
    names = " ".join(run.name for run in runs)
    click.echo(f"next:  mfo verify {names} judges all seeds together", err=as_json)
    return next((code for code in codes if code), 0)


def _wait(run: Run, as_json: bool) -> int:
    from rich.console import Console

    from launch import commands
    from launch.slurm_commands import watch

    console = Console(stderr=as_json, highlight=False)
    code = watch(run, console)
    return commands.show(run, as_json) if code is None else code
