"""Stage corpus: from the published components to the one file that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus import sources
from corpus.prepare import prepare
from launch.files import sha256_file

if TYPE_CHECKING:
    from launch.run import Run


def _spec(run: Run) -> Path:
    return Path(run.recipe.table("corpus")["sources"])


def inputs(run: Run) -> dict[str, Any]:
    """The bytes of every component, and their order."""
    found = sources.load(_spec(run))
    return {s.name: {"rows": s.rows, "files": [sha256_file(f) for f in s.files]} for s in found}


def execute(run: Run) -> tuple[dict[Path, str | None], dict[str, Any]]:
    """Write corpus/train.jsonl and corpus/summary.json."""
    folder = run.folder("corpus")
    summary = prepare(
        _spec(run), folder, on_row=lambda name, rows: print(f"{name}: {rows:,} rows", flush=True)
    )
    for name, counts in summary["components"].items():
        print(f"{name}: {counts['rows']:,} rows, {counts['turns']:,} turns", flush=True)
    files: dict[Path, str | None] = {
        folder / "train.jsonl": summary["sha256"],
        folder / "summary.json": None,
    }
    return files, {"sha256": summary["sha256"], "rows": summary["rows"]}
