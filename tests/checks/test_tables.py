"""Published tables: the built-in one, the format, and what it refuses."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from checks.tables import load_table, parse_table, table_names
from kit.errors import KitError

SMALL: dict[str, Any] = tomllib.loads("""
[table]
source = "somewhere"
[benchmarks.medqa]
items = 1273
margin = 2.0
[benchmarks.rubric]
metric = "mean"
[models.base]
medqa = 50.0
rubric = 40.0
average = { value = 45.0, over = ["medqa", "rubric"] }
[models.tuned]
base = "base"
medqa = { value = 60.02, pm = 1.37, seeds = [59.9, 60.1] }
rubric = 41.0
average = { value = 50.51, over = ["medqa", "rubric"] }
gain = 5.51
gains = { medqa = 10.02 }
[[comparisons]]
name = "arena"
model = "tuned"
against = "base"
win = 50.0
tie = 20.0
loss = 30.0
""")


def parse(raw: dict[str, Any]) -> Any:
    return parse_table(raw, name="small", where="small.toml")


def test_the_published_table_is_whole() -> None:
    table = load_table("fully-open-meditron")
    assert len(table.models) == 13
    assert len(table.comparisons) == 8
    tuned = table.model("Gemma-3-27B-MeditronFO")
    assert tuned.scores["medqa"].value == 77.61
    assert tuned.scores["healthbench"].value == 58.02
    assert tuned.scores["healthbench_hard"].value == 47.15
    assert [(a.value, a.gain, a.pm) for a in tuned.averages] == [
        (58.63, 1.08, 0.83),
        (56.45, 1.25, None),
    ]
    items = {key: column.items for key, column in table.benchmarks.items()}
    assert items == {
        "medmcqa": 4183,
        "medqa": 1273,
        "pubmedqa": 500,
        "medxpertqa": 2450,
        "healthbench": 5000,
        "healthbench_hard": 1000,
    }
    metrics = {key: column.metric for key, column in table.benchmarks.items()}
    assert metrics["medqa"] == "accuracy"
    assert metrics["healthbench"] == metrics["healthbench_hard"] == "mean"
    bases = [row.base for row in table.models.values() if row.name.endswith("FO")]
    assert len(bases) == 6
    assert None not in bases


def test_the_format() -> None:
    table = parse(SMALL)
    assert table.models["tuned"].scores["medqa"].pm == 1.37
    assert table.models["tuned"].averages[0].gain == 5.51
    assert table.benchmarks["medqa"].margin == 2.0
    assert table.plus_minus == "not stated"
    assert table.comparisons[0].win == 50.0


def change(*path: Any, to: Any) -> dict[str, Any]:
    raw = copy.deepcopy(SMALL)
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return raw


@pytest.mark.parametrize(
    ("raw", "says", "hint"),
    [
        (change("models", "tuned", "medaq", to=60.0), "unknown key 'medaq'", "medqa"),
        (change("benchmarks", "medqa", "itmes", to=1), "unknown key 'itmes'", "items"),
        (change("tables", to={}), "unknown key 'tables'", "table"),
        (change("models", "tuned", "medqa", to=166.02), "not between 0 and 100", ""),
        (change("models", "tuned", "medqa", to=float("nan")), "not between 0 and 100", ""),
        (change("models", "tuned", "medqa", to="60"), "not a number", ""),
        (change("models", "tuned", "medqa", to=True), "not a number", ""),
        (
            change("models", "tuned", "average", to={"value": 50.0, "over": ["medqa", "rubrik"]}),
            "not a benchmark of this file",
            "rubric",
        ),
        (change("models", "tuned", "average", to={"value": 50.0}), "what it averages", ""),
        (change("models", "tuned", "base", to="bsae"), "not in the file", "base"),
        (change("models", "tuned", "gains", to={"medaq": 1.0}), "unknown key", "medqa"),
        (change("benchmarks", "medqa", "items", to=0), "items is 0", ""),
        (change("benchmarks", "medqa", "items", to=12.5), "items is 12.5", ""),
        (change("benchmarks", "medqa", "margin", to=0.0), "margin is 0", ""),
        (change("benchmarks", "medqa", "metric", to="acuracy"), "'acuracy'", "accuracy"),
        (change("benchmarks", "medqa", "decimals", to=9), "decimals is 9", ""),
        (change("benchmarks", "gain", to={}), "cannot be called 'gain'", ""),
        (change("table", "source", to=""), "no source", ""),
        (change("table", to=[]), "not a table", ""),
        (change("comparisons", to=[{"name": "x"}]), "needs name, model and against", ""),
    ],
)
def test_what_it_refuses(raw: dict[str, Any], says: str, hint: str) -> None:
    with pytest.raises(KitError, match=says) as caught:
        parse(raw)
    assert caught.value.where == "small.toml"
    assert hint in caught.value.cause


def test_a_gain_without_a_base_is_refused() -> None:
    raw = copy.deepcopy(SMALL)
    del raw["models"]["tuned"]["base"]
    with pytest.raises(KitError, match="a gain and no base"):
        parse(raw)


def test_names_that_are_not_there_bring_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(KitError) as caught:
        load_table("fully-open-meditrn")
    assert "fully-open-meditron" in caught.value.cause
    with pytest.raises(KitError) as caught:
        load_table("fully-open-meditron").model("gemma-27b-meditronfo")
    assert "Gemma-3-27B-MeditronFO" in caught.value.cause
    with pytest.raises(KitError, match="no published table"):
        load_table(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[models.Name 1.5]")
    with pytest.raises(KitError, match="not valid TOML"):
        load_table(tmp_path / "broken.toml")
    assert "fully-open-meditron" in table_names()
