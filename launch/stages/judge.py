"""Stage judge: the verdict from the items, then the page, then the tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from kit.files import read_json, sha256_file, tail_jsonl
from launch.run import image, tracking
from launch.run.identity import Place
from launch.stages.evaluate import shards_digest

if TYPE_CHECKING:
    from checks.items import Item
    from checks.tables import Table
    from launch.run.folder import Run
    from launch.stages.stage import Context, Outputs


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What decides the verdict.

    Attributes:
        items: sha256 of each benchmark's scored items.
        base: the same of the base model.
        planned: sha256 of what was to be scored.
        published: the recipe's table.
        table: sha256 of the published table.
        run: the whole run, for the verdict's provenance: here alone the work could read what its
            inputs do not name.
    """

    items: dict[str, str]
    base: dict[str, str]
    planned: str
    published: dict[str, Any]
    table: str
    run: Place[Run]


def inputs(run: Run) -> Inputs:
    """Hash the items, what was planned, and the published table."""
    from checks.tables import table_path

    published = run.recipe.table("published")
    folder = run.folder("evaluate")
    return Inputs(
        items=_hashes(run.items),
        base=_hashes(folder / "base"),
        planned=sha256_file(folder / "summary.json"),
        published=published,
        table=sha256_file(table_path(published["table"])),
        run=run,
    )


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256_file(p) for p in sorted(folder.glob("*.jsonl"))}


def execute(inputs: Inputs, context: Context) -> Outputs:
    """Write verdict.json and report/index.html."""
    from checks.report import write_report
    from checks.tables import table_path
    from checks.verdict import write_verdict

    run = inputs.run
    items = f"{len(inputs.items)} files of items, {len(inputs.base)} of the base model's"
    print(f"{context.name}: verdict from {items}; planned: {inputs.planned[:12]}", flush=True)
    table = table_path(inputs.published["table"])
    if sha256_file(table) != inputs.table:
        raise KitError(
            "the published table changed while it was being compared with",
            where=str(table),
            fix=f"mfo resume {context.name}",
        )
    verdict = derive(run)
    write_verdict(run.verdict, verdict)
    print(tracking.report(run, verdict), flush=True)
    page = write_report(verdict, run.report.parent, run.items)
    return {run.verdict: None, page: None}, {"verdict": verdict["verdict"]}


