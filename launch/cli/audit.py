"""`mfo audit` and `mfo calibrate`: check a published table, and the checker itself."""

from __future__ import annotations

from typing import Any

import click

from checks.audit import audit as audit_table
from checks.tables import Table, load_table
from kit.errors import KitError
from kit.printing import emit
from launch.cli.options import JSON

#: What `mfo calibrate` counts for each fault.
VERDICTS = ("reproduced", "inconclusive", "not reproduced")
#: The row that is judged or calibrated where the built-in table is meant and no row is named.
OWN_TABLE, OWN_MODEL = "fully-open-meditron", "Gemma-3-27B-MeditronFO"


@click.command()
@click.option(
    "--published",
    default="fully-open-meditron",
    show_default=True,
    help="Table to check: a file, or a built-in name.",
)
@JSON
def audit(published: str, as_json: bool) -> int:
    """Check whether a published table agrees with itself. Seconds, no GPU.

    Exits 1 if a certain error stands in the table, 0 if none.
    """
    findings = audit_table(load_table(published))
    certain = [f for f in findings if f.certainty == "certain"]
    if as_json:
        emit({"findings": [f.as_dict() for f in findings]})
        return 1 if certain else 0
    colours = {"certain": "red", "likely": "yellow"}
    for finding in findings:
        colour = colours.get(finding.certainty, "cyan")
        click.secho(f"{finding.certainty:<8}", fg=colour, nl=False)
        click.echo(f"{finding.model} · {finding.cell} · {finding.kind}")
        click.echo(f"        {finding.message}")
    click.echo(
        f"{len(findings)} findings in {published}, {len(certain)} of them certain errors\n"
        "next:  mfo audit --json for programs; mfo verify --items FILE --published "
        f"{published} --model NAME to hold scores against it"
    )
    return 1 if certain else 0


@click.command()
@click.option(
    "--published",
    default="fully-open-meditron",
    show_default=True,
    help="Table: a file, or a built-in name.",
)
@click.option("--model", help="Its row; Gemma-3-27B-MeditronFO for the built-in table.")
@click.option(
    "--tier",
    type=click.Choice(["weights", "retrain"]),
    default="retrain",
    show_default=True,
    help="Which rule.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=100),
    default=20_000,
    show_default=True,
    help="Evaluations simulated for each fault.",
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@JSON
def calibrate(
    published: str, model: str | None, tier: Any, runs: int, markdown: bool, as_json: bool
) -> None:
    """Simulate the checker: how often does it err?

    Seconds, no GPU. For each benchmark: false alarms when nothing is wrong, and how often planted
    faults are seen.
    """
    # None of these at the top: they would be a third of the time of `mfo audit`.
    from rich.console import Console
    from rich.progress import Progress

    from checks.calibrate import FAULT_NOTES, calibration_markdown
    from checks.calibrate import calibrate as run_calibration
    from kit.columns import columns

    table = load_table(published)
    row = model or _only_row(table)
    entry = table.model(row)
    keys = [k for k in entry.scores if table.benchmarks[k].items]
    if not keys:
        raise KitError(
            f"the table gives no score of {row} with a number of items",
            where=table.name,
            fix="add items = N to its benchmarks",
        )

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=len(keys), completed=-1)

        def told(title: str) -> None:
            progress.update(task, advance=1, description=f"simulating {title}")

        result = run_calibration(table, row, keys, tier=tier, runs=runs, progress=told)
    if as_json:
        emit(result)
        return
    if markdown:
        click.echo(calibration_markdown(result), nl=False)
        return
    click.echo(f"{row} of {table.name}, tier {tier}: {runs:,} runs for each fault, in per cent")
    rows: list[tuple[str, ...]] = []
    for one in result["rows"]:
        title = f"{one['title']}: {one['items']:,} items, margin ±{one['margin']:.2f}"
        rows.append((title, *[""] * 4))
        for fault in one["faults"]:
            shares = [f"{100 * fault[w]:.1f}" for w in VERDICTS]
            rows.append((f"  {fault['fault']}", f"{fault['true']:.2f}", *shares))
    head = ("", "true", "reproduced", "inconclusive", "not repr.")
    click.echo("\n".join(columns(rows, head=head, right=range(1, 5))))
    click.echo(FAULT_NOTES)


def _only_row(table: Table) -> str:
    if table.name == OWN_TABLE:
        return OWN_MODEL
    if len(table.models) == 1:
        return next(iter(table.models))
    raise KitError(
        f"the table {table.name} has {len(table.models)} rows: which one?",
        where=table.name,
        fix=f"--model NAME, one of: {', '.join(table.models)}",
    )
