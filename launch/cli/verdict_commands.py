"""`mfo verify`, `mfo report`, `mfo audit` and `mfo calibrate`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.errors import KitError
from kit.printing import emit
from launch.files import written
from launch.run.recipe import parse_setting

if TYPE_CHECKING:
    from checks.items import Item
    from checks.tables import Table
    from launch.run.folder import Run

#: The row that is judged or calibrated where the built-in table is meant and no row is named.
OWN_TABLE, OWN_MODEL = "fully-open-meditron", "Gemma-3-27B-MeditronFO"

Groups = Mapping[str, Sequence["Item"]]


def verify(what: tuple[str, ...], runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    """Judge runs again, given weights, or given items."""
    if given["reference_items"] and not given["items"]:
        raise KitError(
            "--reference-items needs --items OURS",
            fix="mfo verify --items RUN/items --reference-items RELEASED --published … --model …",
        )
    if (
        given["benchmarks"]
        and not given["recipe"]
        and not (given["sensitivity"] and given["items"])
    ):
        raise KitError("--benchmarks goes with --recipe, or with --sensitivity --items")
    if given["limit"] is not None and not given["recipe"]:
        raise KitError(
            "--limit goes with --recipe: it says how many items are asked",
            fix="mfo verify WEIGHTS --recipe … --limit N",
        )
    if given["items"]:
        if what:
            raise KitError("give either --items or a run or weights, not both")
        return _verify_items(as_json, given)
    if given["recipe"]:
        if given["sensitivity"]:
            raise KitError(
                "--sensitivity asks about answers that are there; --recipe gets new ones",
                fix="mfo verify WEIGHTS --recipe …, then mfo verify RUN --sensitivity",
            )
        if len(what) != 1:
            raise KitError(
                "--recipe scores one folder of weights", fix="mfo verify WEIGHTS --recipe …"
            )
        return _verify_weights(Path(what[0]), runs, as_json, given)
    if given["benchmark"]:
        raise KitError("--benchmark names the benchmark of an --items file; a run knows its own")
    for name in what:
        folder = Path(name)
        if folder.is_dir() and not (folder / "run.toml").is_file():
            raise KitError(
                f"{name} is a folder of weights or something else, not a run",
                fix=f"mfo verify {name} --recipe RECIPE scores it by that recipe's protocol",
            )
    return _verify_runs(what, runs, as_json, given)


def _verify_runs(names: Sequence[str], runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    from launch.cli import verdict_seeds
    from launch.run.folder import find
    from launch.stages import judge

    found = [find(name, runs) for name in names] or [find(None, runs)]
    for run in found:
        _scored(run)
    if given["sensitivity"]:
        from launch.cli.sensitivity_command import of_runs

        return of_runs(found, as_json, given)
    if len(found) == 1:
        return _show_verdict(judge.derive(found[0], given), found[0].items, as_json, given)
    verdict, items = verdict_seeds.derive(found, given)
    return _show_verdict(verdict, items, as_json, given)


def _scored(run: Run) -> None:
    if run.status("evaluate")["state"] != "finished":
        raise KitError(
            f"{run.name} has no scores yet", where=str(run.path), fix=f"mfo resume {run.name}"
        )


def _verify_weights(weights: Path, runs: Path, as_json: bool, given: dict[str, Any]) -> int:
    from launch.cli.walk import walk_and_show
    from launch.inputs.wanted import freeze
    from launch.plan import choices
    from launch.run import folder as run_folder
    from launch.run import site as sites

    site = sites.load(given["site"])
    settings = [
        ("model.weights", str(weights)),
        ("eval.base", False),
        ("published.tier", given["tier"] or "weights"),
        *(parse_setting(s) for s in given["settings"]),
    ]
    recipe, decisions = choices.resolve(
        given["recipe"], settings, benchmarks=given["benchmarks"], limit=given["limit"]
    )
    # Not the recipe's own title: nothing of what that promises is trained here.
    titled = {**recipe.data, "title": f"{weights.resolve().name}, scored as {recipe.title}"}
    recipe = replace(recipe, data=titled)
    stages = ["evaluate", "judge"]
    decisions += choices.decide(recipe, site, stages)
    recipe, tied = freeze(recipe, site, stages)
    decisions += tied
    choices.check_inputs(recipe, site, stages)
    choices.check_space(runs)
    made = run_folder.create(recipe, site, stages, decisions, runs.resolve())
    return walk_and_show(made, as_json)


def _verify_items(as_json: bool, given: dict[str, Any]) -> int:
    from checks.tables import load_table
    from checks.verdict import judge

    asked = given["sensitivity"]
    if not asked and not (given["published"] and given["model"]):
        raise KitError(
            "--items needs --published FILE and --model NAME",
            fix="mfo verify --items FILE --published fully-open-meditron --model NAME",
        )
    files, names = list(given["items"]), list(given["benchmark"])
    if names and len(names) != len(files):
        raise KitError(f"{len(files)} --items but {len(names)} --benchmark: give one for each")
    table = load_table(given["published"]) if given["published"] else None
    items = _read(files, names, table, as_json)
    reference = None
    if given["reference_items"]:
        others = list(given["reference_items"])
        # Where both sides are one file each, the name given for ours holds for theirs too.
        same = names if len(others) == len(files) else []
        reference = _read(others, same, table, as_json)
    if asked or table is None:
        from launch.cli.sensitivity_command import of_items

        return of_items(items, reference, table, as_json, given)
    verdict = judge(
        items=items,
        table=table,
        model=given["model"],
        benchmarks=list(items),
        # The triangle asks about weights that were trained again.
        tier=given["tier"] or ("retrain" if reference is not None else "weights"),
        allow_partial=given["allow_partial"],
        reference_items=reference,
        provenance={
            "items": [str(p) for p in files],
            **(
                {"reference_items": [str(p) for p in given["reference_items"]]} if reference else {}
            ),
            "published": str(given["published"]),
        },
    )
    return _show_verdict(verdict, items, as_json, given)


def _read(
    files: Sequence[Path], names: Sequence[str], table: Table | None, as_json: bool
) -> dict[str, list[Item]]:
    """Read files of items, each with the benchmark that was named for it or that its name tells."""
    from checks.items import read_items
    from scoring.kinds import KINDS

    columns, rubric = (table.benchmarks, table.rubric) if table else (KINDS, ())
    items: dict[str, list[Item]] = {}
    for number, path in enumerate(files):
        name = names[number] if names else _benchmark_of(path, list(columns))
        if name and not names:
            click.echo(f"benchmark: {name}, from the file's name {path.name}", err=as_json)
        for item in read_items(path, name, rubric=rubric):
            items.setdefault(item.benchmark, []).append(item)
    return items


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
    verdict: dict[str, Any], items: Path | Groups, as_json: bool, given: Mapping[str, Any]
) -> int:
    """Print a verdict, write what was asked for beside it, and give the exit code."""
    from checks.items import write_atomically
    from checks.terminal import print_verdict

    if as_json:
        emit(verdict)
    else:
        from rich.console import Console

        print_verdict(verdict, Console(highlight=False))
    if given["report_to"]:
        from checks.report import write_report

        page = written(lambda: write_report(verdict, given["report_to"], items), given["report_to"])
        click.echo(f"report: {page}", err=as_json)
    if given["markdown"]:
        from checks.report import write_markdown

        text = write_markdown(verdict)
        written(lambda: write_atomically(given["markdown"], text), given["markdown"])
        click.echo(f"markdown: {given['markdown']}", err=as_json)
    if given["junit"]:
        from checks.report import write_junit

        written(lambda: write_junit(verdict, given["junit"]), given["junit"])
        click.echo(f"junit: {given['junit']}", err=as_json)
    return int(verdict["exit_code"])


def report(name: str | None, runs: Path) -> None:
    """Draw a run's page from its verdict.json."""
    from checks.report import write_report
    from checks.verdict import read_verdict
    from launch.run.folder import find

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


