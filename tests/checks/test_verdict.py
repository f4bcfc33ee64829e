"""Verdicts: each rule, each way to be invalid, and a property: nothing missing ever passes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.items import Item
from checks.tables import Table, load_table, parse_table
from checks.verdict import EXIT_CODES, judge, read_verdict, write_verdict
from kit.errors import KitError

MIRAGE = Path(__file__).parent / "data" / "mirage-gpt-3.5.toml"
COUNTS = {"medqa": (826, 1273), "medmcqa": (2306, 4183), "pubmedqa": (180, 500)}


def answers(benchmark: str, k: int, n: int, repeat: int = 0) -> list[Item]:
    """Give n items of which k are right, spread evenly so that any first part is typical."""
    right = [(i + 1) * k // n - i * k // n for i in range(n)]
    return [Item(benchmark, str(i), float(r), repeat) for i, r in enumerate(right)]


def table(value: float = 99.0, items: int = 80, **column: Any) -> Table:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {"m": {"items": items, **column}},
        "models": {"s": {"m": value}},
    }
    return parse_table(raw, name="t", where="t.toml")


def one(items: Sequence[Item], held: Table, tier: Any = "retrain", **more: Any) -> dict[str, Any]:
    verdict = judge(items={"m": items}, table=held, model="s", benchmarks=["m"], tier=tier, **more)
    (row,) = verdict["benchmarks"]
    assert verdict["verdict"] == row["verdict"]
    assert verdict["exit_code"] == EXIT_CODES[row["verdict"]]
    assert row["reason"]
    return row


def mirage(held: Table) -> dict[str, Any]:
    return judge(
        items={key: answers(key, *kn) for key, kn in COUNTS.items()},
        table=held,
        model="gpt-3.5-cot",
        benchmarks=list(COUNTS),
        tier="weights",
    )


def test_a_published_evaluation_is_reproduced_from_its_own_answers() -> None:
    held = load_table(MIRAGE)
    verdict = mirage(held)
    assert (verdict["verdict"], verdict["exit_code"]) == ("reproduced", 0)
    for row in verdict["benchmarks"]:
        assert row["margin"] == 1.0
        assert round(row["standard_error"], 2) == row["published_pm"]


def test_a_published_score_five_points_off_is_not_reproduced(tmp_path: Path) -> None:
    path = tmp_path / "off.toml"
    path.write_text(MIRAGE.read_text().replace("65.04", "70.0"))
    verdict = mirage(load_table(path))
    assert [r["verdict"] for r in verdict["benchmarks"]] == [
        "not reproduced",
        "reproduced",
        "reproduced",
    ]
    assert verdict["exit_code"] == 1


def test_sixty_items_are_invalid_unless_allowed_and_then_inconclusive() -> None:
    held = load_table(MIRAGE)
    short = {key: answers(key, *kn)[:60] for key, kn in COUNTS.items()}
    base: dict[str, Any] = {"items": short, "table": held, "model": "gpt-3.5-cot"}
    base |= {"benchmarks": list(COUNTS), "tier": "weights"}
    verdict = judge(**base)
    assert verdict["exit_code"] == 2
    assert all("missing" in row["reason"] for row in verdict["benchmarks"])
    verdict = judge(**base, allow_partial=True)
    assert verdict["exit_code"] == 3
    for row in verdict["benchmarks"]:
        assert 60 < row["items_needed"] <= COUNTS[row["benchmark"]][1]
        assert f"{row['items_needed']:,}" in row["reason"]


def test_items_of_a_finite_set_are_enough_before_all_are_scored() -> None:
    items = answers("m", 650, 1000)
    row = one(items[:990], table(65.0, 1000), "weights", allow_partial=True)
    assert row["verdict"] == "reproduced"


def test_rounding_of_the_published_score_is_allowed_for() -> None:
    held = table(66.004, 1000, decimals=2, margin=1.0)
    assert one(answers("m", 650, 1000), held, "weights")["verdict"] == "reproduced"
    held = table(66.02, 1000, decimals=2, margin=1.0)
    assert one(answers("m", 650, 1000), held, "weights")["verdict"] == "not reproduced"


def test_noise_measured_by_repeats_widens_the_margin_and_says_so() -> None:
    quiet = [i for r, k in enumerate((650, 651, 650)) for i in answers("m", k, 1000, r)]
    row = one(quiet, table(65.0, 1000), "weights")
    assert (row["margin"], row["n"], row["evaluations"]) == (1.0, 1000, 3000)
    noisy = [i for r, k in enumerate((630, 650, 672)) for i in answers("m", k, 1000, r)]
    row = one(noisy, table(67.5, 1000), "weights")
    assert row["verdict"] == "reproduced"
    assert row["margin"] > 5
    assert "3 repeats" in row["margin_why"]


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [
        (80, 80, "reproduced"),
        (78, 80, "reproduced"),
        (76, 80, "inconclusive"),
        (0, 80, "not reproduced"),
        (20, 80, "not reproduced"),
        (8, 8, "inconclusive"),
        (0, 8, "not reproduced"),
    ],
)
def test_a_retrained_model_by_its_interval(k: int, n: int, expected: str) -> None:
    planned = {"m": {"items": n, "of": 80, "why": f"eval.limit={n}" if n < 80 else ""}}
    row = one(answers("m", k, n), table(margin=8.0), planned=planned)
    assert row["verdict"] == expected
    if n == 8 and expected == "inconclusive":
        assert 8 < row["items_needed"] <= 80
        assert "eval.limit=8" in row["reason"]


def test_fewer_items_do_not_widen_the_margin() -> None:
    full = one(answers("m", 260, 400), table(65.0, 400))
    planned = {"m": {"items": 20, "of": 400, "why": "eval.limit=20"}}
    few = one(answers("m", 13, 20), table(65.0, 400), planned=planned)
    assert full["margin"] == few["margin"]
    assert full["verdict"] == "reproduced"
    assert few["verdict"] == "inconclusive"
    assert "80% power" in full["margin_why"]


def test_near_the_edge_the_number_that_decides_is_more_than_there_are() -> None:
    row = one(answers("m", 76, 80), table(margin=8.0))
    assert row["items_needed"] > 80
    assert "more than the 80 that the benchmark has" in row["reason"]


def test_rubric_scores_are_judged_by_their_own_spread() -> None:
    items = [Item("m", str(i), 0.4 + 0.01 * (i % 21)) for i in range(1000)]
    held = table(50.0, 1000, metric="mean")
    row = one(items, held)
    assert row["verdict"] == "reproduced"
    assert row["k"] is None
    assert row["margin"] < 1
    assert one(items, table(52.0, 1000, metric="mean"))["verdict"] == "not reproduced"


def test_without_a_seeds_spread_the_verdict_says_so() -> None:
    verdict = judge(
        items={"m": answers("m", 80, 80)},
        table=table(margin=8.0),
        model="s",
        benchmarks=["m"],
        tier="retrain",
        provenance={"seed": 42, "run": "r1"},
    )
    assert any("One training seed (seed 42)" in note for note in verdict["notes"])
    assert any("r1" in hint for hint in verdict["next"])


def bad(**change: Any) -> str:
    row = one(change.pop("items", answers("m", 80, 80)), change.pop("table", table()), **change)
    assert row["verdict"] == "invalid"
    return str(row["reason"])


def test_every_way_to_be_invalid() -> None:
    good = answers("m", 80, 80)
    assert "No item was scored" in bad(items=[])
    assert "No item was scored" in bad(items=[Item("m", str(i), None) for i in range(80)])
    assert "1 of 80 items are missing" in bad(items=[*good[:79], Item("m", "79", None)])
    assert "unknown to the benchmark" in bad(items=[*good, Item("m", "80", 1.0)])
    assert "there twice" in bad(items=[*good[:79], good[0]])
    assert "another benchmark" in bad(items=[*good[:79], Item("n", "79", 1.0)])
    assert "neither 0 nor 1" in bad(items=[*good[:79], Item("m", "79", 0.5)])
    assert "evaluations of each item are missing" in bad(items=[*good, Item("m", "0", 1.0, 1)])
    assert "out of memory" in bad(failed={"m": "out of memory"})
    planned = {"m": {"items": 80, "of": 80, "ids": [str(i) for i in range(1, 81)]}}
    assert "such as '0'" in bad(planned=planned)
    planned = {"m": {"items": 80, "of": 80, "sha256": "b" * 64}}
    assert "sha256 differs" in bad(table=table(sha256="a" * 64), planned=planned)
    planned = {"m": {"items": 80, "of": 1273, "sha256": "b" * 64}}
    assert "not the same items" in bad(table=table(margin=8.0), planned=planned)


def test_no_reference_value_is_never_a_pass() -> None:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {"m": {"items": 80}, "n": {"items": 80}},
        "models": {"s": {"m": 99.0}},
    }
    held = parse_table(raw, name="t", where="t.toml")
    items = {key: answers(key, 80, 80) for key in ("m", "n", "o")}
    verdict = judge(items=items, table=held, model="s", benchmarks=["m", "n", "o"], tier="retrain")
    assert [row["verdict"] for row in verdict["benchmarks"]] == ["reproduced", "invalid", "invalid"]
    assert verdict["exit_code"] == 2


def test_a_table_that_does_not_say_how_many_items_there_are() -> None:
    raw = {"table": {"source": "x"}, "benchmarks": {"m": {}}, "models": {"s": {"m": 99.0}}}
    held = parse_table(raw, name="t", where="t.toml")
    assert "nobody can tell" in bad(table=held)
    assert one(answers("m", 80, 80), held, allow_partial=True)["verdict"] == "reproduced"


def test_the_worst_verdict_counts() -> None:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {k: {"items": 80, "margin": 8.0} for k in "abcd"},
        "models": {"s": dict.fromkeys("abcd", 99.0)},
    }
    held = parse_table(raw, name="t", where="t.toml")
    items = {k: answers(k, n, 80) for k, n in zip("abc", (80, 76, 0), strict=True)}

    def overall(benchmarks: str) -> int:
        verdict = judge(
            items=items, table=held, model="s", benchmarks=list(benchmarks), tier="retrain"
        )
        return int(verdict["exit_code"])

    assert [overall(x) for x in ("a", "ab", "abc", "abcd")] == [0, 3, 1, 2]
    with pytest.raises(KitError, match="no benchmark"):
        judge(items=items, table=held, model="s", benchmarks=[], tier="retrain")
    with pytest.raises(KitError, match="no tier"):
        judge(items=items, table=held, model="s", benchmarks=["a"], tier="x")  # type: ignore[arg-type]


def test_unparsed_answers_are_counted_and_shown() -> None:
    items = [*answers("m", 79, 79), Item("m", "79", 0.0, unparsed=True)]
    verdict = judge(
        items={"m": items}, table=table(margin=8.0), model="s", benchmarks=["m"], tier="retrain"
    )
    assert verdict["benchmarks"][0]["unparsed"] == 1
    assert any("1 of 80 responses had no answer" in note for note in verdict["notes"])


def test_the_untrained_model_is_shown_without_a_verdict() -> None:
    row = one(answers("m", 80, 80), table(margin=8.0), base_items={"m": answers("m", 9, 80)})
    assert row["before"]["observed"] == 11.25
    assert row["verdict"] == "reproduced"
    assert one(answers("m", 80, 80), table(margin=8.0), base_items={"m": []})["before"] is None


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 120),
    st.integers(0, 120),
    st.sampled_from(["weights", "retrain"]),
    st.floats(0, 100).map(lambda x: round(x, 2)),
)
def test_missing_items_never_pass_and_a_verdict_is_always_plain_json(
    n: int, k: int, tier: Any, published: float
) -> None:
    row = one(answers("m", min(k, n), n), table(published, 80), tier)
    if n != 80:
        assert row["verdict"] == "invalid"
    json.dumps(row, allow_nan=False)
    partial = one(answers("m", min(k, n), n), table(published, 80), tier, allow_partial=True)
    if n > 80:
        assert partial["verdict"] == "invalid"
    if partial["verdict"] == "reproduced":
        assert abs(partial["difference"]) <= partial["margin"] + 0.006


def test_verdicts_are_written_whole_and_read_back(tmp_path: Path) -> None:
    verdict = mirage(load_table(MIRAGE))
    path = tmp_path / "deep" / "verdict.json"
    write_verdict(path, verdict)
    assert read_verdict(path) == verdict
    with pytest.raises(KitError, match="not finite"):
        write_verdict(path, {**verdict, "loss": [{"step": 1, "loss": float("nan")}]})
    assert read_verdict(path) == verdict
    path.write_text("{")
    with pytest.raises(KitError, match="not valid JSON"):
        read_verdict(path)
    path.write_text('{"schema": 99}')
    with pytest.raises(KitError, match="schema 99"):
        read_verdict(path)
    with pytest.raises(KitError, match="no verdict here"):
        read_verdict(tmp_path / "none.json")


def test_importing_the_verdict_is_light() -> None:
    code = (
        "import sys, checks.verdict, checks.terminal, checks.report, checks.audit;"
        "heavy = {'scipy', 'statsmodels', 'numpy', 'jinja2', 'rich', 'pandas'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
