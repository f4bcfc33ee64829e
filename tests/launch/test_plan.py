"""The planner against reported GPU-hours, its words, and what cannot be planned."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_shapes import FAMILY, made, setup

from kit.errors import KitError
from kit.page import sha256_source
from launch.cli import plan as plan_command
from launch.inputs import dims
from launch.plan import assume as plan_assume
from launch.plan import choices
from launch.plan import corpus as plan_corpus
from launch.plan import duration as plan_time
from launch.plan import fit as plan
from launch.plan.assume import Range
from launch.run import recipe, site
from launch.stages.train import check_rows

Call = Callable[..., tuple[int, str, str]]


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apertus-70b", "olmo-2-32b", "eurollm-22b"])
def test_the_reported_gpu_hours_lie_within_a_plan_that_says_something(name: str) -> None:
    reported = recipe.load(name).table("published")["gpu_hours"]
    for variant in (name, f"{name}+paper"):
        hours = made(variant).chosen.time.gpu_hours
        assert hours.low <= reported <= hours.high
        assert hours.width <= 4, "a factor of 2 either way of its middle"


def test_a_step_is_flops_and_bytes() -> None:
    olmo = dims.of(recipe.load("olmo-2-32b"))
    # 8 FLOPs a weight and token with recomputation, 6 without; short documents hardly attend.
    assert olmo.flops_token(1, recomputed=1) / olmo.parameters == pytest.approx(8, rel=0.05)
    assert olmo.flops_token(1) / olmo.parameters == pytest.approx(6, rel=0.05)
    assert olmo.flops_token(4096) > olmo.flops_token(256)
    moved = plan_time.traffic(olmo, setup())
    assert moved.scattered == olmo.text * 2, "once a step, however many micro batches"
    assert moved.gathered == pytest.approx(8 * 2 * 2 * olmo.parameters, rel=0.05)
    assert plan_time.traffic(olmo, setup(scatter_each=True)).scattered == 8 * moved.scattered
    zero = plan_time.traffic(olmo, setup(sharding="zero3"))
    assert zero.scattered == 8 * moved.scattered


def test_gemmas_sliding_layers_attend_to_less() -> None:
    gemma = dims.of(recipe.load("gemma-3-27b"))
    assert (gemma.window, gemma.pattern) == (1024, 6)
    everywhere = replace(gemma, window=0)
    assert gemma.attended(1024) == everywhere.attended(1024)
    assert gemma.attended(4096) < 0.6 * everywhere.attended(4096)


def test_data_parallelism_ends_at_the_global_batch() -> None:
    one = made("gemma-3-27b", nodes=64)
    assert one.chosen.ranks == one.most_ranks == 256
    with pytest.raises(KitError, match="cannot keep the global batch") as error:
        made("gemma-3-27b", nodes=128)
    assert "more than there are sequences" in error.value.cause
    assert error.value.fix == "--nodes 64"
    with pytest.raises(KitError, match="cannot keep") as error:
        made("gemma-3-27b", nodes=5)
    assert error.value.fix == "--nodes 4 or --nodes 8"
    assert made("apertus-70b").most_ranks == 128


@given(st.integers(1, 256), st.integers(1, 8))
def test_micro_batches_keep_the_global_batch(ranks: int, own: int) -> None:
    found = plan.micros(256, ranks, own)
    assert all(256 % (ranks * micro) == 0 for micro in found)
    assert bool(found) == (256 % ranks == 0)
    if own in found:
        assert found[0] == own


def test_queue_and_price(call: Call) -> None:
    small = made("gemma-3-27b", nodes=4)
    assert small.chosen.jobs == Range(1, 2), "3 to 13 hours against a limit of 12"
    one = replace(site.load("clariden"), hardware={"gpu": "gh200-96", "network_gbps": 100.0,
                                                   "price": 2.0, "currency": "CHF"})  # fmt: skip
    cost = plan.make(recipe.load("gemma-3-27b"), one).chosen.time
    assert cost.cost == cost.gpu_hours.times(2.0)


# --- the corpus ----------------------------------------------------------------------------------


def test_an_ablation_has_its_share_of_the_published_tokens() -> None:
    place = site.load("clariden")
    whole = plan_corpus.corpus(recipe.load("gemma-3-27b"), place)
    part = plan_corpus.corpus(recipe.load("gemma-3-27b+curated-only"), place)
    assert (whole.rows, whole.tokens.low) == (601_346, 150e6)
    assert part.tokens.low == pytest.approx(150e6 * 216_546 / 601_346)
    assert "36% of the rows" in part.source
    many = plan_corpus.steps(recipe.load("gemma-3-27b"), whole)
    assert 280 < many.steps.low <= many.steps.high < 310
    few = recipe.with_settings(recipe.load("gemma-3-27b"), [("train.max_steps", 100)])
    assert plan_corpus.steps(few, whole) == replace(many, steps=Range(100, 100), capped=True)


def test_a_prepared_corpus_is_counted(new_run: Callable[..., Any], tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    run = new_run()
    folder = run.folder("train") / "prepared" / "abc"
    folder.mkdir(parents=True)
    table = pa.table({"input_ids": [[1, 2, 3], [4, 5]]})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, \
            pa.ipc.new_stream(file, table.schema) as writer:  # fmt: skip
        writer.write_table(table)
    found = plan_corpus.corpus(run.recipe, run.site, run.path.parent)
    assert (found.tokens, found.rows, found.counted) == (Range(5, 5), 2, True)
    (folder / "data-00000-of-00001.arrow").write_bytes(b"cut")
    other = plan_corpus.corpus(run.recipe, run.site, run.path.parent)
    assert not other.counted
    assert other.rows == 50


def test_a_corpus_too_small_for_one_packed_batch_a_rank_is_refused(
    corpus_file: Path, call: Call, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(corpus_file.open().readlines()[:3]))
    code, _, err = call("run", "smoke", "--corpus", few, "--runs", tmp_path / "runs")
    assert code == 2
    assert "too small: 3 rows" in err
    assert "2 ranks with micro batch 2" in err
    assert not (tmp_path / "runs").exists()
    smoke = recipe.load("smoke")
    check_rows(smoke, 4, 2, "x")
    with pytest.raises(KitError, match="too small"):
        check_rows(smoke, 3, 2, "x")


# --- sites ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hardware", "says"),
    [
        ({}, "does not say what its GPUs are"),
        ({"gpu": "gh200"}, "nearest: gh200-96"),
        ({"gpu": "gh200-96"}, "does not say network_gbps"),
        ({"memory_gib": 80.0, "network_gbps": 9.0}, "does not say tflops, link_gbps, watts"),
        ({"gpu": "gh200-96", "networks": 1}, "unknown key 'networks'"),
        ({"gpu": "gh200-96", "network_gbps": -1.0}, "takes a number above 0, not -1.0"),
        ({"gpu": "gh200-96", "network_gbps": 1.0, "watts": 3}, "watts takes [low, high]"),
        ({"gpu": "gh200-96", "network_gbps": "fast"}, "network_gbps takes a number"),
    ],
)
def test_a_site_that_does_not_say_enough(hardware: dict[str, Any], says: str) -> None:
    place = replace(site.load("clariden"), hardware=hardware)
    with pytest.raises(KitError) as error:
        plan_assume.hardware(place)
    assert says in f"{error.value}"


def test_every_kits_site_with_gpus_can_be_planned_for() -> None:
    for name in site.known_sites():
        place = site.load(name)
        if place.gpus_per_node:
            assert made("gemma-3-27b", place.nodes, name).chosen.time.hours.low > 0
            assert "hardware" in place.evidence


def test_each_assumption_says_what_it_rests_on() -> None:
    for name, entry in plan_assume.listed().items():
        assert 0 <= entry.low <= entry.high, name
        assert entry.why, name
    assert set(plan_assume.table().layer.bf16) == set(dims.FAMILIES) - set(dims.MEASURED_AS)


# --- before a job is submitted -------------------------------------------------------------------


def test_a_run_that_does_not_fit_is_refused_before_it_is_made(call: Call, tmp_path: Path) -> None:
    words = ["run", "gemma-3-27b", "--site", "clariden", "--nodes", 1, "--runs", tmp_path / "runs"]
    code, _, err = call(*words)
    assert code == 2
    assert "memory does not fit" in err
    assert "--nodes 4, the smallest that does" in err
    assert "--ignore-plan" in err
    assert not (tmp_path / "runs").exists()
    code, _, err = call(*words, "--ignore-plan")
    assert "memory does not fit" not in err, "the next thing that is missing is named"
    assert "has not been fetched" in err


def test_what_is_said_of_a_run_that_fits_or_nearly() -> None:
    gemma, place = recipe.load("gemma-3-27b"), site.load("clariden")
    (said,) = plan.guard(gemma, place)
    assert said.startswith("memory: ")
    assert "GH200" in said
    (said,) = plan.guard(gemma, replace(place, nodes=2))
    assert "tight" in said
    assert "gemma-3-27b+fast at 2 nodes" in said
    (said,) = plan.guard(gemma, replace(place, nodes=1), ignore=True)
    assert "you said --ignore-plan" in said
    (said,) = plan.guard(gemma, replace(place, hardware={}))
    assert "not planned" in said
    assert plan.guard(recipe.load("smoke"), site.load("slurm-generic")) == []
    with pytest.raises(KitError, match="nearest: gh200-96"):
        plan.guard(gemma, replace(place, hardware={"gpu": "gh200-9"}))


def test_each_way_out_fits() -> None:
    tight = made("gemma-3-27b", nodes=2)
    assert tight.chosen.fits == plan.TIGHT
    ways = plan.ways_out(tight)
    assert [w.split()[0] for w in ways] == ["gemma-3-27b+fast", "--set", "--nodes"]
    place = replace(site.load("clariden"), nodes=2)
    scattered = recipe.load("gemma-3-27b")
    key, value = recipe.parse_setting(plan.SCATTER)
    assert recipe.parse_setting(f"{key}={plan_command._toml(value)}") == (key, value)
    scattered.data["train"][key.removeprefix("train.")] = value
    for one in (recipe.load("gemma-3-27b+fast"), scattered):
        assert plan.make(one, place).chosen.fits == plan.YES
    assert tight.smallest is not None
    assert made("gemma-3-27b", tight.smallest.nodes).chosen.fits == plan.YES
    small = made("apertus-8b", nodes=1)
    smaller = [w for w in plan.ways_out(small) if "micro_batch_size=4" in w]
    assert smaller, "half of the logits"


# --- what is printed -----------------------------------------------------------------------------


def test_the_plan_in_the_terminal(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("plan", "gemma-3-27b", "--site", "clariden")
    assert code == 0
    for said in ("fits   yes", "GPU-hours", "kWh", "no resubmission", "gradients, whole",
                 "262,208 words", "this plan", "pays up to here", "does not fit",
                 "256 GPUs have one each", "next:  mfo run gemma-3-27b"):  # fmt: skip
        assert said in out
    assert max(map(len, out.splitlines())) <= 120
    code, out, _ = call("plan", "gemma-3-27b", "--nodes", 1)
    assert re.search(r"fits +NO:", out)
    assert "--nodes 4, the smallest that does" in out
    assert "mfo run gemma-3-27b --site clariden --nodes 4" in out
    out = call("plan", "gemma-3-27b", "--set", "train.micro_batch_size=2", "--set",
               "train.tf32=true")[1]  # fmt: skip
    assert "--nodes 8 --set train.micro_batch_size=2 --set train.tf32=true" in out
    code, out, _ = call("plan", "olmo-2-32b", "--json")
    found = json.loads(out)
    assert found["chosen"]["fits"] == "yes"
    assert found["most_gpus"] == 256
    assert [s["nodes"] for s in found["shapes"]] == [1, 2, 4, 8, 16, 32, 64]


def test_the_page_and_the_figure(call: Call, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    figure, page = tmp_path / "plan.svg", tmp_path / "plan.html"
    assert call("plan", "apertus-70b", "--out", figure)[0] == 0
    tree = ElementTree.parse(figure)  # noqa: S314 - the kit's own file
    words = " ".join(tree.getroot().itertext())
    assert "128 GPUs have one sequence each" in words
    assert "4,096" in words
    assert call("plan", "apertus-70b", "--out", page)[0] == 0
    assert "<svg" in page.read_text()
    assert "http" not in re.sub("http://www.w3.org/2000/svg|http-equiv", "", page.read_text())
    assert " style=" not in page.read_text(), "the content security policy refuses it"
    code, _, err = call("plan", "apertus-70b", "--out", tmp_path / "plan.txt")
    assert code == 2
    assert ".html" in err
    code, _, err = call("plan", "apertus-70b", "--out", tmp_path / "no" / "plan.svg")
    assert code == 2
    assert "cannot be written" in err


def test_on_the_page_text_is_escaped_and_only_its_own_style_allowed() -> None:
    odd = made("gemma-3-27b")
    odd = replace(odd, site=replace(odd.site, name="<script>site"))
    page = plan_command.page(odd, "<b>5 < 6</b>")
    assert "<script" not in page
    assert "&lt;script&gt;site" in page
    assert "<b>" not in page
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert f"default-src 'none'; style-src '{sha256_source(style)}'" in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("gemma-3-27", "--site", "clariden"), "nearest: gemma-3-27b"),
        (("gemma-3-27b", "--site", "claridan"), "nearest: clariden"),
        (("gemma-3-27b", "--site", "laptop"), "site laptop has no GPUs"),
        (("smoke", "--site", "clariden"), "recipe smoke has no GPUs"),
        (("gemma-3-27b", "--nodes", "3"), "--nodes 2 or --nodes 4"),
        (("gemma-3-27b", "--set", "train.fsdp_config.reshard=1"), "unknown key"),
    ],
)
def test_what_cannot_be_planned(call: Call, words: tuple[str, ...], says: str) -> None:
    code, out, err = call("plan", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_the_list_of_recipes_has_costs(call: Call) -> None:
    code, out, _ = call("recipes", "--json")
    found = {r["name"]: r for r in json.loads(out)}
    assert code == 0
    for name in FAMILY:
        low, high = found[name]["planned_gpu_hours"]
        assert 0 < low < high
    assert found["smoke"]["planned_gpu_hours"] is None
    out = call("recipes")[1]
    assert "75 to 291" in out
    assert "178" in out


def test_the_site_of_the_accumulation_and_of_the_plan_agree() -> None:
    gemma, place = recipe.load("gemma-3-27b"), replace(site.load("clariden"), nodes=16)
    (ranks,) = [d for d in choices.decide(gemma, place, ["train"]) if d.startswith("ranks")]
    assert f"accumulation {plan.make(gemma, place).chosen.setup.accumulation} " in ranks
