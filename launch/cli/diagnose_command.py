"""`mfo diagnose`: the first cause of a failure, in words, and the next command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kit.errors import KitError


def diagnose(what: str | None, runs: Path, as_json: bool) -> int:
    """Diagnose a run or a log file; gives 0 where a cause was found, 3 where none was."""
    from kit.printing import emit
    from launch.run.folder import find
    from launch.slurm import diagnose as doctor
    from launch.slurm import state

    file = Path(what) if what else None
    name = "RUN"
    told: dict[str, Any] = {}
    if file is not None and file.is_file():
        logs = [file]
    else:
        run = find(what, runs)
        name, logs = run.name, doctor.logs_of(run)
        view = state.overview(run, state.ask([run], history=True))
        bad = [d for d in view["details"].values() if d["state"] in ("failed", "interrupted")]
        told = bad[0] if bad else {}
        if not logs and not told:
            raise KitError(f"{run.name} has left no log yet", where=str(run.path),
                           fix=f"mfo status {run.name}")  # fmt: skip
    found = doctor.diagnose(logs)
    if as_json:
        emit(None if found is None else {
            "cause": found.rule.name, "says": found.rule.says, "line": found.line,
            "where": found.where, "rank": found.rank, "late": found.late,
            "next": found.rule.fix.format(run=name),
        })  # fmt: skip
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
