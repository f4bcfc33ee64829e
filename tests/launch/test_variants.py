"""The smoke recipe's variants train, and compute what they say: loss curve against loss curve.

About 40 s a training, four of them.
"""

from pathlib import Path

import pytest

pytest.importorskip("axolotl")

import torch
from short_training import configure, train
from torch.distributed.checkpoint import FileSystemReader

from launch.run import compare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
#: Nats a token. The same mathematics in float32: other orders of adding up; seen here: 0.
FAST = 1e-4
#: The same in bfloat16, whose last bit is 1/256 of a number; seen here: 0.006.
BF16 = 0.02


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    out = {}
    for variant in ("paper", "fast", "checkpoint-once", "fp32-master"):
        folder = tmp_path_factory.mktemp(variant) / "run"
        configure(folder, f"smoke+{variant}")
        out[variant] = folder, train(folder)
    return out


def held(runs: dict[str, tuple[Path, str]], variant: str, bound: float) -> compare.Comparison:
    both = [compare.curve(v, runs[v][0] / "progress.jsonl") for v in ("paper", variant)]
    found = compare.compare(*both, bound)
    assert found.shared == list(range(1, 10))
    assert found.loss(9)[0] < found.loss(1)[0] - 1, "it learned something that can differ"
    return found


def test_fast_agrees_with_paper(runs: dict[str, tuple[Path, str]]) -> None:
    found = held(runs, "fast", FAST)
    assert found.parted is None, found.headline()


def test_one_recomputation_agrees_with_paper(runs: dict[str, tuple[Path, str]]) -> None:
    found = held(runs, "checkpoint-once", FAST)
    assert found.parted is None, found.headline()
    assert "each layer once" in runs["checkpoint-once"][1], "the plugin ran"


def test_fp32_masters_keep_float32_and_agree_with_paper(
    runs: dict[str, tuple[Path, str]],
) -> None:
    found = held(runs, "fp32-master", BF16)
    assert found.parted is None, found.headline()
    assert "loss" in found.first, "it computes in bfloat16"
    folder, log = runs["fp32-master"]
    assert "master weights: float32, computing in bfloat16" in log
    # The merged model is bf16, as published; what is updated is what the shards hold.
    for part in ("pytorch_model_fsdp_0", "optimizer_0"):
        shards = FileSystemReader(folder / "output" / "checkpoint-9" / part).read_metadata()
        tensors = [t for t in shards.state_dict_metadata.values() if hasattr(t, "properties")]
        assert {t.properties.dtype for t in tensors} == {torch.float32}, part
