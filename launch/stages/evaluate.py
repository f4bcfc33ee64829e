"""Stage evaluate: score the weights, and the base model too where the recipe asks for it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError, nearest
from kit.files import digest, read_json, sha256_file, write_json
from launch.inputs import base_model as fetch
from launch.inputs import comparators, upstream
from launch.run import image, judged_benchmarks
from launch.run.folder import versions
from launch.run.identity import Place
from launch.stages import evaluate_judged, graders, server_log
from scoring import kinds, pinned

#: Keys of [judge] that say where something lies and not what it is.
PLACES = (
    "grader_prompt",
    "pairs_prompt",
    "canary",
    "script",
    "vignettes",
    "concurrency",
    "rubric",
    "medgemma",
    "medgemma_revision",
)

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.run.recipe import Recipe
    from launch.run.site import Site
    from launch.stages.stage import Context, Outputs


def benchmark_files(recipe: Recipe) -> dict[str, Path]:
    """Find the file of each benchmark that the recipe names.

    Raises:
        KitError: the recipe's benchmarks are not in the folder, or no folder is given.
    """
    table = recipe.table("eval")
    given = judged_benchmarks.own_files(recipe)
    wanted = [name for name in table["benchmarks"] if name not in given]
    folder = str(table["benchmark_files"])
    if not wanted:
        return given
    if folder in ("", "hub"):
        raise KitError(
            "this recipe's benchmark files are not on this machine",
            where=f"eval.benchmark_files = {folder!r}",
            cause="they were not fetched when the run was made",
            fix=f"mfo fetch {recipe.name}, or --benchmarks FOLDER with their JSONL files (native "
            "schemas)",
        )
    found = kinds.find_benchmarks(Path(folder))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise KitError(
            f"there is no file for the benchmark {missing[0]!r}; "
            + (nearest(missing[0], found) if found else "no benchmark file is there"),
            where=folder,
            cause="files are recognised by the benchmark's name at the start of theirs",
            fix="--benchmarks FOLDER, or --set eval.benchmarks='[\"medqa\"]'",
        )
    return {name: {**found, **given}[name] for name in table["benchmarks"]}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What decides the items.

    Attributes:
        eval: the recipe's table, without the folder of benchmark files.
        benchmarks: sha256 of each benchmark's file.
        weights: sha256 of the shards that are scored.
        packages: versions that make the scores; in a container those inside the image.
        image: sha256 of the container image; None without one.
        task_files: sha256 of upstream's task files, where they are used.
        base: what decides the base model, where it is asked.
        judge: what decides the grades, where a benchmark is judged.
        comparators: what decides the answers of further models that ours are compared with.
        files: the benchmarks' files.
        model: the folder that is scored.
        given: whether that folder was given, and not trained here.
        environment: all versions of the stage's own interpreter; none where it has no own.
        table: the published table.
        recipe: its tables eval, judge, model and published; the last only refuses models.
    """

    eval: dict[str, Any]
    benchmarks: dict[str, str]
    weights: str
    packages: dict[str, str]
    image: dict[str, Any] | None = None
    task_files: dict[str, str] | None = None
    base: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    comparators: dict[str, Any] | None = None
    files: Place[dict[str, Path]]
    model: Place[Path]
    given: Place[bool]
    environment: Place[dict[str, str]]
    table: Place[str]
    recipe: Place[Recipe]

    def identities(self) -> dict[str, str]:
        """What decides each model's answers."""
        out = {"trained": self.weights}
        if self.base is not None:
            out["base"] = digest(self.base)
        return out | {name: digest(one) for name, one in (self.comparators or {}).items()}


def shards_digest(folder: Path) -> str:
    """Give the digest of a model folder's shards.

    Raises:
        KitError: it has none.
    """
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise KitError(
            "there are no safetensors weights here",
            where=str(folder),
            cause="not a model folder, or pickled weights, which are not loaded",
            fix="mfo verify FOLDER with a folder that from_pretrained loads",
        )
    return digest({p.name: sha256_file(p) for p in shards})


