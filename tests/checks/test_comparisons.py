"""Comparisons of evaluations, the triangle of drifts, and the calibration of the checker."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import verdict as verdict_module
from checks.calibrate import FAULTS, _Rule, calibrate, calibration_markdown
from checks.comparisons import (
    all_within,
    any_differs,
    equivalent,
    independent,
    paired,
    prediction_interval,
)
from checks.items import Item
from checks.report import write_report
from checks.tables import Table, load_table, parse_table
from checks.verdict import judge
from kit.errors import KitError


def scored(values: list[float], repeat: int = 0) -> list[Item]:
    return [Item("m", str(i), value, repeat) for i, value in enumerate(values)]


def test_paired_is_the_exact_mcnemar_test() -> None:
    # 15 items only ours got right, 5 only theirs: 2 · P(X ≤ 5 | 20, ½) = 0.04139.
    ours = [1.0] * 15 + [0.0] * 5 + [1.0] * 60
    theirs = [0.0] * 15 + [1.0] * 5 + [1.0] * 60
    found = paired(scored(ours), scored(theirs), margin=0.3)
    assert found is not None
    assert (found.items, found.ours_only, found.theirs_only) == (80, 15, 5)
    assert round(found.p_value, 5) == 0.04139
    assert found.difference == 0.125
    assert found.low < 0.125 < found.high
    assert found.p_equivalent is not None
    assert found.p_equivalent < 0.01
    strict = paired(scored(ours), scored(theirs), margin=0.1)
    assert strict is not None
    assert strict.p_equivalent == 1.0


def test_the_same_answers_do_not_differ_but_few_prove_little() -> None:
    few, many = scored([1.0] * 8), scored([1.0, 0.0] * 500)
    small, large = paired(few, few, 0.05), paired(many, many, 0.05)
    assert small is not None
    assert large is not None
    assert small.p_value == large.p_value == 1.0
    assert small.p_equivalent is not None
    assert large.p_equivalent is not None
    assert small.p_equivalent > 0.05 > large.p_equivalent
    assert small.high - small.low > 0.3
    assert large.high - large.low < 0.02


def test_pairing_uses_only_what_both_scored_and_averages_repeats() -> None:
    ours = scored([1.0, 0.0, 1.0]) + scored([0.0, 0.0, 1.0], repeat=1)
    found = paired(ours, [*scored([1.0, 1.0]), Item("m", "9", 1.0)])
    assert found is not None
    assert found.items == 2
    assert found.difference == -0.75
    assert found.ours_only is None
    assert paired(ours, [Item("m", "9", 1.0)]) is None


def test_clusters_widen_a_paired_interval() -> None:
    draw = random.Random(2)  # noqa: S311
    shifts = [draw.choice((-0.2, 0.3)) for _ in range(40)]
    ours = [Item("m", str(i), 0.5 + shifts[i // 10], cluster=f"c{i // 10}") for i in range(400)]
    theirs = [Item("m", str(i), 0.5) for i in range(400)]
    grouped = paired(ours, theirs)
    alone = paired([Item("m", i.id, i.score) for i in ours], theirs)
    assert grouped is not None
    assert alone is not None
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_independent_shares_by_a_published_value() -> None:
    # Newcombe 1998, table II, example (a): 56/70 less 48/80, method 10.
    low, high = independent(56, 70, 48, 80)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    assert equivalent(650, 1000, 652, 1000, 0.06)[0]
    assert not equivalent(650, 1000, 652, 1000, 0.02)[0]
    assert equivalent(2000, 2000, 2000, 2000, 0.02)[0]
    assert not equivalent(8, 8, 8, 8, 0.02)[0]


def test_a_seed_more_falls_within_the_prediction_interval_as_often_as_said() -> None:
    draw = random.Random(4)  # noqa: S311
    inside = 0
    for _ in range(1000):
        *known, new = (draw.gauss(70, 1) for _ in range(6))
        low, high = prediction_interval(known)
        inside += low <= new <= high
    assert 0.92 < inside / 1000 < 0.975
    with pytest.raises(ValueError, match="one value"):
        prediction_interval([70.0])


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_and_intersection_union(p_values: dict[str, float]) -> None:
    adjusted = any_differs(p_values)
    assert adjusted.keys() == p_values.keys()
    for key, p in p_values.items():
        assert p - 1e-12 <= adjusted[key] <= min(1.0, p * len(p_values)) + 1e-12
    assert all_within(p_values) == max(p_values.values(), default=1.0)


def held(value: float = 65.0, items: int = 1000) -> Table:
    raw: dict[str, Any] = {
        "table": {"source": "x"},
        "benchmarks": {"m": {"items": items}},
        "models": {"s": {"m": value}},
    }
    return parse_table(raw, name="t", where="t.toml")


def drift(ours: list[float], released: list[float] | None, value: float = 65.0) -> dict[str, Any]:
    verdict = judge(
        items={"m": scored(ours)},
        reference_items=None if released is None else {"m": scored(released)},
        table=held(value, len(ours)),
        model="s",
        benchmarks=["m"],
        tier="retrain",
    )
    validate(verdict)
    return verdict


def validate(verdict: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(verdict_module.__file__).with_name("verdict.schema.json")
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(verdict)), schema)


def test_the_triangle_tells_a_drift_of_the_harness_from_one_of_the_training(
    tmp_path: Path,
) -> None:
    good = [1.0] * 650 + [0.0] * 350
    poor = [1.0] * 580 + [0.0] * 420
    assert drift(good, None)["triangle"] == []

    (harness,) = drift(poor, poor)["triangle"]
    assert harness["evaluation"]["verdict"] == "not reproduced"
    assert harness["training"]["verdict"] == "equivalent"

    verdict = drift(poor, good)
    (training,) = verdict["triangle"]
    assert training["evaluation"]["verdict"] == "reproduced"
    assert training["training"]["verdict"] == "different"
    assert training["training"]["reference_only"] == 70
    text = write_report(verdict, tmp_path, None).read_text(encoding="utf-8")
    assert "Evaluation drift: reproduced." in text
    assert "Training drift: different." in text

    (none,) = drift(good, [])["triangle"]
    assert none["evaluation"]["verdict"] == "invalid"
    assert none["training"] is None


def test_the_schema_refuses_what_is_not_a_verdict() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    verdict = drift([1.0] * 80, None, 99.0)
    for change in ({"verdict": "fine"}, {"exit_code": 4}, {"extra": 1}, {"benchmarks": []}):
        with pytest.raises(jsonschema.ValidationError):
            validate({**verdict, **change})


def test_calibration_on_the_papers_row() -> None:
    table = load_table("fully-open-meditron")
    told: list[str] = []
    keys = ["medqa", "pubmedqa"]
    result = calibrate(table, "Gemma-3-27B-MeditronFO", keys, runs=4000, progress=told.append)
    assert told == ["MedQA", "PubMedQA"]
    for row in result["rows"]:
        shares = {fault["fault"]: fault for fault in row["faults"]}
        assert len(shares) == len(FAULTS)
        for fault in row["faults"]:
            words = ("reproduced", "not reproduced", "inconclusive")
            assert sum(fault[word] for word in words) == pytest.approx(1, abs=1e-3)
        assert 0.77 < shares["nothing"]["reproduced"] < 0.86
        assert shares["nothing"]["not reproduced"] < 0.01  # the false alarms
        assert shares["chat template lost"]["reproduced"] == 0
    again = calibrate(table, "Gemma-3-27B-MeditronFO", keys, runs=4000)
    assert again == result
    assert "| MedQA | 1,273 |" in calibration_markdown(result)
    with pytest.raises(KitError, match="cannot be calibrated"):
        calibrate(table, "Gemma-3-27B-MeditronFO", ["mmlu"])


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 99), st.floats(1, 30), st.sampled_from(["weights", "retrain"]))
def test_the_borders_that_calibration_finds_are_the_checkers(
    published: int, margin: float, tier: Any
) -> None:
    raw: dict[str, Any] = {
        "table": {"source": "x"},
        "benchmarks": {"m": {"items": 60, "margin": margin}},
        "models": {"s": {"m": float(published)}},
    }
    table = parse_table(raw, name="t", where="t.toml")
    rule = _Rule(table.benchmarks["m"], table.models["s"].scores["m"], tier)
    if rule.judged(rule.centre).verdict != "reproduced":
        return
    import numpy as np

    for k in range(61):
        found = rule.verdicts(np.array([k]))
        assert found[rule.judged(k).verdict] == 1.0, k
