"""The words for runs: start one, go on, watch, end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from launch.cli.options import JSON, RUN, RUNS, complete_recipes, complete_runs, complete_sites


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.option("--site", default="laptop", show_default=True, shell_complete=complete_sites,
              help="Where to run.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Any recipe value, e.g. train.learning_rate=0. May be given again.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), help="Seed of initialisation, data order and "
              "training.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="So many runs, with seeds "
              "that follow each other; on Slurm side by side.")  # fmt: skip
@click.option("--corpus", type=click.Path(path_type=Path, exists=True),
              help="Train on this .toml, .jsonl or .parquet instead.")  # fmt: skip
@click.option("--benchmarks", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Score the benchmark files in this folder instead.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), help="Items per benchmark, drawn at random.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the training stage (Slurm).")
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@click.option("--compare", metavar="RUN", shell_complete=complete_runs,
              help="Then hold its loss curve against RUN's, as mfo compare does.")  # fmt: skip
@click.option("--ignore-plan", is_flag=True,
              help="On Slurm: submit although memory does not fit by the plan.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be run, exactly; run nothing.")
@RUNS
@JSON
def run(recipe: str, site: str, settings: tuple[str, ...], dry_run: bool, runs: Path,
        as_json: bool, nodes: int | None, detach: bool, seeds: int, compare: str | None,
        ignore_plan: bool,
        **shorthands: Any) -> None:  # fmt: skip
    """Walk a recipe through all its stages to a verdict.

    \b
    mfo run smoke                                the miniature, on this machine
    mfo run smoke --seed 7                       the same with another seed
    mfo run smoke --set train.learning_rate=0    a run that must not reproduce
    """
    from launch.cli import commands

    sys.exit(commands.run(recipe, site, settings, shorthands, dry_run, runs, as_json,
                          nodes=nodes, detach=detach, seeds=seeds, compare=compare,
                          ignore_plan=ignore_plan))  # fmt: skip


@click.command()
@RUN
@click.option("--detach", is_flag=True, help="On Slurm: submit and return, do not watch.")
@RUNS
@JSON
def resume(run: str | None, runs: Path, as_json: bool, detach: bool) -> None:
    """Go on with RUN where it stopped.

    RUN is a name or a folder; the latest run without one. Stages whose inputs are the same and
    whose outputs are whole are not run again; training goes on from its last whole checkpoint.
    """
    from launch.cli import walk
    from launch.run.folder import find

    sys.exit(walk.walk_and_show(find(run, runs), as_json, detach=detach))


@click.command()
@RUN
@RUNS
@JSON
def status(run: str | None, runs: Path, as_json: bool) -> None:
    """Say what RUN is doing; without RUN, list all runs."""
    from launch.cli import watch_commands

    watch_commands.status(run, runs, as_json)


@click.command()
@RUN
@click.argument("stage", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing as the log grows.")
@click.option("--rank", type=click.IntRange(min=0), help="Of training on Slurm, this rank alone.")
@RUNS
def logs(run: str | None, stage: str | None, follow: bool, rank: int | None, runs: Path) -> None:
    """Print the log of RUN's STAGE.

    Without STAGE, of the one that ran last.
    """
    from launch.cli import watch_commands

    watch_commands.logs(run, stage, follow, runs, rank)


@click.command()
@click.argument("one", metavar="RUN", shell_complete=complete_runs)
@click.argument("other", metavar="RUN", shell_complete=complete_runs)
@click.option("--bound", type=click.FloatRange(min=0), default=0.01, show_default=True,
              help="Difference of the loss, in nats a token, beyond which they part.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the page (.html) or the figure (.svg) here.")  # fmt: skip
@RUNS
@JSON
def compare(one: str, other: str, bound: float, out: Path | None, runs: Path,
            as_json: bool) -> None:  # fmt: skip
    """Compare two runs' losses, step by step.

    Says where they part, to the last digit and beyond the bound, and what is frozen differently
    in them. Exits 1 if they part beyond the bound.
    """
    from launch.cli import compare_commands

    sys.exit(compare_commands.compare(one, other, runs, bound=bound, out=out, as_json=as_json))


@click.command()
@RUN
@RUNS
def cancel(run: str | None, runs: Path) -> None:
    """End RUN's jobs; what is finished is kept.

    `mfo resume` goes on.
    """
    from launch.cli import slurm_commands
    from launch.run.folder import find

    sys.exit(slurm_commands.cancel(find(run, runs)))


@click.command()
@click.argument("what", required=False, metavar="[RUN|LOG]")
@RUNS
@JSON
def diagnose(what: str | None, runs: Path, as_json: bool) -> None:
    """Find the first cause of a failure.

    In RUN's logs, across its ranks, or in a LOG file; exits 3 if none is found.
    """
    from launch.cli import diagnose_command

    sys.exit(diagnose_command.diagnose(what, runs, as_json))
