"""Stage corpus: from the published components to the one file that training reads.

Where the recipe says so (corpus.decontaminate), rows that stand in a benchmark that the recipe is
scored on are removed on the way, with the base model's tokenizer; corpus/decontaminate/ then holds
what was removed, and the page that shows why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus import sources
from corpus.prepare import prepare
from corpus.rule import Rule
from kit.files import read_json, sha256_file, write_json
from launch.run.identity import Place

if TYPE_CHECKING:
    from launch.run.folder import Run
    from launch.run.recipe import Recipe
    from launch.stages.stage import Context, Outputs

OFF = "off"
#: Removed rows that the run's report names.
NAMED = 10


def components(recipe: Recipe) -> list[str]:
    """Give the components that the recipe trains on; none named: all of them."""
    return [str(name) for name in recipe.table("corpus").get("components", [])]


def decontamination(recipe: Recipe) -> str:
    """Give the recipe's mode: off, correct or faithful."""
    return str(recipe.table("corpus").get("decontaminate", OFF))


def _rule(recipe: Recipe) -> Rule:
    """The recipe's rule; the published threshold where it names none."""
    return Rule(
        decontamination(recipe),
        threshold=float(recipe.table("corpus").get("threshold", Rule.threshold)),
    )


def chosen(recipe: Recipe) -> str:
    """Say what is held against what, as it is printed before a run.

    Raises:
        KitError: a mode or a threshold that there is not.
    """
    mode = decontamination(recipe)
    if mode == OFF:
        return "decontamination: off, the corpus's rows as they are, as corpus.decontaminate says"
    names = ", ".join(recipe.table("eval")["benchmarks"])
    return (
        f"decontamination: {mode}, rows that hold {_rule(recipe).threshold:.0%} of a prompt of "
        f"{names} are left out, as corpus.decontaminate says"
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What decides train.jsonl.

    Attributes:
        components: name, rows and sha256 of the files of each component, in their order.
        decontaminate: mode, threshold, prompts, splits and tokenizer; None: nothing is removed.
        spec: the file that lists the components.
        sources: where each of them was found.
        benchmarks: the files of prompts that rows are compared with.
        recipe: its tables corpus, eval and model.
    """

    components: list[dict[str, Any]]
    decontaminate: dict[str, Any] | None = None
    spec: Place[Path]
    sources: Place[list[sources.Source]]
    benchmarks: Place[dict[str, Path]]
    recipe: Place[Recipe]


def inputs(run: Run) -> Inputs:
    """Hash every component, and what its rows are compared with."""
    recipe = run.recipe.only("corpus", "eval", "judge", "model")
    table = recipe.table("corpus")
    spec = Path(table["sources"])
    found = sources.load(
        spec,
        components(recipe),
        cache=run.site.cache_path,
        revision=table.get("revision"),
    )
    removing, files = None, dict[str, Path]()
    mode = decontamination(recipe)
    if mode != OFF:
        from launch.inputs.base_model import base_model_identity
        from launch.stages.evaluate import benchmark_files
        from scoring.mcq import test_split

        files = benchmark_files(recipe)
        splits = {} if _every(recipe) else {n: test_split(p) for n, p in files.items()}
        removing = {
            "splits": {name: sorted(ids) for name, ids in splits.items() if ids is not None},
            "mode": mode,
            "threshold": _rule(recipe).threshold,
            "benchmarks": {n: sha256_file(p) for n, p in files.items()},
            "tokenizer": base_model_identity(recipe),
        }
    return Inputs(
        components=[
            {"name": one.name, "rows": one.rows, "files": [sha256_file(f) for f in one.files]}
            for one in found
        ],
        decontaminate=removing,
        spec=spec,
        sources=found,
        benchmarks=files,
        recipe=recipe,
    )


def execute(inputs: Inputs, context: Context) -> Outputs:
    """Write corpus/train.jsonl and corpus/summary.json."""
    folder = context.folder
    print(f"components: {', '.join(one['name'] for one in inputs.components)}", flush=True)
    summary = prepare(
        inputs.spec,
        folder,
        found=inputs.sources,
        on_row=lambda name, rows: print(f"{name}: {rows:,} rows", flush=True),
    )
    for line in summary["counts"]:
        print(line, flush=True)
    print(chosen(inputs.recipe), flush=True)
    files: dict[Path, str | None] = {}
    facts: dict[str, Any] = {"rows": summary["rows"]}
    if inputs.decontaminate is not None:
        tokenizer = inputs.decontaminate["tokenizer"]
        summary, files = _decontaminate(inputs, context, tokenizer, summary)
        removed = summary["decontamination"]
        facts = {"rows": removed["kept"], "decontamination": _facts(context, removed)}
        print(
            f"removed by component: {facts['decontamination']['rows removed by component']}",
            flush=True,
        )
    files[folder / "train.jsonl"] = summary["sha256"]
    files[folder / "summary.json"] = None
    return files, {"sha256": summary["sha256"], **facts}


def _facts(context: Context, removed: dict[str, Any]) -> dict[str, Any]:
    """What the run's own report says of decontamination; the whole is in corpus/decontaminate."""
    out = context.folder / "decontaminate"
    found = []
    rows: set[str] = set()
    for name in removed["benchmarks"]:
        report = read_json(out / "reports" / f"{name}.json") or {}
        rows.update(report)
        found += [f"{row} (stands in {name}, prompt {item})" for row, item in report.items()]
    parts = Counter(row.partition("/")[0] for row in rows)  # ids begin with their component
    more = [f"and {len(found) - NAMED:,} more"] if len(found) > NAMED else []
    return {
        "mode": removed["rule"]["mode"],
        "threshold": removed["rule"]["threshold"],
        "rows before": removed["rows"],
        "rows removed": removed["removed"],
        "rows removed by component": ", ".join(
            f"{name} {count:,}" for name, count in sorted(parts.items())
        )
        or "none",
        "removed": "; ".join([*found[:NAMED], *more]) or "none",
        "page": str((out / "contamination.html").relative_to(context.run)),
    }


def _every(recipe: Recipe) -> bool:
    """Whether PubMedQA is scored on items beside its test split."""
    from scoring.pinned import split

    table = recipe.table("eval")
    return split(table["tasks"], table["pubmedqa"]) == "labeled"


def _decontaminate(
    inputs: Inputs, context: Context, tokenizer: dict[str, Any], prepared: dict[str, Any]
) -> tuple[dict[str, Any], dict[Path, str | None]]:
    """Put the kept rows in train.jsonl's place; gives the summary and the other files."""
    from corpus.decontaminate import decontaminate
    from corpus.stream import choose_workers
    from launch.inputs.base_model import base_model
    from launch.inputs.prompts import outside, read_prompts
    from scoring.kinds import items_of

    folder, named = context.folder, inputs.benchmarks
    whole, out = folder / "prepared.jsonl", folder / "decontaminate"
    (folder / "train.jsonl").rename(whole)
    # Two comparisons of the same vignettes are one benchmark to a training row.
    files = [(n, p) for n, p in named.items() if items_of(n) == n or items_of(n) not in named]
    found = [read_prompts(name, path, every=_every(inputs.recipe)) for name, path in files]
    for one in found:
        if one.outside:
            print(outside(one), flush=True)
    workers, why = choose_workers(whole.stat().st_size)
    print(f"decontamination: {workers} workers, {why}", flush=True)
    removed = decontaminate(
        [whole],
        found,
        base_model(inputs.recipe, context.site, tokenizer),
        out,
        _rule(inputs.recipe),
        workers=workers,
        on_progress=lambda _, rows, gone: print(f"{rows:,} rows, {gone:,} removed", flush=True),
    )
    (out / "train.jsonl").rename(folder / "train.jsonl")
    whole.unlink()
    for name, counts in removed["benchmarks"].items():
        print(f"removed for {name}: {counts['removed']:,}", flush=True)
    print(f"what was removed, and why: {out / 'contamination.html'}", flush=True)
    summary = {**prepared, "sha256": removed["sha256"], "decontamination": removed}
    write_json(folder / "summary.json", summary)
    pages = (p for p in out.rglob("*") if p.is_file())
    return summary, dict.fromkeys(pages)
