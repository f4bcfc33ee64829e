"""The rung with real weights: its recipes, bf16 by measuring, a table of its own weights."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checks.tables import load_table, parse_table
from launch.inputs import dims, numbers
from launch.plan import choices
from launch.run import recipe, site
from launch.stages import envelope, judge


@pytest.mark.parametrize(
    ("name", "wrap", "parameters"),
    [("pocket", "LlamaDecoderLayer", 134_515_008),
     ("pocket-gemma", "Gemma3DecoderLayer", 268_098_176)],
)  # fmt: skip
def test_a_pocket_recipe_is_its_family_made_small(name: str, wrap: str, parameters: int) -> None:
    one = recipe.load(name)
    assert one.lineage[0] in ("eurollm-9b", "gemma-3-27b")
    found = dims.of(one)
    assert (found.wrap, found.parameters) == (wrap, parameters)
    train = one.table("train")
    assert train["fsdp_config"]["transformer_layer_cls_to_wrap"] == wrap
    assert not any("cut_cross_entropy" in p for p in train["plugins"])
    assert one.table("eval")["backend"] == "vllm"
    printed = load_table(one.table("published")["table"])
    for benchmark in one.table("eval")["benchmarks"]:
        assert printed.column(benchmark, one.table("published")["model"]), benchmark


@pytest.mark.parametrize(("half", "chosen"), [(45.0, True), (9.0, False), (21.0, False)])
def test_bf16_is_what_this_processor_is_fast_at(
    monkeypatch: pytest.MonkeyPatch, half: float, chosen: bool
) -> None:
    monkeypatch.setattr(numbers, "measure", lambda: numbers.Speeds(20.0, half))
    one, said = numbers.settle(recipe.load("pocket"), site.load("laptop"))
    assert one.table("train")["bf16"] is chosen
    kept = any("MasterWeights" in p for p in one.table("train")["plugins"])
    assert kept is chosen, "the plugin refuses to run where nothing is computed in bf16"
    assert f"bf16: {'on' if chosen else 'off'}" in said[0]
    assert "20 GFLOP/s" in said[0]


def test_gpus_are_not_asked_and_a_recipe_that_says_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbers, "measure", lambda: pytest.fail("measured"))
    one, _ = numbers.settle(recipe.load("pocket"), replace(site.load("laptop"), gpus_per_node=1))
    assert one.table("train")["bf16"] is True
    smoke = recipe.load("smoke")
    assert numbers.settle(smoke, site.load("laptop")) == (smoke, [])


def test_the_measurement_gives_two_speeds() -> None:
    pytest.importorskip("torch")
    found = numbers.measure()
    assert found.float32 > 0
    assert found.bfloat16 > 0


def test_public_benchmarks_from_a_folder_keep_the_recipes_own_table(tmp_path: Path) -> None:
    (tmp_path / "medqa.jsonl").write_text("{}\n")
    one, said = choices.resolve("pocket", [], benchmarks=tmp_path)
    assert one.table("published")["table"] == "pocket"
    assert one.table("eval")["benchmarks"] == ["medqa"]
    assert not any(line.startswith("published:") for line in said)
    small, _ = choices.resolve("smoke", [], benchmarks=tmp_path)
    assert small.table("published")["table"] == "fully-open-meditron"


def test_the_recipes_bands_are_of_the_rows_that_it_trains_on() -> None:
    one = recipe.load("pocket")
    found = envelope.read_bands(Path(one.table("envelope")["bands"]))
    assert len(found.corpus) == 64
    assert max(found.steps) == one.table("train")["max_steps"]


TABLE: dict[str, Any] = {
    "table": {"source": "own"},
    "benchmarks": {"medqa": {"items": 1}},
    "models": {"base": {"weights": "aa", "medqa": 1.0}, "ours": {"base": "base", "medqa": 2.0}},
}


@pytest.mark.parametrize(
    ("model", "given", "facts", "refused"),
    [
        ("ours", "", {"base_weights": "aa"}, False),
        ("ours", "", {"base_weights": "bb"}, True),
        ("ours", "", {}, True),
        ("base", "FOLDER", {"weights": "aa"}, False),
        ("base", "FOLDER", {"weights": "bb"}, True),
        ("ours", "FOLDER", {"weights": "bb"}, False),
    ],
)
def test_a_table_of_other_weights_is_no_reference(
    model: str, given: str, facts: dict[str, str], refused: bool
) -> None:
    table = parse_table(json.loads(json.dumps(TABLE)), name="own", where="own")
    run = SimpleNamespace(
        recipe=SimpleNamespace(table=lambda _: {"weights": given}), facts=lambda _: facts
    )
    said = judge.unlike(run, table, model)  # type: ignore[arg-type]
    assert bool(said) is refused
    if refused:
        assert said.startswith("No reference for these weights")
        assert "bench.real_weights" in said
