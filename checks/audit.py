"""Does a published table agree with itself? Arithmetic only: no model, no GPU, no items.

Three degrees of certainty. *certain*: the printed numbers cannot all be right, whatever the
rounding. *likely*: they could be, but only by something unlikely, which the message names.
*note*: worth knowing; no error is claimed.

GRIM (Brown and Heathers 2017, Social Psychological and Personality Science 8:363) asks whether
any whole number of right answers gives the printed percentage. It can only bite where one answer
moves the score by more than the printed precision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

from checks.audit_errors import average_errors, errors
from checks.audit_findings import EPSILON, Finding, half_unit, recomputed
from checks.audit_repeats import repeats
from checks.tables import Average, Comparison, ModelRow, Table

__all__ = ["Finding", "audit", "exit_code"]

ORDER = {"certain": 0, "likely": 1, "note": 2}


def audit(table: Table) -> list[Finding]:
    """Check a table against itself; the most certain findings come first."""
    checks: tuple[Callable[[Table], Iterable[Finding]], ...] = (
        _impossible,
        _precision,
        _averages,
        _gains,
        _grim,
        errors,
        average_errors,
        _comparisons,
        _claims,
        repeats,
        _margins,
        _statements,
    )
    found = [finding for check in checks for finding in check(table)]
    return sorted(found, key=lambda finding: ORDER[finding.certainty])


def exit_code(findings: Iterable[Finding]) -> int:
    """Give 1 if a certain error stands, else 0."""
    return int(any(finding.certainty == "certain" for finding in findings))


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


def _averages(table: Table) -> Iterator[Finding]:
    for row in table.models.values():
        for average in row.averages:
            names = ", ".join(average.over)
            again = recomputed(table, row, average)
            if again is None:
                missing = [key for key in average.over if key not in row.scores]
                text = f"cannot be recomputed: no published {', '.join(missing)}."
                yield Finding(row.name, average.name, "average", text, "note")
                continue
            mean, loose = again
            digits = average.decimals
            if abs(average.value - mean) > half_unit(digits) + loose + EPSILON:
                text = (
                    f"published {average.value:.{digits}f}, but the mean of {names} is "
                    f"{mean:.{digits}f}: {average.value - mean:+.{digits}f} points, more than "
                    f"rounding allows. {_which_cell(row, average, mean)}"
                )
                yield Finding(row.name, average.name, "average", text.strip(), "certain")
            elif abs(average.value - mean) > half_unit(digits) + EPSILON:
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
    if off > 3 * half_unit(digits) + EPSILON:
        yield Finding(model, cell, "gain", f"{said}: more than rounding allows.", "certain")
    elif off > half_unit(digits) + EPSILON:
        text = f"{said}: it was subtracted before rounding."
        yield Finding(model, cell, "rounding", text, "note")


def _inherited(
    table: Table, row: ModelRow, base: ModelRow, average: Average, before: Average
) -> Iterator[Finding]:
    """Say what the gain would be if an average that does not add up were recomputed."""
    ours, theirs = recomputed(table, row, average), recomputed(table, base, before)
    if ours is None or theirs is None or average.gain is None:
        return
    slack = 3 * half_unit(average.decimals) + ours[1] + theirs[1] + EPSILON
    wrong = [
        name
        for name, stated, (mean, loose) in (
            (row.name, average, ours),
            (base.name, before, theirs),
        )
        if abs(stated.value - mean) > half_unit(stated.decimals) + loose + EPSILON
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
    if step <= 2 * half_unit(decimals):
        return ""
    below = math.floor(value / step)
    for k in (below, below + 1):
        if k <= items and abs(k * step - value) <= half_unit(decimals) + EPSILON:
            return ""
    near = " or ".join(f"{k * step:.{decimals}f} ({k})" for k in (below, below + 1) if k <= items)
    return (
        f"no whole number of {items:,} items is {value:.{decimals}f}%: the nearest are {near}. "
        "The number of items differs, or the cell is not a plain share of right answers."
    )


def _comparisons(table: Table) -> Iterator[Finding]:
    for pair in table.comparisons:
        who, cell, half = f"{pair.model} vs {pair.against}", pair.name, half_unit(pair.decimals)
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


def _claims(table: Table) -> Iterator[Finding]:
    """Hold a range that a text gives for comparisons with the base against each comparison."""
    for claim in table.claims:
        shares = {
            pair.model: pair.preferred if pair.preferred is not None else pair.win + pair.tie / 2
            for pair in table.comparisons
            if pair.name == claim.name and pair.against == table.model(pair.model).base
        }
        slack = 0.1 + EPSILON  # wins and ties are rounded to a tenth, and so is their sum
        outside = {m: v for m, v in shares.items()
                   if not claim.low - slack <= v <= claim.high + slack}  # fmt: skip
        ends = [end for end in (claim.low, claim.high)
                if not any(abs(v - end) <= slack for v in shares.values())]  # fmt: skip
        if not outside and not ends:
            continue
        said = [f"{model} has {value:.2f}" for model, value in outside.items()]
        said += [f"no comparison gives {end:g}" for end in ends]
        missing = sorted({row.name for row in table.models.values() if row.base in table.models}
                         - shares.keys())  # fmt: skip
        text = (
            f"the text gives {claim.low:g} to {claim.high:g}% preferred over the base; by wins and "
            f"half the ties of the figures {'; '.join(said)}. Without a comparison: "
            f"{', '.join(missing) or 'none'}."
        )
        yield Finding("*", claim.name, "claim", text, "likely" if outside else "note")


def _statements(table: Table) -> Iterator[Finding]:
    for one in table.statements:
        text = f"{one.message} ({one.source})"
        yield Finding("*", one.where, "statement", text, "note")


def _mirrored(pairs: tuple[Comparison, ...]) -> Iterator[Finding]:
    for a, b in itertools.combinations(pairs, 2):
        if a.name != b.name or {a.model, a.against} != {b.model, b.against}:
            continue
        theirs = (b.win, b.tie, b.loss) if a.model == b.model else (b.loss, b.tie, b.win)
        if any(abs(x - y) > EPSILON for x, y in zip((a.win, a.tie, a.loss), theirs, strict=True)):
            text = "the same pair is published twice, with different numbers."
            yield Finding(f"{a.model} vs {a.against}", a.name, "comparison", text, "certain")


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
