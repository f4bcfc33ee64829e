"""The words for verdicts: hold scores against a table, audit a table, simulate the rule."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from launch.cli.options import JSON, RUN, RUNS


@click.command()
@click.argument("what", nargs=-1, metavar="[RUN|WEIGHTS]...")
@click.option("--items", type=click.Path(path_type=Path), multiple=True,
              help="Scored items (file or folder) instead of a run; may be repeated.")  # fmt: skip
@click.option("--reference-items", type=click.Path(path_type=Path), multiple=True,
              help="With --items: the released weights' items, from the same harness.")  # fmt: skip
@click.option("--benchmark", multiple=True, help="Benchmark of an --items file that does not say; "
              "one for each such file.")  # fmt: skip
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Say how far each choice of the protocol moves the score; of two runs, compare.",
)
@click.option("--benchmarks", type=click.Path(path_type=Path, file_okay=False),
              help="With --recipe: score the benchmark files in this folder. With --sensitivity "
              "--items: the benchmarks that they are of.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0),
              help="With --recipe: items per benchmark, drawn at random.")  # fmt: skip
@click.option("--published", help="Table to hold them against: a file, or a built-in name.")
@click.option("--model", help="Row of the table.")
@click.option("--tier", type=click.Choice(["weights", "retrain"]),
              help="weights: the same weights scored again; retrain: trained again.")  # fmt: skip
@click.option("--allow-partial", is_flag=True, help="Judge fewer items than the table's.")
@click.option("--recipe", help="Score WEIGHTS by this recipe's protocol.")
@click.option("--site", default="laptop", show_default=True, help="Where to score WEIGHTS.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="With --recipe.")
@click.option("--report", "report_to", type=click.Path(path_type=Path), help="Write the page here.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the verdict as Markdown.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write it as JUnit XML, for CI.")
@RUNS
@JSON
def verify(what: tuple[str, ...], runs: Path, as_json: bool, **given: Any) -> None:
    """Hold scores against the published table.

    \b
    mfo verify RUN                                           derive a run's verdict again
    mfo verify RUN RUN RUN                                   several seeds of one recipe together
    mfo verify WEIGHTS --recipe gemma-3-27b --site SITE      score given weights, then judge
    mfo verify --items FILE --published FILE --model NAME    judge items that you have
    mfo verify --items OURS --reference-items RELEASED …     evaluation drift and training drift
    mfo verify RUN --sensitivity                             other ways to read the same answers
    mfo verify RUN OTHER --sensitivity                       two protocols of the same weights

    --tier is weights for --items, and retrain with --reference-items and for runs.
    """
    from launch.cli import verdict_commands

    sys.exit(verdict_commands.verify(what, runs, as_json, given))


@click.command()
@RUN
@RUNS
def report(run: str | None, runs: Path) -> None:
    """Draw RUN's page again from its verdict.json."""
    from launch.cli import verdict_commands

    verdict_commands.report(run, runs)


@click.command()
@click.option("--published", default="fully-open-meditron", show_default=True,
              help="Table to check: a file, or a built-in name.")  # fmt: skip
@JSON
def audit(published: str, as_json: bool) -> None:
    """Check whether a published table agrees with itself. Seconds, no GPU.

    Exits 1 if a certain error stands in the table, 0 if none.
    """
    from launch.cli import verdict_commands

    sys.exit(verdict_commands.audit(published, as_json))


@click.command()
@click.option("--published", default="fully-open-meditron", show_default=True,
              help="Table: a file, or a built-in name.")  # fmt: skip
@click.option("--model", help="Its row; Gemma-3-27B-MeditronFO for the built-in table.")
@click.option("--tier", type=click.Choice(["weights", "retrain"]), default="retrain",
              show_default=True, help="Which rule.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=100), default=20_000, show_default=True,
              help="Evaluations simulated for each fault.")  # fmt: skip
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@JSON
def calibrate(published: str, model: str | None, tier: str, runs: int, markdown: bool,
              as_json: bool) -> None:  # fmt: skip
    """Simulate the checker: how often does it err?

    Seconds, no GPU. For each benchmark: false alarms when nothing is wrong, and how often planted
    faults are seen.
    """
    from launch.cli import verdict_commands

    verdict_commands.calibrate(published, model, tier, runs, as_json, markdown)


@click.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="canary.jsonl",
              show_default=True, help="The file to write.")  # fmt: skip
@RUNS
def canary(run: str | None, out: Path, runs: Path) -> None:
    """Freeze grades of RUN's judge, for later runs to be held against.

    A run whose recipe names the file (judge.canary) has them graded again before it grades
    anything; where more differ than judge.canary_margin allows, its judged scores are invalid.
    """
    from launch.cli import canary_command

    canary_command.freeze(run, runs, out)
