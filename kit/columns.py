"""Tables of a terminal as plain lines, in columns that are as wide as they need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text


def columns(
    rows: Iterable[Sequence[str]],
    *,
    head: Sequence[str] = (),
    right: Collection[int] = (),
    indent: int = 0,
) -> list[str]:
    """Lay out rows in columns, two spaces apart.

    Args:
        rows: cells, as many in each row; a line break in one goes on in its column.
        head: names of the columns; none without it.
        right: numbers of the columns that end flush, from 0.
        indent: spaces before each line.

    Returns:
        The lines, without spaces at their ends; no line is wrapped, whatever the terminal.
    """
    rows = list(rows)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(head))
    for number in range(len(head or next(iter(rows), ()))):
        name = Text(head[number] if head else "")
        table.add_column(name, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=StringIO(), width=10_000, color_system=None)
    with console.capture() as printed:
        console.print(table)
    return [" " * indent + line.rstrip() for line in printed.get().splitlines()]
