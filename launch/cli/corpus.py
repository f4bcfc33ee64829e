"""`mfo corpus …`: decontaminate rows, and pin the lists of sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from corpus import prompts as benchmarks
from corpus.decontaminate import decontaminate as remove_rows
from corpus.rule import Rule
from corpus.stream import choose_workers
from kit.printing import emit
from launch.cli.fetch import JOBS, MIRROR, SITE, lock_files
from launch.cli.options import JSON
from launch.inputs.prompts import outside, read_prompts


class Several(click.Command):
    """A command whose repeatable options take several values after one flag: --train A B C."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the flag before each of its values, which is what click understands."""
        repeatable = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.multiple
            for name in option.opts
        }
        out: list[str] = []
        flag, taken = "", True
        for word in args:
            if word.startswith("-") and word != "-":
                flag, taken = (word, False) if word in repeatable else ("", True)
                out.append(word)
            elif flag and taken:
                out += [flag, word]
            else:
                out.append(word)
                taken = True
        return super().parse_args(ctx, out)


@click.group()
def corpus() -> None:
    """The training data: pinned, and held against the benchmarks."""


@corpus.command("decontaminate", cls=Several)
@click.option(
    "--train",
    multiple=True,
    required=True,
    metavar="FILE…",
    type=click.Path(path_type=Path),
    help="Rows: .jsonl or .parquet.",
)
@click.option(
    "--prompts",
    multiple=True,
    required=True,
    metavar="NAME=FILE[:FIELD]…",
    help="JSONL in a native schema, or with the field of the text.",
)
@click.option(
    "--tokenizer",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A model's folder, or its tokenizer.json.",
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="For kept rows, reports and the page.",
    type=click.Path(path_type=Path, file_okay=False),
)
@click.option(
    "--mode",
    type=click.Choice(["correct", "faithful"]),
    default="correct",
    show_default=True,
    help="correct: every user turn and n-gram, to train on; faithful: "
    "upstream's rule with its gaps, to audit what was published.",
)
@click.option(
    "--ngram",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Tokens in a row that a candidate shares.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Share of the prompt that is removed.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes; all cores without it.")
@JSON
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
    """Remove the rows that stand in a benchmark, exactly; say which, and show why.

    \b
    mfo corpus decontaminate --train corpus.jsonl --tokenizer MODEL --out clean \\
        --prompts medqa=medqa_test.jsonl medmcqa=medmcqa_validation.jsonl
    """
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
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        auto_refresh=False,
    ) as bars:
        task = bars.add_task("reading the benchmarks", total=max(size, 1))

        def show(done: int, rows: int, removed: int) -> None:
            words = f"{rows:,} rows, {removed:,} removed"
            bars.update(task, completed=done, description=words, refresh=True)

        summary = remove_rows(train, found, tokenizer, out, rule, workers=workers, on_progress=show)
    if as_json:
        emit(summary)
    else:
        _print(console, summary, out)


def _print(console: Console, summary: dict[str, Any], out: Path) -> None:

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


@corpus.command("lock")
@click.argument("files", nargs=-1, metavar="[FILE]…", type=click.Path(path_type=Path))
@SITE
@MIRROR
@JOBS
def lock(files: tuple[Path, ...], site: str, mirrors: tuple[str, ...], jobs: int) -> None:
    """Fill in commit, rows, licence and sha256 in FILE; refuse to change what is there.

    FILE is a list of sources: recipes/corpus.toml without one, or recipes/benchmarks.toml.
    """
    lock_files(files, mirrors, site, jobs)
