"""The words of `mfo fetch`; what it does is in launch.cli.fetch_commands."""

from __future__ import annotations

import click

from launch.cli.options import JSON, complete_recipes, complete_sites

MIRROR = click.option(
    "--mirror", "mirrors", multiple=True, metavar="PATH|URL",
    help="Asked before the origin: a folder in the hub's layout or of git repositories, a hub's "
    "address, a git server. May be given again.",
)  # fmt: skip
JOBS = click.option("--jobs", type=click.IntRange(1, 32), default=4, show_default=True,
                    help="Files at a time.")  # fmt: skip
SITE = click.option("--site", default="laptop", show_default=True, shell_complete=complete_sites,
                    help="Whose cache is filled (MFO_CACHE wins).")  # fmt: skip


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@SITE
@MIRROR
@click.option("--only", multiple=True,
              type=click.Choice(["corpus", "model", "benchmarks", "graders", "comparators",
                                 "upstream"]),
              help="This part alone. May be given again.")  # fmt: skip
@JOBS
@click.option("--update", is_flag=True, help="Take what a branch stands for now.")
@JSON
def fetch(recipe: str, site: str, mirrors: tuple[str, ...], only: tuple[str, ...], jobs: int,
          update: bool, as_json: bool) -> None:  # fmt: skip
    """Bring all that RECIPE reads to the cache.

    On a machine with a network; every file is checked.

    Corpus, base model, benchmarks, their graders, the models that comparisons need and upstream's
    pinned files. Go on after an interruption by the same command; afterwards everything runs with
    HF_HUB_OFFLINE=1.

    \b
    mfo fetch gemma-3-27b --site clariden
    mfo fetch gemma-3-27b --only benchmarks --only upstream
    mfo fetch gemma-3-27b --mirror /copied/hub --mirror /mirrors/git
    """
    from launch.cli import fetch_commands

    fetch_commands.fetch(recipe, site, mirrors, only, jobs, update, as_json)
