"""What a bfloat16 step changes: the theory against the arithmetic itself, and a short training."""

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import bf16_updates as bench


@settings(deadline=None)
@given(st.floats(2**-20, 4.0), st.floats(2**-30, 2**-4), st.booleans())
def test_an_update_changes_a_weight_beyond_half_the_distance_to_its_neighbour(
    weight: float, update: float, negative: bool
) -> None:
    w = torch.tensor([-weight if negative else weight]).bfloat16()
    half = bench.half_step(w)
    away = torch.tensor([math.copysign(update, float(w))])  # below a power of 2 the step is finer
    moved = (w.float() + away).bfloat16() != w
    if float(abs(half - update)) > 1e-3 * float(half):  # a tie goes to the even neighbour
        assert bool(moved) == (update > float(half))


def test_the_expected_share_is_that_of_normal_weights() -> None:
    weights = (torch.randn(400_000, generator=torch.Generator().manual_seed(1)) * 0.02).bfloat16()
    for rate in (1e-6, 5e-6, 1e-5, 2e-5, 1e-3):
        share = float((bench.half_step(weights) < rate).float().mean())
        assert bench.expected(rate, 0.02) == pytest.approx(share, rel=0.06)
    assert bench.expected(1e-6, 0.02) == pytest.approx(0.0195, abs=1e-4)


@pytest.mark.slow  # about ten seconds alone
def test_the_program_measures_both_ways_and_draws(tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    assert bench.main(["--recipes", "gemma-3-27b", "eurollm-9b", "eurollm-22b", "--steps", "2",
                       "--figures", str(tmp_path), "--out", str(out)]) == 0  # fmt: skip
    rows = json.loads(out.read_text())
    assert [r["recipes"] for r in rows][:2] == ["gemma-3-27b", "eurollm-9b, eurollm-22b"]
    for row in rows:
        assert max(row["bf16"]["shares"]) < 0.25, "most updates are lost"
        assert max(row["masters"]["shares"]) > 0.95, "none are lost"
        assert max(row["bf16"]["shares"]) == pytest.approx(row["predicted"], rel=0.5)
    assert "<polyline" in (tmp_path / "bf16-share.svg").read_text()
    assert "fp32 masters" in (tmp_path / "bf16-distance.svg").read_text()


@pytest.mark.parametrize(("beta2", "falls"), [(0.999, False), (0.99, True), (0.95, True)])
def test_a_bf16_second_moment_cannot_fall_at_adam_s_default(beta2: float, falls: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimiser = torch.optim.AdamW([weight], lr=1e-6, betas=(0.9, beta2), fused=True)
    seen = []
    for step in range(50):
        weight.grad = torch.full_like(weight, 1.0 if step == 0 else 0.0)
        optimiser.step()
        seen.append(float(optimiser.state[weight]["exp_avg_sq"][0]))
    assert (seen[-1] < seen[0]) == falls
