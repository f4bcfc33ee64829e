"""`mfo status`, `mfo logs`, `mfo diagnose`: what runs are doing, and why one failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from kit.errors import KitError, nearest
from kit.files import read_json
from kit.printing import emit
from launch.cli.options import JSON, RUN, RUNS
from launch.run.folder import Run, find
from launch.slurm import diagnose as causes
from launch.slurm import state
from launch.slurm.state import Training

#: Stage states after which `mfo resume` is the next command.
_TOLD = ("failed", "interrupted", "queued", "requeued")


@click.command()
@RUN
@RUNS
@JSON
def status(run: str | None, runs: Path, as_json: bool) -> None:
    """Say what RUN is doing; without RUN, list all runs."""
    if run is not None:
        found = find(run, runs)
        known = state.ask([found], history=True)
        one = state.overview(found, known)
        emit(one) if as_json else _show_one(one, found, silent=known is None)
        return
    every = state.every(runs)
    if as_json:
        emit([view or {"path": str(path), "state": "unreadable"} for path, view in every])
        return
    if not every:
        click.echo(f"there are no runs in {runs}\nnext:  mfo run smoke")
        return

    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "at", "verdict"):
        table.add_column(column, no_wrap=column == "run")
    for path, view in every:
        if view is None:
            table.add_row(path.name, "unreadable (another version?)", "", "")
            continue
        at = next((f"{s}" for s, v in view["stages"].items() if v != "finished"), "")
        if view["training"] and at == "train":
            at += f" {view['training']['step']}/{view['training']['of']}"
        table.add_row(view["run"], view["state"], at, view["verdict"] or "")
    Console(highlight=False).print(table)
    click.echo("next:  mfo status RUN, mfo resume RUN, mfo logs RUN")


def _show_one(view: dict[str, Any], found: Run, *, silent: bool) -> None:

    click.echo(f"{view['run']}  {view['state']}\n{view['path']}")
    for stage, doing in view["stages"].items():
        more = view["details"][stage]
        words = ""
        if stage == "train" and view["training"]:
            at = Training(**view["training"])
            words = at.words() + (
                f", next checkpoint at step {at.next_save}" if at.next_save else ""
            )
        if stage == "evaluate" and doing == "running":
            words = str((read_json(found.folder(stage) / "progress.json") or {}).get("words", ""))
        click.echo(f"  {stage:<9} {doing:<12} {words}".rstrip())
        if doing != "finished" and more.get("slurm"):
            click.echo(f"    {_job_words(more)}")
        for key in ("what", "where", "cause", "message"):
            if doing in _TOLD and more.get(key) and not (key == "message" and more.get("what")):
                click.echo(f"    {key}: {more[key]}")
    if view["verdict"]:
        click.echo(f"verdict: {view['verdict']}\nreport:  {found.report}")
    if silent and found.site.scheduler == "slurm":
        click.echo("Slurm does not answer: this is what the disk says")
    nexts = {
        "finished": f"mfo verify {found.name}",
        "running": f"mfo logs -f {found.name}",
        "queued": f"mfo cancel {found.name}, or wait",
        "requeued": f"mfo logs -f {found.name}",
    }
    click.echo("next:  " + nexts.get(view["state"], f"mfo resume {found.name}"))


def _job_words(more: dict[str, Any]) -> str:
    words = f"job {more['job']}: {more['slurm']}"
    if more.get("where"):
        words += f" on {more['where']}"
    if more.get("restarts"):
        words += f", requeued {more['restarts']} times"
    if more.get("left") and more["slurm"] == "RUNNING":
        words += f", {more['left']} of its time limit left"
    return words


@click.command()
@RUN
@click.argument("stage", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing as the log grows.")
@click.option("--rank", type=click.IntRange(min=0), help="Of training on Slurm, this rank alone.")
@RUNS
def logs(run: str | None, stage: str | None, follow: bool, rank: int | None, runs: Path) -> None:
    """Print the log of RUN's STAGE.

    Without STAGE, of the one that ran last.
    """
    found = find(run, runs)
    have = [s for s in found.stages if (found.folder(s) / "log").is_file()]
    if stage is not None and stage not in found.stages:
        raise KitError(f"there is no stage {stage!r}; {nearest(stage, found.stages)}")
    chosen = stage or ("train" if rank is not None else have[-1] if have else None)
    if chosen is None or chosen not in have:
        raise KitError(
            f"{'stage ' + chosen if chosen else 'this run'} has no log yet",
            where=str(found.path),
            fix=f"mfo status {found.name}",
        )
    path = found.folder(chosen) / "log" if rank is None else rank_log(found, rank)
    going = ("running", "queued", "requeued")
    ended = (lambda: found.status(chosen)["state"] not in going) if follow else (lambda: True)
    for text in state.follow(path, ended):
        sys.stdout.write(text)
        sys.stdout.flush()


def rank_log(run: Run, rank: int) -> Path:
    """Find what one rank printed in its last attempt.

    Raises:
        KitError: there is no such rank, or it has printed nothing.
    """
    node, local = divmod(rank, run.site.processes_per_node)
    pattern = f"ranks/*/node{node}/*/attempt_0/{local}/std*.log"
    found = sorted(run.folder("train").glob(pattern), key=lambda p: p.stat().st_mtime)
    # Ranks print their logs on one of the two streams; the other one is mostly empty.
    found = [p for p in found if p.stat().st_size]
    if not found:
        raise KitError(
            f"rank {rank} has left no log of its own",
            where=str(run.folder("train")),
            cause=f"this run has ranks 0 to {run.site.world_size - 1}"
            if rank >= run.site.world_size
            else "training did not begin, or ran without Slurm, where all ranks share one log",
            fix=f"mfo logs {run.name} train",
        )
    return found[-1]


@click.command()
@click.argument("what", required=False, metavar="[RUN|LOG]")
@RUNS
@JSON
def diagnose(what: str | None, runs: Path, as_json: bool) -> int:
    """Find the first cause of a failure.

    In RUN's logs, across its ranks, or in a LOG file; exits 3 if none is found.
    """
    file = Path(what) if what else None
    name = "RUN"
    told: dict[str, Any] = {}
    if file is not None and file.is_file():
        logs = [file]
    else:
        run = find(what, runs)
        name, logs = run.name, causes.logs_of(run)
        view = state.overview(run, state.ask([run], history=True))
        bad = [d for d in view["details"].values() if d["state"] in ("failed", "interrupted")]
        told = bad[0] if bad else {}
        if not logs and not told:
            raise KitError(
                f"{run.name} has left no log yet", where=str(run.path), fix=f"mfo status {run.name}"
            )
    found = causes.diagnose(logs)
    if as_json:
        emit(
            None
            if found is None
            else {
                "cause": found.rule.name,
                "says": found.rule.says,
                "line": found.line,
                "where": found.where,
                "rank": found.rank,
                "late": found.late,
                "next": found.rule.fix.format(run=name),
            }
        )
        return 0 if found else 3
    if found is None:
        if told.get("what") or told.get("message"):
            click.echo(f"{told.get('what') or told['message']}")
        click.echo("no cause that the kit knows stands in these logs:")
        for log in logs:
            click.echo(f"  {log}")
        click.echo(f"next:  mfo logs {name}")
        return 3
    click.echo(f"{found.rule.name}: {found.rule.says}")
    if found.late:
        click.echo(f"late:  {found.late}")
    click.echo(f"line:  {found.line}")
    click.echo(f"where: {found.where}" + (f" (rank {found.rank})" if found.rank else ""))
    if told.get("what"):
        click.echo(f"stage: {told['what']}")
    click.echo(f"next:  {found.rule.fix.format(run=name)}")
    return 0
