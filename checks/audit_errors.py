"""Published ± against what the number of items allows, for cells and for averages."""

from __future__ import annotations

import math
from collections.abc import Iterator

from checks.audit_findings import Finding, half_unit
from checks.tables import Average, Benchmark, ModelRow, Table

__all__ = ["average_errors", "errors"]

SLACK = 1.05  # a bootstrapped ± may differ this much from the formula's
GROSS = 1.25  # no bootstrap is off by this much
Z = 1.959964  # of a 95% interval


def errors(table: Table) -> Iterator[Finding]:
    """Hold each cell's ± against what its number of items allows."""
    if table.plus_minus == "not stated":
        return
    factor = 1.0 if table.plus_minus == "standard error" else Z
    for row in table.models.values():
        for key, score in row.scores.items():
            column = table.benchmarks[key]
            if score.pm is None or not 0 <= score.value <= 100:
                continue
            digits = _digits(score.pm)
            yield from _error(row.name, column, score.value, score.pm, factor, digits)


def _error(
    model: str, column: Benchmark, value: float, pm: float, factor: float, digits: int
) -> Iterator[Finding]:
    items, half = column.items, half_unit(digits)
    # The most that scores within 0..1 with this mean can vary (Bhatia and Davis 2000), for the
    # highest and the lowest mean that are printed so.
    moved = (value - half_unit(column.decimals), value, value + half_unit(column.decimals))
    spreads = [math.sqrt(max(0.0, v * (100 - v))) for v in moved]
    if items is None or items < 2:
        if pm - half > factor * max(spreads):
            text = f"± {pm} is more than any number of items allows at {value}%."
            yield Finding(model, column.key, "standard error", text, "certain")
        return
    most = factor * max(spreads) / math.sqrt(items - 1)
    least = factor * min(spreads) / math.sqrt(items)
    said = f"± {pm:.{digits}f}, but {value}% of {items:,} items"
    if pm - half > most * GROSS:
        text = f"{said} can have at most ± {most:.{digits}f}: no scores from 0 to 1 vary more."
        yield Finding(model, column.key, "standard error", text, "certain")
    elif pm - half > most * SLACK:
        text = f"{said} should have at most ± {most:.{digits}f}."
        yield Finding(model, column.key, "standard error", text, "likely")
    elif column.metric == "accuracy" and (pm + half) * GROSS < least:
        text = f"{said} has ± {least:.{digits}f}: right and wrong answers cannot vary less."
        yield Finding(model, column.key, "standard error", text, "certain")
    elif column.metric == "accuracy" and (pm + half) * SLACK < least:
        text = f"{said} should have ± {least:.{digits}f}."
        yield Finding(model, column.key, "standard error", text, "likely")


def _digits(value: float) -> int:
    """Give the decimals that a number was written with; a last zero is lost, which only widens."""
    return max(1, len(f"{value:.10f}".rstrip("0").partition(".")[2]))


def average_errors(table: Table) -> Iterator[Finding]:
    """Hold the ± of averages against the columns' items, taking the columns as independent."""
    cells = []
    for row in table.models.values():
        for average in row.averages:
            if average.pm is None or any(key not in row.scores for key in average.over):
                continue
            bounds = _average_bounds(table, row, average)
            if bounds is not None:
                cells.append((row.name, average, *bounds))
    readings = {"standard error": 1.0, "95% interval": Z}
    if table.plus_minus in readings:
        factor = readings[table.plus_minus]
        for name, average, low, high in cells:
            half = half_unit(_digits(average.pm or 0))
            pm = average.pm or 0.0
            if pm - half > factor * high * SLACK or (pm + half) * SLACK < factor * low:
                text = (
                    f"± {pm} where independent columns of these sizes give ± "
                    f"{factor * low:.2f} to {factor * high:.2f} ({table.plus_minus})."
                )
                yield Finding(name, f"{average.name} ±", "standard error", text, "likely")
        return
    odd = [
        (name, average.pm)
        for name, average, low, high in cells
        if all(
            not low * f / SLACK - 0.005 <= (average.pm or 0) <= high * f * SLACK + 0.005
            for f in readings.values()
        )
    ]
    if odd:
        lows, highs = [c[2] for c in cells], [c[3] for c in cells]
        text = (
            f"the ± of {len(odd)} of {len(cells)} averages ({min(p or 0 for _, p in odd)} to "
            f"{max(p or 0 for _, p in odd)}) are neither standard errors ({min(lows):.2f} to "
            f"{max(highs):.2f}) nor 95% half-widths ({Z * min(lows):.2f} to "
            f"{Z * max(highs):.2f}) of independent columns with these numbers of items. The "
            "table does not say what ± means."
        )
        who = odd[0][0] if len(odd) == 1 else "*"
        yield Finding(who, "average ±", "standard error", text, "note")


def _average_bounds(table: Table, row: ModelRow, average: Average) -> tuple[float, float] | None:
    """Give the least and most standard error of an average, in points: rubric scores vary less."""
    low = high = 0.0
    for key in average.over:
        column, value = table.benchmarks[key], row.scores[key].value
        if column.items is None or not 0 <= value <= 100:
            return None
        variance = value * (100 - value) / column.items
        high += variance
        low += variance if column.metric == "accuracy" else 0.0
    return math.sqrt(low) / len(average.over), math.sqrt(high) / len(average.over)
