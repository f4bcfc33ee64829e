"""Shapes that the planner's tests plan for."""

from dataclasses import replace
from typing import Any

from launch.plan import fit as plan
from launch.plan import memory as plan_memory
from launch.run import recipe, site

FAMILY = ("apertus-70b", "olmo-2-32b", "gemma-3-27b", "eurollm-22b", "eurollm-9b", "apertus-8b")


def made(name: str, nodes: int = 8, where: str = "clariden") -> plan.Plan:
    return plan.make(recipe.load(name), replace(site.load(where), nodes=nodes))


def setup(**more: Any) -> plan_memory.Setup:
    base = {"sharding": "fsdp2", "ranks": 32, "micro": 1, "accumulation": 8, "length": 4096}
    return plan_memory.Setup(**{**base, **more})
