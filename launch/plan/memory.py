"""Memory of one training rank, by part, at its peak.

Counted is what torch allocates: on a GPU max_memory_allocated, on a CPU the same tensors. What
comes on top of it on a GPU (context, NCCL, fragmentation) is a range of plan.toml. The peak is the
largest of the moments below; which one it is depends on the model and on the shape.

    gather   the weights that no layer wraps (embeddings, head, vision tower) are put together
    loss     every layer's input is kept, and the logits exist several times over
    layer    a layer's backward pass: recomputed activations, gradients, two layers' weights
    last layer  the same at its end, when all other gradients are scattered
    reduce   the gradients of what no layer wraps are scattered
    update   the optimiser's own temporaries

Sources: torch 2.13.0 distributed/fsdp/_fully_shard; accelerate 1.13.0 `no_sync`; axolotl 0.19.0
monkeypatch/accelerate/fsdp2.py; deepspeed 0.18.9 runtime/zero/stage3.py; transformers 5.16.1, the
classes' own losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.errors import KitError
from launch.inputs.dims import MEASURED_AS, Dims
from launch.plan.assume import Range, assumed, table

GIB = 2**30
#: Of DeepSpeed's defaults, where the recipe's file says nothing.
_SUB_GROUP = 10**9


@dataclass(frozen=True)
class Setup:
    """How a model is trained, as far as memory and time depend on it.

    Attributes:
        sharding: "fsdp2" or "zero3".
        ranks: over which everything is sharded.
        micro: packed sequences of one micro batch.
        accumulation: micro batches of one optimiser step on a rank.
        length: tokens of a packed sequence.
        compute: bytes of a number while computing: 2 (bf16) or 4.
        stored: bytes of a stored weight: 4 where fp32 master weights are kept by FSDP2.
        checkpointing: whether each layer is computed again in the backward pass.
        parts: whether each part of a layer is under a checkpoint of its own as well, and computed
            once more: FSDP2's `activation_checkpointing` with the pinned accelerate and Axolotl
            (launch/stages/axolotl_once.py says where).
        loss: "plain", "chunked" or "fused" (never all logits at once).
        scatter_each: whether FSDP2 scatters gradients with every micro batch (accelerate's
            `sync_each_batch`), in place of keeping them whole until the last.
        buckets: elements of ZeRO-3's buckets: reduce, prefetch, live parameters, sub group.
    """

    sharding: str
    ranks: int
    micro: int
    accumulation: int
    length: int
    compute: int = 2
    stored: int = 2
    checkpointing: bool = True
    parts: bool = False
    loss: str = "plain"
    scatter_each: bool = False
    buckets: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def tokens(self) -> int:
        """Tokens of one micro batch."""
        return self.micro * self.length

    @property
    def keeps_whole(self) -> bool:
        """Whether each rank keeps a whole gradient of every parameter between micro batches."""
        return self.sharding == "fsdp2" and self.accumulation > 1 and not self.scatter_each


def setup(train: Mapping[str, Any], *, ranks: int, micro: int, accumulation: int) -> Setup:
    """Read from a recipe's training table what memory and time depend on.

    Raises:
        KitError: neither FSDP2 nor ZeRO-3, which is what the planner knows.
    """
    zero = (train.get("deepspeed") or {}).get("zero_optimization", {})
    fsdp = train.get("fsdp_config")
    if not fsdp and zero.get("stage") != 3:
        raise KitError(
            "the planner knows FSDP2 and DeepSpeed ZeRO-3; this recipe has neither",
            where="train.fsdp_config, train.deepspeed",
        )
    bf16 = train.get("bf16") in (True, "auto") and bool(
        fsdp or train["deepspeed"].get("bf16", {}).get("enabled")
    )
    compute = 2 if bf16 else 4
    plugins = " ".join(map(str, train.get("plugins", [])))
    fused = train.get("cut_cross_entropy") or train.get("liger_fused_linear_cross_entropy")
    loss = "fused" if fused else "chunked" if train.get("chunked_cross_entropy") else "plain"
    keys = ("reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_max_live_parameters")
    reduce, prefetch, live = (int(zero.get(key, 0)) for key in keys)
    return Setup(
        sharding="fsdp2" if fsdp else "zero3",
        ranks=ranks,
        micro=micro,
        accumulation=accumulation,
        length=int(train["sequence_len"]),
        compute=compute,
        stored=4 if "MasterWeights" in plugins else compute,
        checkpointing=bool(
            (fsdp or {}).get("activation_checkpointing") or train.get("gradient_checkpointing")
        ),
        parts=bool((fsdp or {}).get("activation_checkpointing"))
        and "CheckpointOnce" not in plugins,
        loss=loss,
        scatter_each=scatter_each(train),
        buckets=(reduce, prefetch, live, int(zero.get("sub_group_size", _SUB_GROUP))),
    )


def scatter_each(train: Mapping[str, Any]) -> bool:
    """Say whether the training table asks accelerate to scatter with every micro batch."""
    table = (train.get("accelerator_config") or {}).get("gradient_accumulation_kwargs") or {}
    return bool(table.get("sync_each_batch"))


def layer_bytes(dims: Dims, one: Setup) -> float:
    """Give the bytes at the peak of one layer's recomputation and backward pass.

    Of a type that was not measured: the most that any measured one needs.
    """
    fitted = table().parts if one.parts else table().layer
    layers = fitted.bf16 if one.compute == 2 else fitted.fp32
    h, i, q, kv = layers.get(MEASURED_AS.get(dims.kind, dims.kind)) or map(max, *layers.values())
    channels = (
        h * dims.hidden + i * dims.intermediate
        + q * dims.heads * dims.head_dim + kv * dims.kv_heads * dims.head_dim
    )  # fmt: skip
    return one.tokens * float(channels)


#: Bytes of one logit at the peak of the loss, which is in its backward pass: log-softmax and two
#: gradients, in float32 whatever computes. (In the forward pass: bf16 2, float32 4, log-softmax 4.)
#: Chunked: not measured. Fused with the head (Cut Cross Entropy, Liger): never all at once.
_LOGITS = {"plain": 12.0, "chunked": 8.0, "fused": 0.0}


@dataclass(frozen=True)
class Memory:
    """What one rank holds at its peak.

    Attributes:
        parts: bytes by part, in the order in which they are shown.
        moment: which of the moments it is.
        moments: bytes at each of them.
        beside: GiB that are not torch's tensors, on a GPU.
    """

    parts: dict[str, float]
    moment: str
    moments: dict[str, float]
    beside: Range

    @property
    def peak(self) -> float:
        """Bytes that torch has allocated at the peak."""
        return sum(self.parts.values())

    @property
    def gib(self) -> Range:
        """GiB of a GPU's memory, with what lies beside torch's tensors."""
        return Range(self.peak / GIB + self.beside.low, self.peak / GIB + self.beside.high)


def memory(dims: Dims, one: Setup) -> Memory:
    """Give a rank's memory at its peak.

    Args:
        dims: of the model.
        one: how it is trained.
    """
    at = _fsdp2(dims, one) if one.sharding == "fsdp2" else _zero3(dims, one)
    totals = {moment: sum(parts.values()) for moment, parts in at.items()}
    moment = max(totals, key=lambda name: totals[name])
    peak = totals[moment] / GIB
    lost, context = assumed("memory.fragmentation"), assumed("memory.context_gib")
    beside = Range(peak * lost.low + context.low, peak * lost.high + context.high)
    return Memory(at[moment], moment, totals, beside)


def unwrapped(dims: Dims) -> int:
    """Parameters that no wrapped layer holds: embeddings, head, last norm, vision tower."""
    return dims.parameters - dims.layers * dims.layer


def _passes(dims: Dims, one: Setup) -> tuple[float, float, float]:
    """Give the bytes of kept inputs, of one layer's pass backwards, and of the loss."""
    stream = one.tokens * dims.hidden * one.compute
    kept = float(dims.layers * stream)
    work = layer_bytes(dims, one)
    if not one.checkpointing:
        # Every layer keeps what only one holds otherwise, less what its backward pass adds.
        kept = dims.layers * work * _KEPT
    # Beside the logits, the loss holds the last norm's input and output, in float32 as well.
    loss = one.tokens * dims.vocabulary * _LOGITS[one.loss] + _ENDS * stream
    return kept, work, loss


