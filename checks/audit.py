"""Does a published table agree with itself? Arithmetic only: no model, no GPU, no items.

Three degrees of certainty. *certain*: the printed numbers cannot all be right, whatever the
rounding. *likely*: they could be, but only by something unlikely, which the message names.
*note*: worth knowing; no error is claimed.

GRIM (Brown and Heathers 2017, Social Psychological and Personality Science 8:363) asks whether
any whole number of right answers gives the printed percentage. It can only bite where one answer
moves the score by more than the printed precision.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from checks.tables import Average, Benchmark, Comparison, ModelRow, Table

__all__ = ["Certainty", "Finding", "audit", "exit_code"]

Certainty = Literal["certain", "likely", "note"]
ORDER = {"certain": 0, "likely": 1, "note": 2}
EPSILON = 1e-9
LIKELY = 0.01  # a chance below this, over all columns, is called likely an error
SLACK = 1.05  # a bootstrapped ± may differ this much from the formula's
GROSS = 1.25  # no bootstrap is off by this much


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        model: the row, or ``*`` where it concerns several.
        cell: the column, or ``average``, ``gain``, ``auto_moove`` and so on.
        kind: average, gain, impossible, precision, grim, standard error, repeat, comparison,
            rounding or margin.
        message: what was found, what was expected, why.
        certainty: certain, likely or note.
    """

    model: str
    cell: str
    kind: str
    message: str
    certainty: Certainty

    def as_dict(self) -> dict[str, str]:
        """Give the finding as it stands in ``mfo audit --json``."""
        return dataclasses.asdict(self)


def audit(table: Table) -> list[Finding]:
    """Check a table against itself; the most certain findings come first."""
    checks: tuple[Callable[[Table], Iterable[Finding]], ...] = (
        _impossible,
        _precision,
        _averages,
        _gains,
        _grim,
        _errors,
        _average_errors,
        _comparisons,
        _repeats,
        _margins,
    )
    found = [finding for check in checks for finding in check(table)]
    return sorted(found, key=lambda finding: ORDER[finding.certainty])


def exit_code(findings: Iterable[Finding]) -> int:
    """Give 1 if a certain error stands, else 0."""
    return int(any(finding.certainty == "certain" for finding in findings))


def _half(decimals: int) -> float:
    """Give the most that rounding to so many decimals moves a number."""
    return 0.5 * 10.0**-decimals


