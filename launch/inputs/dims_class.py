"""Dimensions of any decoder that transformers knows: its class is built without memory and counted.

About two seconds, nearly all of it importing torch and transformers; a 70B model costs no more than
a tiny one, since torch's meta device gives tensors a shape and no bytes. Where transformers is not
installed (a login node), Llama's formula stands in, and the note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from kit.errors import nearest

#: How configs call the number of experts of a layer, and how many of them a token goes through.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
CHOSEN = ("num_experts_per_tok", "moe_top_k", "top_k_experts")


#: A config's own numbers, what was counted on its class (None: nothing), and what is not sure.
Found = tuple[dict[str, Any], dict[str, Any] | None, str]


def read(config: Mapping[str, Any]) -> Found:
    """Take what dims.Dims and dims.Counted hold from a config of any model type.

    Raises:
        ValueError: transformers does not know the type, it is no decoder, or lacks a dimension.
    """
    if find_spec("transformers") is None or find_spec("torch") is None:
        return _as_llama(config)
    import torch
    import transformers

    kind = str(config["model_type"])
    known = transformers.CONFIG_MAPPING.keys()
    if kind not in known:
        raise ValueError(
            f"transformers {transformers.__version__} has no model_type {kind!r}; "
            f"{nearest(kind, list(known))}"
        )
    whole = transformers.AutoConfig.for_model(**config)
    text = whole.get_text_config(decoder=True)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(text)
    layers = _layers(model, int(text.num_hidden_layers))
    inside = [weight for layer in layers for weight in layer.parameters()]
    counted = {
        "layer": sum(w.numel() for w in inside) // len(layers),
        "matrices": int(sum(_used(w, text) for w in inside if w.dim() > 1)) // len(layers),
        "text": model.num_parameters(),
        "wrap": type(layers[0]).__name__,
    }
    return _said(text, config, kind), counted, ""


def _layers(model: Any, count: int) -> Any:
    """Give the list of decoder layers: the longest one whose length the config names.

    Raises:
        ValueError: there is none.
    """
    import torch

    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count]
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of {count} layers")
    return max(lists, key=lambda found: sum(w.numel() for w in found.parameters()))


def _used(weight: Any, text: Any) -> float:
    """Give how many of a matrix's parameters one token meets: of experts, those it goes through."""
    every = next((getattr(text, k) for k in EXPERTS if getattr(text, k, None)), 0)
    chosen = next((getattr(text, k) for k in CHOSEN if getattr(text, k, None)), every)
    expert = weight.dim() == 3 and weight.shape[0] == every
    return float(weight.numel()) * (chosen / every if expert else 1.0)


def _said(text: Any, config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Read what every decoder's config says, under transformers' own names for it."""
    heads, hidden = int(text.num_attention_heads), int(text.hidden_size)
    return {
        "kind": kind,
        "architecture": str(config["architectures"][0]),
        "layers": int(text.num_hidden_layers),
        "hidden": hidden,
        "intermediate": int(getattr(text, "intermediate_size", None) or 4 * hidden),
        "heads": heads,
        "kv_heads": int(getattr(text, "num_key_value_heads", None) or heads),
        "head_dim": int(getattr(text, "head_dim", None) or hidden // heads),
        "vocabulary": int(text.vocab_size),
        "tied": bool(text.tie_word_embeddings),
    }


def _as_llama(config: Mapping[str, Any]) -> Found:
    """Read the dimensions as if the model were a Llama."""
    from types import SimpleNamespace

    text = dict(config.get("text_config", config))
    for key in ("num_attention_heads", "hidden_size", "num_hidden_layers", "vocab_size"):
        if not isinstance(text.get(key), int):
            raise ValueError(f"{key} is {text.get(key)!r}, not a whole number above 0")
    text.setdefault("tie_word_embeddings", bool(config.get("tie_word_embeddings", False)))
    kind = str(config["model_type"])
    note = f"{kind} is counted by Llama's formula, as transformers is not installed here"
    return _said(SimpleNamespace(**text), config, kind), None, note
