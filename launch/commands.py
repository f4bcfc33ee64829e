"""What the commands of `mfo` do once their words are parsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch.cli import emit
from launch.errors import KitError
from launch.recipe import Recipe, parse_setting

if TYPE_CHECKING:
    from rich.console import Console

    from launch.run import Run
    from launch.site import Site

INTERRUPTED = 130


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Run names and paths are data: nothing in them is markup or worth colouring.
    return Console(stderr=stderr, highlight=False)


def run(recipe_name: str, site_name: str, settings: tuple[str, ...], shorthands: dict[str, Any],
        dry: bool, runs: Path, as_json: bool, *, nodes: int | None = None,
        detach: bool = False) -> int:  # fmt: skip
    """Make a run and walk it; gives the exit code."""
    from launch import run as run_folder
    from launch import site as sites
    from launch.preflight import choices
    from launch.slurm_commands import shaped

    site = shaped(sites.load(site_name), nodes)
    recipe, decisions = choices.resolve(
        recipe_name, [parse_setting(s) for s in settings], **shorthands
    )
    if dry:
        dry_run(recipe, site, decisions)
        return 0
    decisions += choices.decide(recipe, site, choices.FULL)
    choices.check_inputs(recipe, choices.FULL)
    choices.check_space(runs)
    made = run_folder.create(recipe, site, choices.FULL, decisions, runs.resolve())
    return walk_and_show(made, as_json, detach=detach)


def dry_run(recipe: Recipe, site: Site, decisions: list[str]) -> None:
    """Print run.toml, Axolotl's file and the command as a run would use them."""
    import tomli_w

    from launch.preflight import choices, fetch
    from launch.run import freeze
    from launch.stages import train

    folder = Path("RUN") / "train"
    config = train.axolotl_config(
        recipe, site, base=str(fetch.base_model_path(recipe, site)),
        train_file=Path("RUN/corpus/train.jsonl"), folder=folder, name="RUN",
    )  # fmt: skip
    try:
        decisions = decisions + choices.decide(recipe, site, choices.FULL)
    except KitError as error:
        decisions = [*decisions, f"NOT RUNNABLE HERE: {error.what}"]
    click.echo("# --- run.toml")
    click.echo(tomli_w.dumps(freeze(recipe, site, choices.FULL, decisions)))
    click.echo("# --- train/axolotl.yaml")
    click.echo(train.to_yaml(config))
    if site.scheduler == "slurm":
        from launch.slurm_commands import print_scripts

        print_scripts(recipe, site, Path("RUN").resolve())
        click.echo(f"# next: mfo run {recipe.name} --site {site.name}")
        return
    click.echo("# --- train: environment and command, on each node")
    environment = {**site.environment, **train.environment(Path("RUN"))}
    for key, value in sorted(environment.items()):
        click.echo(f"export {key}={value}")
    click.echo(" ".join(["python", *train.command(site, folder / "axolotl.yaml")[1:]]))
    click.echo(f"\n# next: mfo run {recipe.name} --site {site.name}")


def walk_and_show(found: Run, as_json: bool, *, detach: bool = False) -> int:
    """Walk a run's stages, then show its verdict; gives the exit code.

    Args:
        detach: on Slurm, submit and return.
    """
    from launch import pipeline
    from launch.run import held
    from launch.watch.progress import Bars

    console = _console(stderr=as_json)
    console.print(f"[bold]{found.recipe.title}[/] · {found.path}", soft_wrap=True)
    for decision in found.spec.get("decisions", []):
        console.print(f"  {decision}", style="dim", markup=False, soft_wrap=True)
    if found.site.scheduler == "slurm":
        from launch.slurm_commands import submit_and_show

        code = submit_and_show(found, console, detach=detach)
        return show(found, as_json) if code is None else code
    with held(found):
        _warn_if_changed(found, console)
        try:
            pipeline.walk(found, Bars(found, console))
        except KeyboardInterrupt:
            console.print(
                f"interrupted; what was finished is kept.\nnext:  mfo resume {found.name}",
                soft_wrap=True,
            )
            return INTERRUPTED
    return show(found, as_json)


def _warn_if_changed(found: Run, console: Console) -> None:
    from launch.run import kit_state

    was, now = found.spec.get("kit", {}), kit_state()
    if was.get("commit") != now.get("commit"):
        console.print(
            f"[yellow]note:[/] the run was made at kit commit {str(was.get('commit'))[:12]}, this "
            f"is {str(now.get('commit'))[:12]}; finished stages are kept"
        )


def show(found: Run, as_json: bool) -> int:
    """Print a finished run's verdict and where its page is."""
    from checks.terminal import print_verdict
    from checks.verdict import read_verdict

    verdict = read_verdict(found.verdict)
    if as_json:
        emit(verdict)
    else:
        print_verdict(verdict, _console())
        _console().print(f"report: {found.report}", soft_wrap=True)
    return int(verdict["exit_code"])