def _impossible(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        cells = [(key, score.value) for key, score in row.scores.items()]
        cells += [(average.name, average.value) for average in row.averages]
        for key, value in cells:
            if not 0 <= value <= 100:
                text = f"{value} is not a percentage: expected 0 to 100."
                yield Finding(row.name, key, "impossible", text, "certain")


def _precision(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        for key, score in row.scores.items():
            decimals = table.benchmarks[key].decimals
            # A cell that was measured over seeds here is not limited to what was printed.
            if not score.seeds and abs(score.value - round(score.value, decimals)) > EPSILON:
                text = f"{score.value} has more than the {decimals} decimals of its column."
                yield Finding(row.name, key, "precision", text, "certain")
        for average in row.averages:
            if abs(average.value - round(average.value, average.decimals)) > EPSILON:
                text = f"{average.value} has more than the {average.decimals} decimals stated."
                yield Finding(row.name, average.name, "precision", text, "certain")


def _recomputed(table: Table, row: ModelRow, average: Average) -> tuple[float, float] | None:
    """Give the mean of the printed cells and how far rounding can move it; None where one lacks."""
    if any(key not in row.scores for key in average.over):
        return None
    values = [row.scores[key].value for key in average.over]
    halves = [_half(table.benchmarks[key].decimals) for key in average.over]
    return math.fsum(values) / len(values), math.fsum(halves) / len(halves)


def _averages(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        for average in row.averages:
            names = ", ".join(average.over)
            again = _recomputed(table, row, average)
            if again is None:
                missing = [key for key in average.over if key not in row.scores]
                text = f"cannot be recomputed: no published {', '.join(missing)}."
                yield Finding(row.name, average.name, "average", text, "note")
                continue
            mean, loose = again
            digits = average.decimals
            if abs(average.value - mean) > _half(digits) + loose + EPSILON:
                text = (
                    f"published {average.value:.{digits}f}, but the mean of {names} is "
                    f"{mean:.{digits}f}: {average.value - mean:+.{digits}f} points, more than "
                    f"rounding allows. {_which_cell(row, average, mean)}"
                )
                yield Finding(row.name, average.name, "average", text.strip(), "certain")
            elif abs(average.value - mean) > _half(digits) + EPSILON:
                text = (
                    f"published {average.value:.{digits}f}, the mean of the printed cells is "
                    f"{mean:.{digits + 1}f}: it was averaged before rounding, or cut off."
                )
                yield Finding(row.name, average.name, "rounding", text, "note")


def _which_cell(row: ModelRow, average: Average, mean: float) -> str:
    """Say which single cells, if they were other than printed, would explain the average."""
    short = (average.value - mean) * len(average.over)
    could = []
    for key in average.over:
        value = row.scores[key].value + short
        if 0 <= value <= 100:
            could.append(f"{key} {value:.2f} (printed {row.scores[key].value:.2f})")
    return f"One cell alone would explain it: {' or '.join(could)}." if could else ""


def _gains(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        base = table.models.get(row.base or "")
        if base is None:
            continue
        for key, gain in row.gains.items():
            if key in row.scores and key in base.scores:
                after, before = row.scores[key].value, base.scores[key].value
                digits = table.benchmarks[key].decimals
                yield from _gain(row.name, f"gain {key}", gain, after, before, digits, base.name)
        for average in row.averages:
            if average.gain is None:
                continue
            same = [a for a in base.averages if set(a.over) == set(average.over)]
            if not same:
                text = f"cannot be recomputed: {base.name} has no average over the same columns."
                yield Finding(row.name, "gain", "gain", text, "note")
                continue
            values = average.gain, average.value, same[0].value
            yield from _gain(row.name, "gain", *values, average.decimals, base.name)
            yield from _inherited(table, row, base, average, same[0])


def _gain(
    model: str, cell: str, gain: float, after: float, before: float, digits: int, base: str
) -> Iterator[Finding]:
    expected = after - before
    off = abs(gain - expected)
    said = (
        f"published {gain:+.{digits}f}, but {after:.{digits}f} less {base}'s {before:.{digits}f} "
        f"is {expected:+.{digits}f}"
    )
    if off > 3 * _half(digits) + EPSILON:
        yield Finding(model, cell, "gain", f"{said}: more than rounding allows.", "certain")
    elif off > _half(digits) + EPSILON:
        text = f"{said}: it was subtracted before rounding."
        yield Finding(model, cell, "rounding", text, "note")


def _inherited(
    table: Table, row: ModelRow, base: ModelRow, average: Average, before: Average
) -> Iterator[Finding]:
    """Say what the gain would be if an average that does not add up were recomputed."""
    ours, theirs = _recomputed(table, row, average), _recomputed(table, base, before)
    if ours is None or theirs is None or average.gain is None:
        return
    slack = 3 * _half(average.decimals) + ours[1] + theirs[1] + EPSILON
    wrong = [
        name
        for name, stated, (mean, loose) in (
            (row.name, average, ours),
            (base.name, before, theirs),
        )
        if abs(stated.value - mean) > _half(stated.decimals) + loose + EPSILON
    ]
    expected = ours[0] - theirs[0]
    if wrong and abs(average.gain - expected) > slack:
        text = (
            f"published {average.gain:+.2f}; from the printed cells it is {expected:+.2f}. "
            f"The gain rests on the average of {' and of '.join(wrong)}, which does not add up."
        )
        yield Finding(row.name, "gain", "gain", text, "likely")


def _grim(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        for key, score in row.scores.items():
            column = table.benchmarks[key]
            if column.metric != "accuracy" or column.items is None or score.seeds:
                continue
            if not 0 <= score.value <= 100:
                continue
            text = _grim_text(score.value, column.items, column.decimals)
            if text:
                yield Finding(row.name, key, "grim", text, "certain")


def _grim_text(value: float, items: int, decimals: int) -> str:
    """Say why no count gives a percentage; empty where one does or the test cannot bite."""
    step = 100 / items
    if step <= 2 * _half(decimals):
        return ""
    below = math.floor(value / step)
    for k in (below, below + 1):
        if k <= items and abs(k * step - value) <= _half(decimals) + EPSILON:
            return ""
    near = " or ".join(f"{k * step:.{decimals}f} ({k})" for k in (below, below + 1) if k <= items)
    return (
        f"no whole number of {items:,} items is {value:.{decimals}f}%: the nearest are {near}. "
        "The number of items differs, or the cell is not a plain share of right answers."
    )


def _errors(table: Table) -> Iterator[Finding]:
    """Hold each cell's ± against what its number of items allows."""
    if table.plus_minus == "not stated":
        return
    factor = 1.0 if table.plus_minus == "standard error" else 1.959964
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
    items, half = column.items, _half(digits)
    # The most that scores within 0..1 with this mean can vary (Bhatia and Davis 2000), for the
    # highest and the lowest mean that are printed so.
    moved = (value - _half(column.decimals), value, value + _half(column.decimals))
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


def _average_errors(table: Table) -> Iterator[Finding]:
    """Hold the ± of averages against the columns' items, taking the columns as independent."""
    cells = []
    for row in table.models.values():
        for average in row.averages:
            if average.pm is None or any(key not in row.scores for key in average.over):
                continue
            bounds = _average_bounds(table, row, average)
            if bounds is not None:
                cells.append((row.name, average, *bounds))
    readings = {"standard error": 1.0, "95% interval": 1.959964}
    if table.plus_minus in readings:
        factor = readings[table.plus_minus]
        for name, average, low, high in cells:
            half = _half(_digits(average.pm or 0))
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
            f"{max(highs):.2f}) nor 95% half-widths ({1.96 * min(lows):.2f} to "
            f"{1.96 * max(highs):.2f}) of independent columns with these numbers of items. The "
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


def _comparisons(table: Table) -> Iterator[Finding]:
    for pair in table.comparisons:
        who, cell, half = f"{pair.model} vs {pair.against}", pair.name, _half(pair.decimals)
        total = math.fsum((pair.win, pair.tie, pair.loss))
        if abs(total - 100) > 3 * half + EPSILON:
            text = (
                f"wins {pair.win}, ties {pair.tie} and losses {pair.loss} make {total:.1f}, not 100"
            )
            yield Finding(who, cell, "comparison", f"{text}: more than rounding allows.", "certain")
        preferred = pair.win + pair.tie / 2
        if pair.preferred is not None and abs(pair.preferred - preferred) > 2.5 * half + EPSILON:
            text = f"published {pair.preferred} preferred, wins plus half the ties {preferred:.2f}."
            yield Finding(who, cell, "comparison", text, "certain")
        if pair.items is not None:
            for name, value in (("win", pair.win), ("tie", pair.tie), ("loss", pair.loss)):
                text = _grim_text(value, pair.items, pair.decimals)
                if text:
                    yield Finding(who, f"{cell} {name}", "grim", text, "certain")
    yield from _mirrored(table.comparisons)


def _mirrored(pairs: tuple[Comparison, ...]) -> Iterator[Finding]:
    for a, b in itertools.combinations(pairs, 2):
        if a.name != b.name or {a.model, a.against} != {b.model, b.against}:
            continue
        theirs = (b.win, b.tie, b.loss) if a.model == b.model else (b.loss, b.tie, b.win)
        if any(abs(x - y) > EPSILON for x, y in zip((a.win, a.tie, a.loss), theirs, strict=True)):
            text = "the same pair is published twice, with different numbers."
            yield Finding(f"{a.model} vs {a.against}", a.name, "comparison", text, "certain")


def _repeats(table: Table) -> Iterator[Finding]:
    from checks.audit_repeats import repeats

    return repeats(table)


def _margins(table: Table) -> Iterator[Finding]:
    """Say which margins the benchmark's items cannot decide at the rates in the table."""
    for column in table.benchmarks.values():
        rates = [row.scores[column.key].value for row in table.models.values()
                 if column.key in row.scores]  # fmt: skip
        if column.margin is None or column.items is None or column.metric != "accuracy":
            continue
        from checks.statistics import items_needed, smallest_margin

        hardest = min(rates, key=lambda rate: abs(rate - 50), default=50.0) / 100
        least = 100 * smallest_margin(hardest, column.items)
        if least > column.margin + EPSILON:
            needed = items_needed(hardest, column.margin / 100)
            text = (
                f"a margin of {column.margin} points at {100 * hardest:.2f}% would need "
                f"{f'{needed:,}' if needed else 'more than 10 million'} items; {column.items:,} "
                f"decide ± {least:.2f} (80% power), so a retrained model ends inconclusive."
            )
            yield Finding("*", column.key, "margin", text, "note")
