"""`mfo recipes`, `mfo recipe show` and `mfo recipe diff`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import tomli_w

from kit.columns import columns
from kit.errors import KitError
from kit.files import read_toml
from kit.printing import emit
from launch.cli.options import JSON, SET, complete_recipes, complete_sites, load_with
from launch.inputs import base_model as base_models
from launch.inputs import departures, dims
from launch.plan import fit as plan
from launch.plan.assume import Range
from launch.run import site as sites
from launch.run import stacks
from launch.run.recipe import RECIPES, Recipe, fitting_variants, known_recipes, load
from launch.run.recipe_keys import flat
from launch.stages.train import axolotl_config, to_yaml

_ABSENT = object()
#: Where the list's costs are planned: the published run's own cluster and number of GPUs.
PLANNED_AT = "clariden"


@click.command()
@JSON
def recipes(as_json: bool) -> None:
    """List the recipes.

    With the size of the model, the cost of its training, and the status.
    """
    found = [entry(name) for name in known_recipes()]
    # The full-size ones first, by size; those that cannot be read last.
    found.sort(
        key=lambda e: ("title" not in e, not e.get("gpus"), -e.get("parameters", 0), e["name"])
    )
    if as_json:
        emit(found)
        return
    head = ("recipe", "size", "sharding", "GPU-hours", "reported", "status")
    rows = [
        (
            one["name"],
            _size(one["parameters"]),
            one["sharding"],
            *_cost(one),
            one["problem"] or one["status"],
        )
        if "title" in one
        else (one["name"], "", "", "", "", f"cannot be read: {one['problem']}")
        for one in found
    ]
    click.echo("\n".join(columns(rows, head=head, right=(1, 4))))
    click.echo(
        f"\nGPU-hours: planned for training as published, on the GPUs of {PLANNED_AT}; reported: "
        "by a third\nparty; a recipe without GPUs runs on two cores, in minutes"
    )
    click.echo(
        "next:  mfo plan NAME, mfo recipe show NAME, mfo recipe diff A B, mfo run NAME --dry-run"
    )


def entry(name: str) -> dict[str, Any]:
    """Give one line of the list: name, title, parameters, cost, sharding, variants, status.

    `problem` is why it could not be planned, None where it was. A recipe that cannot even be read
    has its name and its problem alone: one that is broken must not hide the others.
    """
    try:
        recipe = load(name)
        train, published = recipe.table("train"), recipe.table("published")
        found = {
            "name": recipe.name,
            "title": recipe.title,
            "parameters": dims.of(recipe).parameters,
            "sharding": "DeepSpeed ZeRO-3" if train.get("deepspeed") else "FSDP2",
            "gpus": recipe.table("shape")["gpus"],
            "planned_gpu_hours": None,
            "reported_gpu_hours": published.get("gpu_hours"),
            "variants": list(fitting_variants(recipe)),
            "status": recipe.data.get("status", ""),
            "problem": None,
        }
    except KitError as error:
        return {"name": name, "problem": _problem(error)}
    try:
        planned = planned_gpu_hours(recipe)
    except KitError as error:
        return {**found, "problem": _problem(error)}
    return {**found, "planned_gpu_hours": [planned.low, planned.high] if planned else None}


def planned_gpu_hours(recipe: Recipe) -> Range | None:
    """Give the GPU-hours of a recipe on its published number of GPUs; None where it needs none.

    Raises:
        KitError: it cannot be planned.
    """
    gpus = int(recipe.table("shape")["gpus"])
    if not gpus:
        return None
    place = sites.load(PLANNED_AT)
    nodes = max(1, gpus // place.processes_per_node)
    return plan.make(recipe, replace(place, nodes=nodes)).chosen.time.gpu_hours


def _problem(error: KitError) -> str:
    return f"{error.what} ({error.where})" if error.where else error.what


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _cost(one: Mapping[str, Any]) -> tuple[str, str]:
    """Give the GPU-hours of one line of the list: planned, reported."""
    planned, reported = one["planned_gpu_hours"], one["reported_gpu_hours"]
    words = "not planned" if one["gpus"] else "none"
    if planned:
        words = "{:.0f} to {:.0f}".format(*planned)
    return words, "" if reported is None else f"{reported:.0f}"


@click.group()
def recipe() -> None:
    """Show a recipe in full, or how two differ."""


@recipe.command("show")
@click.argument("name", shell_complete=complete_recipes)
@click.option("--axolotl", is_flag=True, help="Only the file that Axolotl reads, whole.")
@click.option(
    "--site",
    default="clariden",
    show_default=True,
    help="Whose shape decides the accumulation in that file.",
)
@SET
@JSON
def recipe_show(
    name: str, axolotl: bool, site: str, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print recipe NAME (or NAME+VARIANT) as it is resolved, and its variants."""
    one = load_with(name, settings)
    if axolotl:
        config = training_file(one, site)
        if as_json:
            emit(config)
            return

        click.echo(to_yaml(config), nl=False)
        return
    variants = {v: about(file) for v, file in fitting_variants(one).items()}
    if as_json:
        known = msgspec.to_builtins(stacks.load()) if stacks.describe(one) else {}
        emit(
            {
                "name": one.name,
                "lineage": one.lineage,
                "variants": variants,
                "stacks": known,
                **one.data,
            }
        )
        return
    click.echo(f"# {one.name}: {' on top of '.join(reversed(one.lineage))}")
    click.echo(tomli_w.dumps(readable(one.data)))
    for variant, said in variants.items():
        click.echo(f"# {one.name}+{variant:<16} {said}")
    for line in stacks.describe(one):
        click.echo(f"# {line}")
    click.echo(f"# next: mfo recipe show {one.name} --axolotl, mfo run {one.name} --dry-run")


