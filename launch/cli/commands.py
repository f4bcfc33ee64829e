"""What the commands of `mfo` do once their words are parsed."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.errors import KitError
from launch.cli import walk
from launch.run.recipe import Recipe, parse_setting

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.run.site import Site


def run(recipe_name: str, site_name: str, settings: tuple[str, ...], shorthands: dict[str, Any],
        dry: bool, runs: Path, as_json: bool, *, nodes: int | None = None,
        detach: bool = False, seeds: int = 1, compare: str | None = None,
        ignore_plan: bool = False) -> int:  # fmt: skip
    """Make a run, or one for each seed, and walk it; gives the exit code.

    Args:
        compare: a run whose loss curve is shown beside the new one's.
        ignore_plan: submit although memory does not fit by the plan.
    """
    from launch.cli.slurm_commands import shaped
    from launch.inputs import numbers
    from launch.inputs.wanted import freeze, look
    from launch.plan import choices, opened, stack
    from launch.plan import fit as plan
    from launch.run import folder as run_folder
    from launch.run import site as sites

    site = shaped(sites.load(site_name), nodes)
    beside = None if compare is None else _beside(compare, runs, alone=seeds == 1 and not detach)
    recipe, decisions = choices.resolve(
        recipe_name, [parse_setting(s) for s in settings], **shorthands
    )
    recipe, measured = numbers.settle(recipe, site)
    decisions += measured
    if dry:
        recipe, said = look(recipe, site, choices.FULL)
        decisions += [
            words if there else f"NOT FETCHED: {words}; next: {command}"
            for there, words, command in said
        ]
        if all(there for there, _, _ in said):  # what was not fetched cannot be opened
            decisions += [
                f"{what}: {words}"
                if error is None
                else f"NOT READABLE: {what}: {error.what} ({error.where}); next: {error.fix}"
                for what, words, error in opened.look(recipe, site, choices.FULL)
            ]
        dry_run(recipe, site, decisions, seeds=seeds)
        return 0
    decisions += choices.decide(recipe, site, choices.FULL)
    decisions += stack.check(recipe, site)
    decisions += plan.guard(recipe, site, ignore=ignore_plan)
    recipe, tied = freeze(recipe, site, choices.FULL)
    decisions += tied
    choices.check_inputs(recipe, site, choices.FULL)
    choices.check_space(runs)
    if seeds > 1:
        from launch.cli.seeds import run_seeds

        def again(seed: int) -> Run:
            one, why = choices.resolve(
                recipe_name, [parse_setting(s) for s in settings], **{**shorthands, "seed": seed}
            )
            one, measured = numbers.settle(one, site)
            one, tied = freeze(one, site, choices.FULL)
            why += [*measured, *tied, *choices.decide(one, site, choices.FULL)]
            return run_folder.create(one, site, choices.FULL, why, runs.resolve())

        first = int(recipe.table("train").get("seed", 0))
        return run_seeds([again(first + n) for n in range(seeds)], as_json, detach=detach)
    made = run_folder.create(recipe, site, choices.FULL, decisions, runs.resolve())
    if beside is None:
        return walk.walk_and_show(made, as_json, detach=detach)
    try:
        return walk.walk_and_show(made, as_json)
    finally:  # a training that failed is what one wants to compare most
        _compare_after(made, beside, as_json)


def _compare_after(made: Run, beside: Run, as_json: bool) -> None:
    """Show a new run's losses beside another's; whether that works does not decide the run."""
    from launch.cli import compare_commands

    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        try:
            click.echo("")
            compare_commands.show(made, beside)
        except KitError as error:
            click.echo(f"not compared: {error}")


def _beside(name: str, runs: Path, *, alone: bool) -> Run:
    """Find the run to compare with, before anything is spent.

    Raises:
        KitError: it is not there, has no loss curve, or nobody will wait for the new run.
    """
    from launch.run import compare
    from launch.run.folder import find

    if not alone:
        raise KitError(
            "--compare waits for one run to end; --seeds and --detach do not",
            fix="mfo compare RUN RUN afterwards",
        )
    found = find(name, runs)
    compare.read(found)
    return found


def dry_run(recipe: Recipe, site: Site, decisions: list[str], *, seeds: int = 1) -> None:
    """Print run.toml, Axolotl's file and the command as a run would use them."""
    import tomli_w

    from launch.inputs import base_model as fetch
    from launch.plan import choices, stack
    from launch.plan import fit as plan
    from launch.run import job_env
    from launch.run.folder import freeze
    from launch.stages import graders, train

    folder, base = Path("RUN") / "train", str(fetch.base_model_path(recipe, site))
    config = train.axolotl_config(
        recipe, site, base=base,
        train_file=Path("RUN/corpus/train.jsonl"), folder=folder, name="RUN",
    )  # fmt: skip
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
        click.echo(f"# --- evaluate: the server of {serving.name}, one at a time\n"
                   f"{shlex.join(serving.command)}")  # fmt: skip
    if site.scheduler == "slurm":
        from launch.cli.slurm_commands import print_scripts

        print_scripts(recipe, site, Path("RUN").resolve(), seeds=seeds)
        click.echo(f"# next: mfo run {recipe.name} --site {site.name}")
        return
    click.echo("# --- train: environment and command, on each node")
    environment = {**job_env.variables(site, "train"), **train.environment(recipe, Path("RUN"))}
    for key, value in sorted(environment.items()):
        click.echo(f"export {key}={value}")
    click.echo(" ".join(["python", *train.command(site, folder / "axolotl.yaml")[1:]]))
    click.echo(f"\n# next: mfo run {recipe.name} --site {site.name}")
