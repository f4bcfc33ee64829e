"""What of a site's profile holds on this machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from kit.errors import KitError
from launch.run.recipe import ROOT
from launch.run.site import IMAGES, Site, expand, who
from launch.slurm import container

#: Settings that no profile decides.
PLAIN = ("name", "title", "evidence")


def examine(site: Site) -> list[tuple[bool, str]]:
    """Give (holds, in words) for each thing of a profile that can be looked at from here."""
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
    for role in IMAGES:
        if site.runtime != "none":
            reason = container.missing_image(container.describe(site, role, ROOT, []))
            out.append((reason is None, reason or f"image for {role} is there"))
    for key in ("scratch", "store", "cache"):
        value = expand(str(getattr(site, key)))
        if value:
            out.append(("$" not in value, f"{key} is {value}"))
    for mount in site.mounts:
        source = expand(mount).split(":")[0]
        out.append((Path(source).exists(), f"mount {source} is there"))
    return out


def _said(site: Site) -> list[str]:
    """Settings that a profile decides: those that differ from the defaults."""
    plain = Site("x", "x")
    return [k for k in asdict(site) if k not in PLAIN and getattr(site, k) != getattr(plain, k)]


def _list(names: list[str]) -> str:
    return f"; not of {', '.join(names)}" if names else ""


def _partition(site: Site) -> list[tuple[bool, str]]:
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
