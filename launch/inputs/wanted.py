"""What a recipe needs from elsewhere, and how a run is tied to what was fetched of it.

`wanted(recipe)` is what `mfo fetch` brings. `freeze` replaces branches by the commits that the
cache holds, and the word "hub" by the folder of fetched benchmarks, so that run.toml names exactly
what a run reads; nothing is downloaded by a run.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from corpus.counts import Count, account
from corpus.fetch import Wanted
from corpus.listing import Component, Selection
from corpus.lock import Entry, entries
from corpus.sources import Source, count_rows, load, read
from corpus.store import Repo, Store, digest, is_commit
from kit.errors import KitError, nearest
from kit.files import digest as digest_json
from kit.files import read_json, write_json
from launch.inputs import comparators
from launch.inputs.dims import check_folder
from launch.inputs.hub import MODEL_FILES, fetch_command
from launch.inputs.upstream import TASK_PINS, load_pins, task_files, task_pins
from launch.run import judged_benchmarks
from launch.run.recipe import RECIPES, Recipe
from launch.run.site import Site
from scoring import kinds

BENCHMARKS = RECIPES / "benchmarks.toml"
#: What `mfo fetch --only` takes.
PARTS = ("corpus", "model", "benchmarks", "graders", "comparators", "upstream")
_Tie = Callable[[Recipe, Site, dict[str, Any]], list[str]]


def wanted(recipe: Recipe, only: Iterable[str] = ()) -> list[Wanted]:
    """Everything of a recipe that is not on this machine by itself.

    Args:
        recipe: as it is resolved.
        only: some of PARTS; none: all of them, without the comparators of comparisons that a run
            leaves out for want of vignettes: a gated model that nothing would ask.

    Raises:
        KitError: a benchmark that recipes/benchmarks.toml does not know, or a broken list.
    """
    out: list[Wanted] = []
    parts = set(only) or set(PARTS)
    if "corpus" in parts:
        out += [entry.wanted("corpus") for entry in _corpus(recipe)]
    if "model" in parts and (model := _model(recipe)):
        out.append(Wanted(*model, MODEL_FILES, "base model"))
    if from_hub(recipe):
        found = benchmark_entries(recipe)
        if "benchmarks" in parts:
            for name, entry in found.items():
                out.append(entry.wanted(name))
                out += [_selection(entry, entry.selection)] if entry.selection else []
                out += [_examples(entry, entry.examples)] if entry.examples else []
    if "graders" in parts and (judge := _judge(recipe)):
        out.append(Wanted(*judge, MODEL_FILES, "judge"))
    if "comparators" in parts:
        out += comparators.wanted(recipe, every="comparators" in only)
    if "upstream" in parts:
        out += [
            Wanted(Repo("github", pins.repository), pins.commit, tuple(pins.sha256),
                   "upstream's files", pins.sha256)
            for pins in load_pins().values()
        ]  # fmt: skip
    return out


def from_hub(recipe: Recipe) -> bool:
    """Whether a recipe's benchmarks are the fetched ones."""
    return bool(recipe.table("eval")["benchmark_files"] == "hub")


def _corpus(recipe: Recipe) -> list[Entry]:
    table = recipe.table("corpus")
    spec, only = Path(table["sources"]), table.get("components")
    found = entries(spec) if spec.suffix == ".toml" else []
    return [entry for entry in found if not only or entry.name in only]


def corpus_counts(recipe: Recipe, site: Site) -> list[Count]:
    """Hold the rows of every fetched component against the published ones.

    Raises:
        KitError: the corpus was not fetched whole, or has changed since.
    """
    if not _corpus(recipe):
        return []
    table = recipe.table("corpus")
    found = load(Path(table["sources"]), table.get("components", ()), cache=site.cache_path)
    return [account(s.name, sum(map(count_rows, s.files)), s.about) for s in found]


def _model(recipe: Recipe) -> tuple[Repo, str] | None:
    model = recipe.table("model")
    if model.get("source") != "hub" or Path(str(model["base"])).expanduser().is_dir():
        return None
    return Repo("model", str(model["base"])), str(model["revision"])


def check_model(recipe: Recipe, site: Site) -> None:
    """Hold the base model that was fetched against the recipe, long before anything is trained.

    Raises:
        KitError: class, layers, vocabulary or another dimension is not the recipe's.
    """
    model = _model(recipe)
    if model is not None:
        folder = Store(site.cache_path).verified(*model, MODEL_FILES, fetch_command(recipe, site))
        check_folder(recipe, folder)


def benchmark_entries(recipe: Recipe) -> dict[str, Entry]:
    """Where each benchmark of a recipe is fetched from, by its name in the recipe.

    Raises:
        KitError: recipes/benchmarks.toml does not know one of them.
    """
    known = {entry.name: entry for entry in entries(BENCHMARKS)}
    # The vignettes of comparisons are published nowhere: a recipe names a file of its own.
    own = judged_benchmarks.own_files(recipe)
    asked = recipe.table("eval")["benchmarks"]
    names = [n for n in asked if kinds.kind(n) != kinds.PAIRS and n not in own]
    for name in names:
        if name not in known:
            raise KitError(
                f"it is not known where to fetch the benchmark {name!r}; {nearest(name, known)}",
                where=str(BENCHMARKS),
                fix="write its data set down there, or give --benchmarks FOLDER",
            )
    return {name: known[name] for name in names}


