"""Does the stack that a recipe asks for start? Known before anything is spent.

A recipe's plugins and its model's class must stand in the images' list of seams, and what no
package index carries must have been brought into the image that trains (containers/brought.py).
Where there is no container this environment is the image; elsewhere the image's own evidence is
read, or what `mfo doctor` saw inside it. Nothing that lives in an image is imported here.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from containers import brought, seams
from containers.check import Finding
from containers.sidecars import sidecars
from containers.spec import Brought, Spec, load
from kit.errors import KitError
from kit.files import read_json, write_json
from launch.inputs import dims
from launch.run import recipe as recipes
from launch.run.recipe import ROOT, Recipe
from launch.run.site import Site, expand

_LOOK_S = 900


def used(recipe: Recipe, spec: Spec) -> list[Brought]:
    """Give what a recipe's training loads that no package index carries, what it needs first."""
    train, model = recipe.table("train"), recipe.table("model")
    plugins = set(train.get("plugins", []))
    if not train.get("cut_cross_entropy", True):
        plugins -= {p for p in plugins if "cut_cross_entropy" in p}  # loaded, and left off
    on_gpu = bool(recipe.table("shape")["gpus"])
    found = [
        one for one in spec.brought.values()
        if plugins & set(one.plugins) or (on_gpu and model.get("architecture") in one.architectures)
    ]  # fmt: skip
    return sorted(found, key=lambda one: not one.needed)


def check(recipe: Recipe, site: Site) -> list[str]:
    """Hold what a recipe's training loads against where it will run; gives what is worth saying.

    Raises:
        KitError: a plugin's package is not where the run trains, or nobody can say that it is.
    """
    out = []
    for one in used(recipe, load()):
        state = _state(one, site)
        if state == "there":
            continue
        if one.needed:
            raise _refused(one, recipe, site, state)
        known = "not" if state == "lacking" else "nobody has seen whether it is"
        out.append(f"{one.name}: {known} where this trains; without it transformers computes it in "
                   f"Python: slower, and with more memory ({one.why})")  # fmt: skip
    return out


def _state(one: Brought, site: Site) -> str:
    """Whether a brought package is where the site trains: "there", "lacking" or "unknown"."""
    if site.runtime == "none":
        return "there" if _marked(one) else "lacking"
    image = expand(site.images.get(one.image, ""))
    statement = sidecars(Path(image))["provenance.json"]
    if statement.is_file():
        text = statement.read_text(encoding="utf-8", errors="replace")
        return "there" if one.name in brought.of_statement(text, str(statement)) else "lacking"
    known = seen(site, one.image)
    if known is None:
        return "unknown"
    return "there" if known.get(one.name) == "ok" else "lacking"


def _marked(one: Brought) -> bool:
    """Whether the package that is wanted can be imported here; it is looked at, not imported."""
    found = find_spec(one.module)
    for place in (found.submodule_search_locations or ()) if found else ():
        file = Path(place).parent / one.file
        if file.is_file() and one.marker in file.read_text(encoding="utf-8", errors="replace"):
            return True
    return False


def _refused(one: Brought, recipe: Recipe, site: Site, state: str) -> KitError:
    variant = f"mfo run {recipe.name}+{one.without} --site {site.name}"
    if site.runtime == "none":
        where, bring = sys.executable, f"pip install --no-deps {one.stem}-….whl, its wheel"
    else:
        where = expand(site.images.get(one.image, "")) or f"images.{one.image} of {site.name}"
        bring = (f"bring its wheel into containers/wheels/, then mfo image build {one.image} and "
                 f"mfo image export {one.image}")  # fmt: skip
    if state == "unknown":
        return KitError(
            f"nobody can say whether {one.name}, which {recipe.title} trains with, is in the image",
            where=where,
            cause="the image has no evidence beside it, and mfo doctor has not looked inside",
            fix=f"mfo doctor --site {site.name}; or copy IMAGE.provenance.json beside it; or "
            f"{variant}",
        )
    return KitError(
        f"{recipe.title} trains with {one.name}, which is not where it would train",
        where=where,
        cause=f"no package index carries it ({one.source}, commit {one.commit}; licence: "
        f"{one.licence}); without it Axolotl stops while it loads the model",
        fix=f"{bring}; or {variant}: the same mathematics in plain PyTorch",
    )


