"""`mfo site show` and `mfo site check`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from launch.plan.site_check import PLAIN, examine
from launch.run import site as sites


def show(name: str | None, as_json: bool) -> None:
    """Print one profile with what each setting rests on; without a name, list the profiles."""
    from kit.printing import emit

    if name is None:
        known = {n: sites.load(n).title for n in sites.known_sites()}
        if as_json:
            emit(known)
            return
        for one, title in known.items():
            click.echo(f"{one:<15} {title}")
        click.echo(
            f"your own: {sites.user_sites()}\nnext:  mfo site show NAME, mfo site check NAME"
        )
        return
    site = sites.load(name)
    if as_json:
        emit(asdict(site))
        return
    click.echo(f"{site.name}: {site.title}\n{sites.profile_path(name)}")
    for key, value in asdict(site).items():
        if key in PLAIN or (value in ("", 0, [], {}, False) and key not in site.evidence):
            continue
        shown = _shown(value)
        click.echo(f"  {key:<19} {site.evidence.get(key, 'default'):<11} {shown}")
    click.echo(
        "documented: the place says so; guess: check it before you rely on it; kit: our choice\n"
        f"next:  mfo site check {name}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} = {_shown(v)}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def check(name: str) -> int:
    """Say what of a profile holds on this machine; gives 1 where something does not."""
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
