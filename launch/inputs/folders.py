"""The folders of weights that a run is given: looked at before anything is spent on them.

What is looked for is in scoring.model_folder; here is which folders a run will load, and which
of them it will ask in turns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from kit.errors import KitError
from launch.inputs import dims
from launch.run import judged_benchmarks
from launch.run.recipe import Recipe
from scoring import chat_template, kinds, model_folder

__all__ = ["check", "given"]

BASE = "the base model"


def check(recipe: Recipe, stages: Collection[str]) -> None:
    """Look at each folder of weights that a recipe was given.

    What was fetched from the hub or is built here is not among them: that is verified elsewhere.

    Raises:
        KitError: one is no folder, no model that can be loaded and asked as the run will, or
            another base model than the recipe's.
    """
    for what, path, chat in given(recipe, stages):
        if what == BASE and "train" in stages and (path / "config.json").is_file():
            dims.check_folder(recipe, path)  # another model is said first, whatever else it lacks
        model_folder.check(path, what, chat=chat)


def given(recipe: Recipe, stages: Collection[str]) -> Iterator[tuple[str, Path, bool]]:
    """Give the folders: whose each is, where it lies, and whether it is asked in turns.

    Raises:
        KitError: a comparator is named that is no other model.
    """
    model, table = recipe.table("model"), recipe.table("eval")
    judged = bool(judged_benchmarks.judged(recipe))
    choice = any(kinds.kind(n) not in kinds.JUDGED for n in table["benchmarks"])
    asked = "evaluate" in stages
    chat = asked and (judged or (choice and bool(table["chat_template"])))
    if asked and (weights := model.get("weights")):
        yield "the model that is scored", Path(str(weights)).expanduser(), chat
    train = "train" in stages
    scored = asked and bool(table["base"] or judged_benchmarks.compared(recipe))
    if model.get("source") == "hub" and (train or scored):
        learns = train and not recipe.table("train").get("chat_template")
        named = _named(str(model.get("base", "")))
        if named:
            # A recipe's own template is put beside a base that has none.
            lent = bool(model.get("chat_template")) and chat_template.read(named) is None
            yield BASE, named, not lent and (learns or (scored and chat))
    if asked:
        for name, one in judged_benchmarks.comparators(recipe).items():
            if one.folder is not None:
                yield f"the comparator {name}", one.folder, True
        judge = recipe.table("judge")
        if judged and not judge["base_url"] and not judge["script"]:
            named = _named(str(judge["model"]))
            if named:
                yield "the judge", named, True


def _named(name: str) -> Path | None:
    """Give the path that a model's name is; None where it is one of the hub.

    Raises:
        KitError: it can be neither.
    """
    path = Path(name).expanduser()
    if path.exists() or name.startswith(("/", "~", ".")) or path.suffix == ".gguf":
        return path
    if name.count("/") > 1:
        raise KitError(
            f"{name!r} is neither a folder nor the name of a model on the hub (ORG/NAME)",
            where=str(path.absolute()),
            cause="a misspelt path, or one from another folder than this",
            fix="give the folder's whole path",
        )
    return None