def derive(run: Run, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the verdict of a run from its items, without believing an older verdict.

    Args:
        run: its items are scored.
        changes: what is asked for in place of the recipe's: published, model, tier, allow_partial.
    """
    from checks.tables import load_table
    from checks.verdict import judge

    asked = changes or {}
    table = load_table(asked.get("published") or run.recipe.table("published")["table"])
    return judge(
        items=items(run, table),
        table=table,
        **changed(case(run, asked), asked),
        base_items=base_items(run, table),
        loss=loss(run),
        provenance=provenance(run),
    )


def unlike(run: Run, table: Table, model: str) -> str:
    """Say that the table's values belong to other weights than this run's; "" where they do not.

    A table that the kit measured itself names the weights that it measured: a row's own, or those
    of the base that its model was trained from.
    """
    row = table.model(model)
    facts = run.facts("evaluate")
    if run.recipe.table("model").get("weights"):
        wanted, here = row.weights, facts.get("weights")
    else:
        wanted = table.models[row.base].weights if row.base else ""
        here = facts.get("base_weights") or (_folder_digest(run) if wanted else None)
    if not wanted or here == wanted:
        return ""
    return (
        f"No reference for these weights: the values of {table.name} were measured on others "
        f"(digest {wanted[:12]}, here {str(here)[:12]}). python -m bench.real_weights makes those."
    )


def _folder_digest(run: Run) -> str | None:
    """The digest of a base model in a local folder, for a run that was scored for another table."""
    given = str(run.recipe.table("model").get("base") or "")
    base = Path(given).expanduser()
    return shards_digest(base) if given and base.is_dir() else None


def case(run: Run, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give what decides the verdict beside the items and the table, as plain JSON.

    Args:
        run: its items are scored.
        asked: as `derive` takes it: another table or model decides whose weights are meant.
    """
    from checks.tables import load_table

    published, table = run.recipe.table("published"), run.recipe.table("eval")
    summary = read_json(run.folder("evaluate") / "summary.json") or {}
    why = f"eval.limit={table['limit']}" if table["limit"] else ""
    planned = {
        name: {**{k: one[k] for k in ("items", "of", "sha256", "problem") if k in one}, "why": why}
        for name, one in summary.get("trained", {}).items()
    }
    asked = asked or {}
    reference = load_table(asked.get("published") or published["table"])
    if problem := unlike(run, reference, asked.get("model") or published["model"]):
        planned = {name: {**one, "problem": problem} for name, one in planned.items()}
    return {
        "model": published["model"],
        "benchmarks": list(table["benchmarks"]),
        "tier": published["tier"],
        "planned": planned,
    }


def changed(given: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was asked for on the command line over a run's case."""
    keys = ("model", "tier", "allow_partial")
    return {**given, **{key: asked[key] for key in keys if asked.get(key)}}


def items(run: Run, table: Table) -> dict[str, list[Item]]:
    """Read the scored items of each benchmark of the recipe."""
    return _read(run, run.items, table)


def base_items(run: Run, table: Table) -> dict[str, list[Item]] | None:
    """Read the untrained model's items; None where it was not scored."""
    folder = run.folder("evaluate") / "base"
    return _read(run, folder, table) if folder.is_dir() else None


def _read(run: Run, folder: Path, table: Table) -> dict[str, list[Item]]:
    from checks.items import read_items

    files = {name: folder / f"{name}.jsonl" for name in run.recipe.table("eval")["benchmarks"]}
    return {
        name: read_items(file, name, rubric=table.rubric) if file.is_file() else []
        for name, file in files.items()
    }


def loss(run: Run) -> list[dict[str, Any]]:
    """The loss curve, one point a step: after a resume the later line of a step counts."""
    rows = tail_jsonl(run.folder("train") / "progress.jsonl")
    steps = {row["step"]: row for row in rows if "loss" in row and "step" in row}
    keep = ("step", "loss", "learning_rate", "grad_norm")
    return [{k: steps[s][k] for k in keep if k in steps[s]} for s in sorted(steps)]


def _judge(run: Run) -> dict[str, Any]:
    """Who judged, by which protocol and prompts; nothing where no benchmark is judged."""
    summary = read_json(run.folder("evaluate") / "summary.json") or {}
    kept = summary.get("judged") or {}
    keys = (
        "judge",
        "protocol",
        "prompts",
        "chat_templates",
        "comparators",
        "windows",
        "window_left",
        "read",
    )
    out = {key: kept[key] for key in keys if key in kept}
    if canary := kept.get("canary"):
        out["canary"] = {k: canary[k] for k in ("n", "changed", "unread", "drift", "margin")}
    return {"judged by": out} if out else {}


def provenance(run: Run) -> dict[str, Any]:
    """Where a verdict comes from: run, recipe, versions, and the hashes of data and weights."""
    train = run.recipe.table("train")
    scored = read_json(run.folder("evaluate") / "inputs.json") or {}
    return {
        "run": run.name,
        "recipe": run.recipe.name,
        "lineage": list(run.recipe.lineage),
        "settings": run.recipe.settings,
        "site": run.site.name,
        "created": run.spec["created"],
        "seed": train.get("seed"),
        "kit": run.spec["kit"],
        "packages": run.packages("train"),
        # What is installed where mfo runs says nothing of what ran in a container.
        **(
            {"images": image.as_text(run.images), "launcher packages": run.spec["packages"]}
            if run.images
            else {}
        ),
        "corpus": {
            k: v
            for k, v in run.facts("corpus").items()
            if k in ("sha256", "rows", "decontamination")
        },
        "weights": {"sha256": scored.get("weights") or run.facts("train").get("weights")},
        "trained": "train" in run.stages,
        # Another environment than the launcher's: its versions are those that made the scores.
        **(
            {"evaluated with": scored.get("packages")}
            if run.python("evaluate") or run.images
            else {}
        ),
        **_judge(run),
        "notes": list(run.spec.get("decisions", [])),
    }
