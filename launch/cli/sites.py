"""`mfo site show`, `mfo site check` and `mfo doctor`: places to run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from kit.printing import emit
from launch.cli.options import JSON, complete_recipes, complete_sites
from launch.plan import doctor as checks
from launch.plan.site_check import PLAIN, examine
from launch.run import site as sites


@click.command()
@click.option(
    "--site",
    default="laptop",
    show_default=True,
    shell_complete=complete_sites,
    help="Place to look at.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="On Slurm: how many nodes the short job looks at.",
)
@click.option(
    "--recipe",
    shell_complete=complete_recipes,
    help="Also look whether all that it reads was fetched.",
)
@JSON
def doctor(site: str, nodes: int, recipe: str | None, as_json: bool) -> int:
    """Look at a site before node-hours are spent.

    From here, and on its nodes as a job of a minute.
    """
    return checks.run(site, nodes, as_json, recipe)


@click.group()
def site() -> None:
    """Show a place to run, or check it from here."""


@site.command("show")
@click.argument("name", required=False, shell_complete=complete_sites)
@JSON
def site_show(name: str | None, as_json: bool) -> None:
    """Print the profile NAME and what each setting rests on; without NAME, list them."""
    if name is None:
        known = {n: sites.load(n).title for n in sites.known_sites()}
        if as_json:
            emit(known)
            return
        for key, title in known.items():
            click.echo(f"{key:<15} {title}")
        click.echo(
            f"your own: {sites.user_sites()}\nnext:  mfo site show NAME, mfo site check NAME"
        )
        return
    one = sites.load(name)
    if as_json:
        emit(asdict(one))
        return
    click.echo(f"{one.name}: {one.title}\n{sites.profile_path(name)}")
    for key, value in asdict(one).items():
        if key in PLAIN or (value in ("", 0, [], {}, False) and key not in one.evidence):
            continue
        shown = _shown(value)
        click.echo(f"  {key:<19} {one.evidence.get(key, 'default'):<11} {shown}")
    click.echo(
        "documented: the place says so; guess: check it before you rely on it; kit: our choice\n"
        f"next:  mfo site check {name}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} = {_shown(v)}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@site.command("check")
@click.argument("name", shell_complete=complete_sites)
def site_check(name: str) -> int:
    """Hold the profile NAME against this machine; exits 1 where something is wrong."""
    findings = examine(sites.load(name))
    for good, words in findings:
        click.secho("ok     " if good else "wrong  ", fg="green" if good else "red", nl=False)
        click.echo(words)
    wrong = [w for good, w in findings if not good]
    if wrong:
        click.echo(f"{len(wrong)} of {len(findings)} do not hold here\nnext:  mfo site show {name}")
    else:
        click.echo(f"next:  mfo doctor --site {name}")
    return 1 if wrong else 0
