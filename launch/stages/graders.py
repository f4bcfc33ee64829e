"""Who answers and who judges: from a recipe and a site to protocol, prompts and servers.

    [judge]
    base_url = ""          # an endpoint that is there already, up to and with its /v1
    model = "ORG/NAME"     # the judge; fetched and served by vLLM where no endpoint is given
    script = "key.json"    # instead of both: the stand-in that grades by rule (the miniature)

The key of an endpoint comes from the environment variable that `key_env` names, and from nowhere
else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import digest, sha256_file
from launch.inputs import comparators
from launch.inputs.upstream import pinned_file
from launch.inputs.wanted import judge_folder
from launch.run import judged_benchmarks
from launch.stages import serve
from scoring import kinds
from scoring.client import Endpoint
from scoring.judge_prompts import JudgePrompt, read_grader, read_judge
from scoring.judge_protocol import Protocol

if TYPE_CHECKING:
    from launch.run.recipe import Recipe
    from launch.run.site import Site

UPSTREAM = "upstream"
#: Where upstream keeps its prompts: table of recipes/upstream.toml, path.
GRADER_AT = ("meditron", "healthbench/healthbench.py")
PAIRS_AT = ("meditron", "auto_moove/common.py")


@dataclass(frozen=True)
class Prompts:
    """What graders and judges are asked by.

    Attributes:
        grader: template of a rubric's grades; "" where no benchmark needs it.
        pairs: prompt of comparisons; without criteria where no benchmark needs it.
        sha256: of the files, by what they are for.
    """

    grader: str
    pairs: JudgePrompt
    sha256: dict[str, str]


def protocol(recipe: Recipe) -> Protocol:
    """The recipe's protocol.

    Raises:
        KitError: a word that it does not know.
    """
    table = recipe.table("judge")
    return Protocol(
        name=table["protocol"],
        order=table["order"],
        bos=table["bos"],
        special_tokens=table["special_tokens"],
        temperature=float(table["temperature"]),
        max_tokens=table["max_tokens"],
        judge_temperature=float(table["judge_temperature"]),
        warmer=float(table["warmer"]),
        judge_max_tokens=table["judge_max_tokens"],
        retries=table["retries"],
        seed=recipe.table("eval")["seed"],
    )


def prompts(recipe: Recipe, site: Site) -> Prompts:
    """Read the prompts that the recipe's judged benchmarks need.

    Raises:
        KitError: upstream's files were not fetched or were changed, or a file holds no prompt.
    """
    found = {kinds.kind(name) for name in judged_benchmarks.judged(recipe)}
    table, sha256 = recipe.table("judge"), {}
    grader, pairs = "", JudgePrompt("", "", ())
    if kinds.RUBRIC in found or (found and table["canary"]):  # the canary holds grades
        path = _prompt_file(site, str(table["grader_prompt"]), GRADER_AT)
        grader, sha256["grader"] = read_grader(path), sha256_file(path)
    if kinds.PAIRS in found:
        path = _prompt_file(site, str(table["pairs_prompt"]), PAIRS_AT)
        pairs, sha256["pairs"] = read_judge(path), sha256_file(path)
    return Prompts(grader, pairs, sha256)


def _prompt_file(site: Site, given: str, pinned: tuple[str, str]) -> Path:
    return pinned_file(site, *pinned) if given == UPSTREAM else Path(given)


# --- servers ------------------------------------------------------------------------------------


def by_vllm(recipe: Recipe, site: Site) -> bool:
    """Whether vLLM serves the models: where there are GPUs, or where eval.backend asks for it."""
    return site.gpus_per_node > 0 or recipe.table("eval")["backend"] == "vllm"


def model_server(recipe: Recipe, site: Site, model: Path, name: str) -> serve.Serving:
    """How a model under test is served on this site: by vLLM, or by the kit's small server."""
    table = recipe.table("eval")
    length = int(recipe.table("judge")["max_length"])
    if by_vllm(recipe, site):
        return serve.vllm(str(model), name, gpus=site.gpus_per_node, max_length=length,
                          dtype=table["dtype"], seed=table["seed"])  # fmt: skip
    return serve.small(str(model), name, max_length=length, dtype=table["dtype"])


def judge_server(recipe: Recipe, site: Site, model: Path | None) -> serve.Serving | None:
    """How the judge is served here; None where an endpoint is given.

    Args:
        recipe: whose judge it is.
        site: with GPUs, unless the judge is the stand-in.
        model: the fetched weights; None for the stand-in.
    """
    table = recipe.table("judge")
    if table["base_url"]:
        return None
    if table["script"]:
        return serve.scripted(str(table["script"]), first_bias=float(table["first_bias"]))
    # "auto": the published judge is quantised, and says itself how.
    return serve.vllm(str(model), "judge", gpus=site.gpus_per_node, dtype="auto",
                      max_length=int(table["judge_max_length"]),
                      seed=recipe.table("eval")["seed"])  # fmt: skip