def look(image: str, python: str = sys.executable) -> list[dict[str, str]]:
    """Look at the seams of an image's stack in an environment, in a process of its own.

    Args:
        image: whose seams.
        python: the environment's interpreter; it needs nothing of the kit's.

    Raises:
        KitError: it gave no answer.
    """
    words = [python, "-m", "containers.seams", "--image", image, "--json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LOOK_S, cwd=ROOT)
        found = parse(done.stdout)
    except subprocess.TimeoutExpired:
        found = None
    if found is None:
        raise KitError("the seams could not be looked at", where=" ".join(words),
                       fix="the same by hand, without --json")  # fmt: skip
    return found


@functools.cache  # several seeds are one question
def fits(image: str, python: str, packages: tuple[str, ...]) -> None:
    """Refuse an environment whose packages do not fit where the kit touches them: by importing.

    Args:
        image: whose seams. 10 to 40 s: a run that evaluates with vLLM takes minutes anyway.
        python: the environment's interpreter.
        packages: as the list calls them.

    Raises:
        KitError: naming the first seam that does not fit, with the versions that are there.
    """
    wrong = [one for one in look(image, python) if one["package"] in packages
             and one["state"] in ("missing", "absent")]  # fmt: skip
    if wrong:
        raise KitError(
            f"{wrong[0]['package']} does not fit where the kit calls it: {wrong[0]['target']}",
            where=python,
            cause=wrong[0]["words"] + (f"; and {len(wrong) - 1} more" if wrong[1:] else ""),
            fix=f"rm -r {Path(python).parents[1]}; then make serve-cpu: constraints-serve.txt has "
            "versions that were tried together",
        )


def parse(said: str) -> list[dict[str, str]] | None:
    """Read the last line that containers.seams printed, behind what packages say; None: none."""
    for line in reversed(said.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, list) and all(isinstance(one, dict) for one in found):
            return found
    return None


def _record(site: Site, image: str) -> Path:
    return site.cache_path / "doctor" / f"seams-{image}.json"


def _which(site: Site, image: str) -> dict[str, Any]:
    """What an image is known by: its name, and its size and time where it is a file."""
    name = expand(site.images.get(image, ""))
    file = Path(name)
    facts = file.stat() if file.is_file() else None
    return {"image": name, "bytes": facts.st_size if facts else 0,
            "changed": int(facts.st_mtime) if facts else 0}  # fmt: skip


def keep(site: Site, image: str, found: Sequence[Mapping[str, str]]) -> None:
    """Keep what was seen inside a site's image, for the runs that will train in it."""
    packages: dict[str, str] = {}
    for one in found:  # a package fits where all its seams do
        if packages.get(one["package"], "ok") == "ok":
            packages[one["package"]] = one["state"]
    _record(site, image).parent.mkdir(parents=True, exist_ok=True)
    write_json(_record(site, image), {**_which(site, image), "packages": packages})


def seen(site: Site, image: str) -> dict[str, str] | None:
    """Give what was seen inside this very image; None where nobody looked, or it has changed."""
    known = read_json(_record(site, image))
    if not isinstance(known, dict):
        return None
    packages = known.pop("packages", None)
    return packages if known == _which(site, image) and isinstance(packages, dict) else None


def hold(recipe: Recipe, spec: Spec, listed: list[seams.Seam]) -> list[str]:
    """Hold a recipe against the images' list; gives in words what it loads and is not listed.

    Args:
        recipe: whose plugins, model class and wrapped layer.
        spec: the images.
        listed: the list of seams.
    """
    from launch.stages.train import PLUGINS

    known = {seam.target for seam in listed if "train" in seam.images}
    names = {seam.target.rpartition(":")[2] for seam in listed if "train" in seam.images}
    packages = {seam.package for seam in listed}
    plugins = (*recipe.table("train").get("plugins", []), *PLUGINS)
    out = [f"the plugin {p}" for p in plugins if ":".join(p.rsplit(".", 1)) not in known]
    classes = [str(recipe.table("model").get("architecture", ""))]
    classes += [str(dims.of(recipe).wrap)] if recipe.table("train").get("fsdp_config") else []
    out += [f"the class {name}" for name in classes if name and name not in names]
    return out + [f"{one.name}, which is brought" for one in used(recipe, spec)
                  if one.name not in packages]  # fmt: skip


def _each() -> dict[str, Recipe]:
    """Every recipe and each variant that it can have, by name."""
    out = {}
    for name in recipes.known_recipes():
        out[name] = recipes.load(name)
        for variant in recipes.fitting_variants(out[name]):
            out[f"{name}+{variant}"] = recipes.load(f"{name}+{variant}")
    return out


def listed(spec: Spec) -> list[Finding]:
    """Hold the kit's recipes, each with its variants, against the images' list of seams."""
    known, out = seams.read(spec.seams), []
    every = _each()
    for name, recipe in every.items():
        if lacking := hold(recipe, spec, known):
            out.append(Finding(False, f"recipe {name} loads {', '.join(lacking)}, which the images "
                               "do not list", f"list it in containers/{spec.seams.name}, and pin "
                               "its package, or name it as brought, in images.toml"))  # fmt: skip
    return out or [Finding(True, f"what {len(every)} recipes and variants load is listed")]


def users(spec: Spec, one: Brought) -> list[str]:
    """Give the kit's recipes that load what is brought, without their variants."""
    return [name for name in recipes.known_recipes()
            if one in used(recipes.load(name), spec)]  # fmt: skip
