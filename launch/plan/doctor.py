"""Before node-hours are spent: does this place hold what a run needs?

Here, on the login node: the site's profile (launch.plan.site_check), tokens, space. On the
nodes, as a short job: launch.plan.node_probe on each of them, held against the profile and
against each other.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.spec import ROOM
from kit.errors import KitError
from launch.plan import bandwidth, stack
from launch.plan.node_probe import MARK
from launch.run.recipe import ROOT
from launch.run.site import IMAGES, Site, expand, who

#: Seconds between clocks from which on checkpoints and logs of two nodes cannot be put in order.
SKEW_S = 5.0
OPEN_FILES = 4096
LEAST_FREE = 200 * 2**30  # a 27B checkpoint with its optimiser is some 160 GB
SLOW_MB_S = 100
#: The site's own check accepts 5% less than its reference.
ALLREDUCE_SHARE = 0.95
LOCKS = ROOM / "locks"
_WAIT_S = 1200


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: "ok", "warn" or "fail", in words, and what to do."""

    state: str
    words: str
    fix: str = ""


def here(site: Site) -> list[Check]:
    """Look at what can be seen from where mfo was called."""
    from launch.plan.site_check import examine
    from launch.run import tracking

    out = [Check("ok" if good else "fail", words, "" if good else f"mfo site show {site.name}")
           for good, words in examine(site)]  # fmt: skip
    out.append(Check("ok", tracking.reason()))
    if not os.environ.get("HF_TOKEN") and not (Path.home() / ".cache/huggingface/token").is_file():
        out.append(Check("warn", "no token for the hub: gated models cannot be fetched",
                         "hf auth login, or export HF_TOKEN=…"))  # fmt: skip
    return out


def fetched(recipe_name: str, site: Site) -> list[Check]:
    """Look whether a run of this recipe finds in the cache what it reads, for it fetches nothing.

    Raises:
        KitError: unknown recipe.
    """
    from launch.inputs import wanted
    from launch.plan import choices, opened

    # As a run resolves it: what it leaves out need not be there.
    recipe, _ = choices.resolve(recipe_name, [])
    tied, said = wanted.look(recipe, site, choices.FULL)
    out = [Check("ok" if there else "fail", words, command) for there, words, command in said]
    out = out or [Check("ok", f"{recipe.name} needs nothing from elsewhere")]
    if all(there for there, _, _ in said):  # what was not fetched cannot be opened
        for what, words, error in opened.look(tied, site, choices.FULL):
            out.append(Check("ok", f"{what}: {words}") if error is None
                       else Check("fail", f"{what}: {error.what}", error.fix))  # fmt: skip
    return out


def command(
    site: Site, nodes: int, module: str, given: Sequence[str], place: Path, role: str = "train"
) -> str:
    """Give the shell line that runs one of the kit's modules on nodes, in an image.

    Args:
        module: with a command line of its own; one task on each node.
        given: its arguments.
        place: where files that the container's runtime reads are written.
        role: of the image, a key of the site's images.
    """
    from launch.slurm import container

    box = container.describe(site, role, ROOT, [])
    begun = container.start(box, place)
    for path, text in begun.files.items():
        path.write_text(text, encoding="utf-8")
    minutes = 10 if site.runtime != "none" else 2  # an image tests itself
    words = ["srun", f"--nodes={nodes}", "--ntasks-per-node=1", f"--time={minutes}",
             "--job-name=mfo-doctor"]  # fmt: skip
    words += [f"--{key}={value}" for key, value in who(site).items()]
    if site.gpus_per_node:
        words.append(f"--gpus-per-node={site.gpus_per_node}")
    if site.exclusive:
        words.append("--exclusive")
    words += [f"--{k}={v}" for k, v in site.sbatch.items()]
    # Labels before each line, which some profiles ask for, would hide the probe's mark.
    words += [w for w in site.srun if w != "-l"] + list(begun.srun)
    tail = ["-m", module, *given]
    return f"{shlex.join(words)} {begun.python} {shlex.join(tail)}"


def on_nodes(site: Site, nodes: int) -> list[Check]:
    """Look at the nodes, then let their ranks sum a tensor; judge both.

    Raises:
        KitError: a job did not run.
    """
    checks, seen = look(site, nodes)
    for image in IMAGES if site.runtime != "none" else ():
        checks += seams_inside(site, image)
    if nodes * site.processes_per_node > 1 and all(n["modules"]["torch"] for n in seen):
        checks.append(add_up(site, nodes))
    return checks


