"""Several training seeds: the rule, what it refuses, and that seeds never make it lax."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.items import Item, read_items, write_items
from checks.seeds import measure_seeds, seeds_needed
from checks.tables import Table, parse_table
from checks.verdict import judge
from kit.errors import KitError

SCHEMA = json.loads((Path(__file__).parents[2] / "checks" / "verdict.schema.json").read_text())


def table(value: float = 75.0, items: int = 400, **column: Any) -> Table:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {"m": {"items": items, **column}},
        "models": {"s": {"m": value}},
    }
    return parse_table(raw, name="t", where="t.toml")


def seed(number: int | None, right: int, n: int = 400) -> list[Item]:
    # The same items are the hard ones for every seed, as they are in truth.
    return [Item("m", str(i), float(i < right), seed=number) for i in range(n)]


def decide(*groups: list[Item], held: Table | None = None, **more: Any) -> dict[str, Any]:
    verdict = judge(
        items={"m": [item for group in groups for item in group]},
        table=held or table(margin=8.0),
        model="s",
        benchmarks=["m"],
        tier=more.pop("tier", "retrain"),
        **more,
    )
    jsonschema.validate(verdict, SCHEMA)
    return verdict


def test_seeds_that_agree_are_reproduced_and_say_how_many() -> None:
    verdict = decide(seed(1, 300), seed(2, 302), seed(3, 299))
    (row,) = verdict["benchmarks"]
    assert verdict["verdict"] == "reproduced"
    assert row["seeds"]["scores"] == {"1": 75.0, "2": 75.5, "3": 74.75}
    assert "3 training seeds" in row["reason"]
    assert any(note.startswith("3 training seeds (1, 2, 3)") for note in verdict["notes"])
    assert not any("unknown" in note for note in verdict["notes"])
    assert (row["k"], row["n"], row["evaluations"]) == (None, 400, 1200)


def test_one_seed_still_says_that_seed_variance_is_unknown() -> None:
    verdict = decide(seed(7, 300))
    assert verdict["benchmarks"][0]["seeds"] is None
    assert any("between seeds is unknown" in note for note in verdict["notes"])


def test_seeds_that_scatter_decide_nothing_and_say_how_many_would() -> None:
    one = decide(seed(1, 300))
    assert one["verdict"] == "reproduced"
    (row,) = decide(seed(1, 300), seed(2, 310), seed(3, 290))["benchmarks"]
    assert row["verdict"] == "inconclusive"
    assert row["seeds"]["needed"] > 3
    assert f"about {row['seeds']['needed']} seeds would do" in row["reason"]
    (row,) = decide(seed(1, 300), seed(2, 340), seed(3, 260))["benchmarks"]
    assert row["seeds"]["needed"] is None
    assert "no number of seeds decides this margin" in row["reason"]


def test_seeds_that_agree_on_another_score_are_not_reproduced() -> None:
    assert decide(seed(1, 200), seed(2, 201), seed(3, 199))["verdict"] == "not reproduced"


def test_two_seeds_decide_hardly_anything() -> None:
    (row,) = decide(seed(1, 300), seed(2, 304))["benchmarks"]
    assert row["verdict"] == "inconclusive"
    low, high = row["seeds"]["interval"]
    assert high - low == pytest.approx(22.0, abs=0.1)  # 12.706 √3 times the difference


def test_the_interval_is_never_narrower_than_the_items() -> None:
    (same,) = decide(seed(1, 300), seed(2, 300), seed(3, 300))["benchmarks"]
    assert same["seeds"]["spread"] == 0
    low, high = same["interval"]
    assert high - low > 8, "400 items leave a doubt that no agreement of seeds removes"
    few = table(margin=4.0)
    (row,) = decide(seed(1, 300), seed(2, 300), seed(3, 300), held=few)["benchmarks"]
    assert row["verdict"] == "inconclusive"
    assert row["items_needed"] > 400


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 80), min_size=2, max_size=5), st.floats(0, 100))
def test_what_several_seeds_pass_every_one_of_them_is_near(
    rights: list[int], published: float
) -> None:
    held = table(round(published, 2), 80, margin=15.0)
    verdict = decide(*(seed(i, right, 80) for i, right in enumerate(rights)), held=held)
    if verdict["verdict"] == "reproduced":
        mean = 100 * sum(rights) / 80 / len(rights)
        assert abs(mean - published) <= 15.01
    row = verdict["benchmarks"][0]
    assert row["interval"][0] <= row["seeds"]["interval"][0]
    assert row["interval"][1] >= row["seeds"]["interval"][1]


def test_what_cannot_be_taken_together_is_invalid() -> None:
    def reason(*groups: list[Item]) -> str:
        (row,) = decide(*groups)["benchmarks"]
        assert row["verdict"] == "invalid"
        return str(row["reason"])

    assert "name no training seed" in reason(seed(1, 300), seed(None, 300))
    assert "Seed 2 lacks 1 items" in reason(seed(1, 300), seed(2, 300)[:-1])
    assert "there twice" in reason(seed(1, 300), seed(1, 300))
    assert "399" not in reason(seed(1, 300)[:-1], seed(2, 300)[1:])


def test_released_weights_have_no_seeds() -> None:
    with pytest.raises(KitError, match="2 training seeds") as caught:
        decide(seed(1, 300), seed(2, 300), tier="weights")
    assert "--tier retrain" in caught.value.fix


def test_the_number_of_seeds_that_decides() -> None:
    assert seeds_needed(0.0, 1.0) == 2
    assert seeds_needed(1.0, 1.9) is None  # 1.96 standard deviations, whatever their number
    needed = seeds_needed(1.0, 3.0)
    assert needed is not None
    from scipy.stats import t

    def half(n: int) -> float:
        return float(t.ppf(0.975, n - 1)) * (1 + 1 / n) ** 0.5

    assert half(needed) <= 3.0 < half(needed - 1)


def test_seeds_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    both = [*seed(1, 3, 5), *seed(2, 4, 5)]
    write_items(path, both)
    assert read_items(path) == both
    measured = measure_seeds(both)
    assert measured is not None
    assert measured.scores == {"1": 60.0, "2": 80.0}
    path.write_text('{"benchmark": "m", "id": "1", "score": 1, "seed": "x"}\n')
    with pytest.raises(KitError, match="seed is 'x'"):
        read_items(path)
    csv = tmp_path / "items.csv"
    csv.write_text("benchmark,id,score,seed\nm,1,1,42\nm,1,0,43\n")
    assert [item.seed for item in read_items(csv)] == [42, 43]
