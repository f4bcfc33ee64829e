"""Stage judge: the verdict from the items, then the page, then the tracker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch import tracking
from launch.files import read_json, read_jsonl, sha256_file

if TYPE_CHECKING:
    from launch.run import Run


def inputs(run: Run) -> dict[str, Any]:
    """The items, what was planned, and the published table they are held against."""
    from checks.tables import table_path

    published = run.recipe.table("published")
    folder = run.folder("evaluate")
    base = sorted((folder / "base").glob("*.jsonl"))
    return {
        "items": {p.name: sha256_file(p) for p in sorted(run.items.glob("*.jsonl"))},
        "base": {p.name: sha256_file(p) for p in base},
        "planned": sha256_file(folder / "summary.json"),
        "published": published,
        "table": sha256_file(table_path(published["table"])),
    }


def execute(run: Run) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Write verdict.json and report/index.html."""
    from checks.report import write_report
    from checks.verdict import write_verdict

    verdict = derive(run)
    write_verdict(run.verdict, verdict)
    print(tracking.report(run, verdict), flush=True)
    page = write_report(verdict, run.report.parent, run.items)
    return {run.verdict: None, page: None}, {"verdict": verdict["verdict"]}


def derive(run: Run) -> dict[str, Any]:
    """Give the verdict of a run from its items, without believing an older verdict."""
    from checks.items import read_items
    from checks.tables import load_table
    from checks.verdict import judge

    published = run.recipe.table("published")
    table = run.recipe.table("eval")
    summary = read_json(run.folder("evaluate") / "summary.json") or {}
    why = f"eval.limit={table['limit']}" if table["limit"] else ""
    planned = {
        name: {**{k: one[k] for k in ("items", "of", "sha256")}, "why": why}
        for name, one in summary.get("trained", {}).items()
    }
    base = run.folder("evaluate") / "base"
    return judge(
        items={name: _items(read_items, run.items, name) for name in table["benchmarks"]},
        table=load_table(published["table"]),
        model=published["model"],
        benchmarks=table["benchmarks"],
        tier=published["tier"],
        planned=planned,
        base_items={name: _items(read_items, base, name) for name in table["benchmarks"]}
        if base.is_dir()
        else None,
        loss=loss(run),
        provenance=provenance(run),
    )


def _items(read: Any, folder: Path, name: str) -> Any:
    file = folder / f"{name}.jsonl"
    return read(file, name) if file.is_file() else []


def loss(run: Run) -> list[dict[str, Any]]:
    """The loss curve, one point a step: after a resume the later line of a step counts."""
    rows = read_jsonl(run.folder("train") / "progress.jsonl")
    steps = {row["step"]: row for row in rows if "loss" in row and "step" in row}
    keep = ("step", "loss", "learning_rate", "grad_norm")
    return [{k: steps[s][k] for k in keep if k in steps[s]} for s in sorted(steps)]


def provenance(run: Run) -> dict[str, Any]:
    """Where a verdict comes from: run, recipe, versions, and the hashes of data and weights."""
    train = run.recipe.table("train")
    return {
        "run": run.name,
        "recipe": run.recipe.name,
        "lineage": list(run.recipe.lineage),
        "settings": run.recipe.settings,
        "site": run.site.name,
        "created": run.spec["created"],
        "seed": train.get("seed"),
        "kit": run.spec["kit"],
        "packages": run.spec["packages"],
        "corpus": {k: v for k, v in run.facts("corpus").items() if k in ("sha256", "rows")},
        "weights": {"sha256": run.facts("train").get("weights")},
        "notes": list(run.spec.get("decisions", [])),
    }
