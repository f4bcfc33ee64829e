"""The verdict as a table in the terminal: colour where there is one, words always.

Every verdict is written out, so nothing is lost where the output is piped, and no cell is cut:
on a narrow terminal the table drops to one block a benchmark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checks.judge_lines import judged_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["MARKS", "print_verdict", "printable"]

COLOURS = {
    "reproduced": "green",
    "not reproduced": "red",
    "inconclusive": "yellow",
    "invalid": "magenta",
}
MARKS = {"reproduced": "✓", "not reproduced": "✗", "inconclusive": "?", "invalid": "!"}
NARROWEST = 92  # columns; below this the table would wrap its numbers
TIERS = {
    "weights": "released weights or answers, scored on the published items",
    "retrain": "retrained weights",
}


def print_verdict(verdict: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a verdict.

    Args:
        verdict: the content of verdict.json.
        console: where to; the terminal where none is given.
    """
    from rich.console import Console
    from rich.text import Text

    out = console or Console(highlight=False)
    out.print(_text(f"{verdict['model']} against {verdict['table']['name']}", "bold"))
    out.print(_text(f"{verdict['tier']}: {TIERS[verdict['tier']]}", "dim"))
    out.print()
    rows = verdict["benchmarks"]
    if out.width >= NARROWEST:
        out.print(_table(rows))
    else:
        for row in rows:
            _block(row, out)
    for row in rows:
        line = Text.assemble((f"{row['title']}: ", "bold"), row["reason"])
        out.print(line, soft_wrap=not out.is_terminal)
        for said in judged_lines(row):
            out.print(Text(f"  {said}"), soft_wrap=not out.is_terminal)
    margins: dict[str, list[str]] = {}
    for row in rows:
        if row["margin_why"]:
            margins.setdefault(row["margin_why"], []).append(row["title"])
    for why, titles in margins.items():
        names = "" if len(margins) == 1 else f" of {', '.join(titles)}"
        out.print(_text(f"Margin{names}: {why}.", "dim"), soft_wrap=not out.is_terminal)
    for drift in verdict["triangle"]:
        for said in drift_lines(drift):
            out.print(Text(said), soft_wrap=not out.is_terminal)
    for note in verdict["notes"]:
        out.print(_text(f"Note: {note}", "dim"), soft_wrap=not out.is_terminal)
    out.print()
    colour = COLOURS[verdict["verdict"]]
    out.print(
        Text.assemble(
            (f"{MARKS[verdict['verdict']]} {verdict['verdict'].upper()}", f"bold {colour}"),
            f"  {verdict['headline']}  (exit code {verdict['exit_code']})",
        )
    )
    for hint in verdict["next"]:
        out.print(Text.assemble(("next: ", "bold"), hint), soft_wrap=not out.is_terminal)


def printable(value: Any) -> Any:
    """Replace control characters in all text of a JSON value: it must not steer the terminal."""
    if isinstance(value, str):
        # Cc: controls such as ESC; Cf: invisible ones that turn the direction of text.
        odd = ("Cc", "Cf", "Cs")
        return "".join("�" if unicodedata.category(c) in odd else c for c in value)
    if isinstance(value, dict):
        return {printable(k): printable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [printable(v) for v in value]
    return value


def _text(text: str, style: str) -> Any:
    from rich.text import Text

    return Text(text, style=style)


def _table(rows: list[Mapping[str, Any]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    before = any(row["before"] for row in rows)
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, collapse_padding=True
    )
    table.add_column("benchmark", overflow="fold")
    if before:
        table.add_column("before", justify="right", no_wrap=True)
    for title in ("score", "k/n", "published", "diff.", "95% interval", "margin"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        word = row["verdict"]
        cells = [*cells_of(row)]
        if before:
            cells.insert(1, _before(row))
        marked = Text(f"{MARKS[word]} {word}", style=COLOURS[word])
        table.add_row(*(Text(cell) for cell in cells), marked)
    return table


def cells_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Give a row's cells as text: title, score, k/n, published, difference, interval, margin."""
    digits = row["decimals"]
    interval = row["interval"]
    count = f"{row['k']}/{row['n']}" if row["k"] is not None else f"n={row['n']}"
    return (
        row["title"],
        number(row["observed"], digits),
        count,
        number(row["published"], digits),
        number(row["difference"], digits, signed=True),
        "—" if interval is None else f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f}",
        "—" if row["margin"] is None else f"±{row['margin']:.{digits}f}",
    )


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Write a number with its decimals, a dash where there is none, a true minus sign."""
    if value is None:
        return "—"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def drift_lines(drift: Mapping[str, Any]) -> list[str]:
    """Say a benchmark's evaluation drift and training drift, a line each."""
    title, seen, training = drift["title"], drift["evaluation"], drift["training"]
    lines = [f"{title}, evaluation drift, {seen['verdict']}: {seen['reason']}"]
    if training is None:
        return [*lines, f"{title}, training drift: no item was scored on both sides."]
    return [*lines, f"{title}, training drift, {training['verdict']}: {training['reason']}"]


def _before(row: Mapping[str, Any]) -> str:
    return number(row["before"]["observed"], row["decimals"]) if row["before"] else "—"


def _block(row: Mapping[str, Any], out: Console) -> None:
    from rich.text import Text

    title, score, count, published, difference, interval, margin = cells_of(row)
    word = row["verdict"]
    out.print(Text.assemble((title, "bold"), "  ", (f"{MARKS[word]} {word}", COLOURS[word])))
    if row["before"]:
        score = f"{_before(row)} → {score}"
    out.print(Text(f"  score {score} ({count}), published {published}, {difference} points"))
    out.print(Text(f"  95% interval {interval}, margin {margin}"))
