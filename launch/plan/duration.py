"""Time of an optimiser step and of a whole training, from FLOPs and from what is communicated.

All are ranges between a slow and a fast end of plan.toml's assumptions. FLOPs are counted as
computed: with checkpointing each layer's forward pass counts twice (8 for each weight and token in
place of 6) or more, and utilisation is the share of the peak that such FLOPs reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from launch.inputs.dims import Dims
from launch.plan.assume import Hardware, Range, assumed
from launch.plan.corpus import Steps
from launch.plan.memory import Setup, unwrapped

GB = 1e9


@dataclass(frozen=True)
class Traffic:
    """What one rank takes part in, for one optimiser step.

    Attributes:
        gathered: bytes of all-gathers.
        scattered: bytes of reduce-scatters.
        collectives: how many there are.
    """

    gathered: float
    scattered: float
    collectives: int

    @property
    def bytes(self) -> float:
        """Both together."""
        return self.gathered + self.scattered


@dataclass(frozen=True)
class Time:
    """A training's time and cost.

    Attributes:
        compute_s, network_s: of one optimiser step, each for itself.
        step_s: of one optimiser step, as far as the two hide each other.
        hours: of the whole training, start and end included.
        gpu_hours: hours times GPUs.
        kwh: energy of the GPUs with what belongs to them.
        cost: in the site's currency; None where it names no price.
        bound: what the step waits for at the fast end: "computing" or "the network".
    """

    compute_s: Range
    network_s: Range
    step_s: Range
    hours: Range
    gpu_hours: Range
    kwh: Range
    cost: Range | None
    bound: str


def traffic(dims: Dims, one: Setup) -> Traffic:
    """Give the bytes that one rank's collectives move in one optimiser step.

    FSDP2 gathers each layer for the forward and again for the backward pass of every micro batch,
    what is in no layer once; gradients are scattered once, with the last micro batch (accelerate's
    `no_sync`), or with each where it was told so. ZeRO-3 gathers alike and scatters with each.
    """
    layers, root = dims.layers * dims.layer * one.compute, unwrapped(dims) * one.compute
    per_micro = 2.0 * layers + root
    groups = dims.layers + 1
    scatters = 1 if one.sharding == "fsdp2" and not one.scatter_each else one.accumulation
    return Traffic(
        gathered=per_micro * one.accumulation,
        scattered=float(dims.text * one.compute * scatters),
        collectives=(2 * dims.layers + 1) * one.accumulation + groups * scatters,
    )


def network_s(volume: Traffic, ranks: int, bandwidth: float) -> Range:
    """Give the seconds of an optimiser step's collectives, nothing hidden.

    Args:
        volume: what is moved.
        ranks: that take part.
        bandwidth: GB/s that a ring over them could reach.
    """
    if ranks == 1:
        return Range(0.0, 0.0)
    share, hop = assumed("time.bandwidth"), assumed("time.hop_us")
    moved = volume.bytes * (ranks - 1) / ranks / GB / bandwidth
    hops = volume.collectives * (ranks - 1) / 1e6
    return Range(moved / share.high + hops * hop.low, moved / share.low + hops * hop.high)


def recomputed(dims: Dims, one: Setup) -> float:
    """Give how often the layers' forward pass is computed again.

    Under a checkpoint of its own, a part is computed again only as far as something was kept of it
    (torch 2.13.0, utils/checkpoint.py, early stop): not its last product, which is the projection
    of attention's output, and of the MLP's.
    """
    if not one.checkpointing:
        return 0.0
    last = dims.hidden * (dims.heads * dims.head_dim + dims.intermediate)
    return 2.0 - last / dims.matrices if one.parts else 1.0


def time(
    dims: Dims, one: Setup, place: Hardware, steps: Steps, *, gpus_per_node: int, document: float
) -> Time:
    """Give a training's time at a shape.

    Args:
        dims: of the model.
        one: how it is trained, with its shape.
        place: the GPUs and what connects them.
        steps: of the whole training.
        gpus_per_node: ranks that share a node.
        document: tokens of a document on average; 0: as long as the packed sequence.
    """
    length = min(document or one.length, one.length)
    per_step = (
        one.tokens * one.accumulation * dims.flops_token(length, recomputed=recomputed(dims, one))
    )
    use = assumed("time.utilisation")
    peak = place.tflops * 1e12
    compute = Range(per_step / peak / use.high, per_step / peak / use.low)
    within = one.ranks <= gpus_per_node
    # A ring enters and leaves each node once, over all of its network cards together.
    bandwidth = place.link_gbps if within else min(place.link_gbps, place.network_gbps)
    network = network_s(traffic(dims, one), one.ranks, bandwidth)
    hidden = assumed("time.overlap")
    step = Range(
        _together(compute.low, network.low, hidden.high),
        _together(compute.high, network.high, hidden.low),
    )
    around = assumed("time.around_min")
    hours = Range(
        steps.steps.low * step.low / 3600 + around.low / 60,
        steps.steps.high * step.high / 3600 + around.high / 60,
    )
    gpu_hours = hours.times(one.ranks)
    watts = place.watts
    return Time(
        compute, network, step, hours, gpu_hours,
        kwh=gpu_hours.times(watts[0] / 1000, watts[1] / 1000),
        cost=gpu_hours.times(place.price) if place.price else None,
        bound="the network" if network.low > compute.low else "computing",
    )  # fmt: skip


def _together(compute: float, network: float, hidden: float) -> float:
    """Give the seconds of a step of which a share of the communication may hide."""
    return compute + max(0.0, network - min(network * hidden, compute))


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint costs.

    Attributes:
        gb: weights and optimiser state, 10^9 bytes.
        seconds: to write it.
        known: whether the site says how fast its storage is.
    """

    gb: float
    seconds: Range
    known: bool


def checkpoint(dims: Dims, one: Setup, place: Hardware) -> Checkpoint:
    """Give the size of a checkpoint, weights and optimiser, and the time to write it."""
    if one.sharding == "fsdp2":
        size = (dims.parameters + 2 * dims.text) * one.stored
    else:
        size = dims.text * (one.compute + (12 if one.compute == 2 else 8))
    speed = assumed("storage.write_gbps")
    if place.storage_gbps:
        speed = Range(place.storage_gbps, place.storage_gbps)
    return Checkpoint(
        size / GB, Range(size / GB / speed.high, size / GB / speed.low), bool(place.storage_gbps)
    )
