"""The software of published runs, as far as upstream's files say: recipes/stacks.toml.

Shown by `mfo recipe show`; nothing is built of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kit.files import read_toml
from kit.schema import Table, convert
from launch.run.recipe import RECIPES, Recipe


class Stack(Table):
    """One stack.

    Attributes:
        role: "train" or "eval"; about: what it is; source: where it is written; why: it matters.
        versions: by package, as a file states them; asked: what those ask for themselves.
        unpinned: without a version.
        differs, same: where the kit's pins behave otherwise, and where as these.
    """

    role: Literal["train", "eval"]
    about: str
    source: str
    why: str
    versions: dict[str, str]
    asked: dict[str, str]
    unpinned: list[str]
    differs: list[str]
    same: list[str]


def load(file: Path | None = None) -> dict[str, Stack]:
    """Read the stacks by name.

    Raises:
        KitError: a stack lacks a key, has another, or one of a wrong type.
    """
    file, what = file or RECIPES / "stacks.toml", "the list of stacks"
    return convert(read_toml(file, what), dict[str, Stack], where=str(file), what=what)


def describe(recipe: Recipe) -> list[str]:
    """Say for people what is known of the software that the published model was made with."""
    if not recipe.data.get("upstream_file") or not recipe.table("shape")["gpus"]:
        return []
    out = []
    for name, stack in load().items():
        both = {**stack.versions, **stack.asked}
        versions = ", ".join(f"{package} {version}" for package, version in both.items())
        out += [
            f"stack {name}, evidence and not proof: {stack.about} ({stack.source})",
            f"  {versions}; without a version: {', '.join(stack.unpinned)}",
            *(f"  otherwise than with the kit's pins: {line}" for line in stack.differs),
            *(f"  as with the kit's pins: {line}" for line in stack.same),
            "  the kit builds no such image: its own is in containers/images.toml",
        ]
    return out
