"""What a run will be: the recipe with its settings, the stages, and each decision's reason."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kit.errors import KitError
from launch.plan import opened, stack
from launch.run import interpreter, job_env, judged_benchmarks
from launch.run import recipe as recipes
from launch.run.recipe import Recipe
from launch.run.site import Site
from launch.stages.table import STAGES
from scoring import kinds

FULL = list(STAGES)
#: Whose seams are looked at, by importing, in an environment that evaluates with vLLM.
SEAMS = ("lm-eval", "vllm")
#: Below this a run is refused: the smoke recipe writes about a tenth of it.
LEAST_FREE = 2**30


def resolve(
    name: str,
    settings: list[tuple[str, Any]],
    *,
    corpus: Path | None = None,
    benchmarks: Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> tuple[Recipe, list[str]]:
    """Give the recipe that will be run, and a line for each decision taken for the user.

    Args:
        name: recipe name or folder.
        settings: (key, value) of --set, in order; they win over the shorthands.
        corpus: a .toml, .jsonl or .parquet in place of the recipe's corpus.
        benchmarks: a folder of benchmark files in place of the recipe's.
        limit: items per benchmark.
        seed: of initialisation, data order and training.
    """
    recipe = recipes.load(name)
    decisions: list[str] = []
    more: list[tuple[str, Any]] = []
    if corpus is not None:
        more.append(("corpus.sources", str(corpus)))
        decisions.append(f"corpus: {corpus}, in place of the recipe's own, as you asked")
    if benchmarks is not None:
        chosen, why = _other_benchmarks(recipe, benchmarks)
        more += chosen
        decisions += why
    if limit is not None:
        more.append(("eval.limit", limit))
    if seed is not None:
        more += [("train.seed", seed), ("train.data_seed", seed), ("model.seed", seed)]
    recipe = recipes.with_settings(recipe, [*more, *settings])
    return _without_vignettes(recipe, decisions)


def _without_vignettes(recipe: Recipe, decisions: list[str]) -> tuple[Recipe, list[str]]:
    """Leave Auto-MOOVE out where nobody has given its vignettes, which are not published."""
    table, pairs = recipe.table("eval"), judged_benchmarks.left_out(recipe)
    if not pairs:
        return recipe, decisions
    left = [name for name in table["benchmarks"] if name not in pairs]
    data = {**recipe.data, "eval": {**table, "benchmarks": left}}
    said = (f"{', '.join(pairs)}: left out, because the vignettes are not published; with a file "
            "of them: --set judge.vignettes=FILE")  # fmt: skip
    return recipes.Recipe(recipe.name, data, recipe.lineage, recipe.settings), [*decisions, said]


def _other_benchmarks(recipe: Recipe, folder: Path) -> tuple[list[tuple[str, Any]], list[str]]:
    found = kinds.find_benchmarks(folder)
    own = judged_benchmarks.own_files(recipe)
    wanted = [n for n in recipe.table("eval")["benchmarks"] if n in {**found, **own}]
    # A stand-in for a judge knows the recipe's own items alone.
    deaf = [n for n in wanted if kinds.kind(n) in kinds.JUDGED and recipe.table("judge")["script"]]
    wanted = [n for n in wanted if n not in deaf]
    if not wanted:
        raise KitError(
            "no benchmark of this recipe is in the folder",
            where=str(folder),
            cause=f"wanted: {', '.join(recipe.table('eval')['benchmarks'])}; files are recognised "
            "by the benchmark's name at the start of theirs, for example medqa_test.jsonl",
        )
    chosen: list[tuple[str, Any]] = [
        ("eval.benchmark_files", str(folder)),
        ("eval.benchmarks", wanted),
    ]
    why = [f"benchmarks: {', '.join(wanted)} from {folder}, as you asked"]
    if deaf:
        why.append(f"{', '.join(deaf)}: left out, because the recipe's judge is a stand-in that "
                   "knows its own items alone; another: --set judge.script= --set judge.base_url=URL")  # fmt: skip  # noqa: E501
    root = recipes.load(recipe.lineage[0]).table("published")
    own = recipe.table("published")
    if root != own and recipe.table("eval")["benchmark_files"] != "hub":
        # The recipe's own table was measured on its own items: it says nothing about these.
        chosen += [(f"published.{k}", v) for k, v in root.items()]
        why.append(
            f"published: {root['model']} of the table {root['table']}, because the values of "
            f"{own['table']} belong to other items"
        )
    return chosen, why


def decide(recipe: Recipe, site: Site, stages: list[str]) -> list[str]:
    """Say what the program decides for the user, and why.

    Raises:
        KitError: the site cannot run the recipe, a package that a stage imports is missing, or a
            folder of weights that was given is no model that can be loaded and asked.
    """
    from launch.inputs import folders

    folders.check(recipe, stages)
    out = []
    for stage in stages:
        needs = STAGES[stage].needs(recipe)
        own = interpreter.of(recipe, site, stage)
        if own:
            out.append(_elsewhere(recipe, stage, own, needs))
        # In a container the image brings them; what is installed here says nothing.
        elif site.runtime == "none":
            _installed(stage, needs)
    for stage in stages:
        out += STAGES[stage].describe(recipe, site)
    return [*out, *job_env.describe(site)]


def _installed(stage: str, needs: list[str]) -> None:
    """Refuse a stage whose packages are not installed here.

    Raises:
        KitError: naming the first that is missing.
    """
    for package in needs:
        if find_spec(package) is None:
            extra = {"deepspeed": "train,zero3"}.get(package, "train,eval")
            raise KitError(
                f"stage {stage} needs the package {package}, which is not installed",
                fix=f"pip install -c constraints.txt -e '.[{extra}]', or make setup",
            )


def _elsewhere(recipe: Recipe, stage: str, python: str, needs: list[str]) -> str:
    """Say that a stage runs by another interpreter, and that it has what the stage needs.

    Raises:
        KitError: it lacks a package, its packages do not fit each other or the kit, or it would
            build another base model than the training.
    """
    from launch.inputs.base_model import BUILDERS
    from launch.run.folder import PACKAGES, versions

    found = interpreter.versions(python, [*PACKAGES, *needs])
    if lacking := [name for name in needs if name not in found]:
        raise KitError(
            f"stage {stage} needs the package {lacking[0]}, which its environment has not",
            where=python,
            cause="the environment is another one's, or its installation was cut short",
            fix=f"rm -r {Path(python).parents[1]}; then make serve-cpu",
        )
    here = versions()
    for name in BUILDERS if recipe.table("model").get("source") == "random" else ():
        if found.get(name) != here.get(name):
            raise KitError(
                f"{name} is {here.get(name)} here and {found.get(name)} where stage {stage} runs",
                where=python,
                cause="the recipe's base model is made by it: the two would be different models",
                fix="install the pins: make setup and make serve-cpu, with the same TORCH_INDEX",
            )
    if "vllm" in needs:
        stack.fits("eval", python, SEAMS)
    said = ", ".join(f"{name} {found[name]}" for name in needs)
    return f"stage {stage}: by {python}, with {said}, because eval.backend asks for vLLM"


def check_inputs(recipe: Recipe, site: Site, stages: list[str]) -> None:
    """Read what later stages will read, before an hour of training is spent on their way there.

    Raises:
        KitError: something of launch.plan.opened.READINGS is missing, broken, or not what the
            recipe needs.
    """
    opened.check(recipe, site, stages)


def check_space(runs: Path) -> None:
    """Refuse to start where there is next to no room.

    Raises:
        KitError: less than LEAST_FREE bytes are left where runs are kept.
    """
    place = next(p for p in (runs, *runs.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_FREE:
        raise KitError(
            f"the disk is nearly full: {free / 2**20:,.0f} MiB left, a run needs at least "
            f"{LEAST_FREE / 2**20:,.0f} MiB",
            where=str(place),
            fix="make room, or mfo run … --runs FOLDER on another disk",
        )
