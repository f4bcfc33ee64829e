"""The words of `mfo corpus …`; what the commands do is in launch.cli.corpus_commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from launch.cli.words_fetching import JOBS, MIRROR, SITE


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
@click.option("--train", multiple=True, required=True, metavar="FILE…",
              type=click.Path(path_type=Path), help="Rows: .jsonl or .parquet.")  # fmt: skip
@click.option("--prompts", multiple=True, required=True, metavar="NAME=FILE[:FIELD]…",
              help="JSONL in a native schema, or with the field of the text.")  # fmt: skip
@click.option("--tokenizer", required=True, metavar="PATH", type=click.Path(path_type=Path),
              help="A model's folder, or its tokenizer.json.")  # fmt: skip
@click.option("--out", required=True, metavar="DIR", help="For kept rows, reports and the page.",
              type=click.Path(path_type=Path, file_okay=False))  # fmt: skip
@click.option("--mode", type=click.Choice(["correct", "faithful"]), default="correct",
              show_default=True, help="correct: every user turn and n-gram, to train on; faithful: "
              "upstream's rule with its gaps, to audit what was published.")  # fmt: skip
@click.option("--ngram", type=click.IntRange(min=1), default=8, show_default=True,
              help="Tokens in a row that a candidate shares.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), default=0.5,
              show_default=True, help="Share of the prompt that is removed.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes; all cores without it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def decontaminate(as_json: bool, **given: Any) -> None:
    """Remove the rows that stand in a benchmark, exactly; say which, and show why.

    \b
    mfo corpus decontaminate --train corpus.jsonl --tokenizer MODEL --out clean \\
        --prompts medqa=medqa_test.jsonl medmcqa=medmcqa_validation.jsonl
    """
    from launch.cli import corpus_commands

    corpus_commands.decontaminate(as_json, **given)


@corpus.command("lock")
@click.argument("files", nargs=-1, metavar="[FILE]…", type=click.Path(path_type=Path))
@SITE
@MIRROR
@JOBS
def lock(files: tuple[Path, ...], site: str, mirrors: tuple[str, ...], jobs: int) -> None:
    """Fill in commit, rows, licence and sha256 in FILE; refuse to change what is there.

    FILE is a list of sources: recipes/corpus.toml without one, or recipes/benchmarks.toml.
    """
    from launch.cli import fetch_commands

    fetch_commands.lock(files, mirrors, site, jobs)