def inputs(run: Run) -> Inputs:
    """Read protocol, benchmark files, weights and the versions that score them."""
    recipe = run.recipe.only("eval", "judge", "model", "published")
    keep = ["lm_eval", "torch", "transformers", "tokenizers"]
    table, given = recipe.table("eval"), recipe.table("model").get("weights")
    if table["backend"] == "vllm":
        keep.append("vllm")
    files, tasks, others = benchmark_files(recipe), None, judged_benchmarks.comparators(recipe)
    if table["tasks"] in upstream.TASK_PINS:
        found = upstream.task_files(run.site, table["tasks"], recipe=recipe.name)
        tasks = {n: hashlib.sha256(data).hexdigest() for n, data in found.items()}
    asks_base = table["base"] or judged_benchmarks.compared(recipe)
    return Inputs(
        eval={k: v for k, v in table.items() if k != "benchmark_files"},
        benchmarks={n: sha256_file(p) for n, p in files.items()},
        weights=shards_digest(Path(given)) if given else str(run.facts("train").get("weights")),
        packages={k: v for k, v in run.packages("evaluate").items() if k in keep},
        image=image.deciding(run.images, "evaluate"),
        task_files=tasks,
        base=fetch.base_model_identity(recipe) if asks_base else None,
        judge=_judge(run, recipe) if judged_benchmarks.judged(recipe) else None,
        comparators={n: comparators.identity(one) for n, one in others.items()} or None,
        files=files,
        model=Path(given) if given else run.folder("train") / "model",
        given=bool(given),
        environment=run.packages("evaluate") if run.python("evaluate") else {},
        table=str(recipe.table("published")["table"]),
        recipe=recipe,
    )


