"""`mfo site show` and `mfo site check`."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import click

from kit.errors import KitError
from launch import site as sites
from launch.site import Site, expand

_HIDDEN = ("name", "title", "evidence")


def show(name: str | None, as_json: bool) -> None:
    """Print one profile with what each setting rests on; without a name, list the profiles."""
    from launch.words.options import emit

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
        if key in _HIDDEN or (value in ("", 0, [], {}, False) and key not in site.evidence):
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


def examine(site: Site) -> list[tuple[bool, str]]:
    """Give (holds, in words) for each thing of a profile that can be looked at from here."""
    from launch.cluster import container
    from launch.cluster.script import who
    from launch.recipe import ROOT

    out: list[tuple[bool, str]] = []
    unsaid = sorted(k for k in _said(site) if k not in site.evidence)
    out.append((not unsaid, f"[evidence] speaks of every setting{_list(unsaid)}"))
    if site.scheduler == "slurm":
        programs = ("sbatch", "squeue", "scontrol", "scancel")
        out += [(shutil.which(p) is not None, f"{p} is on PATH") for p in programs]
        try:
            given = who(site)
            words = ", ".join(f"{k} {v}" for k, v in given.items()) or "the cluster's defaults"
            out.append((True, f"submits with {words}"))
        except KitError as error:
            out.append((False, f"{error.what}; {error.fix}"))
        out += _partition(site)
    if site.runtime in ("apptainer", "podman-hpc"):
        out.append((shutil.which(site.runtime) is not None, f"{site.runtime} is on PATH"))
    for role in ("train", "eval"):
        if site.runtime != "none":
            reason = container.missing_image(container.describe(site, role, ROOT, []))
            out.append((reason is None, reason or f"image for {role} is there"))
    for key in ("scratch", "store", "cache"):
        value = expand(str(getattr(site, key)))
        if value:
            out.append(("$" not in value, f"{key} is {value}"))
    for mount in site.mounts:
        source = expand(mount).split(":")[0]
        from pathlib import Path

        out.append((Path(source).exists(), f"mount {source} is there"))
    return out


def _said(site: Site) -> list[str]:
    """Settings that a profile decides: those that differ from the defaults."""
    plain = Site("x", "x")
    return [k for k in asdict(site) if k not in _HIDDEN and getattr(site, k) != getattr(plain, k)]


def _list(names: list[str]) -> str:
    return f"; not of {', '.join(names)}" if names else ""


def _partition(site: Site) -> list[tuple[bool, str]]:
    import subprocess

    from launch.cluster.script import who

    try:
        wanted = who(site).get("partition")
    except KitError:
        wanted = site.partition
    if not wanted or shutil.which("sinfo") is None:
        return []
    words = ["sinfo", "-h", "-o", "%R"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        return [(False, f"sinfo: {done.stderr.strip().splitlines()[-1]}")]
    there = sorted(set(done.stdout.split()))
    return [(wanted in there, f"partition {wanted} is one of {', '.join(there)}")]
