"""Real training in a few steps: two torchrun processes, FSDP2 over gloo, as `smoke` trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from launch.inputs.tiny import build_tiny
from launch.run import recipe
from launch.stages.train import PLUGINS

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "recipes" / "smoke"


def configure(folder: Path, name: str = "smoke", **changes: Any) -> Path:
    """Write a training file: this recipe's, with a few rows and 9 steps."""
    asked = [f"Which organ does drug {i} act on?" for i in range(64)]
    rows = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "The liver."}]}
        for q in asked
    ]
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_tiny(SMOKE / "model.json", SMOKE / "chat_template.jinja", asked, folder / "base", 42)
    config = recipe.load(name).table("train")
    config["datasets"][0]["path"] = str(folder / "train.jsonl")
    config.update(
        base_model=str(folder / "base"),
        output_dir=str(folder / "output"),
        dataset_prepared_path=str(folder / "prepared"),
        plugins=[*config.get("plugins", []), *PLUGINS],
        max_steps=9,
        save_steps=3,
        save_total_limit=4,
        # A packed row is longer than all of these rows together: let each be a step of its own.
        sample_packing=False,
        micro_batch_size=1,
    )
    config.update(changes)
    (folder / "axolotl.yaml").write_text(yaml.safe_dump(config))
    return folder


def train(folder: Path, *first: Path) -> str:
    """Run torchrun as the train stage does; gives its log.

    Args:
        folder: as `configure` made it.
        *first: folders whose packages are taken before those that are installed.
    """
    env = {
        **os.environ,
        "AXOLOTL_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "MFO_PROGRESS_DIR": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, (*first, ROOT))),
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
