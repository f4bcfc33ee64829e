"""The verdict on a run or on a set of scored items: the content of verdict.json.

    from checks.verdict import judge
    verdict = judge(items=by_benchmark(read_items(path)), table=load_table("…"), model="…",
                    benchmarks=["medqa"], tier="weights")

verdict.json is the only source of the terminal's table, the report page, the Markdown, the JUnit
file and the model card. Its types are in :mod:`checks.verdict_types`, its schema, generated from
them, is ``checks/verdict.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from checks.items import Item
from checks.judge_statistics import details
from checks.row_verdict import Evidence, judge_benchmark
from checks.sensitivity import outline, sensitivity
from checks.tables import Average, Table
from checks.verdict_types import AverageScore, Drift, Outcome, Row, Tier, Verdict
from kit.errors import KitError
from kit.files import write_text

__all__ = ["EXIT_CODES", "SCHEMA", "check_tier", "judge", "read_verdict", "write_verdict"]

SCHEMA: Literal[1] = 1
EXIT_CODES: dict[Outcome, Literal[0, 1, 2, 3]] = {
    "reproduced": 0,
    "not reproduced": 1,
    "invalid": 2,
    "inconclusive": 3,
}
WORST_FIRST: tuple[Outcome, ...] = ("invalid", "not reproduced", "inconclusive", "reproduced")


def check_tier(tier: str) -> None:
    """Refuse a tier that is not known.

    Raises:
        KitError: naming it.
    """
    if tier not in ("weights", "retrain"):
        raise KitError(f"there is no tier {tier!r}", fix="--tier weights or --tier retrain")


def judge(
    *,
    items: Mapping[str, Sequence[Item]],
    table: Table,
    model: str,
    benchmarks: Sequence[str],
    tier: Tier,
    planned: Mapping[str, Mapping[str, Any]] | None = None,
    allow_partial: bool = False,
    failed: Mapping[str, str] | None = None,
    base_items: Mapping[str, Sequence[Item]] | None = None,
    reference_items: Mapping[str, Sequence[Item]] | None = None,
    loss: Sequence[Mapping[str, Any]] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Hold scored items against a published table.

    Args:
        items: benchmark -> what was scored; a benchmark that is not there has no item.
        table: the published table.
        model: the row of the table.
        benchmarks: which benchmarks are judged; all of them must have a reference value.
        tier: ``weights`` (released weights or answers, same items) or ``retrain``.
        planned: benchmark -> {"items": set out to score, "of": in the file, "why": why fewer,
            "sha256": of the file, "ids": all ids that the benchmark has, "problem": why its scores
            cannot be believed, such as a judge that drifted}.
        allow_partial: missing items make the result a sample instead of invalid.
        failed: benchmark -> message of the failed task.
        base_items: the untrained model's items, shown as "before", without a verdict.
        reference_items: the released weights' items in the same harness; given them, the verdict
            splits the difference into evaluation drift and training drift (``triangle``).
        loss: [{"step", "loss", …}], copied for the report.
        provenance: what was run, with which versions and hashes, passed through as it is.

    Returns:
        The content of verdict.json. Scores, intervals, margins and differences are in per cent
        and points. ``exit_code`` is 0 reproduced, 1 not reproduced, 2 invalid, 3 inconclusive;
        where benchmarks differ, invalid counts before not reproduced before inconclusive.

    Raises:
        KitError: where the model is not in the table, the tier is unknown, or no benchmark is
            named.
    """
    check_tier(tier)
    if not benchmarks:
        raise KitError("no benchmark is named, so there is nothing to judge")
    several = {item.seed for group in items.values() for item in group if item.seed is not None}
    if tier == "weights" and len(several) > 1:
        raise KitError(
            f"the items are of {len(several)} training seeds, and the tier is weights",
            cause="released weights are one training; several seeds are several trainings",
            fix="--tier retrain",
        )
    entry = table.model(model)
    rows = []
    for key in dict.fromkeys(benchmarks):
        plan = (planned or {}).get(key)
        judged, problem = details(items.get(key, ()))
        if problem:
            plan = {"problem": problem, **(plan or {})}
        evidence = Evidence(
            key=key,
            column=table.column(key, model),
            published=table.score(key, model),
            items=items.get(key, ()),
            tier=tier,
            planned=plan,
            allow_partial=allow_partial,
            failed=(failed or {}).get(key, ""),
            before=(base_items or {}).get(key) or None,
            judged=judged,
        )
        rows.append(judge_benchmark(evidence))
    drifts: list[Drift] = []
    if reference_items is not None:
        from checks.triangle import triangle

        drifts = triangle(
            ours=items,
            reference=reference_items,
            table=table,
            model=model,
            benchmarks=[row.benchmark for row in rows],
            margins={row.benchmark: row.margin for row in rows},
            planned=planned,
            allow_partial=allow_partial,
        )
    named = {key: items[key] for key in dict.fromkeys(benchmarks) if items.get(key)}
    found = {row.verdict for row in rows}
    overall = next(word for word in WORST_FIRST if word in found)
    origin = dict(provenance or {})
    return asdict(
        Verdict(
            schema=SCHEMA,
            verdict=overall,
            exit_code=EXIT_CODES[overall],
            headline=_headline(rows, overall),
            tier=tier,
            model=model,
            base=entry.base,
            table={"name": table.name, "source": table.source, "sha256": table.sha256},
            benchmarks=rows,
            averages=_averages(rows, entry.averages),
            triangle=drifts,
            sensitivity=outline(sensitivity(named, table, model)),
            notes=_notes(rows, tier, origin, sorted(several)),
            next=_next(rows, overall, tier, origin),
            loss=[dict(point) for point in loss or ()],
            provenance=origin,
        )
    )


