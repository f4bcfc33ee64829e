"""The audit: the paper's own table, planted errors of each kind, and consistent tables."""

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.audit import Finding, audit, exit_code
from checks.tables import Table, load_table, parse_table

ITEMS = {"one": 1273, "two": 500, "three": 2450}


def consistent(seed: int, *, rounded_first: bool, pm: bool) -> dict[str, Any]:
    """Build a table whose every number follows from whole counts, as a careful author prints it."""
    draw = random.Random(seed)  # noqa: S311
    columns: dict[str, Any] = {
        key: {"items": n, "decimals": draw.choice((1, 2, 3))} for key, n in ITEMS.items()
    }
    columns["rubric"] = {"items": 5000, "metric": "mean"}
    models: dict[str, Any] = {}
    exact: dict[str, dict[str, float]] = {}
    for name in ("base", "tuned", "other", "last"):
        rates = {key: 100 * draw.randint(0, n) / n for key, n in ITEMS.items()}
        rates["rubric"] = draw.uniform(0, 100)
        printed = {k: round(v, columns[k].get("decimals", 2)) for k, v in rates.items()}
        source = printed if rounded_first else rates
        exact[name] = {**source, "average": math.fsum(source.values()) / len(source)}
        row: dict[str, Any] = dict(printed)
        row["average"] = {"value": round(exact[name]["average"], 2), "over": list(printed)}
        row["average"]["decimals"] = 2
        if pm:
            for key, n in ITEMS.items():
                error = math.sqrt(rates[key] * (100 - rates[key]) / n)
                row[key] = {"value": printed[key], "pm": round(error, 2)}
        models[name] = row
    tuned = models["tuned"]
    tuned["base"] = "base"
    gains = {key: exact["tuned"][key] - exact["base"][key] for key in (*columns, "average")}
    tuned["gain"] = round(gains.pop("average"), 2)
    tuned["gains"] = {k: round(v, columns[k].get("decimals", 2)) for k, v in gains.items()}
    win = draw.randint(0, 1000)
    tie = draw.randint(0, 1000 - win)
    pair = {"name": "arena", "model": "tuned", "against": "base", "win": win / 10, "tie": tie / 10}
    pair["loss"] = round(100 - (win + tie) / 10, 1)
    pair["preferred"] = round(win / 10 + tie / 20, 1)
    return {
        "table": {"source": "s", "plus_minus": "standard error" if pm else "not stated"},
        "benchmarks": columns,
        "models": models,
        "comparisons": [pair],
    }


def table_of(raw: dict[str, Any]) -> Table:
    return parse_table(raw, name="t", where="t.toml")


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_consistent_tables_raise_no_certain_finding(seed: int, first: bool, pm: bool) -> None:
    found = audit(table_of(consistent(seed, rounded_first=first, pm=pm)))
    assert [f for f in found if f.certainty == "certain"] == []


def planted(**changes: Any) -> list[Finding]:
    """Audit a consistent table with values of the tuned model replaced."""
    raw = consistent(7, rounded_first=True, pm=False)
    for key, value in changes.items():
        raw["models"]["tuned"][key] = value
    return audit(table_of(raw))


def has(found: list[Finding], kind: str, cell: str, certainty: str = "certain") -> bool:
    return any((f.kind, f.cell, f.certainty) == (kind, cell, certainty) for f in found)


def test_planted_errors_of_each_kind_are_found() -> None:
    raw = consistent(7, rounded_first=True, pm=False)
    tuned = raw["models"]["tuned"]
    assert not any(f.certainty == "certain" for f in planted())
    wrong = {**tuned["average"], "value": round(tuned["average"]["value"] + 0.03, 2)}
    assert has(planted(average=wrong, gain=tuned["gain"]), "average", "average")
    assert has(planted(gain=round(tuned["gain"] + 0.02, 2)), "gain", "gain")
    gains = {**tuned["gains"], "rubric": round(tuned["gains"]["rubric"] + 0.02, 2)}
    assert has(planted(gains=gains), "gain", "gain rubric")
    assert has(planted(two=50.1), "grim", "two")  # of 500 items, only x.0, x.2, x.4, …
    assert has(planted(rubric=40.123), "precision", "rubric")


