"""What of a recipe's evaluation a judge has to decide."""

from __future__ import annotations

from checks.benchmarks import kinds
from launch.recipe import Recipe


def judged(recipe: Recipe) -> list[str]:
    """The recipe's benchmarks that another model decides on, in order."""
    return [n for n in recipe.table("eval")["benchmarks"] if kinds.kind(n) in kinds.JUDGED]


def own_file(recipe: Recipe) -> str:
    """The benchmark whose file the recipe itself names (judge.vignettes), or ""."""
    names = recipe.table("eval")["benchmarks"] if recipe.table("judge").get("vignettes") else []
    return next((n for n in names if kinds.kind(n) == kinds.PAIRS), "")


def compared(recipe: Recipe) -> bool:
    """Whether a benchmark needs the base model's answers to compare with."""
    return any(kinds.kind(name) == kinds.PAIRS for name in recipe.table("eval")["benchmarks"])
