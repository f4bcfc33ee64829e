"""What an audit finds, and the arithmetic that its checks share."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from checks.tables import Average, ModelRow, Table

Certainty = Literal["certain", "likely", "note"]
EPSILON = 1e-9
LIKELY = 0.01  # a chance below this, over all columns, is called likely an error


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        model: the row, or ``*`` where it concerns several.
        cell: the column, or ``average``, ``gain``, ``auto_moove`` and so on.
        kind: average, gain, impossible, precision, grim, standard error, repeat, comparison,
            rounding, margin, claim or statement.
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


def half_unit(decimals: int) -> float:
    """Give the most that rounding to so many decimals moves a number."""
    return 0.5 * 10.0**-decimals


def recomputed(table: Table, row: ModelRow, average: Average) -> tuple[float, float] | None:
    """Give the mean of the printed cells and how far rounding can move it; None where one lacks."""
    if any(key not in row.scores for key in average.over):
        return None
    values = [row.scores[key].value for key in average.over]
    halves = [half_unit(table.benchmarks[key].decimals) for key in average.over]
    return math.fsum(values) / len(values), math.fsum(halves) / len(halves)