def test_the_ways_a_plus_minus_can_be_wrong() -> None:
    for pm, certainty in ((1.34, None), (1.20, "likely"), (1.0, "certain"), (1.5, "likely")):
        found = errors(65.04, pm)
        assert [f.certainty for f in found] == ([certainty] if certainty else [])
    assert [f.certainty for f in errors(65.04, 13.4)] == ["certain"]
    # Rubric scores may vary less than right and wrong answers do, never more.
    assert errors(65.04, 0.2, metric="mean") == []
    assert [f.certainty for f in errors(65.04, 3.0, metric="mean")] == ["certain"]
    # Where the number of items is unknown, only what no number of items allows is an error.
    assert errors(65.04, 13.4, items=None) == []
    assert [f.certainty for f in errors(65.04, 60.0, items=None)] == ["certain"]


def errors(
    value: float, pm: float, metric: str = "accuracy", items: int | None = 1273
) -> list[Finding]:
    column = {"metric": metric} | ({"items": items} if items else {})
    raw = {
        "table": {"source": "s", "plus_minus": "standard error"},
        "benchmarks": {"medqa": column},
        "models": {"m": {"medqa": {"value": value, "pm": pm}}},
    }
    return [f for f in audit(table_of(raw)) if f.kind == "standard error"]


def test_impossible_values_are_found_in_a_table_that_was_built_by_hand() -> None:
    table = table_of(consistent(7, rounded_first=True, pm=False))
    row = table.models["tuned"]
    scores = {**row.scores, "one": dataclasses.replace(row.scores["one"], value=104.2)}
    models = {**table.models, "tuned": dataclasses.replace(row, scores=scores)}
    assert has(audit(dataclasses.replace(table, models=models)), "impossible", "one")


def test_comparisons_must_add_up() -> None:
    raw = consistent(7, rounded_first=True, pm=False)
    pair = {"name": "arena", "model": "a", "against": "b", "win": 45.1, "tie": 26.9, "loss": 28.0}
    for change, wrong in (
        ({"preferred": 58.6}, False),
        ({"loss": 29.0}, True),
        ({"preferred": 59.0}, True),
        ({"items": 1000}, False),
        ({"items": 100}, True),
    ):
        raw["comparisons"] = [pair | change]
        assert any(f.certainty == "certain" for f in audit(table_of(raw))) is wrong, change
    mirrored = {**pair, "model": "b", "against": "a", "win": 28.0, "loss": 45.1}
    raw["comparisons"] = [pair, mirrored]
    assert exit_code(audit(table_of(raw))) == 0
    raw["comparisons"] = [pair, mirrored | {"win": 27.0, "tie": 27.9}]
    assert exit_code(audit(table_of(raw))) == 1


@pytest.mark.parametrize(
    ("low", "high", "certainty"),
    [(58.6, 90.0, None), (58.6, 89.9, None), (60.0, 90.0, "likely"), (58.6, 92.0, "note"),
     (50.0, 90.0, "note")],
)  # fmt: skip
def test_a_range_that_a_text_gives_is_held_against_the_comparisons(
    low: float, high: float, certainty: str | None
) -> None:
    raw = consistent(7, rounded_first=True, pm=False)
    raw["models"]["other"] = {**raw["models"]["tuned"]}
    pair = {"name": "arena", "model": "tuned", "against": "base", "win": 45.1, "tie": 26.9,
            "loss": 28.0}  # fmt: skip
    second = {**pair, "model": "other", "win": 85.0, "tie": 10.0, "loss": 5.0}
    elsewhere = {**pair, "against": "other", "win": 1.0, "tie": 0.0, "loss": 99.0}
    raw["comparisons"] = [pair, second, elsewhere]
    raw["claims"] = [{"name": "arena", "low": low, "high": high}]
    found = [f.certainty for f in audit(table_of(raw)) if f.kind == "claim"]
    assert found == ([certainty] if certainty else [])


