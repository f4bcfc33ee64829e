"""Numbers that stand twice in a table, and how often chance alone would do that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from statistics import stdev

from checks.audit_findings import EPSILON, LIKELY, Certainty, Finding, half_unit, recomputed
from checks.tables import ModelRow, Table

__all__ = ["repeats"]


def repeats(table: Table) -> Iterator[Finding]:
    """Find values that repeat within a column, and rows that share several values.

    The chance is that of at least one coincidence among all pairs of a column, with the models'
    scores drawn independently from a normal distribution of the column's own spread: two such
    scores differ by less than one step with a probability of step / (2 s √π). A model and its own
    base are closer than that, so their chance comes from the spread of the published gains. It
    is a rough guide, which is why a repeat in one column is never called certain.
    """
    shared: dict[tuple[str, str], list[str]] = {}
    columns = 0
    found = []
    for key, column in table.benchmarks.items():
        rows = [row for row in table.models.values() if key in row.scores]
        if len(rows) < 3:
            continue
        columns += 1
        values = [row.scores[key].value for row in rows]
        step = 10.0**-column.decimals
        if column.metric == "accuracy" and column.items:
            step = max(step, 100 / column.items)
        spread = stdev(values)
        if max(values) - min(values) < 20 * step:
            continue  # so coarse or so alike that repeats are expected
        for a, b in itertools.combinations(rows, 2):
            if abs(a.scores[key].value - b.scores[key].value) > EPSILON:
                continue
            shared.setdefault((a.name, b.name), []).append(key)
            related = a.base == b.name or b.base == a.name
            chance = (
                _related_chance(table, key, step)
                if related
                else _any(step / (2 * spread * math.sqrt(math.pi)), math.comb(len(rows), 2))
            )
            found.append((key, a, b, chance, related))
    for key, a, b, chance, related in found:
        if len(shared[a.name, b.name]) > 1:
            continue
        value = a.scores[key].value
        certainty: Certainty = "likely" if chance * columns < LIKELY else "note"
        text = (
            f"{value:.{table.benchmarks[key].decimals}f} stands for {a.name} and for {b.name}"
            f"{', a model and its base' if related else ''}. By chance a repeat of that sort "
            f"happens in this column in about {_odds(chance)}. {_averaged(table, (a, b), key)}"
        )
        yield Finding("*", key, "repeat", text.strip(), certainty)
    for (one, other), keys in shared.items():
        if len(keys) > 1:
            text = f"{one} and {other} share {len(keys)} values: a row was probably copied."
            yield Finding("*", ", ".join(keys), "repeat", text, "likely")


def _any(single: float, pairs: int) -> float:
    """Give the chance of at least one coincidence among so many pairs."""
    return 1 - (1 - min(1.0, single)) ** pairs


def _related_chance(table: Table, key: str, step: float) -> float:
    gains = [
        row.scores[key].value - table.models[row.base].scores[key].value
        for row in table.models.values()
        if row.base and key in row.scores and key in table.models[row.base].scores
    ]
    size = math.sqrt(sum(gain * gain for gain in gains) / len(gains))
    if size < step:
        return 1.0
    return _any(step / (size * math.sqrt(2 * math.pi)), len(gains))


def _odds(chance: float) -> str:
    if chance > 0.5:
        return "every table"
    return f"one table in {round(1 / max(chance, 1e-9)):,}"


def _averaged(table: Table, rows: tuple[ModelRow, ModelRow], key: str) -> str:
    """Say whether the printed averages were computed with the repeated value."""
    agree = []
    for row in rows:
        for average in row.averages:
            again = recomputed(table, row, average) if key in average.over else None
            if again and abs(average.value - again[0]) <= half_unit(average.decimals) + again[1]:
                agree.append(row.name)
                break
    if len(agree) == 2:
        return "Both averages were computed with it: if it is a slip, it came before the averaging."
    return ""
