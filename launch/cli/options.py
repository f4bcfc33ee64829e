"""Options and arguments that several commands share, and what a shell completes them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

RUNS = click.option(
    "--runs", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    envvar="MFO_RUNS", show_default=True, help="Folder that holds the runs (MFO_RUNS).",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def complete_recipes(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the recipes whose names begin like this."""
    from launch.run.recipe import known_recipes

    return [n for n in known_recipes() if n.startswith(incomplete)]


def complete_sites(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the sites whose names begin like this."""
    from launch.run.site import known_sites

    return [n for n in known_sites() if n.startswith(incomplete)]


def complete_runs(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the runs whose names begin like this."""
    runs = (ctx.params.get("runs") or Path("runs")).glob("*/run.toml")
    return sorted(p.parent.name for p in runs if p.parent.name.startswith(incomplete))


RUN = click.argument("run", required=False, shell_complete=complete_runs)
