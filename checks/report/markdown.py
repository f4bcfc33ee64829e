"""The verdict as Markdown, for a pull request, an issue or a job's summary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from checks.judge_lines import judged_lines
from checks.terminal import MARKS, cells_of, drift_lines, number

__all__ = ["escape", "write_markdown"]


def write_markdown(verdict: Mapping[str, Any]) -> str:
    """Give the verdict as Markdown text; names from files are escaped."""
    rows = verdict["benchmarks"]
    before = any(row["before"] for row in rows)
    heads = ["Benchmark", *(["Before"] if before else []), "Score", "k/n", "Published"]
    heads += ["Difference", "95% interval", "Margin", "Verdict"]
    lines = [
        f"## {MARKS[verdict['verdict']]} {verdict['verdict']}: {escape(verdict['model'])}",
        "",
        escape(verdict["headline"]),
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 2)}---|",
    ]
    for row in rows:
        cells = [escape(cell) for cell in cells_of(row)]
        if before:
            seen = row["before"]["observed"] if row["before"] else None
            cells.insert(1, number(seen, row["decimals"]))
        cells.append(f"{MARKS[row['verdict']]} {row['verdict']}")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        lines.append(f"- **{escape(row['title'])}**: {escape(row['reason'])}")
        lines += [f"  - {escape(said)}" for said in judged_lines(row)]
    lines += [f"- {escape(said)}" for drift in verdict["triangle"] for said in drift_lines(drift)]
    lines += [f"- {escape(note)}" for note in verdict["notes"]]
    table = verdict["table"]
    lines += ["", f"Tier *{verdict['tier']}*, table {escape(table['name'])}: "
              f"{escape(table['source'])}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Keep names from files from becoming markup, links, mentions or new cells."""
    flat = re.sub(r"\s+", " ", str(text)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|>#~])", r"\\\1", flat).replace("@", "&#64;")