def _judge(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What decides the grades."""
    table = recipe.table("judge")
    return {
        "table": {k: v for k, v in table.items() if k not in PLACES},
        "identity": graders.judge_identity(recipe),
        "prompts": graders.prompts(recipe, run.site).sha256,
        "canary": sha256_file(Path(table["canary"])) if table["canary"] else "",
    }


def models(inputs: Inputs, site: Site, *, compared: bool = False) -> dict[str, Path]:
    """The models that are asked, by what they are called here, in order.

    Args:
        inputs: of the stage.
        site: where.
        compared: also those that comparisons need, whether or not they are scored.
    """
    recipe, out = inputs.recipe, {"trained": inputs.model}
    if inputs.base is not None and (inputs.eval["base"] or compared):
        out = {"base": fetch.base_model(recipe, site, inputs.base), **out}
    if compared:
        others = judged_benchmarks.comparators(recipe)
        out |= {name: comparators.folder(recipe, site, one) for name, one in others.items()}
    return out


def refuse_itself(recipe: Recipe, site: Site, scored: str) -> None:
    """Refuse a comparator that is the scored model under another name: equal shards.

    Args:
        recipe: whose comparators.
        site: in whose cache they are.
        scored: digest of the weights that are scored.

    Raises:
        KitError: naming it.
    """
    for name, one in judged_benchmarks.comparators(recipe).items():
        if comparators.shards(recipe, site, one) == scored:
            raise KitError(
                f"{one.benchmark} would compare a model with itself",
                where=f"judge.{name} = {one.model!r}",
                cause="its weights are, byte for byte, those that are scored",
                fix=f"mfo run {recipe.name} --set judge.{name}= the other model",
            )


def needs(recipe: Recipe) -> list[str]:
    """Packages that are imported; looked for before a run is made, as training comes first."""
    by_vllm = recipe.table("eval")["backend"] == "vllm"
    judged = ["openai"] if judged_benchmarks.judged(recipe) else []
    return ["torch", "lm_eval", *(["vllm"] if by_vllm else []), *judged]


def describe(recipe: Recipe, site: Site) -> list[str]:
    """Say how answers are had and scored, and why so.

    Raises:
        KitError: nobody could judge on this site, or the protocol is not known.
    """
    out = graders.describe(recipe, site)
    table = recipe.table("eval")
    asked = table["pubmedqa"] if "pubmedqa" in table["benchmarks"] else "auto"
    out += pinned.notes(table["tasks"], asked)
    limit = recipe.table("eval")["limit"]
    if limit:
        out.append(
            f"items: {limit} of each benchmark, drawn with seed "
            f"{recipe.table('eval')['seed']}, because eval.limit says so"
        )
    return out


def execute(inputs: Inputs, context: Context) -> Outputs:
    """Write items/<benchmark>.jsonl, evaluate/base/… for the base model, and summary.json."""
    # Set before any framework is imported: nothing here may wait for a network.
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    print(image.words(inputs.packages, inputs.image), flush=True)
    _same_environment(inputs.environment)
    recipe, site, names = inputs.recipe, context.site, inputs.files
    if inputs.comparators:
        refuse_itself(recipe, site, inputs.weights)  # before hours of scoring
    choice = {n: p for n, p in names.items() if kinds.kind(n) not in kinds.JUDGED}
    files, summary = multiple_choice(inputs, context, models(inputs, site), choice)
    if inputs.judge is not None:
        more, found = evaluate_judged.execute(
            recipe,
            context,
            models(inputs, site, compared=True),
            {n: p for n, p in names.items() if n not in choice},
            inputs.identities(),
        )
        by = found["judged"]
        _unchanged("judge", {"identity": inputs.judge["identity"]}, {"identity": by["judge"]})
        _unchanged("the prompt", inputs.judge["prompts"], by["prompts"])
        files |= more
        summary = {key: {**summary.get(key, {}), **one} for key, one in found.items()}
        for which, one in summary.items():
            if which in found and which != "judged":  # as the recipe names them
                summary[which] = {n: one[n] for n in names if n in one}
    read = {name: one["sha256"] for name, one in summary["trained"].items()}
    _unchanged("benchmark", inputs.benchmarks, read)
    write_json(context.folder / "summary.json", summary)
    files[context.folder / "summary.json"] = None
    facts = {"summary": summary["trained"], "weights": inputs.weights}
    if not inputs.given and _names_weights(inputs.table):
        facts["base_weights"] = shards_digest(fetch.base_model(recipe, site, inputs.base))
    return files, facts


def _unchanged(what: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Refuse scores of other files than the inputs name.

    Raises:
        KitError: one was replaced while the stage ran.
    """
    for name, value in found.items():
        if wanted.get(name) != value:
            raise KitError(
                f"{what} {name} changed while stage evaluate ran",
                where=f"was {wanted.get(name)}, is {value}",
                cause="the file was replaced",
                fix="mfo resume, which scores again",
            )


def _same_environment(was: dict[str, str]) -> None:
    """Refuse to score by other versions than the run says that it is scored by.

    Raises:
        KitError: the stage's own environment was changed since the run was made.
    """
    now = versions() if was else {}
    for name, version in was.items():
        if now.get(name) != version:
            raise KitError(
                f"{name} was {version} when the run was made, and is {now.get(name, 'gone')} now",
                where=sys.executable,
                cause="the environment of stage evaluate was changed since",
                fix="restore it, or mfo run RECIPE for a run that says what it has",
            )


def _names_weights(name: str) -> bool:
    """Whether the table is about weights that it names; only then every byte of them is read."""
    from checks.tables import load_table

    table = load_table(name)
    return any(row.weights for row in table.models.values())


def multiple_choice(
    inputs: Inputs, context: Context, models: dict[str, Path], names: dict[str, Path]
) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Score models on multiple-choice benchmarks; gives the files of items, and numbers by model.

    Args:
        inputs: whose protocol.
        context: whose folders.
        models: folders of weights by name.
        names: files of benchmarks by name; none: nothing is loaded.
    """
    from scoring.harness import evaluate

    table = inputs.eval
    protocol = {
        key: table[key]
        for key in (
            "limit",
            "seed",
            "batch_size",
            "max_gen_toks",
            "max_length",
            "dtype",
            "chat_template",
            "backend",
            "tasks",
            "extraction",
            "pubmedqa",
        )
    }
    if table["tasks"] in upstream.TASK_PINS:
        protocol["task_files"] = upstream.task_files(
            context.site, table["tasks"], recipe=inputs.recipe.name
        )
        read = {n: hashlib.sha256(data).hexdigest() for n, data in protocol["task_files"].items()}
        _unchanged("task file", inputs.task_files or {}, read)
    summary: dict[str, Any] = {which: {} for which in models}
    files: dict[Path, str | None] = {}
    for number, (which, model) in enumerate(models.items() if names else ()):
        items = context.items_of(which)
        items.mkdir(exist_ok=True, parents=True)
        progress = {"model": which, "done": number, "of": len(models)}
        write_json(context.folder / "progress.json", progress)
        known = _scored(context, which)
        if known is None:
            with server_log.explained(context.folder / "log"):
                known = evaluate(
                    model,
                    names,
                    items,
                    device=None,
                    log=lambda line: print(line, flush=True),
                    **protocol,
                )
            sha256 = {name: sha256_file(items / f"{name}.jsonl") for name in names}
            write_json(_mark(context, which), {"summary": known, "sha256": sha256})
        else:
            print(f"the {which} model's multiple choice is scored already", flush=True)
        summary[which] = known
        files.update({items / f"{name}.jsonl": None for name in names})
    return files, summary


def _mark(context: Context, which: str) -> Path:
    return context.folder / f"scored-{which}.json"


def _scored(context: Context, which: str) -> dict[str, Any] | None:
    """Give what an earlier session of this stage came to; None where its items have changed."""
    known = read_json(_mark(context, which)) or {}
    for name, sha256 in known.get("sha256", {}).items():
        file = context.items_of(which) / f"{name}.jsonl"
        if not file.is_file() or sha256_file(file) != sha256:
            return None
    return known.get("summary")
