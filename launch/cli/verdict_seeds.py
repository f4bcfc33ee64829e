"""Several runs of one recipe that differ in their seed, judged together: mfo verify RUN RUN …"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kit.errors import KitError
from launch.stages import judge

if TYPE_CHECKING:
    from checks.items import Item
    from launch.run.folder import Run

#: What `--seed` sets; runs may differ in these alone.
SEEDS = (("train", "seed"), ("train", "data_seed"), ("model", "seed"))


def derive(
    runs: Sequence[Run], changes: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, list[Item]]]:
    """Judge runs of one recipe as several seeds of one training.

    Args:
        runs: they differ in their seed alone.
        changes: as in :func:`launch.stages.judge.derive`.

    Returns:
        The verdict, and all items with their run's seed.

    Raises:
        KitError: the runs differ in more than their seed, in the questions that they were asked,
            or two have the same seed.
    """
    from checks.tables import load_table
    from checks.verdict import judge as decide

    first = runs[0]
    seeds: dict[int, Run] = {}
    for run in runs:
        _same(first, run)
        seed = run.recipe.table("train").get("seed")
        if not isinstance(seed, int):
            raise KitError(f"{run.name} does not say its training seed", where=str(run.path))
        if seed in seeds:
            raise KitError(
                f"{seeds[seed].name} and {run.name} have the same seed {seed}",
                cause="a training with the same seed is a repeat, not another seed",
                fix=f"mfo run {run.recipe.name} --seed N",
            )
        seeds[seed] = run
    asked = changes or {}
    table = load_table(asked.get("published") or first.recipe.table("published")["table"])
    items: dict[str, list[Item]] = {}
    for seed, run in sorted(seeds.items()):
        for name, group in judge.items(run, table).items():
            items.setdefault(name, []).extend(dataclasses.replace(i, seed=seed) for i in group)
    origin = {
        "runs": [run.name for run in runs],
        "recipe": first.recipe.name,
        "seeds": sorted(seeds),
        "kit": [run.spec["kit"] for run in runs],
        "weights": {run.name: run.facts("train").get("weights") for run in runs},
    }
    verdict = decide(
        items=items,
        table=table,
        **judge.changed(judge.case(first, asked), asked),
        base_items=judge.base_items(first, table),
        provenance=origin,
    )
    return verdict, items


def _same(first: Run, run: Run) -> None:
    """Refuse runs that differ in more than their seed."""
    left, right = _without_seeds(first), _without_seeds(run)
    for name in left.keys() | right.keys():
        if left.get(name) != right.get(name):
            raise KitError(
                f"{first.name} and {run.name} differ in [{name}], not only in their seed",
                where=str(run.path / "run.toml"),
                fix="judge them one by one: mfo verify RUN",
            )
    if judge.case(first) != judge.case(run):
        raise KitError(
            f"{first.name} and {run.name} were not asked the same questions",
            where=str(run.folder("evaluate") / "summary.json"),
            cause="a benchmark file that changed between the two",
            fix="score both again, or judge them one by one: mfo verify RUN",
        )


def _without_seeds(run: Run) -> dict[str, Any]:
    data = copy.deepcopy(run.recipe.data)
    for table, key in SEEDS:
        data.get(table, {}).pop(key, None)
    return data
