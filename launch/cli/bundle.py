"""`mfo bundle` and `mfo check-bundle`: a run's evidence in one file."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import click
from rich.console import Console

from checks import bundle as bundles
from checks.redact import Redactor
from checks.tables import table_path
from checks.terminal import print_verdict, printable
from kit.errors import KitError
from kit.printing import emit
from launch.cli.options import JSON, RUN, RUNS
from launch.run import image
from launch.run.folder import Run, find, kit_state, versions
from launch.stages import judge

#: Files of a run that show how it went; each may be missing. Pickles, checkpoints, weights and
#: the corpus are never packed.
WITH = (
    "corpus/summary.json",
    "train/axolotl.yaml",
    "train/progress.jsonl",
    "train/attempts.jsonl",
    "evaluate/summary.json",
)
OF_STAGE = ("inputs.json", "outputs.json")
LONGEST_LOG = 2**22  # 4 MiB: of a longer log its beginning and its end


@click.command()
@RUN
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; RUN.tar.gz here without it.",
)
@RUNS
@JSON
def bundle(run: str | None, out: Path | None, runs: Path, as_json: bool) -> int:
    """Pack RUN's evidence into one file.

    Verdict, items, recipe, logs and versions. Secrets are cut out. No weights and no corpus, but
    questions and responses: mind their licence.
    """
    found = find(run, runs)
    if not found.verdict.is_file():
        raise KitError(
            f"{found.name} has no verdict yet",
            where=str(found.path),
            fix=f"mfo resume {found.name}",
        )
    redact = Redactor()
    members = {place: redact(data) for place, data in collect(found).items()}
    target = out or Path(f"{found.name}.tar.gz")
    digest = bundles.make_bundle(target, members, redact.count)
    said = {
        "bundle": str(target),
        "sha256": digest,
        "bytes": target.stat().st_size,
        "files": len(members),
        "redacted": redact.count,
    }
    if as_json:
        emit(said)
        return 0
    click.echo(f"bundle: {target}\nsha256: {digest}")
    click.echo(f"{len(members)} files, {said['bytes']:,} bytes, {redact.count} secrets cut out")
    click.echo(f"next:  mfo check-bundle {target}")
    return 0


def collect(run: Run) -> dict[str, bytes]:
    """Give the members of a run's bundle: name -> content, secrets still in it."""
    case = judge.case(run)
    members = {
        "run.toml": _read(run.path / "run.toml"),
        "verdict.json": _read(run.verdict),
        "case.json": _as_json(case),
        "table.toml": _read(table_path(run.recipe.table("published")["table"])),
        "environment/packages.txt": _packages().encode(),
        "environment/versions.json": _as_json(
            {
                "packed with": {"kit": kit_state(), **versions()},
                "launcher of the run": run.spec["packages"],
                **{f"{stage} ran with": run.packages(stage) for stage in run.stages},
            }
        ),
    }
    members |= _images(run)
    for name in case["benchmarks"]:
        for place, folder in (("items", run.items), ("base", run.folder("evaluate") / "base")):
            if (folder / f"{name}.jsonl").is_file():
                members[f"{place}/{name}.jsonl"] = _read(folder / f"{name}.jsonl")
    stages = [f"{stage}/{file}" for stage in run.stages for file in OF_STAGE]
    for place in (*stages, *WITH):
        if (run.path / place).is_file():
            members[place] = _read(run.path / place)
    for stage in run.stages:  # on Slurm there is a log.nodeN beside the log
        for file in sorted(run.folder(stage).glob("log*")):
            if file.is_file() and file.name.replace(".", "").isalnum():
                members[f"{stage}/{file.name}"] = _shortened(_read(file))
    return members


def _images(run: Run) -> dict[str, bytes]:
    """How the images that the run used were made: what was kept of it when the run was made."""
    kept = image.read_kept(run.path / "images")
    return {f"environment/image-{name}": data for name, data in kept.items()}


def _shortened(data: bytes) -> bytes:
    if len(data) <= LONGEST_LOG:
        return data
    half = LONGEST_LOG // 2
    cut = f"\n[{len(data) - 2 * half:,} bytes of the log are left out here]\n".encode()
    return data[:half] + cut + data[-half:]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KitError(
            f"a file of the run cannot be read: {error.strerror}", where=str(path)
        ) from None


def _as_json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _packages() -> str:
    """Give what `pip freeze` would, without a process: name==version, sorted."""
    found = {(d.metadata["Name"] or "").lower(): d.version for d in metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)


@click.command("check-bundle")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def check_bundle(file: Path, as_json: bool) -> int:
    """Verify a bundle, and derive its verdict again.

    Exits 0 if the verdict inside follows from the items, 1 if it does not, 2 if it is damaged.
    """
    checked = bundles.check_bundle(file)
    agree = not checked.differences
    if as_json:
        emit(
            {
                "agrees": agree,
                "differences": list(checked.differences),
                "sha256": checked.sha256,
                "files": checked.members,
                "table": checked.table,
                "verdict": checked.verdict,
            }
        )
        return 0 if agree else 1

    click.echo(f"{file}: {checked.members} files, every sha256 holds")
    click.echo(f"sha256: {checked.sha256}")
    click.echo(f"table: {printable(checked.table)}\n")
    print_verdict(printable(checked.verdict), Console(highlight=False))
    click.echo("")
    for difference in checked.differences[:20]:
        click.echo(f"differs: {printable(difference)}")
    if len(checked.differences) > 20:
        click.echo(f"… and {len(checked.differences) - 20} more")
    if agree:
        click.secho("The verdict follows from the items.", fg="green")
    else:
        click.secho("The verdict inside does NOT follow from the items.", fg="red")
    click.echo(
        "That the items are honest only a new evaluation can show: mfo verify WEIGHTS "
        "--recipe RECIPE"
    )
    sys.stdout.flush()
    return 0 if agree else 1
