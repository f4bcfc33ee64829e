"""What a recipe may say: every key, its type, and which of them are paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Every key outside `train` (whose keys are Axolotl's) and the type that it takes.
SCHEMA: dict[str, dict[str, type]] = {
    "model": {
        "source": str,
        "base": str,
        "licence": str,
        "revision": str,
        "architecture": str,
        "shape": str,
        "config": str,
        "chat_template": str,
        "tokenizer_texts": str,
        "seed": int,
        "weights": str,
    },
    "corpus": {
        "sources": str,
        "components": list,
        "decontaminate": str,
        "threshold": float,
        "revision": str,
    },
    "shape": {"global_batch": int, "gpus": int},
    "envelope": {"rise": float, "ceilings": list, "window": int, "bands": str},
    "eval": {
        "harness": str,
        "benchmarks": list,
        "benchmark_files": str,
        "benchmark_revisions": dict,
        "limit": int,
        "seed": int,
        "tasks": str,
        "chat_template": bool,
        "extraction": str,
        "pubmedqa": str,
        "backend": str,
        "max_gen_toks": int,
        "max_length": int,
        "batch_size": int,
        "dtype": str,
        "base": bool,
    },
    "judge": {
        "protocol": str,
        "order": str,
        "temperature": float,
        "max_tokens": int,
        "max_length": int,
        "bos": str,
        "special_tokens": str,
        "judge_temperature": float,
        "warmer": float,
        "judge_max_tokens": int,
        "judge_max_length": int,
        "retries": int,
        "concurrency": int,
        "grader_prompt": str,
        "pairs_prompt": str,
        "vignettes": str,
        "rubric": str,
        "canary": str,
        "canary_margin": float,
        "base_url": str,
        "key_env": str,
        "model": str,
        "revision": str,
        "script": str,
        "first_bias": float,
        "medgemma": str,
        "medgemma_revision": str,
    },
    "published": {"table": str, "model": str, "tier": str, "gpu_hours": float},
}
#: Values that name a file or folder; a relative one is relative to the recipe that wrote it.
PATHS = ("model.shape", "model.config", "model.chat_template", "model.tokenizer_texts",
         "model.weights", "envelope.bands",
         "corpus.sources", "eval.benchmark_files", "judge.grader_prompt", "judge.pairs_prompt",
         "judge.vignettes", "judge.rubric", "judge.canary", "judge.script",
         "train.config")  # fmt: skip
#: Keys of a recipe's file beside its tables, and their type.
HEAD: dict[str, type] = {
    "title": str,
    "about": str,
    "status": str,
    "upstream_file": str,
    "departures": dict,
    "extends": str,
    "with": list,
    "needs": list,
    "unset": list,
    "append": dict,
    "remove": dict,
}
#: Of these, what the resolved recipe keeps.
KEPT = ("title", "status", "upstream_file", "departures")
WORDS_OF = {
    int: "a whole number >= 0",
    float: "a number >= 0",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a table",
}
#: Values of path keys that are words, not paths.
WORDS = ("hub", "upstream", "")


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested tables as one table with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out
