"""`mfo verify`, `mfo report` and `mfo canary`: scores against a published table, or a judge."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from checks import verdict as verdicts
from checks.items import Item, read_items
from checks.report import write_junit, write_markdown, write_report
from checks.tables import Table, load_table
from checks.terminal import print_verdict
from kit.errors import KitError
from kit.files import os_errors, write_text
from kit.printing import emit
from launch.cli import sensitivity
from launch.cli.options import JSON, RUN, RUNS
from launch.cli.run import walk_and_show
from launch.plan import choices
from launch.plan.prepare import prepare
from launch.run import site as sites
from launch.run.folder import Run, find
from launch.run.recipe import parse_setting
from launch.stages import judge
from scoring import canary as canaries
from scoring import kinds

Groups = Mapping[str, Sequence["Item"]]


#: What `--seed` sets; runs may differ in these alone.
SEEDS = (("train", "seed"), ("train", "data_seed"), ("model", "seed"))


@click.command()
@click.argument("what", nargs=-1, metavar="[RUN|WEIGHTS]...")
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Scored items (file or folder) instead of a run; may be repeated.",
)
@click.option(
    "--reference-items",
    type=click.Path(path_type=Path),
    multiple=True,
    help="With --items: the released weights' items, from the same harness.",
)
@click.option(
    "--benchmark",
    multiple=True,
    help="Benchmark of an --items file that does not say; one for each such file.",
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Say how far each choice of the protocol moves the score; of two runs, compare.",
)
@click.option(
    "--benchmarks",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --recipe: score the benchmark files in this folder. With --sensitivity "
    "--items: the benchmarks that they are of.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="With --recipe: items per benchmark, drawn at random.",
)
@click.option("--published", help="Table to hold them against: a file, or a built-in name.")
@click.option("--model", help="Row of the table.")
@click.option(
    "--tier",
    type=click.Choice(["weights", "retrain"]),
    help="weights: the same weights scored again; retrain: trained again.",
)
@click.option("--allow-partial", is_flag=True, help="Judge fewer items than the table's.")
@click.option("--recipe", help="Score WEIGHTS by this recipe's protocol.")
@click.option("--site", default="laptop", show_default=True, help="Where to score WEIGHTS.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="With --recipe.")
@click.option("--report", "report_to", type=click.Path(path_type=Path), help="Write the page here.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the verdict as Markdown.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write it as JUnit XML, for CI.")
@RUNS
@JSON
def verify(what: tuple[str, ...], runs: Path, as_json: bool, **given: Any) -> int:
    """Hold scores against the published table.

    \b
    mfo verify RUN                                           derive a run's verdict again
    mfo verify RUN RUN RUN                                   several seeds of one recipe together
    mfo verify WEIGHTS --recipe gemma-3-27b --site SITE      score given weights, then judge
    mfo verify --items FILE --published FILE --model NAME    judge items that you have
    mfo verify --items OURS --reference-items RELEASED …     evaluation drift and training drift
    mfo verify RUN --sensitivity                             other ways to read the same answers
    mfo verify RUN OTHER --sensitivity                       two protocols of the same weights

    --tier is weights for --items, and retrain with --reference-items and for runs.
    """
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

    found = [find(name, runs) for name in names] or [find(None, runs)]
    for run in found:
        _scored(run)
    if given["sensitivity"]:
        return sensitivity.of_runs(found, as_json, given)
    if len(found) == 1:
        return _show_verdict(judge.derive(found[0], given), found[0].items, as_json, given)
    verdict, items = _derive_seeds(found, given)
    return _show_verdict(verdict, items, as_json, given)


def _scored(run: Run) -> None:
    if run.status("evaluate")["state"] != "finished":
        raise KitError(
            f"{run.name} has no scores yet", where=str(run.path), fix=f"mfo resume {run.name}"
        )


def _verify_weights(weights: Path, runs: Path, as_json: bool, given: dict[str, Any]) -> int:

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
    made = prepare(recipe, decisions, site, ["evaluate", "judge"], runs)
    return walk_and_show(made, as_json)


def _verify_items(as_json: bool, given: dict[str, Any]) -> int:

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
        return sensitivity.of_items(items, reference, table, as_json, given)
    verdict = verdicts.judge(
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
    columns, rubric = (table.benchmarks, table.rubric) if table else (kinds.KINDS, ())
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
    if as_json:
        emit(verdict)
    else:
        print_verdict(verdict, Console(highlight=False))
    if given["report_to"]:
        with os_errors("this cannot be written", given["report_to"], fix="give another place"):
            page = write_report(verdict, given["report_to"], items)
        click.echo(f"report: {page}", err=as_json)
    if given["markdown"]:
        text = write_markdown(verdict)
        with os_errors("this cannot be written", given["markdown"], fix="give another place"):
            write_text(given["markdown"], text, parents=True)
        click.echo(f"markdown: {given['markdown']}", err=as_json)
    if given["junit"]:
        with os_errors("this cannot be written", given["junit"], fix="give another place"):
            write_junit(verdict, given["junit"])
        click.echo(f"junit: {given['junit']}", err=as_json)
    return int(verdict["exit_code"])


def _derive_seeds(
    runs: Sequence[Run], changes: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, list[Item]]]:
    """Judge runs of one recipe as several seeds of one training.

    Args:
        runs: they differ in their seed alone.
        changes: as in :func:`launch.stages.judge.derive`.

    Returns:
        The verdict, and all items with their run's seed.

    Raises:
        KitError: the runs differ in more than their seed, in the questions that they were asked,
            or two have the same seed.
    """
    first = runs[0]
    seeds: dict[int, Run] = {}
    for run in runs:
        _same(first, run)
        seed = run.recipe.table("train").get("seed")
        if not isinstance(seed, int):
            raise KitError(f"{run.name} does not say its training seed", where=str(run.path))
        if seed in seeds:
            raise KitError(
                f"{seeds[seed].name} and {run.name} have the same seed {seed}",
                cause="a training with the same seed is a repeat, not another seed",
                fix=f"mfo run {run.recipe.name} --seed N",
            )
        seeds[seed] = run
    asked = changes or {}
    table = load_table(asked.get("published") or first.recipe.table("published")["table"])
    items: dict[str, list[Item]] = {}
    for seed, run in sorted(seeds.items()):
        for name, group in judge.items(run, table).items():
            items.setdefault(name, []).extend(replace(i, seed=seed) for i in group)
    origin = {
        "runs": [run.name for run in runs],
        "recipe": first.recipe.name,
        "seeds": sorted(seeds),
        "kit": [run.spec["kit"] for run in runs],
        "weights": {run.name: run.facts("train").get("weights") for run in runs},
    }
    verdict = verdicts.judge(
        items=items,
        table=table,
        **judge.changed(judge.case(first, asked), asked),
        base_items=judge.base_items(first, table),
        provenance=origin,
    )
    return verdict, items


def _same(first: Run, run: Run) -> None:
    """Refuse runs that differ in more than their seed."""
    left, right = _without_seeds(first), _without_seeds(run)
    for name in left.keys() | right.keys():
        if left.get(name) != right.get(name):
            raise KitError(
                f"{first.name} and {run.name} differ in [{name}], not only in their seed",
                where=str(run.path / "run.toml"),
                fix="judge them one by one: mfo verify RUN",
            )
    if judge.case(first) != judge.case(run):
        raise KitError(
            f"{first.name} and {run.name} were not asked the same questions",
            where=str(run.folder("evaluate") / "summary.json"),
            cause="a benchmark file that changed between the two",
            fix="score both again, or judge them one by one: mfo verify RUN",
        )


def _without_seeds(run: Run) -> dict[str, Any]:
    data = copy.deepcopy(run.recipe.data)
    for table, key in SEEDS:
        data.get(table, {}).pop(key, None)
    return data


@click.command()
@RUN
@RUNS
def report(run: str | None, runs: Path) -> None:
    """Draw RUN's page again from its verdict.json."""
    found = find(run, runs)
    if not found.verdict.is_file():
        raise KitError(
            f"{found.name} has no verdict yet",
            where=str(found.path),
            fix=f"mfo resume {found.name}",
        )
    page = write_report(verdicts.read_verdict(found.verdict), found.report.parent, found.items)
    click.echo(f"report: {page}")


@click.command()
@RUN
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="canary.jsonl",
    show_default=True,
    help="The file to write.",
)
@RUNS
def canary(run: str | None, out: Path, runs: Path) -> None:
    """Freeze grades of RUN's judge, for later runs to be held against.

    A run whose recipe names the file (judge.canary) has them graded again before it grades
    anything; where more differ than judge.canary_margin allows, its judged scores are invalid.
    """
    one = find(run, runs)
    files = [one.items / f"{n}.jsonl" for n, kind in kinds.KINDS.items() if kind == kinds.RUBRIC]
    found = [file for file in files if file.is_file()]
    if not found:
        raise KitError(
            f"{one.name} holds no grades",
            where=str(one.items),
            cause="no benchmark of it is graded by a rubric, or it has not been evaluated",
            fix="give a run with HealthBench among its benchmarks: mfo status",
        )
    items = [item for file in found for item in read_items(file, rubric={file.stem})]
    rows = canaries.freeze(items)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with os_errors("the canary cannot be written", out, fix="give another place"):
        write_text(out, text, parents=True)
    click.echo(
        f"canary: {out}, {len(rows)} of this judge's grades\n"
        f"next:  mfo run {one.recipe.name} --set judge.canary={out}"
    )
