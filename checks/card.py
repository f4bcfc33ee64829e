"""The model card: README.md of the new weights on the hub, with the verdict's numbers alone.

    text = model_card(verdict, Facts(title="…", licence="gemma", …))

The metadata block is what ``huggingface_hub.ModelCard`` parses. Only what was measured on all of a
benchmark's items and is not invalid enters ``model-index``: a sample stands in the table alone.
The published scores stand beside it in the table and nowhere as results of these weights. Text
from recipes, tables and models is escaped.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from checks.report.markdown import escape, write_markdown

__all__ = ["Facts", "model_card"]

#: How the weights are loaded; the tests run it.
SNIPPET = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({place})
model = AutoModelForCausalLM.from_pretrained({place}, dtype="auto")
question = [{{"role": "user", "content": "Which vitamin prevents scurvy?"}}]
tokens = tokenizer.apply_chat_template(
    question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
answer = model.generate(**tokens, max_new_tokens=64)[0, tokens["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
```"""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the verdict does not know about the weights.

    Attributes:
        title: the model's name.
        licence: an identifier of the hub's list, such as ``gemma``; ``unknown`` where nobody said.
        base_model: the hub's name of the model that was trained on; None where there is none.
        base_revision: its commit, where it is known.
        base_words: the base in words, where it is not on the hub.
        datasets: the hub's names of the training data.
        data_licence: of the training data; empty where nobody said.
        data: lines about the data, name -> value.
        recipe: the hyperparameters, name -> value.
        hardware: where it was trained, name -> value.
        tags: the hub's tags.
        language: of the training data and benchmarks.
        place: what the card's snippet loads: the hub's name, or a folder beside the card.
    """

    title: str
    licence: str = "unknown"
    base_model: str | None = None
    base_revision: str = ""
    base_words: str = ""
    datasets: tuple[str, ...] = ()
    data_licence: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hardware: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tags: tuple[str, ...] = ("medical", "reproduction", "mfo-kit")
    language: str = "en"
    place: str = "train/model"


def model_card(verdict: Mapping[str, Any], facts: Facts) -> str:
    """Give the card as Markdown with its YAML head.

    Args:
        verdict: the content of verdict.json.
        facts: about weights, data and training.
    """
    parts = [
        f"---\n{_metadata(verdict, facts)}---",
        f"# {escape(facts.title)}",
        _introduction(verdict, facts),
        "# Use",
        SNIPPET.format(place=json.dumps(facts.place)),
        "# Results",
        write_markdown(verdict).rstrip(),
        "Scores are in per cent, differences and margins in points. *Score* is measured on these "
        "weights, *Published* is what the source of the table prints for its own weights.",
        "# Training data",
        _lines(facts.data),
        "# Recipe",
        _lines({"Base model": _base(facts), **facts.recipe}),
        "# Hardware",
        _lines(facts.hardware),
        "# Provenance",
        _lines(_provenance(verdict)),
        "# Limits",
        "\n".join(f"- {line}" for line in _limits(verdict, facts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(verdict: Mapping[str, Any], facts: Facts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=row["benchmark"],
            dataset_name=row["title"],
            metric_type="accuracy" if row["metric"] == "accuracy" else "mean rubric score",
            metric_name=f"{'accuracy' if row['metric'] == 'accuracy' else 'mean rubric score'} (%)",
            metric_value=row["observed"],
        )
        for row in verdict["benchmarks"]
        if row["observed"] is not None and row["verdict"] != "invalid" and _complete(row)
    ]
    data = ModelCardData(
        language=facts.language,
        license=facts.licence,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=facts.base_model,
        datasets=list(facts.datasets) or None,
        tags=list(facts.tags),
        model_name=facts.title,
        eval_results=results or None,
    )
    return str(data.to_yaml()).rstrip("\n") + "\n"


def _complete(row: Mapping[str, Any]) -> bool:
    return bool(row["n"] >= (row["items_published"] or row["planned"].get("of") or row["n"]))


def _introduction(verdict: Mapping[str, Any], facts: Facts) -> str:
    return (
        f"An attempt to reproduce {escape(verdict['model'])}: trained again from "
        f"{escape(_base(facts))} by the recipe below. These are not the authors' weights. "
        f"The verdict is **{verdict['verdict']}**: {escape(verdict['headline'])}"
    )


def _base(facts: Facts) -> str:
    if not facts.base_model:
        return facts.base_words or "a base model that is not on the hub"
    return facts.base_model + (f" at {facts.base_revision}" if facts.base_revision else "")


def _lines(values: Mapping[str, Any]) -> str:
    known = {k: v for k, v in values.items() if v not in (None, "", [], {})}
    return "\n".join(f"- {escape(k)}: {escape(v)}" for k, v in known.items()) or "Not known."


def _provenance(verdict: Mapping[str, Any]) -> dict[str, Any]:
    origin = verdict["provenance"]
    kit, corpus = origin.get("kit") or {}, origin.get("corpus") or {}
    packages = origin.get("packages") or {}
    return {
        "Run": origin.get("run"),
        "Seed": origin.get("seed"),
        "Kit": " ".join(str(kit[k]) for k in ("version", "commit") if kit.get(k)),
        "Files changed since that commit": kit.get("changed_files") or None,
        "sha256 of the weights": (origin.get("weights") or {}).get("sha256"),
        "sha256 of the training data": corpus.get("sha256"),
        "Packages": ", ".join(f"{k} {v}" for k, v in sorted(packages.items())),
        **{f"Image ({role})": text for role, text in (origin.get("images") or {}).items()},
        "Published table": f"{verdict['table']['name']}, sha256 {verdict['table']['sha256']}",
    }


def _limits(verdict: Mapping[str, Any], facts: Facts) -> list[str]:
    lines = [
        "Research weights. Not a medical device, not for diagnosis, treatment or advice to "
        "patients; multiple-choice scores do not show that it is safe.",
        "The scores hold for the protocol of this run alone: other prompts, templates or "
        "libraries give other scores.",
    ]
    if verdict["verdict"] != "reproduced":
        lines.append("Not every published score is reproduced by these weights: see the results.")
    if any(row["verdict"] == "invalid" for row in verdict["benchmarks"]):
        lines.append("Benchmarks that are *invalid* above were not measured.")
    if facts.licence == "unknown":
        lines.append("No licence is stated: settle it before anybody uses the weights.")
    if facts.data_licence:
        lines.append(
            f"The training data is under {escape(facts.data_licence)}; whoever uses the weights "
            "has to mind that and the base model's licence."
        )
    return lines