def servers(recipe: Recipe, site: Site, weights: Path, base: Path | str) -> list[serve.Serving]:
    """Every server of stage evaluate in the order in which they are started, for people to read.

    Args:
        recipe: whose models.
        site: where.
        weights: the trained model's folder.
        base: the base model's folder, or its name while it is not fetched.
    """
    if not judged_benchmarks.judged(recipe):
        return []
    models = {"trained": weights}
    if recipe.table("eval")["base"] or judged_benchmarks.compared(recipe):
        models = {"base": Path(base), **models}
    models |= {
        n: one.folder or Path(one.model) for n, one in judged_benchmarks.comparators(recipe).items()
    }
    out = [model_server(recipe, site, folder, name) for name, folder in models.items()]
    judge = judge_server(
        recipe, site, judged_benchmarks.local_judge(recipe) or Path(recipe.table("judge")["model"])
    )
    return [*out, judge] if judge else out


def judge_weights(recipe: Recipe, site: Site) -> Path | None:
    """The folder of a judge that is served here; None for an endpoint or the stand-in.

    Raises:
        KitError: it was not fetched, or has changed since.
    """
    table = recipe.table("judge")
    if table["base_url"] or table["script"]:
        return None
    return judged_benchmarks.local_judge(recipe) or judge_folder(recipe, site)


def judge_identity(recipe: Recipe) -> str:
    """What decides the judge's replies, for the record of calls."""
    table = recipe.table("judge")
    if table["base_url"]:
        return f"{table['model']} at {table['base_url']}"
    if table["script"]:
        rules = {"key": sha256_file(Path(table["script"])), "first_bias": table["first_bias"]}
        return f"scripted {digest(rules)}"
    if folder := judged_benchmarks.local_judge(recipe):
        return f"{folder.name} {digest(comparators.of_folder(folder))}"
    return f"{table['model']}@{table.get('revision', 'main')}"


def endpoint(recipe: Recipe) -> Endpoint:
    """The judge's endpoint where one is given."""
    table = recipe.table("judge")
    return Endpoint(table["base_url"], table["model"], judge_identity(recipe), table["key_env"])


def describe(recipe: Recipe, site: Site) -> list[str]:
    """Say how answers are had and judged, and why so; nothing where no benchmark is judged.

    Raises:
        KitError: the protocol is not known, or nobody could judge on this site.
    """
    names = judged_benchmarks.judged(recipe)
    if not names:
        return []
    rules, table = protocol(recipe), recipe.table("judge")
    others = [f"{one.benchmark}: compared with {one.identity}, which is asked here as ours is"
              for one in judged_benchmarks.comparators(recipe).values()]  # fmt: skip
    by = "the kit's small server, as there is no GPU (eval.backend = vllm takes vLLM)"
    if by_vllm(recipe, site):
        by = "vLLM" if site.gpus_per_node else "vLLM on the CPU, as eval.backend says"
    return [
        f"answers to {', '.join(names)}: from {by}; temperature {rules.temperature:g}, at most "
        f"{rules.max_tokens:,} tokens or what {_window(table['max_length'])} leaves, seed "
        f"{rules.seed}; BOS: {_bos_words(rules)}",
        f"judge: {_who(recipe, site)}; protocol {rules.name}: what cannot be read "
        + ("makes the benchmark invalid" if rules.strict else "counts as upstream counts it"),
        *others,
        _canary_words(table),
    ]


def _window(length: int) -> str:
    return f"a window of {length:,}" if length else "the model's own window"


def _bos_words(rules: Protocol) -> str:
    if rules.bos == "once":
        return "the chat template's alone (judge.bos)"
    return "the tokenizer's on top of the chat template's, as published (judge.bos)"


def _who(recipe: Recipe, site: Site) -> str:
    table = recipe.table("judge")
    if table["base_url"]:
        endpoint(recipe).check()
        key = str(table["key_env"])
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
            raise KitError(
                "judge.key_env is not the name of an environment variable",
                where="[judge]",
                cause="perhaps the key itself; a recipe is written into every run",
                fix="export MFO_JUDGE_KEY=… in your shell, and leave judge.key_env as it is",
            )
        said = "set" if os.environ.get(key) else "not set"
        return f"{table['model']} at {table['base_url']} (key from {key}, {said})"
    if table["script"]:
        return "a stand-in that grades by rule, no model (judge.script)"
    if not by_vllm(recipe, site):
        raise KitError(
            f"nobody can judge {', '.join(judged_benchmarks.judged(recipe))} here",
            where=f"site {site.name}",
            cause=f"the judge {table['model']} needs GPUs, and the site has none",
            fix="--set judge.base_url=URL for one that is served elsewhere, "
            "--set eval.backend=vllm for a small one on the CPU, or "
            f"leave judged benchmarks out: --set eval.benchmarks='{_choice_only(recipe)}'",
        )
    on = f"the {site.gpus_per_node} GPUs of a node" if site.gpus_per_node else "the CPU"
    return f"{table['model']}, served by vLLM on {on} once the answers are there"


def _choice_only(recipe: Recipe) -> str:
    import json

    names = recipe.table("eval")["benchmarks"]
    return json.dumps([n for n in names if kinds.kind(n) == kinds.CHOICE])


def _canary_words(table: dict[str, Any]) -> str:
    if not table["canary"]:
        return ("canary: none, as no grades of this judge are frozen yet (mfo canary RUN freezes "
                "some); that the judge is the published one is then not shown")  # fmt: skip
    return (
        f"canary: {Path(table['canary']).name}, at most {table['canary_margin']:g} points of drift"
    )