def look(site: Site, nodes: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """Run the probe on the nodes; gives what is judged of it, and what it said.

    Raises:
        KitError: the job did not run.
    """
    folders = [expand(f) for f in (site.scratch, str(site.cache_path)) if f]
    begun = time.time()
    image = ["--image=train"] if site.runtime != "none" else []
    done, line = _srun(site, nodes, "launch.plan.node_probe", [*image, *folders])
    ended = time.time()
    seen = [json.loads(t.split(MARK, 1)[1]) for t in done.stdout.splitlines() if MARK in t]
    if not seen:
        raise KitError(f"the doctor's job failed: {_last_words(done)}", where=line,
                       fix=f"mfo site check {site.name}")  # fmt: skip
    return judge(site, nodes, seen, (begun, ended)), seen


def seams_inside(site: Site, image: str) -> list[Check]:
    """Look inside an image, on one node, whether its packages fit where the kit calls them."""
    given = ["--image", image, "--json", "--lock", str(LOCKS / image)]
    done, line = _srun(site, 1, "containers.seams", given, image)
    found = stack.parse(done.stdout)
    if found is None:
        return [Check("fail", f"the {image} image did not say whether its packages fit: "
                      f"{_last_words(done)}", f"the same by hand: {line}")]  # fmt: skip
    stack.keep(site, image, found)
    return judge_seams(f"the {image} image", found)


def judge_seams(where: str, found: Sequence[dict[str, str]]) -> list[Check]:
    """Judge what was seen of seams.

    Args:
        where: they were looked at.
        found: what containers.seams printed: package, target, state, words.
    """
    fix = "build the image that the kit's locks describe: docs/images.md"
    out = [Check("fail", f"{where}: {one['words']}", fix) for one in found
           if one["state"] == "missing"]  # fmt: skip
    fits = sum(one["state"] == "ok" for one in found)
    out.append(
        Check("ok", f"{where}: {fits} seams fit, where the kit and its recipes call packages")
    )
    for state, says in (("unseen", "can be seen only where a GPU is"), ("absent", "is not there")):
        if names := sorted({one["package"] for one in found if one["state"] == state}):
            out.append(Check("warn", f"{where}: {', '.join(names)} {says}"))
    return out


def stacked(recipe_name: str, site: Site) -> list[Check]:
    """Look whether what a recipe loads, and no package index carries, is where it would train."""
    from launch.run import recipe as recipes

    try:
        said = stack.check(recipes.load(recipe_name), site)
    except KitError as error:
        return [Check("fail", f"{error.what}: {error.cause}", error.fix)]
    return [Check("warn", words) for words in said]


def add_up(site: Site, nodes: int) -> Check:
    """Run an all-reduce over the ranks of these nodes and judge its bandwidth.

    Raises:
        KitError: the job did not run.
    """
    given = [str(site.cache_path / "doctor"), str(site.processes_per_node)]
    done, line = _srun(site, nodes, "launch.plan.bandwidth", given)
    found = [t.split(bandwidth.MARK, 1)[1] for t in done.stdout.splitlines() if bandwidth.MARK in t]
    if not found:
        words = f"the ranks of {nodes} nodes cannot sum: {_last_words(done)}"
        return Check("fail", words, f"the same by hand: {line}")
    return judge_allreduce(site, json.loads(found[0]))


def _srun(
    site: Site, nodes: int, module: str, given: Sequence[str], role: str = "train"
) -> tuple[subprocess.CompletedProcess[str], str]:
    place = site.cache_path / "doctor"
    place.mkdir(parents=True, exist_ok=True)
    line = command(site, nodes, module, given, place, role)
    setup = "".join(f"{words}; " for words in site.setup)
    env = {**os.environ, **site.environment, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(["bash", "-c", setup + line], env=env, capture_output=True, text=True,
                              timeout=_WAIT_S, cwd=place)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KitError(
            f"the doctor's job did not run within {_WAIT_S // 60} minutes", where=line,
            cause="the queue is long", fix="mfo doctor again later, or with --nodes 1",
        ) from None  # fmt: skip
    return done, line


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    # srun's own summary comes last and says only that a task failed.
    told = [line for line in lines if "Error" in line and not line.startswith("srun:")] or lines
    return told[-1][-300:] if told else f"exit code {done.returncode}"


def judge_allreduce(site: Site, seen: dict[str, Any]) -> Check:
    """Hold a measured all-reduce against the site's own reference.

    Args:
        seen: what launch.plan.bandwidth printed: ranks, backend, bytes, gb_s.
    """
    words = (f"all-reduce of {seen['bytes'] >> 20} MiB over {seen['ranks']} ranks "
             f"({seen['backend']}): {seen['gb_s']:.3g} GB/s on the bus")  # fmt: skip
    wanted = site.allreduce_gbps
    if not wanted:
        return Check("ok", f"{words}; the profile has no reference to hold it against")
    if seen["backend"] != "nccl":
        return Check("fail", f"{words}; the ranks found no GPU", f"mfo site show {site.name}")
    if seen["gb_s"] >= ALLREDUCE_SHARE * wanted:
        return Check("ok", f"{words}; the site's reference is {wanted:g}")
    return Check("warn", f"{words}; the site's reference is {wanted:g}, less than "
                 f"{ALLREDUCE_SHARE:.0%} of it is slow",
                 "is NCCL on the site's network plugin? NCCL_DEBUG=INFO names what it uses; "
                 "leave a slow node out with sbatch = {exclude = …}")  # fmt: skip


def judge(
    site: Site, nodes: int, seen: list[dict[str, Any]], between: tuple[float, float]
) -> list[Check]:
    """Hold what the nodes say against the profile and against each other.

    Args:
        seen: what node_probe printed on each node.
        between: this machine's clock before and after.
    """
    out = []
    if len(seen) < nodes:
        out.append(Check("fail", f"only {len(seen)} of {nodes} nodes answered", "sinfo -R"))
    for node in sorted(seen, key=lambda n: str(n["node"])):
        out += _one(site, node, between)
    times = [n["time"] for n in seen]
    if max(times) - min(times) > SKEW_S + (between[1] - between[0]):
        out.append(Check("fail", f"the nodes' clocks differ by {max(times) - min(times):.0f} s",
                         "report it to the site"))  # fmt: skip
    for what in ("machine", "python"):
        if len(values := sorted({str(n[what]) for n in seen})) > 1:
            out.append(Check("fail", f"the nodes differ in {what}: {', '.join(values)}",
                             "choose a partition of equal nodes"))  # fmt: skip
    return out


def _one(site: Site, node: dict[str, Any], between: tuple[float, float]) -> list[Check]:
    name, out = node["node"], []
    count = node["gpus"]["count"]
    if site.gpus_per_node:
        good = count >= site.gpus_per_node
        words = f"{name}: {count} GPUs of {site.gpus_per_node}, driver {node['gpus']['driver']}"
        fix = "" if good else "is the image started with its GPUs? mfo site show"
        out.append(Check("ok" if good else "fail", words, fix))
    lacking = [m for m, there in node["modules"].items() if not there and m != "lm_eval"]
    has = f"without {', '.join(lacking)}" if lacking else "with what training needs"
    fix = "build the kit's image, or set python in the profile" if lacking else ""
    out.append(Check("fail" if lacking else "ok", f"{name}: Python {node['python']}, {has}", fix))
    out += _selftest(name, node.get("selftest") or {})
    if node["open_files"] != -1 and node["open_files"] < OPEN_FILES:
        out.append(Check("warn", f"{name}: at most {node['open_files']} open files can be had",
                         "ask the site for a higher hard limit (nofile); stages take all of it"))  # fmt: skip  # noqa: E501
    for folder, found in node["folders"].items():
        if "error" in found:
            out.append(Check("fail", f"{name}: {folder} cannot be written: {found['error']}",
                             f"leave the node out: sbatch = {{exclude = \"{name}\"}}"))  # fmt: skip
            continue
        small = bool(site.gpus_per_node) and found["free"] < LEAST_FREE
        state = "warn" if small or found["mb_s"] < SLOW_MB_S else "ok"
        out.append(Check(state, f"{name}: {folder} writes {found['mb_s']} MB/s, "
                         f"{found['free'] / 2**30:,.0f} GiB free"))  # fmt: skip
    early, late = between[0] - SKEW_S, between[1] + SKEW_S
    if not early <= node["time"] <= late:
        off = node["time"] - (between[0] if node["time"] < early else between[1])
        out.append(Check("fail", f"{name}: its clock is {off:+.0f} s off", "report it to the site"))
    return out


def _selftest(name: str, said: dict[str, Any]) -> list[Check]:
    """What the image said about itself on one node."""
    if "error" in said:
        return [Check("warn", f"{name}: the image did not test itself: {said['error']}",
                      "mfo image build train, then mfo image export train")]  # fmt: skip
    states = {"ok": "ok", "fail": "fail"}  # a skipped check is no pass: it is said as a warning
    fix = "mfo image selftest train, on that node"
    return [
        Check(states.get(r["state"], "warn"), f"{name}: image, {r['name']}: {r['words']}",
              fix if r["state"] == "fail" else "")
        for r in said.get("results", [])
    ]  # fmt: skip


def run(site_name: str, nodes: int, as_json: bool, recipe: str | None = None) -> int:
    """Print every check; gives 1 where one failed.

    Args:
        recipe: whose files the cache must hold; None: they are not looked for.
    """
    import click

    from kit.printing import emit
    from launch.run import interpreter
    from launch.run import site as sites

    site = sites.load(site_name)
    checks = here(site)
    if recipe:
        checks += fetched(recipe, site)
    if site.scheduler == "slurm":
        try:
            checks += on_nodes(site, nodes)
        except KitError as error:
            checks.append(Check("fail", error.what, error.fix))
    else:
        from launch.plan.node_probe import probe

        now = time.time()
        checks += judge(site, 1, [probe([str(site.cache_path)])], (now, time.time()))
        checks += judge_seams("this environment", stack.look("train"))
        if (python := interpreter.serving()).is_file():
            checks += judge_seams("the serve environment", stack.look("eval", str(python)))
    if recipe:  # after the nodes were looked at: what is inside the image is known then
        checks += stacked(recipe, site)
    failed = sum(c.state == "fail" for c in checks)
    if as_json:
        emit([{"state": c.state, "words": c.words, "next": c.fix} for c in checks])
        return 1 if failed else 0
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        click.secho(f"{check.state:<5}", fg=colours[check.state], nl=False)
        click.echo(check.words + (f"\n     next: {check.fix}" if check.fix else ""))
    click.echo(f"{failed} of {len(checks)} checks failed" if failed else "all checks hold")
    return 1 if failed else 0
