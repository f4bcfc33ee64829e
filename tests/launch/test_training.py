"""Real training in a few steps: a checkpoint cut in half is passed over, the weights stay.

Two torchrun processes, FSDP2 over gloo, as the smoke recipe trains; about 40 s a training.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("axolotl")

import yaml

from launch import recipe
from launch.preflight.tiny import build_tiny
from launch.stages import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "recipes" / "smoke"


def configure(folder: Path, **changes: Any) -> Path:
    """Write a training file: the smoke recipe's, with a few rows and 9 steps."""
    asked = [f"Which organ does drug {i} act on?" for i in range(64)]
    rows = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "The liver."}]}
        for q in asked
    ]
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_tiny(SMOKE / "model.json", SMOKE / "chat_template.jinja", asked, folder / "base", 42)
    config = recipe.load("smoke").table("train")
    config["datasets"][0]["path"] = str(folder / "train.jsonl")
    config.update(
        base_model=str(folder / "base"),
        output_dir=str(folder / "output"),
        dataset_prepared_path=str(folder / "prepared"),
        plugins=["launch.stages.axolotl_watch.WatchPlugin", "launch.stages.axolotl_cpu.CpuPlugin"],
        max_steps=9,
        save_steps=3,
        save_total_limit=4,
        # A packed row is longer than all of these rows together: let each be a step of its own.
        sample_packing=False,
        micro_batch_size=1,
        **changes,
    )
    (folder / "axolotl.yaml").write_text(yaml.safe_dump(config))
    return folder


def train(folder: Path) -> str:
    """Run torchrun as the train stage does; gives its log."""
    env = {
        **os.environ,
        "AXOLOTL_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "MFO_PROGRESS_DIR": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "axolotl.cli.train", str(folder / "axolotl.yaml"),
        ],
        env=env, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-5000:]
    return log


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
