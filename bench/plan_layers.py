"""Bytes of one layer's recomputation and backward pass: where plan.toml's [layer] comes from.

    python -m bench.plan_layers        half a minute, one core

One decoder layer of each class is run under checkpointing (with autocast where it computes in
bfloat16) at five sizes near the real models' proportions. The peak of what torch allocates is then
fitted by least squares: bytes for each token and each channel of hidden, intermediate, q and kv.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from bench.memory import Recorder
from launch.inputs.dims import FAMILIES

#: hidden, intermediate, heads and heads of keys of the published models, by model_type.
REAL = {
    "llama": [(6144, 16384, 48, 8), (4096, 12288, 32, 8)],
    "olmo2": [(5120, 27648, 40, 8)],
    "apertus": [(8192, 43008, 64, 8), (4096, 21504, 32, 8)],
    "gemma3": [(5376, 21504, 32, 16)],
}
TOKENS = 192
#: How much smaller than the real ones the layers are: heads by SMALL, channels by 4 * SMALL.
SMALL = 8


def peak(
    kind: str, hidden: int, inner: int, heads: int, kv: int, size: int, dtype: Any, parts: bool
) -> int:
    """Give the most bytes that torch held beside weights, their gradients and the layer's input.

    Args:
        parts: each part of the layer is under a checkpoint of its own as well.
    """
    import torch
    import transformers
    from torch.utils.checkpoint import checkpoint

    from bench.step.variants import checkpoint_parts

    name = FAMILIES[kind][4]
    module = __import__(f"transformers.models.{kind}.modeling_{kind}", fromlist=[name])
    prefix = name.removesuffix("DecoderLayer")
    about = f"{prefix}TextConfig" if kind == "gemma3" else f"{prefix}Config"
    config = getattr(transformers, about)(
        hidden_size=hidden, intermediate_size=inner, num_attention_heads=heads, vocab_size=64,
        num_key_value_heads=kv, head_dim=size, num_hidden_layers=1, eos_token_id=1,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    layer = getattr(module, name)(config, 0).to(dtype)
    for weight in layer.parameters():
        weight.grad = torch.zeros_like(weight)
    checkpoint_parts(layer, parts)
    given = torch.randn(1, TOKENS, hidden, dtype=dtype, requires_grad=True)
    places = torch.arange(TOKENS)[None]
    rotary = getattr(module, f"{prefix}RotaryEmbedding")(config)
    turned = rotary(given, places, *(config.layer_types[:1] if kind == "gemma3" else []))

    def forward(states: Any) -> Any:
        out = layer(states, position_embeddings=turned, attention_mask=None, position_ids=places)
        return out[0] if isinstance(out, tuple) else out

    half = dtype == torch.bfloat16
    cast = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    recorder = Recorder()
    with cast:
        out = checkpoint(forward, given, use_reentrant=False)
    recorder.mark("backward")
    out.backward(torch.ones_like(out))
    return int(recorder.stop()[-1]["peak"])


def main() -> None:
    """Print a line for each class and dtype, as plan.toml has them."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32}
    for parts, title in itertools.product((False, True), dtypes):
        dtype = dtypes[title]
        print(f"[{'parts' if parts else 'layer'}.{title}]")
        for kind, models in REAL.items():
            rows, found = [], []
            for hidden, inner, heads, kv in models:
                heads, kv = heads // SMALL, kv // SMALL
                for wide, deep, big, all_kv in (
                    (1, 1, 1, 0), (1, 1.25, 1, 0), (1, 1, 1, 1), (1, 1, 1.25, 0), (1.25, 1, 1, 0),
                ):  # fmt: skip
                    h = int(hidden // SMALL // 4 * wide) // heads * heads
                    i, size = int(inner // SMALL // 4 * deep), int(32 * big)
                    keys = heads if all_kv else kv
                    rows.append([TOKENS * n for n in (h, i, heads * size, keys * size)])
                    found.append(peak(kind, h, i, heads, keys, size, dtype, parts))
            sizes, bytes_ = np.array(rows, float), np.array(found, float)
            fitted = np.linalg.lstsq(sizes, bytes_, rcond=None)[0]
            off = np.abs(sizes @ fitted / bytes_ - 1).max()
            print(f"{kind} = [{', '.join(f'{n:.1f}' for n in fitted)}]  # within {off:.1%}")


if __name__ == "__main__":
    main()
