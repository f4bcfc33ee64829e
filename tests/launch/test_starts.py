"""A pretended node of four GPUs: the stack of each recipe starts, up to the missing GPU.

What is run here are the packages themselves, in the versions of the images' locks:
start_training.py in the kit's environment, start_evaluation.py in the one with vLLM for CPUs.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from stacks import serve_python, the_lock_s
from test_family import CCE, CLUSTER, PAPER, WRAPPED

from launch.cli.recipes import training_file
from launch.inputs import dims
from launch.run import recipe, site
from launch.run.recipe import ROOT
from launch.stages import graders
from scoring.models import VLLM_SETTINGS

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow  # a minute each: importing Axolotl, importing vLLM


def started(python: str, program: str, words: list[str], said: str = "") -> dict[str, Any]:
    """Run one of the two programs; gives what it printed, by recipe."""
    paths = [str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [python, str(HERE / program), *words], input=said, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
             "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {one["name"]: one for one in found}


def test_each_recipe_s_training_starts_up_to_the_missing_gpu() -> None:
    pytest.importorskip("axolotl")
    pytest.importorskip("deepspeed")
    the_lock_s(sys.executable, "train")
    found = started(sys.executable, "start_training.py", list(PAPER))
    assert set(found) == set(PAPER)
    for name, one in found.items():
        said, its = recipe.load(name), dims.of(recipe.load(name))
        assert one["class"] == said.table("model")["architecture"]
        assert one["parameters"] == its.parameters, f"{name}: what the planner counts with"
        config = training_file(said, "clariden")
        assert one["plugins"] == [p.rpartition(".")[2] for p in config["plugins"]]
        assert (CCE.rpartition(".")[2] in one["plugins"]) == (
            name not in ("apertus-8b", "gemma-3-27b")
        )
        assert one["attention"] == "flash_attention_2"
        assert one["optimizer"] == ["torch.optim.adamw.AdamW", True]
        # Here is where it ends: transformers asks for a GPU before anything is put on one.
        assert "bf16/gpu" in one["stops"]
        if name == "apertus-70b":
            assert one["sharding"] == "ZeRO-3"
            assert one["batch"][:2] == [4, 1]
            assert (one["bf16"], one["gathers"]) == (True, True)
        else:
            assert one["sharding"] == "FSDP2"
            assert one["wrapped"] == its.layers, WRAPPED[name]
            share = one["parameters"] / CLUSTER.world_size
            assert share <= one["shard"] < 1.001 * share, "each rank holds its share"


def cases() -> list[dict[str, Any]]:
    """What the evaluation of each recipe asks of vLLM, on one node of four GPUs."""
    place, out = replace(site.load("clariden"), nodes=1), []
    for name in PAPER:
        said = recipe.load(name)
        table, model = said.table("eval"), said.table("model")
        servers = graders.servers(said, place, Path("TRAINED"), "BASE")
        base = graders.model_server(said, place, Path("BASE"), "base")
        out.append({
            "name": name, "config": json.loads(Path(model["shape"]).read_text()),
            # As lm-eval hands on what scoring/models.py gives it.
            "engine": {"dtype": table["dtype"], "max_model_len": table["max_length"],
                       "tensor_parallel_size": place.gpus_per_node, "seed": table["seed"],
                       "trust_remote_code": False, **VLLM_SETTINGS},
            "commands": [[word.replace("{port}", "8000") for word in one.command]
                         for one in (*servers, base)],
        })  # fmt: skip
    return out


def test_each_recipe_s_evaluation_starts_up_to_the_missing_gpu() -> None:
    python, asked = serve_python(), cases()
    the_lock_s(python, "eval")
    found = started(python, "start_evaluation.py", [], json.dumps(asked))
    assert set(found) == set(PAPER)
    for name, one in found.items():
        said, its = recipe.load(name), dims.of(recipe.load(name))
        table, judge = said.table("eval"), said.table("judge")
        assert "stops" not in one, one["stops"]
        assert one["class"] == said.table("model")["architecture"]
        assert (one["layers"], one["window"]) == (its.layers, table["max_length"])
        assert one["dtype"] == f"torch.{table['dtype']}"
        assert one["tensor_parallel"] == 4
        # vLLM for CPUs has no GPU to miss: the whole configuration of the engine is made. The
        # images' CUDA build says "Device string must not be empty" at this place, and no more.
        assert one["device"] == "cpu"
        commands = {served["name"][0]: served for served in one["commands"]}
        assert {"trained", "judge", "base"} <= set(commands)
        assert commands["trained"]["model"] == "TRAINED"
        assert commands["judge"]["model"] == judge["model"]
        for served in commands.values():
            assert (served["port"], served["tensor_parallel"]) == (8000, 4)
        assert commands["trained"]["window"] == (judge["max_length"] or None), "0: the model's own"
        assert commands["judge"]["window"] == (judge["judge_max_length"] or None)


def test_a_command_that_vllm_does_not_know_is_seen() -> None:
    python, [one, *_] = serve_python(), cases()
    wrong = {**one, "commands": [[*one["commands"][0], "--swap-space", "4"]],
             "engine": {**one["engine"], "swap_space": 4}}  # fmt: skip
    found = started(python, "start_evaluation.py", [], json.dumps([wrong]))[one["name"]]
    assert "stops" in found["commands"][0]
    assert "swap_space" in found["stops"], "what lm-eval 0.4.11 hands on"
