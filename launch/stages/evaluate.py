"""Stage evaluate: score the weights, and the base model too where the recipe asks for it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks.benchmarks import kinds
from kit.errors import KitError, nearest
from launch.files import digest, read_json, sha256_file, write_json
from launch.inputs import base_model as fetch
from launch.inputs import comparators, upstream
from launch.run import judging
from launch.run.folder import versions
from launch.stages import graders, judged, server_log

#: Keys of [judge] that say where something lies and not what it is.
PLACES = ("grader_prompt", "pairs_prompt", "canary", "script", "vignettes", "concurrency",
          "rubric", "medgemma", "medgemma_revision")  # fmt: skip

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.run.recipe import Recipe


def benchmark_files(recipe: Recipe) -> dict[str, Path]:
    """Find the file of each benchmark that the recipe names.

    Raises:
        KitError: the recipe's benchmarks are not in the folder, or no folder is given.
    """
    table = recipe.table("eval")
    given = judging.own_files(recipe)
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


def weights(run: Run) -> Path:
    """The model that is scored: given ones, or what the train stage made."""
    given = run.recipe.table("model").get("weights")
    return Path(given) if given else run.folder("train") / "model"


def weights_digest(run: Run) -> str:
    """The sha256 of the weights that are scored."""
    given = run.recipe.table("model").get("weights")
    if not given:
        return str(run.facts("train").get("weights"))
    return shards_digest(Path(given))


def shards_digest(folder: Path) -> str:
    """Give the digest of a model folder's shards.

    Raises:
        KitError: it has none.
    """
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise KitError(
            "there are no safetensors weights here", where=str(folder),
            cause="not a model folder, or pickled weights, which are not loaded",
            fix="mfo verify FOLDER with a folder that from_pretrained loads",
        )  # fmt: skip
    return digest({p.name: sha256_file(p) for p in shards})


def inputs(run: Run) -> dict[str, Any]:
    """Protocol, benchmark files, weights and the versions that score them."""
    keep = ["lm_eval", "torch", "transformers", "tokenizers"]
    table = run.recipe.table("eval")
    if table["backend"] == "vllm":
        keep.append("vllm")
    out = {
        "eval": {k: v for k, v in table.items() if k != "benchmark_files"},
        "benchmarks": {n: sha256_file(p) for n, p in benchmark_files(run.recipe).items()},
        "weights": weights_digest(run),
        "packages": {k: v for k, v in run.packages("evaluate").items() if k in keep},
    }
    if table["tasks"] in upstream.TASK_PINS:
        files = upstream.task_files(run.site, table["tasks"], recipe=run.recipe.name)
        out["task_files"] = {n: hashlib.sha256(data).hexdigest() for n, data in files.items()}
    if table["base"] or judging.compared(run.recipe):
        out["base"] = fetch.base_model_identity(run.recipe)
    if judging.judged(run.recipe):
        own = run.recipe.table("judge")
        out["judge"] = {
            "table": {k: v for k, v in own.items() if k not in PLACES},
            "identity": graders.judge_identity(run.recipe),
            "prompts": graders.prompts(run.recipe, run.site).sha256,
            "canary": sha256_file(Path(own["canary"])) if own["canary"] else "",
        }
        if others := judging.comparators(run.recipe):
            out["comparators"] = {n: comparators.identity(one) for n, one in others.items()}
    return out


def models(run: Run, *, compared: bool = False) -> dict[str, Path]:
    """The models that are asked, by what they are called here, in order.

    Args:
        run: whose models.
        compared: also those that comparisons need, whether or not they are scored.
    """
    recipe, site = run.recipe, run.site
    out = {"trained": weights(run)}
    if recipe.table("eval")["base"] or (compared and judging.compared(recipe)):
        out = {"base": fetch.base_model(recipe, site), **out}
    if compared:
        others = judging.comparators(recipe)
        out |= {name: comparators.folder(recipe, site, one) for name, one in others.items()}
    return out


def identities(run: Run) -> dict[str, str]:
    """What decides each model's answers."""
    out = {"trained": weights_digest(run)}
    if judging.compared(run.recipe) or run.recipe.table("eval")["base"]:
        out["base"] = digest(fetch.base_model_identity(run.recipe))
    for name, one in judging.comparators(run.recipe).items():
        out[name] = digest(comparators.identity(one))
    return out


def refuse_itself(run: Run, scored: str) -> None:
    """Refuse a comparator that is the scored model under another name: equal shards.

    Args:
        run: whose comparators.
        scored: digest of the weights that are scored.

    Raises:
        KitError: naming it.
    """
    for name, one in judging.comparators(run.recipe).items():
        if comparators.shards(run.recipe, run.site, one) == scored:
            raise KitError(
                f"{one.benchmark} would compare a model with itself",
                where=f"judge.{name} = {one.model!r}",
                cause="its weights are, byte for byte, those that are scored",
                fix=f"mfo run {run.recipe.name} --set judge.{name}= the other model",
            )


