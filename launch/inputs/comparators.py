"""The models beside the base that comparisons need: fetched as a base is, or a folder.

Which ones a recipe needs, and what is refused of them by name, is in launch.run.judged_benchmarks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from corpus.fetch import Wanted
from corpus.store import Repo, Store
from kit.files import digest, sha256_file
from launch.inputs.hub import MODEL_FILES, fetch_command, only_safetensors
from launch.run import judged_benchmarks
from launch.run.judged_benchmarks import Comparator
from launch.run.recipe import Recipe
from launch.run.site import Site

#: What `mfo fetch --only` calls them.
PART = "comparators"


def wanted(recipe: Recipe, *, every: bool) -> list[Wanted]:
    """What is to be fetched of them.

    Args:
        recipe: whose comparisons.
        every: also for those that a run leaves out for want of vignettes.

    Raises:
        KitError: as of `launch.run.judged_benchmarks.comparators`.
    """
    found = judged_benchmarks.comparators(recipe, every=every).values()
    return [Wanted(_repo(one), one.revision, MODEL_FILES, "comparator")
            for one in found if one.folder is None]  # fmt: skip


def not_wanted(recipe: Recipe) -> list[str]:
    """Say which of them a fetch leaves out, and how they would be fetched."""
    needed = judged_benchmarks.comparators(recipe)
    return [f"{one.model} ({one.benchmark}): not fetched, because without vignettes the comparison "
            f"is left out; mfo fetch {recipe.name} --only {PART}"
            for name, one in judged_benchmarks.comparators(recipe, every=True).items()
            if name not in needed and one.folder is None]  # fmt: skip


def folder(recipe: Recipe, site: Site, one: Comparator) -> Path:
    """Give the folder of a comparator.

    Raises:
        KitError: it was not fetched, has changed since, or holds no safetensors.
    """
    if one.folder is not None:
        return only_safetensors(one.folder, f"comparator of {one.benchmark}")
    # Named by its part: a whole fetch leaves out what nobody's vignettes need.
    fetch = fetch_command(recipe, site, PART)
    place = Store(site.cache_path).verified(_repo(one), one.revision, MODEL_FILES, fetch)
    return only_safetensors(place, f"comparator of {one.benchmark}")


def tie(recipe: Recipe, site: Site, data: dict[str, Any]) -> list[str]:
    """Write into a recipe's data what was fetched of them; gives a line for each.

    Raises:
        KitError: as of `folder`.
    """
    said = []
    for name, one in judged_benchmarks.comparators(recipe).items():
        place = folder(recipe, site, one)
        if one.folder is not None:
            data["judge"][name] = str(place)  # absolute: a job begins elsewhere
            said.append(f"comparator of {one.benchmark}: {place}")
            continue
        commit = Store(site.cache_path).commit(_repo(one), one.revision)
        data["judge"][f"{name}_revision"] = commit
        said.append(f"comparator of {one.benchmark}: {one.model} at {commit}, as it was fetched")
    return said


def identity(one: Comparator) -> dict[str, Any]:
    """Everything that decides a comparator's answers."""
    if one.folder is None:
        return {"source": "hub", "model": one.model, "revision": one.revision}
    return of_folder(one.folder)


def of_folder(folder: Path) -> dict[str, Any]:
    """Everything that decides the answers of a model that lies in a folder of this machine."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    return {"source": "folder", "files": {p.name: sha256_file(p) for p in files}}


def shards(recipe: Recipe, site: Site, one: Comparator) -> str:
    """The sha256 of a comparator's weights, made as that of the trained ones is.

    Raises:
        KitError: as of `folder`.
    """
    place = folder(recipe, site, one)
    if one.folder is None:  # hashed when it was fetched, and not changed since
        known = Store(site.cache_path).record(_repo(one), place.name)["files"]
        return digest({n: f["sha256"] for n, f in known.items() if n.endswith(".safetensors")})
    return digest({p.name: sha256_file(p) for p in sorted(place.glob("*.safetensors"))})


def _repo(one: Comparator) -> Repo:
    return Repo("model", one.model)
