"""What `mfo corpus …` does once its words are parsed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.stream import choose_workers
from kit.printing import emit
from launch.inputs.prompts import outside, read_prompts

if TYPE_CHECKING:
    from rich.console import Console


def decontaminate(
    as_json: bool,
    *,
    train: tuple[Path, ...],
    prompts: tuple[str, ...],
    tokenizer: Path,
    out: Path,
    mode: str,
    ngram: int,
    threshold: float,
    workers: int | None,
) -> None:
    """Decontaminate files and print what was removed."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from corpus import prompts as benchmarks
    from corpus.decontaminate import decontaminate as run
    from corpus.rule import Rule

    console = Console(stderr=as_json, highlight=False)
    rule = Rule(mode, ngram, threshold)
    found = [read_prompts(*benchmarks.parse(given)) for given in prompts]
    for one in found:
        if one.outside:
            console.print(outside(one), style="dim", markup=False, soft_wrap=True)
    size = sum(path.stat().st_size for path in train if path.is_file())
    if workers is None:
        workers, why = choose_workers(size)
        console.print(f"workers: {workers}, {why}", style="dim")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal,
                  auto_refresh=False) as bars:  # fmt: skip
        task = bars.add_task("reading the benchmarks", total=max(size, 1))

        def show(done: int, rows: int, removed: int) -> None:
            words = f"{rows:,} rows, {removed:,} removed"
            bars.update(task, completed=done, description=words, refresh=True)

        summary = run(train, found, tokenizer, out, rule, workers=workers, on_progress=show)
    if as_json:
        emit(summary)
    else:
        _print(console, summary, out)


def _print(console: Console, summary: dict[str, Any], out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("benchmark")
    for name in ("rows removed", "prompts", "empty", "too short to match"):
        table.add_column(name, justify="right")
    for name, b in summary["benchmarks"].items():
        counts = (b["removed"], b["prompts"], b["empty"], b["never_match"])
        table.add_row(escape(name), *(f"{n:,}" for n in counts))
    console.print(table)
    console.print(
        f"{summary['removed']:,} of {summary['rows']:,} rows removed "
        f"({summary['rule']['mode']}), {summary['kept']:,} kept"
    )
    console.print(summary["tokenised"], style="dim", markup=False, soft_wrap=True)
    notes = {
        "rows_without_user_turn": "rows without a user's turn that the rule reads: kept",
        "rows_with_broken_text": "rows with broken characters: compared with � in their place",
        "repeated_ids": "repeated ids: told apart by #2, #3 … in the reports",
    }
    for key, words in notes.items():
        if summary[key]:
            console.print(f"{summary[key]:,} {words}")
    console.print(f"page:    {out / 'contamination.html'}", markup=False, soft_wrap=True)
    console.print(f"reports: {out / 'reports'}", markup=False, soft_wrap=True)
    console.print(
        f"next:    mfo run RECIPE --corpus {out / 'train.jsonl'}", markup=False, soft_wrap=True
    )
