"""What the planner assumes: plan.toml as ranges, and what a site says of its hardware."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import structs

from kit.errors import KitError, nearest
from kit.files import read_toml
from kit.schema import Meta, Table, closed, convert
from launch.run.site import Site

FILE = Path(__file__).with_name("plan.toml")


@dataclass(frozen=True)
class Range:
    """What something is likely to be, from `low` to `high`."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The geometric mean: as many times above the low end as below the high one."""
        return math.sqrt(self.low * self.high)

    @property
    def width(self) -> float:
        """How many times the low end the high one is."""
        return self.high / self.low if self.low else math.inf

    def times(self, low: float, high: float | None = None) -> Range:
        """Give the range multiplied by a number, or by another range's ends."""
        return Range(self.low * low, self.high * (low if high is None else high))


class Assumption(Table):
    """One number that nobody knows exactly.

    Attributes:
        low, high: the ends of what is likely.
        rests: on what.
        why: in words.
    """

    low: float
    high: float
    rests: Literal["reported", "measured", "documented", "source", "guess"]
    why: str


#: Bytes for each token and channel of hidden, intermediate, q and kv, by model_type.
Layers = dict[str, tuple[float, float, float, float]]
Above = Annotated[float, Meta(gt=0)]


class Fitted(Table):
    """Of one layer, by the dtype that computes."""

    bf16: Layers
    fp32: Layers


@dataclass(frozen=True)
class Hardware:
    """What the planner has to know of a site.

    Attributes:
        title: of the GPU.
        memory_gib: of one GPU, as PyTorch sees it.
        tflops: dense bf16 peak of one GPU.
        link_gbps: GB/s between the GPUs of a node, one direction.
        network_gbps: GB/s into a node, all its network cards together.
        watts: of one GPU with what belongs to it, [low, high].
        storage_gbps: GB/s that all ranks together write; 0: not known.
        price: of one GPU-hour; 0: not known.
        currency: of the price.
    """

    title: str
    memory_gib: Above
    tflops: Above
    link_gbps: Above
    network_gbps: Above
    watts: Annotated[tuple[Above, Above], Meta(description="[low, high], numbers above 0")]
    storage_gbps: float = 0.0
    price: float = 0.0
    currency: str = ""


class Assumptions(Table):
    """plan.toml."""

    time: dict[str, Assumption]
    corpus: dict[str, Assumption]
    memory: dict[str, Assumption]
    storage: dict[str, Assumption]
    layer: Fitted
    parts: Fitted
    gpus: dict[str, dict[str, Any]]


@functools.cache
def table() -> Assumptions:
    """Give plan.toml."""
    what = "the planner's assumptions"
    return convert(read_toml(FILE, what), Assumptions, where=str(FILE), what=what)


def listed() -> dict[str, Assumption]:
    """Give every assumption that is a range, by its dotted name."""
    groups = ("time", "corpus", "memory", "storage")
    return {f"{g}.{leaf}": one for g in groups for leaf, one in getattr(table(), g).items()}


def assumed(name: str) -> Range:
    """Give an assumption by its dotted name, for example "time.utilisation"."""
    found = listed()[name]
    return Range(found.low, found.high)


#: What a profile's [hardware] may say, beside `gpu`.
KEYS = {f.name for f in fields(Hardware)}
#: What the planner cannot do without, where no known GPU brings it.
NEEDED = ("memory_gib", "tflops", "link_gbps", "network_gbps", "watts")


def hardware(site: Site) -> Hardware:
    """Give a site's hardware: the GPU that it names, with what it says itself on top.

    Raises:
        KitError: the profile has no [hardware], names an unknown GPU or key, or lacks a value.
    """
    own = dict(site.hardware)
    known = table().gpus
    if not own:
        raise KitError(
            f"site {site.name} does not say what its GPUs are",
            where=f"mfo site show {site.name}",
            cause="memory and time cannot be planned without it",
            fix=f'add to your profile: [hardware], gpu = "{next(iter(known))}" (or memory_gib, '
            "tflops, link_gbps, watts = [low, high]) and network_gbps, GB/s into a node",
        )
    where, gpu = f"site {site.name}, [hardware]", str(own.pop("gpu", ""))
    if gpu and gpu not in known:
        raise KitError(
            f"hardware.gpu is {gpu!r}; {nearest(gpu, known)}",
            where=where,
            fix=f"say its memory_gib, tflops, link_gbps and watts instead, or add it to {FILE}",
        )
    values = {"title": gpu or "GPU", **known.get(gpu, {}), **own}
    lacking = [key for key in NEEDED if key not in values]
    if lacking and not values.keys() - KEYS:  # else one of these was mistyped
        raise KitError(
            f"site {site.name} does not say {', '.join(lacking)} of its hardware",
            where=where,
            fix=f'add it to the profile; gpu = "{next(iter(known))}" would bring all but '
            "network_gbps",
        )
    return Hardware(
        **structs.asdict(convert(values, closed(Hardware), where=where, what="hardware"))
    )
