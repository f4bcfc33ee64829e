"""The planner against the miniatures' own training through Axolotl: peak memory, and FLOPs.

    python -m bench.plan_twins                      every miniature, two minutes each
    python -m bench.plan_twins --case smoke         one of them
    python -m bench.plan_twins --write              keep the numbers in tests/launch/twins.json

Each case is `mfo run` of a miniature for six steps, with a plugin that records every allocation of
torch on rank 0 (bench/axolotl_memory.py). Counted are the least and the most peak of steps 2 to 5:
the optimiser has its state, nothing is saved yet, and gloo's threads let a buffer go late when the
machine is busy. FLOPs are the sixth step's, forward and backward. ZeRO-3 is DeepSpeed's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import planned
from bench.memory import COUNTED
from launch.inputs import dims
from launch.plan import memory as plan_memory
from launch.run import recipe, site
from launch.stages.train import accumulation

FILE = Path(__file__).parent.parent / "tests" / "launch" / "twins.json"
#: Case -> recipe, and what is set in it.
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "smoke": ("smoke", ()),
    "smoke+fp32-master": ("smoke+fp32-master", ()),
    "smoke+fast": ("smoke+fast", ()),
    "smoke-olmo-2-32b": ("smoke-olmo-2-32b", ()),
    "smoke-olmo-2-32b+checkpoint-once": ("smoke-olmo-2-32b+checkpoint-once", ()),
    "smoke-olmo-2-32b, no checkpointing": (
        "smoke-olmo-2-32b", ("train.fsdp_config.activation_checkpointing=false",)
    ),
    "smoke-eurollm": ("smoke-eurollm", ()),
    "smoke-apertus-8b": ("smoke-apertus-8b", ()),
    "smoke-apertus-70b": ("smoke-apertus-70b", ()),
    "smoke-apertus-70b, bf16": (
        "smoke-apertus-70b", ("train.bf16=true", "train.deepspeed.bf16.enabled=true")
    ),
    "smoke-apertus-70b, accumulated": ("smoke-apertus-70b", ("train.micro_batch_size=1",)),
}  # fmt: skip
#: Cases that the planner misses by more than a tenth, at one end: bench/RESULTS.md.
LOOSE = ("smoke+fast", "smoke+fp32-master")


def chosen(case: str) -> recipe.Recipe:
    name, settings = CASES[case]
    return recipe.with_settings(recipe.load(name), map(recipe.parse_setting, settings))


def predict(case: str) -> plan_memory.Memory:
    """Plan one case at the laptop's shape: two ranks."""
    one, here = chosen(case), site.load("laptop")
    train = one.table("train")
    shape = plan_memory.setup(
        train, ranks=here.world_size, micro=int(train["micro_batch_size"]),
        accumulation=accumulation(one, here),
    )  # fmt: skip
    return plan_memory.memory(dims.of(one), shape)


def measure(case: str) -> dict[str, Any]:
    """Train one case; gives the least and most peak of a step in bytes, and a step's FLOPs."""
    name, settings = CASES[case]
    plugins = [*chosen(case).table("train").get("plugins", []), "bench.axolotl_memory.MemoryPlugin"]
    asked = (
        f"train.max_steps={COUNTED}", f"train.save_steps={COUNTED}",
        f"train.plugins={json.dumps(plugins)}", 'eval.benchmarks=["medmcqa"]', "eval.base=false",
    )  # fmt: skip
    command = [sys.executable, "-m", "launch", "run", name, "--limit", "1"]
    for setting in (*settings, *asked):
        command += ["--set", setting]
    with tempfile.TemporaryDirectory(prefix="mfo-memory-") as runs:
        env = {**os.environ, "MFO_RUNS": runs}
        done = subprocess.run(
            command, env=env, cwd=recipe.ROOT, capture_output=True, text=True, check=False
        )
        files = list(Path(runs).glob("*/train/memory.json"))
        if not files:  # a verdict on six steps is not what is asked here
            raise SystemExit(f"{case} did not train:\n{(done.stdout + done.stderr)[-4000:]}")
        found = json.loads(files[0].read_text())
    return {
        **planned.peaks(found["phases"], range(2, COUNTED)),
        "flops": found["flops"], "words": f"{found['flops'] / 1e9:.3f} GFLOP a step",
    }  # fmt: skip


def main() -> None:
    planned.run(
        __doc__.splitlines()[0], CASES, FILE, measure, predict,
        lambda one: {"gflop": round(one["flops"] / 1e9, 3)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