def about(file: Path) -> str:
    """Give what a variant's file says of itself."""
    return str(read_toml(file, f"variant {file.stem}").get("about", ""))


def readable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recipe's tables with paths below recipes/ written short."""
    root = f"{RECIPES}/"
    return {
        key: readable(value)
        if isinstance(value, Mapping)
        else value.replace(root, "recipes/")
        if isinstance(value, str)
        else value
        for key, value in data.items()
    }


def training_file(recipe: Recipe, site_name: str) -> dict[str, Any]:
    """Give the Axolotl configuration of a run at a site; a recipe without GPUs runs here."""
    place = sites.load(site_name if recipe.table("shape")["gpus"] else "laptop")
    return axolotl_config(
        recipe,
        place,
        base=str(base_models.base_model_path(recipe, place)),
        train_file=Path("RUN/corpus/train.jsonl"),
        folder=Path("RUN/train"),
        name="RUN",
    )


@recipe.command("diff")
@click.argument("one", shell_complete=complete_recipes)
@click.argument("other", required=False, shell_complete=complete_recipes)
@click.option(
    "--upstream",
    is_flag=True,
    help="Against upstream's training file, with each difference's reason.",
)
@click.option(
    "--upstream-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The same, with a copy of that file.",
)
@click.option(
    "--site",
    default="laptop",
    show_default=True,
    shell_complete=complete_sites,
    help="Whose cache holds upstream's files (mfo fetch; MFO_CACHE wins).",
)
@JSON
def recipe_diff(
    one: str,
    other: str | None,
    upstream: bool,
    upstream_file: Path | None,
    site: str,
    as_json: bool,
) -> int:
    """Print every value in which recipes ONE and OTHER differ.

    With --upstream: in which ONE differs from the training file that upstream published, and why;
    exit code 1 where nothing says why.

    \b
    mfo recipe diff gemma-3-27b olmo-2-32b
    mfo recipe diff gemma-3-27b gemma-3-27b+fast
    mfo recipe diff gemma-3-27b --upstream
    """
    against = upstream or upstream_file is not None
    if against == (other is not None):
        raise click.UsageError("give either a second recipe or --upstream")
    if other is not None:
        return diff(one, other, as_json)
    return diff_upstream(one, upstream_file, site, as_json)


def diff(one: str, other: str, as_json: bool) -> int:
    """Print the values in which two recipes differ; gives 0.

    Raises:
        KitError: a recipe is not there.
    """
    left, right = load(one), load(other)
    a, b = (
        flat(readable({k: v for k, v in one.data.items() if k != "departures"}))
        for one in (left, right)
    )
    keys = [k for k in dict.fromkeys([*a, *b]) if a.get(k, _ABSENT) != b.get(k, _ABSENT)]
    if as_json:
        emit({k: {left.name: a.get(k), right.name: b.get(k)} for k in keys})
        return 0
    if not keys:
        click.echo(f"{left.name} and {right.name} are the same")
        return 0
    wide = max(map(len, keys)) + 2
    first = min(44, max(len(_shown(a.get(k, _ABSENT))) for k in keys) + 2)
    click.echo(f"{'':<{wide}}{left.name:<{first}}{right.name}")
    for key in keys:
        left_text = _shown(a.get(key, _ABSENT))
        click.echo(f"{key:<{wide}}{left_text:<{first}}{_shown(b.get(key, _ABSENT))}")
    click.echo(f"{len(keys)} of {len(a.keys() | b.keys())} values differ; - is not set")
    return 0


def diff_upstream(name: str, file: Path | None, site_name: str, as_json: bool) -> int:
    """Print in what a recipe departs from the training file that upstream published, and why.

    Args:
        name: a full-size recipe, with variants or without.
        file: upstream's file; None: the pinned one, as `mfo fetch` brought it.
        site_name: in whose cache it lies.

    Returns:
        1 where a difference has no reason, or a reason no difference; else 0.

    Raises:
        KitError: there is no such file, or it was not fetched.
    """
    one = load(name)
    theirs = departures.published_file(one, sites.load(site_name), file)
    seen = departures.compare(one, theirs, training_file(one, PLANNED_AT))
    wrong = [f"{key}: differs, and nothing says why" for key in seen.unexplained]
    wrong += [f"{key}: has a reason, and does not differ" for key in seen.stale]
    if as_json:
        rows = {
            d.key: {"upstream": d.theirs, "kit": d.ours, "reason": d.reason} for d in seen.found
        }
        emit({"recipe": one.name, "equal": seen.equal, "departures": rows, "faults": wrong})
        return int(bool(wrong))
    click.echo(f"{one.name}, as on {PLANNED_AT}, against {file or one.data['upstream_file']}")
    for d in seen.found:
        click.echo(f"{d.key}: {departures.shown(d.theirs)} -> {departures.shown(d.ours)}")
        click.secho(
            f"    {d.reason or 'NO REASON'}", dim=bool(d.reason), fg=None if d.reason else "red"
        )
    click.echo(f"{seen.equal} keys are equal, {len(seen.found)} differ")
    for line in wrong:
        click.secho(line, fg="red")
    if wrong:
        click.echo(f"next:  [departures] of recipes/{one.lineage[0]}/recipe.toml, or of its part")
    return int(bool(wrong))


def _shown(value: Any) -> str:
    return "-" if value is _ABSENT else str(value)
