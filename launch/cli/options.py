"""Options and arguments that several commands share, and what a shell completes them with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kit.errors import KitError
from launch.run.recipe import Recipe, known_recipes, load, parse_setting, with_settings
from launch.run.site import Site, known_sites

RUNS = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    envvar="MFO_RUNS",
    show_default=True,
    help="Folder that holds the runs (MFO_RUNS).",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


SET = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any recipe value, e.g. train.learning_rate=0. May be given again.",
)


def load_with(name: str, settings: tuple[str, ...]) -> Recipe:
    """Load a recipe with the values of `--set` on top."""
    return with_settings(load(name), map(parse_setting, settings))


def shaped(site: Site, nodes: int | None) -> Site:
    """Give the site with the number of training nodes that was asked for.

    Raises:
        KitError: several nodes on a site without a scheduler.
    """
    if nodes is None:
        return site
    if nodes > 1 and site.scheduler == "local":
        raise KitError(
            f"site {site.name} is one machine; {nodes} nodes need a scheduler",
            fix="mfo run … --site slurm-generic, or a site of your own: mfo site show",
        )
    return replace(site, nodes=nodes)


def complete_recipes(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the recipes whose names begin like this."""
    return [n for n in known_recipes() if n.startswith(incomplete)]


def complete_sites(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the sites whose names begin like this."""
    return [n for n in known_sites() if n.startswith(incomplete)]


def complete_runs(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the runs whose names begin like this."""
    runs = (ctx.params.get("runs") or Path("runs")).glob("*/run.toml")
    return sorted(p.parent.name for p in runs if p.parent.name.startswith(incomplete))


RUN = click.argument("run", required=False, shell_complete=complete_runs)
