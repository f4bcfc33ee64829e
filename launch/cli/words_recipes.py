"""The words for recipes: list them, show one, compare two, plan one."""

from __future__ import annotations

from pathlib import Path

import click

from launch.cli.options import JSON, RUNS, complete_recipes, complete_sites


@click.command()
@JSON
def recipes(as_json: bool) -> None:
    """List the recipes.

    With the size of the model, the cost of its training, and the status.
    """
    from launch.cli import recipe_commands

    recipe_commands.list_all(as_json)


@click.group()
def recipe() -> None:
    """Show a recipe in full, or how two differ."""


SET = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Any recipe value, e.g. train.learning_rate=0. May be given again.",
)  # fmt: skip


@recipe.command("show")
@click.argument("name", shell_complete=complete_recipes)
@click.option("--axolotl", is_flag=True, help="Only the file that Axolotl reads, whole.")
@click.option("--site", default="clariden", show_default=True,
              help="Whose shape decides the accumulation in that file.")  # fmt: skip
@SET
@JSON
def recipe_show(name: str, axolotl: bool, site: str, settings: tuple[str, ...],
                as_json: bool) -> None:  # fmt: skip
    """Print recipe NAME (or NAME+VARIANT) as it is resolved, and its variants."""
    from launch.cli import recipe_commands

    recipe_commands.show(name, site, settings, axolotl=axolotl, as_json=as_json)


@recipe.command("diff")
@click.argument("one", shell_complete=complete_recipes)
@click.argument("other", required=False, shell_complete=complete_recipes)
@click.option("--upstream", is_flag=True,
              help="Against upstream's training file, with each difference's reason.")  # fmt: skip
@click.option("--upstream-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="The same, with a copy of that file.")  # fmt: skip
@click.option("--site", default="laptop", show_default=True, shell_complete=complete_sites,
              help="Whose cache holds upstream's files (mfo fetch; MFO_CACHE wins).")  # fmt: skip
@JSON
def recipe_diff(one: str, other: str | None, upstream: bool, upstream_file: Path | None, site: str,
                as_json: bool) -> None:  # fmt: skip
    """Print every value in which recipes ONE and OTHER differ.

    With --upstream: in which ONE differs from the training file that upstream published, and why;
    exit code 1 where nothing says why.

    \b
    mfo recipe diff gemma-3-27b olmo-2-32b
    mfo recipe diff gemma-3-27b gemma-3-27b+fast
    mfo recipe diff gemma-3-27b --upstream
    """
    from launch.cli import recipe_commands

    held = upstream or upstream_file is not None
    if held == (other is not None):
        raise click.UsageError("give either a second recipe or --upstream")
    if other is not None:
        recipe_commands.diff(one, other, as_json)
        return
    raise SystemExit(recipe_commands.diff_upstream(one, upstream_file, site, as_json))


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.option("--site", default="clariden", show_default=True, shell_complete=complete_sites,
              help="Where it would run.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the training stage.")
@SET
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Also write a page (.html) or the scaling curve alone (.svg).")  # fmt: skip
@RUNS
@JSON
def plan(recipe: str, site: str, nodes: int | None, settings: tuple[str, ...], out: Path | None,
         runs: Path, as_json: bool) -> None:  # fmt: skip
    """Say whether RECIPE fits, how long it takes and what it costs.

    In ranges, from arithmetic; what is assumed and why: docs/planning.md. Nothing is submitted.

    \b
    mfo plan gemma-3-27b --site clariden
    mfo plan olmo-2-32b --site jupiter --nodes 16 --out plan.html
    """
    from launch.cli import plan_command

    plan_command.plan(recipe, site, settings, nodes=nodes, runs=runs, out=out, as_json=as_json)
