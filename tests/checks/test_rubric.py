"""Rubric scores below 0: read and judged unclipped where the table averages, refused elsewhere."""

import json
from pathlib import Path

import pytest

from checks.comparisons import paired
from checks.items import Item, read_items
from checks.report import write_report
from checks.statistics import mean_interval
from checks.tables import Table, parse_table
from checks.verdict import judge
from kit.errors import KitError


def table(metric: str, value: float = 40.0) -> Table:
    raw = {
        "table": {"source": "a test"},
        "benchmarks": {"h": {"items": 100, "metric": metric}},
        "models": {"s": {"h": value}},
    }
    return parse_table(raw, name="t", where="t.toml")


def written(path: Path, *scores: float) -> Path:
    rows = [{"benchmark": "h", "id": str(i), "score": s} for i, s in enumerate(scores)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_penalties_are_read_where_the_table_averages(tmp_path: Path) -> None:
    path = written(tmp_path / "h.jsonl", -0.5, -10, 1)
    assert [i.score for i in read_items(path, rubric=table("mean").rubric)] == [-0.5, -10.0, 1.0]
    for held in ((), table("accuracy").rubric):
        with pytest.raises(KitError, match="not between 0 and 1") as caught:
            read_items(path, rubric=held)
        assert 'metric = "mean"' in caught.value.cause


@pytest.mark.parametrize("score", [1.01, -10.01, 64.9, -70])
def test_what_no_share_can_be_is_refused(tmp_path: Path, score: float) -> None:
    with pytest.raises(KitError, match="not between -10 and 1"):
        read_items(written(tmp_path / "h.jsonl", score), rubric={"h"})


def test_csv_and_samples_know_it_too(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("id,score\n1,-0.25\n")
    assert read_items(path, "h", rubric={"h"})[0].score == -0.25
    with pytest.raises(KitError, match="not between 0 and 1"):
        read_items(path, "h")


def test_the_mean_is_not_clipped_item_by_item() -> None:
    scores = [0.9] * 50 + [-0.1] * 50
    items = [Item("h", str(i), s) for i, s in enumerate(scores)]
    verdict = judge(
        items={"h": items}, table=table("mean"), model="s", benchmarks=["h"], tier="retrain"
    )
    assert verdict["benchmarks"][0]["observed"] == 40.0  # clipped it would be 45
    assert verdict["verdict"] == "reproduced"
    verdict = judge(
        items={"h": items}, table=table("accuracy"), model="s", benchmarks=["h"], tier="retrain"
    )
    assert verdict["verdict"] == "invalid"


def test_the_page_shows_them(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    path = written(tmp_path / "items" / "h.jsonl", *([-0.5] * 50 + [1.0] * 50))
    verdict = judge(
        items={"h": read_items(path, rubric={"h"})},
        table=table("mean", 25.0),
        model="s",
        benchmarks=["h"],
        tier="retrain",
    )
    page = write_report(verdict, tmp_path / "page", path.parent)
    assert "-0.5" in page.read_text()


def test_scores_that_do_not_vary_keep_a_wide_interval() -> None:
    same = mean_interval([-0.3] * 20)
    assert same.low < -0.3 < same.high
    assert same.high - same.low > 1
    assert mean_interval([-10.0] * 5).low == -10
    found = paired([Item("h", "1", -9.0)], [Item("h", "1", 1.0)])
    assert found is not None
    assert found.low <= found.difference <= found.high