def calibrate(
    published: str, model: str | None, tier: Any, runs: int, as_json: bool, markdown: bool
) -> None:
    """Simulate the checker on each benchmark of a row, and print how often it errs."""
    from checks.calibrate import FAULT_NOTES, calibration_markdown
    from checks.calibrate import calibrate as simulate
    from checks.tables import load_table

    table = load_table(published)
    row = model or _only_row(table)
    entry = table.model(row)
    keys = [k for k in entry.scores if table.benchmarks[k].items]
    if not keys:
        raise KitError(
            f"the table gives no score of {row} with a number of items", where=table.name,
            fix="add items = N to its benchmarks",
        )  # fmt: skip
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=len(keys), completed=-1)

        def told(title: str) -> None:
            progress.update(task, advance=1, description=f"simulating {title}")

        result = simulate(table, row, keys, tier=tier, runs=runs, progress=told)
    if as_json:
        emit(result)
        return
    if markdown:
        click.echo(calibration_markdown(result), nl=False)
        return
    click.echo(f"{row} of {table.name}, tier {tier}: {runs:,} runs for each fault, in per cent")
    click.echo(f"{'':27}{'true':>7}{'reproduced':>12}{'inconclusive':>14}{'not repr.':>11}")
    for one in result["rows"]:
        click.echo(f"{one['title']}: {one['items']:,} items, margin ±{one['margin']:.2f}")
        for fault in one["faults"]:
            shares = (100 * fault[w] for w in ("reproduced", "inconclusive", "not reproduced"))
            cells = "{:>12.1f}{:>14.1f}{:>11.1f}".format(*shares)
            click.echo(f"  {fault['fault']:<25}{fault['true']:>7.2f}{cells}")
    click.echo(FAULT_NOTES)


def _only_row(table: Table) -> str:
    if table.name == OWN_TABLE:
        return OWN_MODEL
    if len(table.models) == 1:
        return next(iter(table.models))
    raise KitError(
        f"the table {table.name} has {len(table.models)} rows: which one?",
        where=table.name,
        fix=f"--model NAME, one of: {', '.join(table.models)}",
    )
