"""The planner's memory and FLOPs against what was measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_shapes import FAMILY, made, setup

from launch.inputs import dims
from launch.plan import duration as plan_time
from launch.plan import fit as plan
from launch.plan import memory as plan_memory
from launch.run import recipe

GIB = 2**30
MEASURED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("memory.json").read_text()
)  # python -m bench.plan_memory --write
TWINS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("twins.json").read_text()
)  # python -m bench.plan_twins --write


def held(peak: float, measured: dict[str, Any], within: float) -> bool:
    """Whether bytes lie in what was measured, least to most, or not further off than a share."""
    mib = peak / 2**20
    return bool((1 - within) * measured["mib"] <= mib <= (1 + within) * measured["most"])


@pytest.mark.parametrize("case", MEASURED)
def test_planned_memory_is_within_a_tenth_of_what_was_measured(case: str) -> None:
    from bench.plan_memory import predict

    assert held(predict(case).peak, MEASURED[case], 0.10)


def test_the_tenth_would_notice_a_forgotten_part() -> None:
    from bench.plan_memory import predict

    for case in ("llama-accumulating", "olmo2"):
        needs = predict(case)
        largest = max(needs.parts.values())
        assert not held(needs.peak - largest, MEASURED[case], 0.10)
        assert not held(needs.peak + largest, MEASURED[case], 0.10)


@pytest.mark.parametrize("case", TWINS)
def test_planned_memory_is_within_a_tenth_of_the_miniatures_own(case: str) -> None:
    from bench.plan_twins import LOOSE, predict

    assert held(predict(case).peak, TWINS[case], 0.15 if case in LOOSE else 0.10)


def test_recomputation_costs_what_was_counted() -> None:
    from bench.plan_twins import chosen

    olmo = "smoke-olmo-2-32b"
    cases = {olmo: 5 / 3, f"{olmo}+checkpoint-once": 1, f"{olmo}, no checkpointing": 0}
    for case, times in cases.items():
        one = plan_memory.setup(chosen(case).table("train"), ranks=2, micro=2, accumulation=1)
        model = dims.of(chosen(case))
        again = plan_time.recomputed(model, one)
        assert again == pytest.approx(times)
        # torch's counter knows the matrices, and nothing of the CPU's attention: length 0.
        planned = model.flops_token(0, recomputed=again) * one.tokens
        assert planned / 1e9 == pytest.approx(TWINS[case]["gflop"], rel=0.001)


def test_the_pinned_accelerate_checkpoints_the_parts_of_a_layer() -> None:
    """What `parts` and the variant checkpoint-once rest on; it goes with a newer accelerate."""
    pytest.importorskip("accelerate")
    from types import SimpleNamespace

    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.utils import fsdp2_apply_ac
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(2, 2)

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Layer"],
    )
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    model = fsdp2_apply_ac(accelerator, nn.Sequential(Layer(), nn.Linear(2, 2)))
    names = [type(module).__name__ for module in model.modules()]
    assert names == ["Sequential", "Layer", "CheckpointWrapper", "Linear", "Linear"]


@pytest.mark.slow  # about two minutes: the miniature of OLMo-2 through Axolotl
@pytest.mark.timeout(900)
def test_the_miniatures_measured_again_are_what_was_written_down(tmp_path: Path) -> None:
    pytest.importorskip("axolotl")
    file, case = tmp_path / "twins.json", "smoke-olmo-2-32b+checkpoint-once"
    command = [sys.executable, "-m", "bench.plan_twins", "--case", case, "--write", str(file)]
    subprocess.run(command, check=True, cwd=recipe.ROOT, timeout=850)
    again = json.loads(file.read_text())[case]
    assert again["gflop"] == TWINS[case]["gflop"], "each layer once: fewer than as published"
    assert again["gflop"] < 0.9 * TWINS["smoke-olmo-2-32b"]["gflop"]
    assert held(again["mib"] * 2**20, TWINS[case], 0.10)


@pytest.mark.slow  # half a minute: importing transformers, then two ranks train four steps
def test_memory_measured_again_is_what_was_written_down(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    file = tmp_path / "memory.json"
    command = [sys.executable, "-m", "bench.plan_memory", "--case", "llama", "--write", str(file)]
    subprocess.run(command, check=True, cwd=recipe.ROOT, timeout=600)
    again = json.loads(file.read_text())["llama"]
    assert again["phase"] == MEASURED["llama"]["phase"]
    assert held(again["mib"] * 2**20, MEASURED["llama"], 0.10)


def test_what_memory_depends_on() -> None:
    gemma = dims.of(recipe.load("gemma-3-27b"))
    paper = plan_memory.memory(gemma, setup())
    assert paper.parts["gradients, whole"] == gemma.text * 2, (
        "kept whole until the last micro batch"
    )
    once = plan_memory.memory(gemma, setup(accumulation=1))
    assert paper.peak - once.peak > 40 * GIB
    each = plan_memory.memory(gemma, setup(scatter_each=True))
    assert paper.peak - each.peak > 40 * GIB, "scattered with every micro batch, not kept whole"
    assert paper.moment == "loss"
    once = plan_memory.memory(gemma, setup(loss="fused", accumulation=1))
    parts = plan_memory.memory(gemma, setup(loss="fused", accumulation=1, parts=True))
    assert parts.peak < once.peak, "less of a layer exists at a time"
    fused = plan_memory.memory(gemma, setup(loss="fused"))
    assert paper.peak - fused.peak > 8 * GIB, "262,208 logits a token are the peak"
    assert fused.moment == "layer"
    master = plan_memory.memory(gemma, setup(stored=4))
    assert master.parts["optimiser"] == 2 * paper.parts["optimiser"]
    kept = plan_memory.memory(gemma, setup(checkpointing=False, loss="fused", accumulation=1))
    assert kept.peak > 60 * GIB


@given(st.integers(1, 8), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_memory_only_grows_with_tokens_and_only_shrinks_with_ranks(micro: int, ranks: int) -> None:
    model = dims.of(recipe.load("olmo-2-32b"))
    here = plan_memory.memory(model, setup(micro=micro, ranks=ranks)).peak
    assert plan_memory.memory(model, setup(micro=micro + 1, ranks=ranks)).peak > here
    assert plan_memory.memory(model, setup(micro=micro, ranks=ranks + 1)).peak < here


@pytest.mark.parametrize("name", FAMILY)
def test_every_published_run_fits_where_it_was_run(name: str) -> None:
    assert made(name).chosen.fits == plan.YES