def write_verdict(path: Path, verdict: Mapping[str, Any]) -> None:
    """Write verdict.json whole or not at all.

    Raises:
        KitError: where a number in it is not finite: JSON has none such.
    """
    try:
        text = json.dumps(verdict, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise KitError(
            "the verdict holds a number that is not finite",
            where=str(path),
            cause="a loss that became NaN or infinite during training",
            fix="leave such points out of the loss curve, and say so in the notes",
        ) from None
    write_text(Path(path), text + "\n", parents=True)


def read_verdict(path: Path) -> dict[str, Any]:
    """Read verdict.json.

    Raises:
        KitError: where it is missing, broken, or of another version of the kit.
    """
    path = Path(path)
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise KitError(
            "there is no verdict here",
            where=str(path),
            cause="the run has not come to its last stage",
            fix="mfo status RUN, then mfo resume RUN",
        ) from None
    except ValueError:
        raise KitError(
            "the verdict is not valid JSON",
            where=str(path),
            cause="it was edited by hand, or damaged on the way",
            fix="judge again: mfo verify RUN",
        ) from None
    if not isinstance(verdict, dict) or verdict.get("schema") != SCHEMA:
        has = verdict.get("schema") if isinstance(verdict, dict) else None
        raise KitError(
            f"the verdict has schema {has!r}, this kit reads {SCHEMA}",
            where=str(path),
            cause="another version of the kit wrote it",
            fix="judge again: mfo verify RUN",
        )
    return verdict


def _headline(rows: Sequence[Row], overall: Outcome) -> str:
    """Say the outcome in one sentence."""
    total = len(rows)
    named = {word: [r.title for r in rows if r.verdict == word] for word in WORST_FIRST}
    if overall == "reproduced":
        return "The score is reproduced." if total == 1 else f"All {total} scores are reproduced."
    if total == 1:
        return {
            "invalid": "There is no valid result.",
            "not reproduced": "The score is not reproduced.",
            "inconclusive": "The evidence does not decide.",
        }[overall]
    said = {
        "invalid": "no valid result",
        "not reproduced": "not reproduced",
        "inconclusive": "not decided",
    }
    parts = [f"{said[w]}: {', '.join(named[w])}" for w in WORST_FIRST if w in said and named[w]]
    done = len(named["reproduced"])
    return f"{done} of {total} scores are reproduced; {'; '.join(parts)}."


def _averages(rows: Sequence[Row], published: Sequence[Average]) -> list[AverageScore]:
    """Give each published average whose benchmarks were all scored: shown, never judged."""
    seen = {r.benchmark: r.observed for r in rows if r.observed is not None}
    return [
        {
            "name": average.name,
            "over": list(average.over),
            "observed": round(sum(seen[key] for key in average.over) / len(average.over), 4),
            "published": average.value,
            "published_pm": average.pm,
        }
        for average in published
        if all(key in seen for key in average.over)
    ]


def _notes(
    rows: Sequence[Row],
    tier: Tier,
    origin: Mapping[str, Any],
    several: Sequence[int],
) -> list[str]:
    notes = []
    if tier == "retrain" and len(several) > 1:
        notes.append(
            f"{len(several)} training seeds ({', '.join(map(str, several))}): each interval is the "
            "wider of the items' and of where one further seed would fall (95%)."
        )
    elif tier == "retrain":
        seed = f" (seed {origin['seed']})" if origin.get("seed") is not None else ""
        notes.append(
            f"One training seed{seed}: how much the scores vary between seeds is unknown here, "
            "and the intervals do not contain it."
        )
    if tier == "retrain":
        notes.append(
            "The published scores are taken as they stand; their own sampling error is not added."
        )
    else:
        notes.append(
            "These are the published items, so chance in drawing items explains no difference: "
            "the difference itself is held against the margin, not the interval."
        )
    notes += [
        f"{row.title}: {row.unparsed:,} of {row.evaluations:,} responses had no answer "
        "that could be read; each counts as wrong."
        for row in rows
        if row.unparsed
    ]
    notes += [
        f"{row.title}: {row.missing:,} items are missing."
        for row in rows
        if row.missing and row.verdict != "invalid"
    ]
    if len(rows) > 1 and all(row.verdict == "reproduced" for row in rows):
        notes.append(
            "Saying that all are reproduced needs no correction for their number: every one had "
            "to pass by itself (intersection–union)."
        )
    return notes


def _next(
    rows: Sequence[Row], overall: Outcome, tier: Tier, origin: Mapping[str, Any]
) -> list[str]:
    """Say what to do next, commands first."""
    run, recipe = origin.get("run"), origin.get("recipe")
    hints = []
    limited = [r for r in rows if r.verdict == "inconclusive" and r.planned.get("why")]
    if overall == "invalid":
        hints.append(f"mfo logs {run}" if run else "score the missing items, then verify again")
    elif overall == "inconclusive" and limited:
        hints.append(
            f"mfo run {recipe or 'RECIPE'}: without {limited[0].planned['why']}, all items count"
        )
    elif overall == "inconclusive" and tier == "weights":
        hints.append("score the rest of the items, then verify again")
    elif overall == "inconclusive":
        hints.append("train with further seeds: one run of these items cannot decide it")
    elif overall == "not reproduced":
        hints.append("mfo audit: does the published table agree with itself?")
        if run and origin.get("trained", True):
            hints.append(f"mfo logs {run}: did training go as the loss curve should?")
        elif run:
            hints.append(
                f"mfo verify {run} --sensitivity: how far does the protocol move these scores?"
            )
    if run:
        hints.append(f"mfo report {run}: the page with every item")
    return hints
