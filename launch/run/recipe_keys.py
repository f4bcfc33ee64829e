"""Names of a recipe's tables and of the keys that are paths; recipe_schema has every key's type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: A recipe's tables (recipe_schema.Tables); those of `train` are Axolotl's.
TABLES = ("model", "corpus", "shape", "envelope", "eval", "judge", "published", "train")
#: Values that name a file or folder; a relative one is relative to the recipe that wrote it.
PATHS = ("model.shape", "model.config", "model.chat_template", "model.tokenizer_texts",
         "model.weights", "envelope.bands",
         "corpus.sources", "eval.benchmark_files", "judge.grader_prompt", "judge.pairs_prompt",
         "judge.vignettes", "judge.rubric", "judge.canary", "judge.script",
         "train.config")  # fmt: skip
#: What the resolved recipe keeps of what stands beside its tables.
KEPT = ("title", "status", "upstream_file", "departures")
#: Values of path keys that are words, not paths.
WORDS = ("hub", "upstream", "")


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested tables as one table with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out