_KEPT = 0.75
_ENDS = 6


def _fsdp2(dims: Dims, one: Setup) -> dict[str, dict[str, float]]:
    kept, work, loss = _passes(dims, one)
    c, n = one.compute, one.ranks
    root, layer = unwrapped(dims) * c, dims.layer * c
    root_grads = float((dims.text - dims.layers * dims.layer) * c)
    base = {
        "weights": dims.parameters * one.stored / n,
        "optimiser": 2 * dims.text * one.stored / n,
    }
    whole = float(dims.text * c) if one.keeps_whole else 0.0
    scattered = dims.text * one.stored / n
    # Of the micro batches before.
    if one.accumulation > 1 and one.scatter_each:
        base["gradients, sharded"] = scattered
    outside, inside, grads = "gathered: not in any layer", "gathered: layers", "gradients, whole"
    # A group that is gathered exists as one flat buffer and as its weights; the buffer goes when
    # the next group comes. In the backward pass one more layer is fetched ahead, and a layer's
    # gradients exist as they are, in the order in which they are scattered, and on their way.
    return {
        "gather": {**base, grads: whole, outside: 2.0 * root},
        "loss": {
            **base, grads: whole, outside: 1.0 * root, inside: 2.0 * layer, "inputs kept": kept,
            "loss": loss,
        },
        "layer": {
            **base, grads: whole or root_grads + 3 * layer, outside: 1.0 * root,
            inside: 3.0 * layer, "inputs kept": kept, "one layer's activations": work,
        },
        "last layer": {
            **base, grads: root_grads + 3 * layer, "gradients, sharded": scattered,
            outside: 1.0 * root, inside: 3.0 * layer, "one layer's activations": work,
        },
        "reduce": {
            **base, grads: 2 * root_grads, "gradients, sharded": scattered, outside: 1.0 * root,
            inside: 2.0 * layer,
        },
        "update": {**base, "gradients, sharded": scattered, inside: 2.0 * layer},
    }  # fmt: skip


def _zero3(dims: Dims, one: Setup) -> dict[str, dict[str, float]]:
    kept, work, loss = _passes(dims, one)
    c, n = one.compute, one.ranks
    reduce, prefetch, live, sub_group = one.buckets
    share = dims.text / n
    master = 4 * share if c == 2 else 0.0  # in fp32 the weights are their own master copy
    base = {
        "weights": share * c, "fp32 master weights": master, "optimiser": 8 * share,
        "gradients, sharded": share * c, "buckets": 2.0 * reduce * c,
    }  # fmt: skip
    head = float(dims.head * c)
    inside = float(max(dims.layer, min(live, dims.layer + prefetch)) * c)
    outside, grads = "gathered: not in any layer", "gradients, whole"
    return {
        "loss": {
            **base, outside: head, grads: head, "gathered: layers": inside, "inputs kept": kept,
            "loss": loss,
        },
        "layer": {
            **base, outside: head, grads: float(dims.layer * c), "gathered: layers": inside,
            "inputs kept": kept, "one layer's activations": work,
        },
        "update": {**base, "fp32 gradients of a sub group": 4 * min(share, sub_group)},
    }  # fmt: skip