@pytest.mark.parametrize(
    ("table", "says"),
    [({"claims": [{"low": 1.0, "high": 2.0}]}, "needs a name"),
     ({"claims": {"name": "x"}}, "claims is not a list"),
     ({"claims": [{"name": "x", "low": 1.0}]}, "high"),
     ({"claims": [{"name": "x", "low": 1.0, "hihg": 2.0}]}, "unknown key 'hihg'"),
     ({"statements": [{"where": "x", "message": "y"}]}, "needs where, message and source")],
)  # fmt: skip
def test_claims_and_statements_are_read_strictly(table: dict[str, Any], says: str) -> None:
    from kit.errors import KitError

    with pytest.raises(KitError, match=says):
        table_of(consistent(7, rounded_first=True, pm=False) | table)


def test_repeats_are_weighed_by_chance() -> None:
    draw = random.Random(3)  # noqa: S311
    names = [f"m{i}" for i in range(12)]
    models = {
        n: {"fine": round(draw.uniform(0, 100), 4), "x": float(i)} for i, n in enumerate(names)
    }
    raw: dict[str, Any] = {
        "table": {"source": "s"},
        "benchmarks": {
            "fine": {"metric": "mean", "decimals": 4},
            "x": {"metric": "mean", "decimals": 0},
        },
        "models": models,
    }
    assert audit(table_of(raw)) == []
    models["m3"]["fine"] = models["m8"]["fine"]
    (found,) = audit(table_of(raw))
    assert (found.kind, found.certainty) == ("repeat", "likely")
    models["m3"]["x"] = models["m8"]["x"]
    models["m0"]["x"], models["m11"]["x"] = 40.0, 90.0
    assert any("share 2 values" in f.message for f in audit(table_of(raw)))


def test_a_margin_that_the_items_cannot_decide_is_pointed_out() -> None:
    raw = consistent(7, rounded_first=True, pm=False)
    raw["benchmarks"]["two"]["margin"] = 2.0
    assert has(audit(table_of(raw)), "margin", "two", "note")
    raw["benchmarks"]["two"]["margin"] = 9.0
    assert not has(audit(table_of(raw)), "margin", "two", "note")


def test_the_papers_table() -> None:
    found = audit(load_table("fully-open-meditron"))
    certain = [(f.model, f.cell, f.kind) for f in found if f.certainty == "certain"]
    assert certain == [("OLMo-2-32B-SFT", "average", "average")]
    assert "48.27" in found[0].message
    assert "healthbench 47.26 (printed 31.03)" in found[0].message
    likely, claim = [f for f in found if f.certainty == "likely"]
    assert (likely.model, likely.cell) == ("OLMo-2-32B-MeditronFO", "gain")
    assert "+4.89" in likely.message
    assert (claim.cell, claim.kind) == ("auto_moove", "claim")
    assert "Gemma-3-27B-MeditronFO has 64.10; no comparison gives 92." in claim.message
    assert "EuroLLM-9B-MeditronFO" in claim.message
    said = {f.cell for f in found if f.kind == "statement"}
    assert said >= {"synthetic_moove", "auto_moove"}
    repeated = {f.cell: f.message for f in found if f.kind == "repeat"}
    assert "43.72" in repeated["healthbench"]
    assert "14.61" in repeated["medxpertqa"]
    assert exit_code(found) == 1


@pytest.mark.parametrize("pm", [True, False])
def test_another_papers_row_has_nothing_to_find(pm: bool) -> None:
    table = load_table(Path(__file__).parent / "data" / "mirage-gpt-3.5.toml")
    assert audit(table if pm else dataclasses.replace(table, plus_minus="not stated")) == []
