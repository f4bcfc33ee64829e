"""What a model of the hub is to the kit: the files that are asked of it, and who brings them."""

from __future__ import annotations

from pathlib import Path

from kit.errors import KitError
from launch.run.recipe import Recipe
from launch.run.site import Site

#: What is asked of the hub for a model: weights as safetensors, configuration, tokenizer; no code,
#: no pickles.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def fetch_command(recipe: Recipe, site: Site, part: str = "") -> str:
    """The command that brings what a recipe needs, or one part of it, to a site's cache."""
    return f"mfo fetch {recipe.name} --site {site.name}" + (f" --only {part}" if part else "")


def only_safetensors(folder: Path, what: str) -> Path:
    """Give a model's folder back where it holds weights that can be loaded.

    Raises:
        KitError: it holds no safetensors.
    """
    if not list(folder.glob("*.safetensors")):
        raise KitError(
            f"the {what} holds no safetensors", where=str(folder),
            cause="pickled weights (.bin) are not loaded: a pickle can run code",
            fix="choose a revision with safetensors",
        )  # fmt: skip
    return folder
