"""The planner's memory against the peak of real training steps, tensor by tensor.

    python -m bench.plan_memory                     every case, one after the other
    python -m bench.plan_memory --case llama        one of them
    python -m bench.plan_memory --write             keep the numbers in tests/launch/memory.json

Each case trains four steps of a random model of a real class on two ranks: FSDP2 over gloo, wrapped
as Axolotl wraps it, checkpointing, gradient clipping, fused AdamW, accumulation as accelerate does
it. The models are small, their sequences long enough for activations to count. Measured is every
allocation of torch on rank 0; of the steps but the first, when the optimiser has its state, the
least and the most: gloo's threads let a buffer go late when the machine is busy.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import traceback
from pathlib import Path
from typing import Any

from bench import planned
from launch.inputs import dims
from launch.plan import memory as plan_memory

FILE = Path(__file__).parent.parent / "tests" / "launch" / "memory.json"
RANKS = 2
STEPS = 4
GEMMA = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
    "text_config": {
        "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 24,
    },
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False,
    },
    "mm_tokens_per_image": 4,
}  # fmt: skip


def model(kind: str, architecture: str, **more: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture], "model_type": kind, "vocab_size": 2048,
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32,
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


LLAMA = model("llama", "LlamaForCausalLM")
OLMO = model("olmo2", "Olmo2ForCausalLM", intermediate_size=1408)
APERTUS = model("apertus", "ApertusForCausalLM", intermediate_size=1344)
#: name -> config, and what of the setup is not the default below.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": (LLAMA, {}),
    "llama-accumulating": (LLAMA, {"accumulation": 2}),
    "llama-scattering-each": (LLAMA, {"accumulation": 2, "scatter_each": True}),
    "llama-fp32": (LLAMA, {"compute": 4, "stored": 4}),
    "llama-large-vocabulary": ({**LLAMA, "vocab_size": 32768}, {"length": 512}),
    "llama-wide": ({**LLAMA, "hidden_size": 512, "intermediate_size": 1408}, {"length": 512}),
    "olmo2": (OLMO, {}),
    "apertus": (APERTUS, {}),
    "gemma3": (GEMMA, {}),
    "gemma3-accumulating": (GEMMA, {"accumulation": 2, "length": 512}),
    "llama-no-checkpointing": (LLAMA, {"checkpointing": False}),
}


def setup(more: dict[str, Any]) -> plan_memory.Setup:
    base = {"sharding": "fsdp2", "ranks": RANKS, "micro": 1, "accumulation": 1, "length": 1024}
    return plan_memory.Setup(**{**base, **more})


def train(config: dict[str, Any], one: plan_memory.Setup) -> list[dict[str, Any]]:
    """Train four steps on this rank; gives the recorder's phases."""
    import torch
    import transformers
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
        CheckpointImpl,
        apply_activation_checkpointing,
        checkpoint_wrapper,
    )
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    from bench.memory import Recorder

    torch.manual_seed(0)
    recorder = Recorder()
    dtype = {2: torch.bfloat16, 4: torch.float32}
    about = dims.parse(config)
    config = json.loads(json.dumps(config))
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    for table in (config, config.get("text_config", config)):
        table.update(ids)
    # axolotl 0.19.0, loaders/utils.py:63: no cache of keys and values while training.
    made = transformers.AutoConfig.for_model(**config)
    for table in (made, made.get_text_config()):
        table.use_cache = False
    whole = getattr(transformers, about.architecture)(made).to(dtype[one.stored])
    for name, parameter in whole.named_parameters():
        if "vision" in name or "multi_modal" in name:
            parameter.requires_grad = False

    def wrapped(module: Any) -> bool:
        return type(module).__name__ == about.wrap

    if one.checkpointing:
        wrapper = functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.NO_REENTRANT)
        apply_activation_checkpointing(whole, checkpoint_wrapper_fn=wrapper, check_fn=wrapped)
    half = dtype[one.compute] if one.compute == 2 else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=half, output_dtype=half)
    mesh = torch.distributed.init_device_mesh("cpu", (one.ranks,))
    for module in [m for m in whole.modules() if wrapped(m)]:
        fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(whole, mesh=mesh, mp_policy=policy)
    trained = [p for p in whole.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    words = torch.randint(3, about.vocabulary, (one.micro, one.length))
    # Gemma 3 asks for the kind of each token, text or image, while it trains.
    more = {"token_type_ids": torch.zeros_like(words)} if about.kind == "gemma3" else {}
    cast = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    for step in range(STEPS):
        for number in range(one.accumulation):
            last = number == one.accumulation - 1
            whole.set_requires_gradient_sync(one.scatter_each or last)
            recorder.mark(f"forward {step}.{number}")
            with cast:
                loss = whole(input_ids=words, labels=words, **more).loss
            recorder.mark(f"backward {step}.{number}")
            loss.backward()
        recorder.mark(f"update {step}")
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return recorder.stop()


def rank(number: int, name: str, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=number, world_size=RANKS
    )
    config, more = CASES[name]
    phases = train(config, setup(more))
    if number == 0:
        (folder / "phases.json").write_text(json.dumps(phases))
    torch.distributed.destroy_process_group()


def measure(name: str) -> dict[str, Any]:
    """Measure one case; gives the bytes at the least peak of a step, and in which phase."""
    with tempfile.TemporaryDirectory(prefix="mfo-memory-") as place:
        folder = Path(place)
        children = []
        for number in range(RANKS):
            child = os.fork()  # the frameworks are imported once, in the parent
            if not child:
                try:
                    rank(number, name, folder)
                except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise SystemExit(f"a rank of case {name} failed: {codes}")
        phases = json.loads((folder / "phases.json").read_text())
    found = planned.peaks(phases, range(1, STEPS))
    return {**found, "words": found["phase"].split()[0]}


def predict(name: str) -> plan_memory.Memory:
    config, more = CASES[name]
    return plan_memory.memory(dims.parse(config), setup(more))


def main() -> None:
    import torch  # noqa: F401 - imported once, before the ranks are forked
    import transformers  # noqa: F401

    planned.run(
        __doc__.splitlines()[0], CASES, FILE, measure, predict,
        lambda one: {"phase": one["words"]},
    )  # fmt: skip


if __name__ == "__main__":
    main()