def _selection(entry: Entry, given: Selection) -> Wanted:
    pins = {given.path: given.sha256} if isinstance(given.sha256, str) else given.sha256
    pins = {path: sha256 for path, sha256 in pins.items() if sha256}
    repo = Repo("github", given.repository)
    return Wanted(repo, given.revision, (given.path,), f"{entry.name}'s split", pins)


def _examples(entry: Entry, given: Component) -> Wanted:
    """What is shown before the questions: another file of the same data set."""
    return Wanted(entry.repo, entry.revision, (given.path,), f"{entry.name}'s examples")


def _judge(recipe: Recipe) -> tuple[Repo, str] | None:
    """The judge's model where a run serves it itself: neither an endpoint nor the stand-in."""
    table = recipe.table("judge")
    if not judged_benchmarks.judged(recipe) or table["base_url"] or table["script"]:
        return None
    if judged_benchmarks.local_judge(recipe):
        return None
    return Repo("model", str(table["model"])), str(table["revision"])


def judge_folder(recipe: Recipe, site: Site) -> Path:
    """Give the folder of the fetched judge.

    Raises:
        KitError: it was not fetched, or has changed since.
    """
    judge = _judge(recipe)
    if judge is None:
        raise KitError("this recipe's judge is not a fetched model", where=f"recipe {recipe.name}")
    return Store(site.cache_path).verified(*judge, MODEL_FILES, fetch_command(recipe, site))


# --- a run reads what was fetched ---------------------------------------------------------------


def freeze(recipe: Recipe, site: Site, stages: Iterable[str]) -> tuple[Recipe, list[str]]:
    """Tie a recipe to what was fetched.

    Args:
        recipe: with branches, and "hub" where its benchmarks are the fetched ones.
        site: in whose cache it was fetched.
        stages: of the run; only what they read has to be there.

    Returns:
        The recipe with model.revision, corpus.revision, eval.benchmark_files and
        eval.benchmark_revisions as they will be read, and a line for each.

    Raises:
        KitError: something was not fetched, or has changed since.
    """
    data, said = copy.deepcopy(recipe.data), []
    for tie in _ties(recipe, stages):
        said += tie(recipe, site, data)
    return Recipe(recipe.name, data, recipe.lineage, recipe.settings), said


def look(
    recipe: Recipe, site: Site, stages: Iterable[str]
) -> tuple[Recipe, list[tuple[bool, str, str]]]:
    """Tie a recipe to as much of it as was fetched, and refuse nothing.

    Returns:
        The recipe as of `freeze`, and for each thing whether it is there, what is said of it, and
        the command that would bring it.
    """
    data, said = copy.deepcopy(recipe.data), list[tuple[bool, str, str]]()
    for tie in _ties(recipe, stages):
        try:
            said += [(True, line, "") for line in tie(recipe, site, data)]
        except KitError as error:
            part = comparators.PART if tie is comparators.tie else ""
            said.append((False, error.what, fetch_command(recipe, site, part)))
    return Recipe(recipe.name, data, recipe.lineage, recipe.settings), said


def _ties(recipe: Recipe, stages: Iterable[str]) -> list[_Tie]:
    ties: list[tuple[bool, _Tie]] = [
        ("corpus" in stages, _tie_corpus),
        (
            "train" in stages
            or bool(recipe.table("eval")["base"])
            or judged_benchmarks.compared(recipe),
            partial(_tie_model, "model", "base model", _model),
        ),
        ("evaluate" in stages, _tie_benchmarks),
        ("evaluate" in stages, _tie_task_files),
        ("evaluate" in stages, partial(_tie_model, "judge", "judge", _judge)),
        ("evaluate" in stages, comparators.tie),
    ]
    return [tie for needed, tie in ties if needed]


def _tie_corpus(recipe: Recipe, site: Site, data: dict[str, Any]) -> list[str]:
    found = _corpus(recipe)
    if not found:
        return []
    repo, revision = found[0].repo, found[0].revision
    patterns = [entry.spec.path for entry in found]
    commit = _commit(recipe, site, repo, revision, patterns)
    data["corpus"]["revision"] = commit
    return [f"corpus: {repo.name} at {commit}, as it was fetched"]


def _tie_model(
    table: str, what: str, of: Callable[[Recipe], tuple[Repo, str] | None], recipe: Recipe,
    site: Site, data: dict[str, Any],
) -> list[str]:  # fmt: skip
    """Tie a model of the hub that a table of the recipe names, by `table.revision`."""
    model = of(recipe)
    if model is None:
        return []
    commit = _commit(recipe, site, *model, MODEL_FILES)
    data[table]["revision"] = commit
    return [f"{what}: {model[0].name} at {commit}, as it was fetched"]


