"""What the planner assumes: plan.toml as ranges, and what a site says of its hardware."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kit.errors import KitError, nearest
from kit.toml import read_toml
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


@functools.cache
def table() -> dict[str, Any]:
    """Give plan.toml."""
    return read_toml(FILE, "the planner's assumptions")


def assumed(name: str) -> Range:
    """Give an assumption by its dotted name, for example "time.utilisation"."""
    group, _, leaf = name.partition(".")
    found = table()[group][leaf]
    return Range(float(found["low"]), float(found["high"]))


def listed() -> dict[str, Mapping[str, Any]]:
    """Give every assumption that is a range, by its dotted name."""
    return {
        f"{group}.{leaf}": entry
        for group, entries in table().items()
        for leaf, entry in entries.items()
        if isinstance(entry, Mapping) and "low" in entry
    }


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
    memory_gib: float
    tflops: float
    link_gbps: float
    network_gbps: float
    watts: tuple[float, float]
    storage_gbps: float = 0.0
    price: float = 0.0
    currency: str = ""


#: What a profile's [hardware] may say.
KEYS = ("gpu", *(f.name for f in fields(Hardware)))
#: What the planner cannot do without, where no known GPU brings it.
NEEDED = ("memory_gib", "tflops", "link_gbps", "network_gbps", "watts")


def hardware(site: Site) -> Hardware:
    """Give a site's hardware: the GPU that it names, with what it says itself on top.

    Raises:
        KitError: the profile has no [hardware], names an unknown GPU or key, or lacks a value.
    """
    own = dict(site.hardware)
    known = table()["gpus"]
    if not own:
        raise KitError(
            f"site {site.name} does not say what its GPUs are",
            where=f"mfo site show {site.name}",
            cause="memory and time cannot be planned without it",
            fix=f'add to your profile: [hardware], gpu = "{next(iter(known))}" (or memory_gib, '
            "tflops, link_gbps, watts = [low, high]) and network_gbps, GB/s into a node",
        )
    for key in own:
        if key not in KEYS:
            raise KitError(f"hardware has an unknown key {key!r}; {nearest(key, KEYS)}",
                           where=f"site {site.name}")  # fmt: skip
    gpu = str(own.pop("gpu", ""))
    if gpu and gpu not in known:
        raise KitError(
            f"hardware.gpu is {gpu!r}; {nearest(gpu, known)}",
            where=f"site {site.name}",
            fix=f"say its memory_gib, tflops, link_gbps and watts instead, or add it to {FILE}",
        )
    values = {"title": gpu or "GPU", **known.get(gpu, {}), **own}
    lacking = [key for key in NEEDED if key not in values]
    if lacking:
        raise KitError(
            f"site {site.name} does not say {', '.join(lacking)} of its hardware",
            where=f"site {site.name}, [hardware]",
            fix=f'add it to the profile; gpu = "{next(iter(known))}" would bring all but '
            "network_gbps",
        )
    try:
        low, high = (float(v) for v in values.pop("watts"))
        title, currency = str(values.pop("title")), str(values.pop("currency", ""))
        numbers = {k: float(v) for k, v in values.items()}
        if min(low, high, *(numbers[k] for k in NEEDED if k in numbers)) <= 0:
            raise ValueError("a value is not above 0")
    except (TypeError, ValueError) as error:
        raise KitError(
            f"hardware of site {site.name} cannot be used: {error}",
            where=f"site {site.name}, [hardware]",
            fix="numbers above 0; watts takes [low, high]",
        ) from None
    return Hardware(title=title, currency=currency, watts=(low, high), **numbers)
