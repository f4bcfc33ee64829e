"""A recipe's training file against the one that upstream published, key by key.

Every difference has its reason beside it, as data: the table [departures] of the recipe, or of a
part that it is made of, says why by the key's name. What differs without a reason is a fault, and
so is a reason for what does not. A reason is text, or {to, why}: then for that value of ours alone.
Names of keys:

    learning_rate                     a value
    fsdp_config.offload_params        a value within a table
    datasets.*.type                   of every entry of a list of tables; equal values count once
    plugins.NAME                      one plugin
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.errors import KitError
from launch.inputs.upstream import pinned_file
from launch.run.recipe import Recipe
from launch.run.site import Site

#: Where upstream's training files are pinned, and what Apertus-70B's names without having it.
TABLE = "meditron"
ZERO_AT = ("meditron_apertus", "axolotl_config/deepspeed_zero_3.json")
_NAMED = ("plugins",)  # lists whose entries are keys of their own
ABSENT = "-"


@dataclass(frozen=True)
class Departure:
    """One key in which a recipe's training file differs from upstream's.

    Attributes:
        key: its name.
        theirs, ours: the values, ABSENT where one has none.
        reason: why, "" where nobody says.
    """

    key: str
    theirs: Any
    ours: Any
    reason: str


@dataclass(frozen=True)
class Comparison:
    """How a recipe departs from upstream's file.

    Attributes:
        found: the differences, in the order of upstream's file.
        equal: number of keys with equal values.
        stale: keys with a reason that do not differ.
    """

    found: tuple[Departure, ...]
    equal: int
    stale: tuple[str, ...]

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The keys that differ and have no reason."""
        return tuple(one.key for one in self.found if not one.reason)


def published_file(recipe: Recipe, site: Site, given: Path | None = None) -> dict[str, Any]:
    """Read the training file that upstream published for a recipe's model.

    Args:
        recipe: a full-size one, which names the file (`upstream_file`).
        site: in whose cache the pinned files lie.
        given: another copy of it, in place of the fetched one.

    Raises:
        KitError: the recipe has none, it was not fetched, or it is no training file.
    """
    if not recipe.data.get("upstream_file") or not recipe.table("shape")["gpus"]:
        raise KitError(
            f"upstream published no training file for {recipe.name}",
            where=f"recipe {recipe.name}",
            cause="it is a miniature, or a recipe of your own",
            fix=f"mfo recipe diff {recipe.lineage[0]} {recipe.name}",
        )
    path = given or pinned_file(site, TABLE, str(recipe.data["upstream_file"]))
    config = _read(path)
    if isinstance(config.get("deepspeed"), str) and given is None:
        config["deepspeed"] = _read(pinned_file(site, *ZERO_AT))
    return config


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise KitError(f"the training file cannot be read: {error}", where=str(path)) from None
    if not isinstance(config, dict):
        raise KitError("the training file is not a table of Axolotl keys", where=str(path))
    return config


def compare(recipe: Recipe, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Comparison:
    """Compare two training files, and look up each difference's reason in the recipe.

    Args:
        recipe: whose [departures] say why.
        theirs: upstream's file.
        ours: the recipe's, as it is resolved for the published number of GPUs.
    """
    reasons = dict(recipe.table("departures"))
    if isinstance(theirs.get("deepspeed"), str):  # names a file that is not at hand
        ours = {**ours, "deepspeed": ABSENT}
        reasons = {k: why for k, why in reasons.items() if not k.startswith("deepspeed.")}
    else:
        reasons.pop("deepspeed", None)
    left, right = flatten(theirs), flatten(ours)
    keys = list(dict.fromkeys([*left, *right]))
    pairs = {k: (left.get(k, ABSENT), right.get(k, ABSENT)) for k in keys}
    found = tuple(
        Departure(k, their, our, _reason(reasons.get(k, ""), our))
        for k, (their, our) in pairs.items()
        if not _same(their, our)
    )
    stale = tuple(key for key in reasons if key not in {one.key for one in found})
    return Comparison(found, len(keys) - len(found), stale)


def _reason(given: Any, ours: Any) -> str:
    """Give the reason for this value of ours; "" where it is for another."""
    if not isinstance(given, Mapping):
        return str(given)
    return str(given.get("why", "")) if _same(given.get("to"), ours) else ""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give a training file as one table, its keys named as this module's text says."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            out |= flatten(value, f"{name}.")
        elif isinstance(value, list) and key in _NAMED:
            out |= {f"{name}.{entry}": True for entry in value}
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            entries = [flatten(one) for one in value]
            for inner in dict.fromkeys(k for one in entries for k in one):
                values = [one.get(inner, ABSENT) for one in entries]
                same = all(_same(values[0], other) for other in values)
                out[f"{name}.*.{inner}"] = values[0] if same else values
        else:
            out[name] = value
    return out


def _same(one: Any, other: Any) -> bool:
    a, b = _number(one), _number(other)
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-6 as text; Axolotl takes it for the number that it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def shown(value: Any) -> str:
    """Give a value for people, in one line."""
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
