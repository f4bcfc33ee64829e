"""`mfo canary`: freeze some of a run's grades, for later runs to hold their judge against."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kit.errors import KitError


def freeze(name: str | None, runs: Path, out: Path) -> None:
    """Write grades of a run's HealthBench items as a canary.

    Raises:
        KitError: the run has no grades, or the file cannot be written.
    """
    from checks.items import read_items, write_atomically
    from launch.run.folder import find
    from scoring import canary, kinds

    run = find(name, runs)
    files = [run.items / f"{n}.jsonl" for n, kind in kinds.KINDS.items() if kind == kinds.RUBRIC]
    found = [file for file in files if file.is_file()]
    if not found:
        raise KitError(
            f"{run.name} holds no grades", where=str(run.items),
            cause="no benchmark of it is graded by a rubric, or it has not been evaluated",
            fix="give a run with HealthBench among its benchmarks: mfo status",
        )  # fmt: skip
    items = [item for file in found for item in read_items(file, rubric={file.stem})]
    rows = canary.freeze(items)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        write_atomically(out, text)
    except OSError as error:
        raise KitError(f"the canary cannot be written: {error.strerror}", where=str(out)) from None
    click.echo(f"canary: {out}, {len(rows)} of this judge's grades\n"
               f"next:  mfo run {run.recipe.name} --set judge.canary={out}")  # fmt: skip
