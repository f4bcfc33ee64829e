"""Published, released, retrained: where a difference comes from.

    published ──evaluation drift── released weights in our harness ──training drift── retrained

A retrained score that misses the published one may do so because the harness differs (then the
released weights miss it too) or because the training does (then the retrained weights miss the
released ones). The second side is paired item by item, which decides far smaller differences
than two separate intervals can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from checks.items import Item
from checks.row_verdict import Evidence, judge_benchmark
from checks.tables import Table
from checks.verdict_types import Drift

__all__ = ["triangle"]


def triangle(
    *,
    ours: Mapping[str, Sequence[Item]],
    reference: Mapping[str, Sequence[Item]],
    table: Table,
    model: str,
    benchmarks: Sequence[str],
    margins: Mapping[str, float | None],
    planned: Mapping[str, Mapping[str, Any]] | None = None,
    allow_partial: bool = False,
) -> list[Drift]:
    """Split each benchmark's difference into evaluation drift and training drift.

    Args:
        ours: the retrained weights' items.
        reference: the released weights' items, scored in the same harness.
        table: the published table.
        model: its row.
        benchmarks: which ones.
        margins: benchmark -> margin of equivalence in points, that of the verdict.
        planned: as in :func:`checks.verdict.judge`.
        allow_partial: as there.

    Returns:
        One drift a benchmark; where the sides share no item its training side is None.
    """
    entry = table.model(model)
    rows: list[dict[str, Any]] = []
    for key in benchmarks:
        column = table.benchmarks.get(key)
        seen = judge_benchmark(
            Evidence(
                key=key,
                column=column,
                published=entry.scores.get(key),
                items=reference.get(key, ()),
                tier="weights",
                planned=(planned or {}).get(key),
                allow_partial=allow_partial,
            )
        )
        keep = ("verdict", "reason", "observed", "n", "published", "difference", "margin")
        rows.append(
            {
                "benchmark": key,
                "title": seen.title,
                "evaluation": {name: getattr(seen, name) for name in keep},
                "training": _training(ours.get(key, ()), reference.get(key, ()), margins.get(key)),
            }
        )
    _decide(rows)
    return cast(list[Drift], rows)


def _training(
    ours: Sequence[Item], reference: Sequence[Item], margin: float | None
) -> dict[str, Any] | None:
    from checks.comparisons import paired

    found = paired(ours, reference, None if margin is None else margin / 100)
    if found is None:
        return None
    left, right = (
        {item.id for item in side if item.score is not None} for side in (ours, reference)
    )
    return {
        "items": found.items,
        "unpaired": len(left ^ right),
        "difference": round(100 * found.difference, 4),
        "interval": [round(100 * found.low, 4), round(100 * found.high, 4)],
        "ours_only": found.ours_only,
        "reference_only": found.theirs_only,
        "p_value": found.p_value,
        "p_equivalent": found.p_equivalent,
        "margin": margin,
        "method": found.method,
    }


def _decide(rows: Sequence[dict[str, Any]]) -> None:
    """Word each training side; "different" is corrected for the number of benchmarks (Holm)."""
    from checks.comparisons import any_differs

    sides = {row["benchmark"]: row["training"] for row in rows if row["training"]}
    adjusted = any_differs({key: side["p_value"] for key, side in sides.items()})
    for key, side in sides.items():
        side["p_adjusted"] = adjusted[key]
        equal = side["p_equivalent"] is not None and side["p_equivalent"] < 0.05
        differs = side["p_adjusted"] < 0.05
        low, high = side["interval"]
        said = (
            f"retrained less released, paired over {side['items']:,} items: "
            f"{side['difference']:+.2f} points [{low:+.2f}, {high:+.2f}]"
        ).replace("-", "−")
        if side["ours_only"] is not None:
            said += (
                f"; {side['ours_only']:,} right only after retraining, "
                f"{side['reference_only']:,} only as released"
            )
        if equal:
            side["verdict"] = "equivalent"
            said += f". Equivalent within {side['margin']:.2f} points"
            said += ", although not the same" if differs else ""
        elif differs:
            side["verdict"] = "different"
            said += ". The weights differ by more than chance"
        else:
            side["verdict"] = "undecided"
            said += ". Neither a difference nor its absence is shown"
        if side["unpaired"]:
            said += f"; {side['unpaired']:,} items were scored on one side only and are left out"
        side["reason"] = f"{said}."
