"""The ways to compute the same step: attention, loss, checkpointing, compilation, micro batch.

Each option can say why it is not there: a package or a GPU that is missing is named, not passed
over. What a recipe can switch on is what is measured, from the libraries that Axolotl uses.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional

IGNORE = -100
OPTIONS: dict[str, tuple[Any, ...]] = {
    "attention": ("flash_attention_2", "sdpa", "flex_attention"),
    "loss": ("plain", "chunked", "liger", "cut-cross-entropy"),
    "checkpointing": ("twice", "full", "selective", "none"),
    "compiled": (False, True),
    "micro": (1, 2, 4, 8),
}

#: Said of what is compiled where the user did not ask for it.
COMPILING = "torch.compile takes minutes on a CPU; --compile measures it"


@dataclass(frozen=True)
class Variant:
    """One way to compute the step; the defaults are the published recipe's for Gemma.

    Attributes:
        attention: transformers' name of the implementation.
        loss: plain (all logits in float32), chunked (Axolotl's), liger (fused with the head),
            cut-cross-entropy.
        checkpointing: twice (each layer again in the backward, and each of its parts once more:
            what the published setting does, launch/stages/axolotl_once.py), full (each layer again
            in the backward), selective (matrix products and attention are kept), none.
        compiled: each layer by torch.compile.
        micro: sequences at once.
    """

    attention: str = "flash_attention_2"
    loss: str = "plain"
    checkpointing: str = "twice"
    compiled: bool = False
    micro: int = 1

    def words(self) -> str:
        """Give it as one phrase."""
        compiled = "compiled" if self.compiled else "not compiled"
        return (f"{self.attention}, {self.loss} loss, checkpointing {self.checkpointing}, "
                f"{compiled}, micro batch {self.micro}")  # fmt: skip

    def missing(self, device: str, *, compile_too: bool = True) -> str | None:
        """Say why it cannot run here; None where it can."""
        left_out = None if compile_too else COMPILING
        reasons = [lacking("attention", self.attention, device), lacking("loss", self.loss, device),
                   lacking("compiled", self.compiled, device),
                   left_out if self.compiled or self.loss == "chunked" else None]  # fmt: skip
        return next((r for r in reasons if r), None)


def lacking(factor: str, option: Any, device: str) -> str | None:
    """Say why an option cannot run on a device; None where it can."""
    gpu = device.startswith("cuda")
    if option == "flash_attention_2":
        if not gpu:
            return "flash-attn has kernels for GPUs only"
        return None if find_spec("flash_attn") else "the package flash-attn is not installed"
    if option == "flex_attention" and not gpu:
        return "FlexAttention has no backward on a CPU"
    if option == "liger":
        if not gpu:
            return "Liger's kernels are Triton: they need a GPU"
        return None if find_spec("liger_kernel") else "the package liger-kernel is not installed"
    if option == "cut-cross-entropy":
        if not gpu:
            return "Cut Cross Entropy is Triton: it needs a GPU"
        return (None if find_spec("cut_cross_entropy") else
                "the package cut-cross-entropy (Axolotl's fork) is not installed")  # fmt: skip
    if option == "chunked" and not find_spec("axolotl"):
        return "the package axolotl, whose loss it is, is not installed"
    needs_compiler = option == "chunked" or (factor == "compiled" and option)
    if needs_compiler and not gpu and not (shutil.which("g++") or shutil.which("clang++")):
        return "torch.compile needs a C++ compiler on a CPU (apt install g++)"
    return None


def absent(device: str, *, compile_too: bool = True) -> dict[str, str]:
    """Give every option that cannot run on a device, with the reason."""
    found = {f"{factor} {option}": lacking(factor, option, device)
             for factor, options in OPTIONS.items() for option in options}  # fmt: skip
    if not compile_too:
        found |= {name: found[name] or COMPILING for name in ("loss chunked", "compiled True")}
    return {option: why for option, why in found.items() if why}


def start(device: str) -> Variant:
    """Give what the others are compared with: the published recipe, or what there is of it."""
    plain = Variant()
    return plain if plain.missing(device) is None else replace(plain, attention="sdpa")


def one_by_one(base: Variant) -> list[Variant]:
    """Give every variant that differs from `base` in one factor other than the micro batch."""
    return [
        replace(base, **{factor: option})
        for factor, options in OPTIONS.items()
        if factor != "micro"
        for option in options
        if option != getattr(base, factor)
    ]


def apply(model: Any, variant: Variant) -> None:
    """Make a model compute in this way; undoes the one before."""
    from torch.utils.checkpoint import create_selective_checkpoint_contexts

    torch._dynamo.reset()
    model.set_attn_implementation(variant.attention)
    model.gradient_checkpointing_disable()
    if variant.checkpointing != "none":
        how: dict[str, Any] = {"use_reentrant": False}
        if variant.checkpointing == "selective":
            how["context_fn"] = partial(create_selective_checkpoint_contexts, _keep)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    for layer in model.model.layers:
        checkpoint_parts(layer, variant.checkpointing == "twice")
        layer._compiled_call_impl = None
        if variant.compiled:
            layer.compile()


def checkpoint_parts(layer: Any, wanted: bool) -> None:
    """Put each part of a layer under a checkpoint of its own, or under none.

    As accelerate 1.13.0 does, utils/fsdp_utils.py `fsdp2_apply_ac`.
    """
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for name, part in list(layer.named_children()):
        bare = getattr(part, "_checkpoint_wrapped_module", part)
        setattr(layer, name, checkpoint_wrapper(bare, preserve_rng_state=False) if wanted else bare)


def _keep(_context: Any, operation: Any, *_args: Any, **_kwargs: Any) -> Any:
    from torch.utils.checkpoint import CheckpointPolicy

    name = str(operation)
    kept = ("aten.mm", "aten.addmm", "aten.bmm", "attention", "flash_attn")
    return (CheckpointPolicy.MUST_SAVE if any(k in name for k in kept)
            else CheckpointPolicy.PREFER_RECOMPUTE)  # fmt: skip


def loss_function(name: str) -> Callable[[torch.Tensor, Any, torch.Tensor], torch.Tensor]:
    """Give (hidden states, output head, labels of the next token) -> mean loss in nats a token."""
    if name == "plain":
        return _plain
    if name == "chunked":
        from axolotl.monkeypatch.loss.chunked import get_causal_lm_loss

        chunked = get_causal_lm_loss()
        return lambda hidden, head, labels: chunked(head(hidden), None, shift_labels=labels)
    if name == "liger":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        fused = LigerFusedLinearCrossEntropyLoss(ignore_index=IGNORE)
        return lambda hidden, head, labels: fused(
            head.weight, hidden.flatten(0, 1), labels.flatten()
        )
    from cut_cross_entropy import linear_cross_entropy

    return lambda hidden, head, labels: linear_cross_entropy(
        hidden.flatten(0, 1), head.weight, labels.flatten(), ignore_index=IGNORE
    )


def _plain(hidden: torch.Tensor, head: Any, labels: torch.Tensor) -> torch.Tensor:
    logits = head(hidden).float().flatten(0, 1)
    return functional.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE)


def arranged(variant: Variant, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Give a batch's tensors as the attention takes them.

    flash-attn tells documents apart by positions in one long row; the others take rows, whose
    mask would grow with the square of such a row.
    """
    if variant.attention == "flash_attention_2":
        return [t.reshape(1, -1) for t in tensors]
    return list(tensors)