def _tie_benchmarks(recipe: Recipe, site: Site, data: dict[str, Any]) -> list[str]:
    if not from_hub(recipe):
        return []
    folder, revisions = benchmark_folder(recipe, site)
    data["eval"]["benchmark_files"] = str(folder)
    data["eval"]["benchmark_revisions"] = revisions
    return [f"{name}: {revision}, as it was fetched" for name, revision in revisions.items()]


def _tie_task_files(recipe: Recipe, site: Site, data: dict[str, Any]) -> list[str]:  # noqa: ARG001
    tasks = str(recipe.table("eval")["tasks"])
    if tasks not in TASK_PINS:
        return []
    pins, files = task_pins(tasks), task_files(site, tasks, recipe=recipe.name)
    return [f"task files: {len(files)} of {pins.repository} at {pins.commit}, every sha256 checked"]


def _commit(recipe: Recipe, site: Site, repo: Repo, revision: str, patterns: Iterable[str]) -> str:
    store = Store(site.cache_path)
    store.verified(repo, revision, list(patterns), fetch_command(recipe, site))
    commit = store.commit(repo, revision)
    if commit is None or not is_commit(commit):
        raise KitError(f"{repo.name} at {revision} has no commit here")
    return commit


def benchmark_folder(recipe: Recipe, site: Site) -> tuple[Path, dict[str, str]]:
    """Give a folder with the recipe's fetched benchmarks, as NAME.jsonl in their native schemas.

    It is made from the fetched files (parquet becomes JSON Lines) once, and checked each time.

    Returns:
        The folder, and "ORG/NAME@COMMIT" by benchmark.

    Raises:
        KitError: a benchmark was not fetched, has changed, or has not the rows that it should have.
    """
    store, fetch = Store(site.cache_path), fetch_command(recipe, site)
    sources: dict[str, dict[str, str]] = {}
    revisions = {}
    for name, entry in benchmark_entries(recipe).items():
        path = entry.spec.path
        folder = store.verified(entry.repo, entry.revision, [path], fetch)
        found = sorted(folder.glob(path))
        commit = store.commit(entry.repo, entry.revision)
        revisions[name] = f"{entry.repo.name}@{commit}"
        sources[name] = {str(p): digest(p).sha256 for p in found}
        if entry.selection:
            want = _selection(entry, entry.selection)
            place = store.verified(want.repo, want.revision, want.patterns, fetch)
            one = place / want.patterns[0]
            sources[f"{name}_test_pubids"] = {str(one): digest(one).sha256}
        if entry.examples:
            pattern = entry.examples.path
            folder = store.verified(entry.repo, entry.revision, [pattern], fetch)
            shown = sorted(folder.glob(pattern))
            sources[f"{name}_fewshot"] = {str(p): digest(p).sha256 for p in shown}
    out = store.cache / "benchmarks" / digest_json({"format": 1, "sources": sources})[:16]
    made = read_json(out / "made.json")
    if made is None:
        _make(recipe, sources, out)
        made = read_json(out / "made.json") or {}
    for file, sha256 in made.items():
        if not (out / file).is_file() or digest(out / file).sha256 != sha256:
            raise KitError(
                "a benchmark's file has changed since it was made from what was fetched",
                where=str(out / file),
                cause="an edit by hand, or a broken disk",
                fix=f"rm -r {out}; it is made again by the next run",
            )
    return out, revisions


def _make(recipe: Recipe, sources: dict[str, dict[str, str]], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=out.parent))
    try:
        made = {}
        for name, entry in benchmark_entries(recipe).items():
            wanted_rows = {name: entry.spec.rows}
            if entry.examples:
                wanted_rows[f"{name}_fewshot"] = entry.examples.rows
            for stem, expected in wanted_rows.items():
                file = half / f"{stem}.jsonl"
                rows = 0
                with file.open("w", encoding="utf-8") as lines:
                    for _, row in read(Source(stem, tuple(Path(p) for p in sources[stem]))):
                        lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                        rows += 1
                _check_rows(stem, rows, expected)
                made[file.name] = digest(file).sha256
            if entry.selection:
                ids = _read_selection(Path(next(iter(sources[f"{name}_test_pubids"]))), name)
                _check_rows(f"{name}'s split", len(ids), entry.selection.rows)
                listing = half / f"{name}_test_pubids.json"
                write_json(listing, ids)
                made[listing.name] = digest(listing).sha256
        write_json(half / "made.json", made)
        try:
            half.rename(out)
        except OSError:  # another process was first: its folder is as good
            if not (out / "made.json").is_file():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _check_rows(name: str, found: int, expected: object) -> None:
    if expected is not None and found != expected:
        raise KitError(
            f"{name} has {found:,} rows, {expected:,} are expected",
            where=str(BENCHMARKS),
            cause="another revision than the one that was published on",
            fix="fetch the right revision, or mend rows there with a reason",
        )


def _read_selection(path: Path, name: str) -> list[str]:
    try:
        return sorted(map(str, json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise KitError(f"the split of {name} cannot be read: {error}", where=str(path)) from None