def execute(run: Run) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Write items/<benchmark>.jsonl, evaluate/base/… for the base model, and summary.json."""
    # Set before any framework is imported: nothing here may wait for a network.
    os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
    _same_environment(run)
    folder, names = run.folder("evaluate"), benchmark_files(run.recipe)
    whose = identities(run) if judging.judged(run.recipe) else {}  # may read every byte of weights
    refuse_itself(run, whose.get("trained", ""))  # before hours of scoring
    choice = {n: p for n, p in names.items() if kinds.kind(n) not in kinds.JUDGED}
    files, summary = multiple_choice(run, models(run), choice)
    if len(choice) < len(names):
        more, found = judged.execute(
            run,
            models(run, compared=True),
            {n: p for n, p in names.items() if n not in choice},
            whose,
        )
        files |= more
        summary = {key: {**summary.get(key, {}), **one} for key, one in found.items()}
        for which, one in summary.items():
            if which in found and which != "judged":  # as the recipe names them
                summary[which] = {n: one[n] for n in names if n in one}
    write_json(folder / "summary.json", summary)
    files[folder / "summary.json"] = None
    facts = {"summary": summary["trained"], "weights": weights_digest(run)}
    if not run.recipe.table("model").get("weights") and _names_weights(run):
        facts["base_weights"] = shards_digest(fetch.base_model(run.recipe, run.site))
    return files, facts


def _same_environment(run: Run) -> None:
    """Refuse to score by other versions than the run says that it is scored by.

    Raises:
        KitError: the stage's own environment was changed since the run was made.
    """
    if not run.python("evaluate"):
        return
    was, now = run.packages("evaluate"), versions()
    for name, version in was.items():
        if now.get(name) != version:
            raise KitError(
                f"{name} was {version} when the run was made, and is {now.get(name, 'gone')} now",
                where=run.python("evaluate"),
                cause="the environment of stage evaluate was changed since",
                fix=f"restore it, or mfo run {run.recipe.name} for a run that says what it has",
            )


def _names_weights(run: Run) -> bool:
    """Whether the table is about weights that it names; only then every byte of them is read."""
    from checks.tables import load_table

    table = load_table(run.recipe.table("published")["table"])
    return any(row.weights for row in table.models.values())


def multiple_choice(
    run: Run, models: dict[str, Path], names: dict[str, Path]
) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Score models on multiple-choice benchmarks; gives the files of items, and numbers by model.

    Args:
        run: whose protocol and folders.
        models: folders of weights by name.
        names: files of benchmarks by name; none: nothing is loaded.
    """
    from checks.benchmarks.harness import evaluate

    table = run.recipe.table("eval")
    protocol = {
        key: table[key]
        for key in ("limit", "seed", "batch_size", "max_gen_toks", "max_length", "dtype",
                    "chat_template", "backend", "tasks", "extraction", "pubmedqa")
    }  # fmt: skip
    if table["tasks"] in upstream.TASK_PINS:
        protocol["task_files"] = upstream.task_files(
            run.site, table["tasks"], recipe=run.recipe.name
        )
    summary: dict[str, Any] = {which: {} for which in models}
    files: dict[Path, str | None] = {}
    for number, (which, model) in enumerate(models.items() if names else ()):
        items = run.items_of(which)
        items.mkdir(exist_ok=True, parents=True)
        progress = {"model": which, "done": number, "of": len(models)}
        write_json(run.folder("evaluate") / "progress.json", progress)
        known = _scored(run, which)
        if known is None:
            with server_log.explained(run.folder("evaluate") / "log"):
                known = evaluate(
                    model, names, items, device=None, log=lambda line: print(line, flush=True),
                    **protocol,
                )  # fmt: skip
            sha256 = {name: sha256_file(items / f"{name}.jsonl") for name in names}
            write_json(_mark(run, which), {"summary": known, "sha256": sha256})
        else:
            print(f"the {which} model's multiple choice is scored already", flush=True)
        summary[which] = known
        files.update({items / f"{name}.jsonl": None for name in names})
    return files, summary


def _mark(run: Run, which: str) -> Path:
    return run.folder("evaluate") / f"scored-{which}.json"


def _scored(run: Run, which: str) -> dict[str, Any] | None:
    """Give what an earlier session of this stage came to; None where its items have changed."""
    known = read_json(_mark(run, which)) or {}
    for name, sha256 in known.get("sha256", {}).items():
        file = run.items_of(which) / f"{name}.jsonl"
        if not file.is_file() or sha256_file(file) != sha256:
            return None
    return known.get("summary")
