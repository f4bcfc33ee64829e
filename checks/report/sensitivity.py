"""The sensitivity of scores to the protocol, as tables: in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from checks.terminal import number, printable

__all__ = ["compared", "markdown", "show", "show_compared"]

WIDTH = 100  # columns that the widest table needs; a narrower terminal wraps, nothing is cut
SHOWN = 5  # items in the terminal; all of them are in the Markdown and in the JSON
_HEAD = ("read by", "score", "difference", "right", "gained", "lost", "no answer")


def _cells(variant: Mapping[str, Any]) -> tuple[str, ...]:
    first = variant["name"] == "as scored"
    return (
        variant["name"],
        number(variant["score"], 2),
        "—" if first else number(variant["difference"], 2, signed=True),
        f"{variant['right']:,}/{variant['items']:,}",
        *("—" if first else f"{variant[key]:,}" for key in ("gained", "lost")),
        f"{variant['unparsed']:,}",
    )


def _title(one: Mapping[str, Any]) -> str:
    published = "" if one["published"] is None else f", published {one['published']:.2f}"
    return f"{one['title']}: {one['items']:,} items{published}"


def show(found: Sequence[Mapping[str, Any]]) -> None:
    """Print a table for each benchmark, and the first items that change."""
    from rich.text import Text

    out = _console()
    about = {v["name"]: v["about"] for one in found for v in one["variants"]}
    for one in found:
        out.print(Text(str(printable(_title(one))), style="bold"))
        out.print(_rich(_HEAD, [_cells(v) for v in one["variants"]]))
        changed = one["changed"]
        for item in changed[:SHOWN]:
            out.print(Text(f"  {printable(_said(item))}", style="dim"), soft_wrap=True)
        if len(changed) > SHOWN:
            out.print(Text(f"  and {len(changed) - SHOWN:,} more items", style="dim"))
        out.print()
    for name, words in about.items():
        out.print(Text(f"{name}: {words}", style="dim"), soft_wrap=True)
    for line in dict.fromkeys(_cannot(one, c) for one in found for c in one["cannot"]):
        out.print(Text(line, style="dim"), soft_wrap=True)


def _said(item: Mapping[str, Any]) -> str:
    answers = [f"{k}: {v or '—'}" for k, v in item.items() if k not in ("id", "gold")]
    return f"{item['id']}, gold {item['gold']}: {', '.join(answers)}"


def _cannot(one: Mapping[str, Any], choice: Mapping[str, str]) -> str:
    # A chat template is the same story for every benchmark: it is told once.
    where = "" if choice["choice"] == "chat template" else f" ({one['title']})"
    more = f"; {choice['next']}" if choice.get("next") else ""
    return f"not tried: {choice['choice']}{where}: {choice['why']}{more}"


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=max(WIDTH, Console().width))


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]


def _escaped(cell: str) -> str:
    text = str(printable(cell)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return text.replace("\n", " ").replace("`", "\\`")


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Write the tables with every item that is right by one rule and wrong by another."""
    lines = ["# What the protocol does to the score", ""]
    for one in found:
        lines += [f"## {_escaped(_title(one))}", ""]
        lines += [*_pipes(_HEAD, [_cells(v) for v in one["variants"]]), ""]
        lines += [f"- {_escaped(_cannot(one, choice))}" for choice in one["cannot"]]
        if one["changed"]:
            head = list(one["changed"][0])
            rows = [[str(item[key] or "—") for key in head] for item in one["changed"]]
            lines += ["", f"{len(rows):,} items are right by one rule and wrong by another:", ""]
            lines += _pipes(head, rows)
        lines.append("")
    return "\n".join(lines)


_COMPARED = ("read by", "ours", "theirs", "difference", "95% interval", "ours only", "theirs only",
             "p")  # fmt: skip


def _compared(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = (number(value, 2, signed=True) for value in row["interval"])
    only = ("—" if row[key] is None else f"{row[key]:,}" for key in ("ours_only", "theirs_only"))
    return (
        row["name"],
        number(row["ours"], 2),
        number(row["theirs"], 2),
        number(row["difference"], 2, signed=True),
        f"{low} to {high}",
        *only,
        f"{row['p_value']:.3g}",
    )


def show_compared(found: Sequence[Mapping[str, Any]]) -> None:
    """Print two evaluations of the same items against each other."""
    from rich.text import Text

    out = _console()
    for one in found:
        out.print(Text(f"{one['title']}: {one['rows'][0]['items']:,} items", style="bold"))
        out.print(_rich(_COMPARED, [_compared(row) for row in one["rows"]]))
    out.print(Text("The same items on both sides; " + found[0]["rows"][0]["method"] + ".",
                   style="dim"), soft_wrap=True)  # fmt: skip


def compared(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Write the comparison as Markdown."""
    lines = [f"# {_escaped(names[0])} against {_escaped(names[1])}", ""]
    for one in found:
        lines += [f"## {_escaped(one['title'])}: {one['rows'][0]['items']:,} items", ""]
        lines += [*_pipes(_COMPARED, [_compared(row) for row in one["rows"]]), ""]
    return "\n".join(lines)
