"""The software of published runs, as far as upstream's files say: recipes/stacks.toml.

Shown by `mfo recipe show`; nothing is built of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.errors import KitError
from kit.toml import read_toml
from launch.run.recipe import RECIPES, Recipe

#: Keys of a stack, and their type.
KEYS: dict[str, type] = {
    "role": str,
    "about": str,
    "source": str,
    "why": str,
    "versions": dict,
    "asked": dict,
    "unpinned": list,
    "differs": list,
    "same": list,
}


def load(file: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read the stacks by name.

    Raises:
        KitError: a stack lacks a key, has another, or one of a wrong type.
    """
    file = file or RECIPES / "stacks.toml"
    found = read_toml(file, "the list of stacks")
    for name, stack in found.items():
        if not isinstance(stack, dict) or set(stack) != set(KEYS):
            raise KitError(f"the stack {name!r} needs exactly {', '.join(KEYS)}", where=str(file))
        for key, kind in KEYS.items():
            if not isinstance(stack[key], kind):
                raise KitError(f"{name}.{key} is no {kind.__name__}", where=str(file))
    return found


def describe(recipe: Recipe) -> list[str]:
    """Say for people what is known of the software that the published model was made with."""
    if not recipe.data.get("upstream_file") or not recipe.table("shape")["gpus"]:
        return []
    out = []
    for name, stack in load().items():
        both = {**stack["versions"], **stack["asked"]}
        versions = ", ".join(f"{package} {version}" for package, version in both.items())
        out += [
            f"stack {name}, evidence and not proof: {stack['about']} ({stack['source']})",
            f"  {versions}; without a version: {', '.join(stack['unpinned'])}",
            *(f"  otherwise than with the kit's pins: {line}" for line in stack["differs"]),
            *(f"  as with the kit's pins: {line}" for line in stack["same"]),
            "  the kit builds no such image: its own is in containers/images.toml",
        ]
    return out