def verify(what: str | None, runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    """Judge a run again, given weights, or given items."""
    if given["items"]:
        if what:
            raise KitError("give either --items or a run or weights, not both")
        return _verify_items(as_json, given)
    if what and given["recipe"]:
        return _verify_weights(Path(what), runs, as_json, given)
    folder = Path(what) if what else None
    if folder and folder.is_dir() and not (folder / "run.toml").is_file():
        raise KitError(
            f"{what} is a folder of weights or something else, not a run",
            fix=f"mfo verify {what} --recipe RECIPE scores it by that recipe's protocol",
        )
    return _verify_run(what, runs, as_json, given)


def _verify_run(name: str | None, runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    from launch.run import find
    from launch.stages import judge

    found = find(name, runs)
    if found.status("evaluate")["state"] != "finished":
        raise KitError(
            f"{found.name} has no scores yet", where=str(found.path),
            fix=f"mfo resume {found.name}",
        )  # fmt: skip
    return _show_verdict(judge.derive(found), found.items, as_json, given["report_to"])


def _verify_weights(weights: Path, runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    from launch import run as run_folder
    from launch import site as sites
    from launch.preflight import choices

    if not weights.is_dir():
        raise KitError("there is no such folder of weights", where=str(weights))
    site = sites.load(given["site"])
    settings = [
        ("model.weights", str(weights)),
        ("eval.base", False),
        ("published.tier", given["tier"] or "weights"),
        *(parse_setting(s) for s in given["settings"]),
    ]
    recipe, decisions = choices.resolve(given["recipe"], settings)
    stages = ["evaluate", "judge"]
    decisions += choices.decide(recipe, site, stages)
    choices.check_inputs(recipe, stages)
    choices.check_space(runs)
    made = run_folder.create(recipe, site, stages, decisions, runs.resolve())
    return walk_and_show(made, as_json)


def _verify_items(as_json: bool, given: dict[str, Any]) -> int:
    from checks.items import read_items
    from checks.tables import load_table
    from checks.verdict import judge

    if not given["published"] or not given["model"]:
        raise KitError(
            "--items needs --published FILE and --model NAME",
            fix="mfo verify --items FILE --published fully-open-meditron --model NAME",
        )
    files, names = list(given["items"]), list(given["benchmark"])
    if names and len(names) != len(files):
        raise KitError(f"{len(files)} --items but {len(names)} --benchmark: give one for each")
    table = load_table(given["published"])
    items: dict[str, list[Any]] = {}
    for number, path in enumerate(files):
        name = names[number] if names else _benchmark_of(path, list(table.benchmarks))
        if name and not names:
            click.echo(f"benchmark: {name}, from the file's name {path.name}", err=as_json)
        for item in read_items(path, name):
            items.setdefault(item.benchmark, []).append(item)
    verdict = judge(
        items=items,
        table=table,
        model=given["model"],
        benchmarks=list(items),
        tier=given["tier"] or "weights",
        allow_partial=given["allow_partial"],
        provenance={"items": [str(p) for p in files], "published": str(given["published"])},
    )
    return _show_verdict(verdict, None, as_json, given["report_to"])


def _benchmark_of(path: Path, columns: list[str]) -> str | None:
    """Read a file's benchmark from its name, where its rows do not say and only one fits."""
    try:
        with path.open(encoding="utf-8") as file:
            if '"benchmark"' in file.readline():
                return None
    except (OSError, UnicodeDecodeError):
        return None  # a folder, or a file that its reader will refuse with a better message
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    fitting = [name for name in columns if name.lower() in words]
    return fitting[0] if len(fitting) == 1 else None


def _show_verdict(
    verdict: dict[str, Any], items: Path | None, as_json: bool, report_to: Path | None
) -> int:
    from checks.terminal import print_verdict

    if as_json:
        emit(verdict)
    else:
        print_verdict(verdict, _console())
    if report_to:
        from checks.report import write_report

        click.echo(f"report: {write_report(verdict, report_to, items)}", err=as_json)
    return int(verdict["exit_code"])


def report(name: str | None, runs: Path) -> None:
    """Draw a run's page from its verdict.json."""
    from checks.report import write_report
    from checks.verdict import read_verdict
    from launch.run import find

    found = find(name, runs)
    if not found.verdict.is_file():
        raise KitError(
            f"{found.name} has no verdict yet", where=str(found.path),
            fix=f"mfo resume {found.name}",
        )  # fmt: skip
    page = write_report(read_verdict(found.verdict), found.report.parent, found.items)
    click.echo(f"report: {page}")


def audit(published: str, as_json: bool) -> int:
    """Check a published table against itself; gives the exit code."""
    from checks.audit import audit as find_all
    from checks.tables import load_table

    findings = find_all(load_table(published))
    certain = [f for f in findings if f.certainty == "certain"]
    if as_json:
        emit({"findings": [f.as_dict() for f in findings]})
        return 1 if certain else 0
    colours = {"certain": "red", "likely": "yellow"}
    for finding in findings:
        colour = colours.get(finding.certainty, "cyan")
        click.secho(f"{finding.certainty:<8}", fg=colour, nl=False)
        click.echo(f"{finding.model} · {finding.cell} · {finding.kind}")
        click.echo(f"        {finding.message}")
    click.echo(
        f"{len(findings)} findings in {published}, {len(certain)} of them certain errors\n"
        "next:  mfo audit --json for programs; mfo verify --items FILE --published "
        f"{published} --model NAME to hold scores against it"
    )
    return 1 if certain else 0
