"""What of a recipe's evaluation a judge has to decide, and whose answers it compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kit.errors import KitError
from launch.run.recipe import Recipe
from scoring import kinds


@dataclass(frozen=True)
class Comparator:
    """A model beside the base that a comparison holds ours against.

    Attributes:
        name: what it is called in a run, such as `medgemma`; `[judge]` names it by this key.
        benchmark: the comparison that needs it.
        model: "ORG/NAME" of the hub, or a folder.
        revision: of the hub; a commit once a run is frozen.
    """

    name: str
    benchmark: str
    model: str
    revision: str

    @property
    def folder(self) -> Path | None:
        """The folder of weights that was given; None for one of the hub."""
        local = Path(self.model).expanduser()
        return local.resolve() if local.is_dir() else None

    @property
    def identity(self) -> str:
        """Where it is from, for people."""
        return str(self.folder or f"{self.model}@{self.revision}")


def judged(recipe: Recipe) -> list[str]:
    """The recipe's benchmarks that another model decides on, in order."""
    return [n for n in recipe.table("eval")["benchmarks"] if kinds.kind(n) in kinds.JUDGED]


def comparisons(recipe: Recipe) -> list[str]:
    """The recipe's benchmarks that compare with another model's answers, in order."""
    return [n for n in recipe.table("eval")["benchmarks"] if kinds.kind(n) == kinds.PAIRS]


def own_files(recipe: Recipe) -> dict[str, Path]:
    """The files that the recipe itself names, by benchmark: judge.vignettes and judge.rubric."""
    table = recipe.table("judge")
    given = {n: table.get("vignettes") for n in comparisons(recipe)}
    given |= {n: table.get("rubric") for n in judged(recipe) if kinds.kind(n) == kinds.RUBRIC}
    return {name: Path(path) for name, path in given.items() if path}


def left_out(recipe: Recipe) -> list[str]:
    """The comparisons that no run can make: their vignettes are neither given nor public."""
    given = recipe.table("judge").get("vignettes")
    hub = recipe.table("eval")["benchmark_files"] == "hub"
    return comparisons(recipe) if hub and not given else []


def compared(recipe: Recipe) -> bool:
    """Whether a benchmark needs the base model's answers to compare with."""
    return any(kinds.AGAINST[name] == kinds.BASE for name in comparisons(recipe))


def comparators(recipe: Recipe, *, every: bool = False) -> dict[str, Comparator]:
    """The models beside the base that the recipe's comparisons need, by name.

    Args:
        recipe: whose `[judge]` names each as `NAME` and `NAME_revision`.
        every: also those of comparisons that a run leaves out.

    Raises:
        KitError: one is not named, its folder is not there, or it is no other model: the base, or
            the one that is scored.
    """
    out, table = {}, recipe.table("judge")
    gone = () if every else left_out(recipe)
    for benchmark in comparisons(recipe):
        name = kinds.AGAINST[benchmark]
        if name != kinds.BASE and benchmark not in gone:
            revision = str(table.get(f"{name}_revision") or "main")
            out[name] = Comparator(name, benchmark, str(table.get(name) or ""), revision)
            _check(recipe, out[name])
    return out


def _check(recipe: Recipe, one: Comparator) -> None:
    where, key = f"recipe {recipe.name}", f"judge.{one.name}"
    if not one.model:
        raise KitError(
            f"it is not said whose answers {one.benchmark} compares with",
            where=where,
            cause=f"{key} is not set",
            fix=f"--set {key}=ORG/NAME of the hub, or a folder; or fewer eval.benchmarks",
        )
    if one.folder is None and one.model.startswith(("/", "~", ".")):
        raise KitError(f"there is no such folder of weights for {one.benchmark}",
                       where=f"{key} = {one.model!r}", fix=f"mend {key}")  # fmt: skip
    if same := _same(recipe, one):
        raise KitError(
            f"{one.benchmark} would compare a model with itself",
            where=f"{where}: {key} = {one.model!r}",
            cause=f"that is {same}",
            fix=f"--set {key}= the other model, or leave {one.benchmark} out of eval.benchmarks",
        )


def _same(recipe: Recipe, one: Comparator) -> str:
    """Say which of the run's own models it is, as far as names tell; "" where it is none."""
    model = recipe.table("model")
    weights = model.get("weights")
    if weights and one.folder == Path(weights).resolve():
        return "the folder of weights that is scored"
    if one.model.rpartition("/")[2].lower() == str(recipe.table("published")["model"]).lower():
        return "the published model that is reproduced"
    if model.get("source") == "hub":
        base = Path(str(model["base"])).expanduser()
        if one.model == model["base"] or (one.folder and one.folder == base.resolve()):
            return "the base model, with which auto_moove compares"
    return ""


def local_judge(recipe: Recipe) -> Path | None:
    """The judge's weights where judge.model is a folder of this machine and not a name."""
    table = recipe.table("judge")
    folder = Path(str(table["model"])).expanduser()
    return folder if not (table["base_url"] or table["script"]) and folder.is_dir() else None
