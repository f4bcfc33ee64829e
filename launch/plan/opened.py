"""Whatever a run will read, opened before anything is spent on the way there.

READINGS is the list: each names a thing that a later stage reads, and reads it as that stage will.
`mfo run` and `mfo verify` open all of it before a run folder is made, `mfo doctor --recipe` and
`mfo run --dry-run` say of each whether it can be read, `mfo fetch` opens what it has brought.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.errors import KitError
from launch.inputs import base_model as fetch
from launch.inputs import comparators, folders, upstream
from launch.inputs.dims import check_folder
from launch.run import judged_benchmarks
from launch.run.recipe import Recipe
from launch.run.site import Site
from scoring import kinds, mcq, pinned

_Stages = Collection[str]


@dataclass(frozen=True)
class Reading:
    """One thing that a run reads.

    Attributes:
        what: its name, for people.
        stages: of which one reads it; without one of these in a run it is not opened.
        parts: of `mfo fetch`, all of which must have been brought to open it; none: it is local.
        open: reads it as the stage will; gives what was read in words, "" where this recipe reads
            none, and raises a KitError where it cannot be read.
    """

    what: str
    stages: frozenset[str]
    parts: frozenset[str]
    open: Callable[[Recipe, Site, _Stages], str]


def check(recipe: Recipe, site: Site, stages: _Stages) -> None:
    """Open everything that these stages read.

    Args:
        recipe: tied to what was fetched (launch.inputs.wanted.freeze).
        site: in whose cache it lies.
        stages: of the run.

    Raises:
        KitError: for the first thing that cannot be read, or is not what the recipe needs.
    """
    for reading in _of(stages):
        reading.open(recipe, site, stages)


def look(
    recipe: Recipe, site: Site, stages: _Stages, parts: _Stages = ()
) -> Iterator[tuple[str, str, KitError | None]]:
    """Open everything, and refuse nothing: what it is, in words, and the error where there is one.

    Args:
        recipe: as for `check`.
        site: in whose cache it lies.
        stages: of the run.
        parts: open only what these parts of `mfo fetch` bring; none: everything.
    """
    for reading in _of(stages):
        if parts and not (reading.parts and reading.parts <= set(parts)):
            continue
        try:
            words = reading.open(recipe, site, stages)
        except KitError as error:
            said = KitError(error.what, where=error.where, cause=error.cause, fix=error.fix)
            yield reading.what, "", said
        else:
            if words:
                yield reading.what, words, None


def _of(stages: _Stages) -> Iterator[Reading]:
    return (reading for reading in READINGS if reading.stages & set(stages))


# --- one function for each thing ----------------------------------------------------------------


def _base(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    model = recipe.table("model")
    base = Path(str(model.get("base", ""))).expanduser()
    if model.get("source") == "hub":
        if not base.is_dir():
            return ""  # held against the recipe when it was fetched, and verified since
        check_folder(recipe, base)
        return f"{base}, the recipe's class and dimensions"
    fetch.base_model_identity(recipe)
    return "configuration, turn format and tokenizer's texts"


def _weights(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    folders.check(recipe, stages)
    return ", ".join(str(path) for _, path, _ in folders.given(recipe, stages))


def _corpus(recipe: Recipe, site: Site, stages: _Stages) -> str:
    from corpus import sources
    from launch.stages.corpus import components
    from launch.stages.train import check_rows

    table = recipe.table("corpus")
    spec = Path(table["sources"])
    found = sources.load(
        spec, components(recipe), cache=site.cache_path, revision=table.get("revision")
    )
    if "train" not in stages:
        return f"{len(found)} components"
    rows = sum(sources.count_rows(file) for source in found for file in source.files)
    check_rows(recipe, rows, site.world_size, str(spec))
    return f"{rows:,} rows in {len(found)} components"


def _protocol(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    table = recipe.table("eval")
    names = ("tasks", "extraction", "backend", "pubmedqa")  # words that the schema has checked
    return ", ".join(f"{key} {table[key]}" for key in names)


def _benchmarks(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from launch.stages.evaluate import benchmark_files

    files = benchmark_files(recipe)
    counts = {name: kinds.check(name, path) for name, path in files.items()}
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) + " items"


def _tasks(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    names, files = _choice(recipe), _task_files(recipe, site)
    if not files or not names:
        return ""
    pinned.read_tasks(files, names)
    aside = pinned.set_aside(files, names)
    return (f"{len(files)}, for {', '.join(names)}; set aside, as they change neither prompt nor "
            f"score: {', '.join(aside) or 'none'}")  # fmt: skip


def _wording(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from launch.stages.evaluate import benchmark_files

    names, files, table = _choice(recipe), _task_files(recipe, site), recipe.table("eval")
    if not files or not names:
        return ""
    every = pinned.split(table["tasks"], table["pubmedqa"]) == "labeled"
    paths = benchmark_files(recipe)
    asked = {name: mcq.read_benchmark(paths[name], name, every=every) for name in names}
    return f"{pinned.check(files, asked):,} prompts, each with its item's right answer"


def _choice(recipe: Recipe) -> list[str]:
    return [n for n in recipe.table("eval")["benchmarks"] if kinds.kind(n) == kinds.CHOICE]


def _task_files(recipe: Recipe, site: Site) -> dict[str, bytes]:
    tasks = str(recipe.table("eval")["tasks"])
    known = tasks in upstream.TASK_PINS
    return upstream.task_files(site, tasks, recipe=recipe.name) if known else {}


def _grading(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from launch.stages import graders

    if not judged_benchmarks.judged(recipe):
        return ""
    graders.protocol(recipe)
    return ", ".join(graders.prompts(recipe, site).sha256)


def _canary(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from scoring.canary import read_canary

    frozen = recipe.table("judge")["canary"] if judged_benchmarks.judged(recipe) else ""
    return f"{len(read_canary(Path(frozen)))} frozen grades" if frozen else ""


def _stand_in(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from scoring.scripted_judge import read_key

    table = recipe.table("judge")
    if not judged_benchmarks.judged(recipe) or table["base_url"] or not table["script"]:
        return ""
    return f"{len(read_key(Path(table['script']))['facts'])} facts"


def _comparators(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    found = judged_benchmarks.comparators(recipe)
    for one in found.values():
        comparators.folder(recipe, site, one)
    return ", ".join(one.identity for one in found.values())


def _published(recipe: Recipe, site: Site, stages: _Stages) -> str:  # noqa: ARG001
    from checks.tables import load_table

    published, names = recipe.table("published"), recipe.table("eval")["benchmarks"]
    printed = load_table(published["table"])
    missing = [n for n in names if printed.score(n, published["model"]) is None]
    if missing:
        raise KitError(
            f"the table {published['table']} has no value of {published['model']} for {missing[0]}",
            where=f"recipe {recipe.name}",
            cause="without a reference value every verdict would be invalid",
            fix="--set published.table=FILE and published.model=NAME, or fewer eval.benchmarks",
        )
    return f"{published['model']} in {published['table']}, for {len(names)} benchmarks"


def _reading(
    what: str, stages: str, parts: str, read: Callable[[Recipe, Site, _Stages], str]
) -> Reading:
    return Reading(what, frozenset(stages.split()), frozenset(parts.split()), read)


READINGS = (
    _reading("base model", "train", "", _base),
    _reading("weights that are given", "train evaluate", "", _weights),
    _reading("corpus", "corpus", "corpus", _corpus),
    _reading("protocol", "evaluate", "", _protocol),
    _reading("benchmarks", "evaluate", "benchmarks", _benchmarks),
    _reading("task files", "evaluate", "upstream", _tasks),
    _reading("questions in their wording", "evaluate", "upstream benchmarks", _wording),
    _reading("prompts of graders and judges", "evaluate", "upstream", _grading),
    _reading("canary", "evaluate", "", _canary),
    _reading("stand-in for the judge", "evaluate", "", _stand_in),
    _reading("comparators", "evaluate", "comparators", _comparators),
    _reading("published table", "judge", "", _published),
)
