"""Real training in a few steps: a checkpoint cut in half is passed over, the weights stay.

About 40 s a training.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("axolotl")

from short_training import configure, train

from launch.stages import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "output" / "model.safetensors").read_bytes()).hexdigest()


def test_a_checkpoint_cut_in_half_is_passed_over(tmp_path: Path) -> None:
    folder = configure(tmp_path / "run")
    train(folder)
    output = folder / "output"
    assert [p.name for p in checkpoints.list_checkpoints(output)] == [
        f"checkpoint-{step}" for step in (3, 6, 9)
    ]
    # Every file of every rank is in the list, and the list was written last.
    for path in checkpoints.list_checkpoints(output):
        assert checkpoints.is_whole(path) is None
        listed = set(json.loads((path / "whole.json").read_text())["files"])
        assert listed == set(checkpoints.list_files(path))
        assert {"rng_state_0.pth", "rng_state_1.pth", "trainer_state.json"} <= listed
    progress = [json.loads(line) for line in (folder / "progress.jsonl").open()]
    steps = [entry["step"] for entry in progress if "loss" in entry]
    assert steps == list(range(1, 10))
    assert {"of", "time", "epoch", "learning_rate", "grad_norm"} <= set(progress[0])

    uninterrupted = weights(folder)
    (output / "model.safetensors").unlink()
    # The run dies while it writes checkpoint-9, and the disk loses half a shard of checkpoint-6.
    (output / "checkpoint-9" / "whole.json").unlink()
    shard = max((output / "checkpoint-6").rglob("*.distcp"), key=lambda p: p.stat().st_size)
    os.truncate(shard, shard.stat().st_size // 2)
    moved = checkpoints.set_aside_broken(output)
    assert [broken.path.name for broken in moved] == ["checkpoint-6", "checkpoint-9"]
    assert shard.name in moved[0].reason

    log = train(folder)
    assert f"resume from checkpoint at {output / 'checkpoint-3'}" in log
    assert weights(folder) == uninterrupted
