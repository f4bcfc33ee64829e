"""Start each recipe's training as far as a machine without a GPU can go; a program of its own.

    python start_training.py NAME [NAME ...]

Prints a line of JSON a recipe: what was constructed, and the words with which the first step that
needs a GPU refuses. Ranks are pretended: PyTorch's "fake" process group stands in for NCCL's, and
weights are on the meta device, so that 70B parameters take no memory. Everything else is the real
thing: Axolotl's own validation, its plugins' classes, transformers' model class and choice of the
optimiser, PyTorch's FSDP2, DeepSpeed's own reading of its table.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from accelerate import FullyShardedDataParallelPlugin
from axolotl.integrations.base import load_plugin
from test_family import CLUSTER, check
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from launch.cli.recipes import training_file
from launch.run import recipe as recipes

RANKS = CLUSTER.world_size


def main(names: list[str]) -> None:
    """Start each of these recipes."""
    dist.init_process_group("fake", rank=0, world_size=RANKS, store=FakeStore())
    for name in names:
        print(json.dumps(start(recipes.load(name))), flush=True)


def start(recipe: recipes.Recipe) -> dict[str, Any]:
    """Construct a recipe's training; gives what was made of it."""
    config = training_file(recipe, "clariden")
    checked = check(config)
    plugins = [type(load_plugin(plugin)).__name__ for plugin in config["plugins"]]
    model = model_of(recipe)
    out: dict[str, Any] = {
        "name": recipe.name,
        "plugins": plugins,
        "attention": checked["attn_implementation"],
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    with tempfile.TemporaryDirectory() as folder:
        given = {"output_dir": folder, "optim": checked["optimizer"], "report_to": "none",
                 "learning_rate": checked["learning_rate"],
                 "per_device_train_batch_size": checked["micro_batch_size"],
                 "gradient_accumulation_steps": checked["gradient_accumulation_steps"]}  # fmt: skip
        try:
            transformers.TrainingArguments(bf16=bool(checked["bf16"]), **given)
        except ValueError as error:
            out["stops"] = str(error)
        arguments = transformers.TrainingArguments(use_cpu=True, **given)
        table = config.get("deepspeed")
        out |= zero(table, arguments) if table else fsdp(config, model)
        cls, words = transformers.Trainer.get_optimizer_cls_and_kwargs(arguments, model)
        out["optimizer"] = [f"{cls.__module__}.{cls.__name__}", bool(words.get("fused"))]
    return out


def model_of(recipe: recipes.Recipe) -> Any:
    """Construct the recipe's class at full size, without weights."""
    raw = json.loads(Path(recipe.table("model")["shape"]).read_text())
    config = transformers.AutoConfig.for_model(**raw)
    with torch.device("meta"):
        return getattr(transformers, recipe.table("model")["architecture"])(config)


def fsdp(config: dict[str, Any], model: Any) -> dict[str, Any]:
    """Wrap and shard as FSDP2 does over the cluster's ranks."""
    wanted = config["fsdp_config"]
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=config["fsdp_version"],
        reshard_after_forward=wanted["reshard_after_forward"],
        auto_wrap_policy=wanted["auto_wrap_policy"].lower(),
        transformer_cls_names_to_wrap=[wanted["transformer_layer_cls_to_wrap"]],
        activation_checkpointing=wanted["activation_checkpointing"],
        state_dict_type=wanted["state_dict_type"].lower(),
        cpu_ram_efficient_loading=False,  # it would ask rank 0 for weights, which nobody has
    )
    plugin.set_auto_wrap_policy(model)  # accelerate finds the class by its name in the model
    layers = [m for m in model.modules()
              if type(m).__name__ == wanted["transformer_layer_cls_to_wrap"]]  # fmt: skip
    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=wanted["reshard_after_forward"])
    fully_shard(model, mesh=mesh)
    shard = sum(p.to_local().numel() for p in model.parameters())
    return {"sharding": f"FSDP{plugin.fsdp_version}", "wrapped": len(layers), "shard": shard}


def zero(table: dict[str, Any], arguments: Any) -> dict[str, Any]:
    """Let transformers fill in what is "auto", and DeepSpeed read the whole."""
    from deepspeed.runtime.config import DeepSpeedConfig
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    filled = HfTrainerDeepSpeedConfig(table)
    filled.trainer_config_process(arguments)
    read = DeepSpeedConfig(filled.config)
    return {
        "sharding": f"ZeRO-{read.zero_optimization_stage}",
        "batch": [read.train_micro_batch_size_per_gpu, read.gradient_accumulation_steps,
                  read.train_batch_size],
        "bf16": read.bfloat16_config.enabled,
        "gathers": read.zero_config.gather_16bit_weights_on_model_save,
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
