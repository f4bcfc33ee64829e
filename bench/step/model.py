"""A slice of a recipe's model at full width, with random weights, and packed batches for it.

Speed depends on shapes, not on values, so nothing has to be downloaded. Layers are alike: what a
few of them cost says what all of them cost.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kit.errors import KitError
from launch.inputs import dims
from launch.inputs.dims import Dims
from launch.run import recipe as recipes

#: Mean tokens of a row: the published 150M tokens over 601,346 rows.
MEAN_DOCUMENT = 250
#: Bytes a parameter of a bfloat16 slice: weight, gradient and AdamW's two moments.
BYTES_A_PARAMETER = 8
#: Share of a GPU's memory for those, where the number of layers is chosen; activations take more.
FOR_PARAMETERS = 0.6
#: The same program on a CPU: a slice of these sizes in place of the recipe's.
TINY = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32}  # fmt: skip
TINY_LENGTH = 256


@dataclass(frozen=True)
class Batch:
    """Packed sequences: documents end to end, positions begin at 0 in each.

    Attributes:
        tokens, positions, labels: int64 [micro batch, length]; labels are those of the next token,
            -100 where it is not trained (a document's first half, as a question is not).
        documents: lengths of all documents.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    documents: list[int]

    @property
    def size(self) -> int:
        """Tokens."""
        return self.tokens.numel()


def shape(name: str, *, tiny: bool) -> tuple[dict[str, Any], Dims]:
    """Give a recipe's text config as transformers takes it, and the whole model's dimensions.

    Raises:
        KitError: there is no such recipe, or its model is built from no shape file.
    """
    recipe = recipes.load(name)
    file = recipe.table("model").get("shape")
    if not file:
        raise KitError(
            f"recipe {name} has no model.shape", fix="mfo recipes lists the full-size ones"
        )
    config = json.loads(Path(file).read_text(encoding="utf-8"))
    whole = dims.of(recipe)
    text = dict(config.get("text_config", config))
    text["tie_word_embeddings"] = whole.tied
    text["model_type"] = {"gemma3": "gemma3_text"}.get(whole.kind, whole.kind)
    if tiny:
        text |= TINY
        if text["model_type"] == "gemma3_text":
            text |= {"query_pre_attn_scalar": TINY["head_dim"], "sliding_window": 64}
        small = dims.parse({**config, "text_config": text} if "text_config" in config
                           else {**config, **text, "model_type": whole.kind})  # fmt: skip
        whole = dataclasses.replace(small, vision=0)
    for key in ("architectures",):
        text.pop(key, None)
    return text, whole


def build(
    text: dict[str, Any], layers: int, device: str, dtype: torch.dtype, seed: int = 42
) -> Any:
    """Make the slice: embedding, so many layers, final norm and output head.

    Args:
        text: what `shape` gave.
        layers: of the slice.
        dtype: of weights, gradients and moments.
    """
    import transformers

    text = {**text, "num_hidden_layers": layers}
    text.pop("layer_types", None)
    config = transformers.AutoConfig.for_model(**text)
    config.use_cache = False
    torch.manual_seed(seed)
    with torch.device(device):
        model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.train()


def fitting(whole: Dims, memory: int) -> int:
    """Give the number of layers that fit a GPU with this many bytes, all of them at most."""
    room = FOR_PARAMETERS * memory / BYTES_A_PARAMETER - whole.head * (1 if whole.tied else 2)
    return max(1, min(whole.layers, int(room // whole.layer)))


def sliced(whole: Dims, layers: int) -> Dims:
    """Give the dimensions of the slice."""
    return dataclasses.replace(whole, layers=layers, vision=0)


def pack(vocabulary: int, length: int, micro: int, device: str, seed: int = 42) -> Batch:
    """Give `micro` full sequences of random tokens, cut into documents of random lengths."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocabulary, (micro, length), generator=draw)
    positions, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    documents = []
    for row in range(micro):
        at = 0
        while at < length:
            mean = min(MEAN_DOCUMENT, length // 4)
            long = max(8, int(torch.empty(1).exponential_(1 / mean, generator=draw)))
            long = min(long, length - at)
            positions[row, at : at + long] = torch.arange(long)
            # The last token of a document has no next one.
            half = at + long // 2
            labels[row, half : at + long - 1] = tokens[row, half + 1 : at + long]
            documents.append(long)
            at += long
    return Batch(tokens.to(device), positions.to(device), labels.to(device), documents)


def flops(of: Dims, batch: Batch, window: int | None = None, pattern: int = 1) -> float:
    """Give the model FLOPs of forward and backward for a batch; recomputation does not count.

    6 for each weight of a matrix and token (Kaplan et al. 2020; the embedding is looked up, not
    multiplied), 12 for each channel of the heads and token attended to (Chowdhery et al. 2022,
    appendix B), which are a document's earlier ones only.

    Args:
        window: tokens that a sliding layer sees; None where all layers see all.
        pattern: every so many-th layer sees all.
    """
    q, kv = of.heads * of.head_dim, of.kv_heads * of.head_dim
    matrices = of.hidden * (2 * q + 2 * kv) + (3 if of.gated else 2) * of.hidden * of.intermediate
    whole = sum(n * (n + 1) // 2 for n in batch.documents)
    near = whole if window is None else sum(_seen(n, window) for n in batch.documents)
    sliding = 0 if window is None else of.layers - of.layers // pattern
    attended = (of.layers - sliding) * whole + sliding * near
    return 6.0 * (of.layers * matrices + of.head) * batch.size + 12.0 * q * attended


def _seen(length: int, window: int) -> int:
    short = min(length, window)
    return short * (short + 1) // 2 + max(0, length - window) * window
