"""The words for places to run."""

from __future__ import annotations

import sys

import click

from launch.cli.options import JSON, complete_recipes, complete_sites


@click.command()
@click.option("--site", default="laptop", show_default=True, shell_complete=complete_sites,
              help="Place to look at.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(min=1), default=2, show_default=True,
              help="On Slurm: how many nodes the short job looks at.")  # fmt: skip
@click.option("--recipe", shell_complete=complete_recipes,
              help="Also look whether all that it reads was fetched.")  # fmt: skip
@JSON
def doctor(site: str, nodes: int, recipe: str | None, as_json: bool) -> None:
    """Look at a site before node-hours are spent.

    From here, and on its nodes as a job of a minute.
    """
    from launch.plan import doctor as checks

    sys.exit(checks.run(site, nodes, as_json, recipe))


@click.group()
def site() -> None:
    """Show a place to run, or check it from here."""


@site.command("show")
@click.argument("name", required=False, shell_complete=complete_sites)
@JSON
def site_show(name: str | None, as_json: bool) -> None:
    """Print the profile NAME and what each setting rests on; without NAME, list them."""
    from launch.cli import site_commands

    site_commands.show(name, as_json)


@site.command("check")
@click.argument("name", shell_complete=complete_sites)
def site_check(name: str) -> None:
    """Hold the profile NAME against this machine; exits 1 where something is wrong."""
    from launch.cli import site_commands

    sys.exit(site_commands.check(name))
