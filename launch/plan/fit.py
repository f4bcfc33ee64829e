"""The plan of a training: does it fit, how long, how much, and at which shape.

A plan is arithmetic on a recipe, a model's dimensions and a site's profile: nothing is asked of the
site, so it is there in a second, before a job is. What it assumes stands in plan.toml.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.errors import KitError
from launch.inputs import dims
from launch.inputs.dims import Dims
from launch.plan import duration as plan_time
from launch.plan.assume import Hardware, Range, hardware
from launch.plan.corpus import Corpus, Steps, corpus, steps
from launch.plan.memory import GIB, Memory, Setup, memory, setup
from launch.run import recipe as recipes
from launch.run.recipe import Recipe
from launch.run.site import Site, minutes

YES, TIGHT, NO = "yes", "tight", "no"
#: Nodes of the scaling curve: powers of two, to some thousand GPUs.
MOST_GPUS = 4096
#: Makes accelerate scatter FSDP2's gradients with every micro batch; not tried with Axolotl.
SCATTER = "train.accelerator_config={gradient_accumulation_kwargs={sync_each_batch=true}}"
#: A doubling of nodes pays where it divides the time by at least this.
PAYS = 1.5


@dataclass(frozen=True)
class Shape:
    """One way to spread a training over a site.

    Attributes:
        nodes, ranks: GPUs are ranks.
        setup: how it is trained there, micro batch and accumulation included.
        memory: of one rank.
        fits: "yes", "tight" (within the range of what is not known) or "no".
        time: of the whole training.
        jobs: how many jobs in a row, by the site's time limit.
    """

    nodes: int
    ranks: int
    setup: Setup
    memory: Memory
    fits: str
    time: plan_time.Time
    jobs: Range

    @property
    def words(self) -> str:
        """The shape in words."""
        return f"{self.nodes} node{'s' if self.nodes > 1 else ''}"


@dataclass(frozen=True)
class Plan:
    """Everything that `mfo plan` says.

    Attributes:
        chosen: the shape that was asked for.
        others: shapes of the scaling curve that keep the global batch, smallest first.
        smallest: the smallest shape that fits for sure; None where none does.
        most_ranks: ranks beyond which there are fewer packed sequences than ranks.
        limit_h: the site's time limit for training.
    """

    recipe: Recipe
    site: Site
    place: Hardware
    dims: Dims
    corpus: Corpus
    steps: Steps
    chosen: Shape
    others: list[Shape]
    smallest: Shape | None
    checkpoint: plan_time.Checkpoint
    limit_h: float

    @property
    def batch(self) -> int:
        """Packed sequences of one optimiser step."""
        return int(self.recipe.table("shape")["global_batch"])

    @property
    def most_ranks(self) -> int:
        """Ranks that get one packed sequence each: data parallelism ends there."""
        return self.batch

    @property
    def pays(self) -> Shape:
        """The largest shape to which every doubling of nodes paid (see PAYS)."""
        fitting = [s for s in self.others if s.fits != NO] or [self.chosen]
        last = fitting[0]
        for one in fitting[1:]:
            if one.nodes == 2 * last.nodes:
                if last.time.hours.middle / one.time.hours.middle < PAYS:
                    break
                last = one
        return last


def make(recipe: Recipe, site: Site, runs: Path | None = None) -> Plan:
    """Plan a recipe's training at a site, at the number of nodes that the site says.

    Args:
        recipe: with its settings.
        site: with the number of nodes that was asked for.
        runs: folder of runs in which a prepared corpus is looked for.

    Raises:
        KitError: the site has no GPUs or does not say what they are, the recipe's model has no
            dimensions, or the shape cannot keep the global batch (with those that can).
    """
    gpus = int(recipe.table("shape")["gpus"])
    if not gpus or not site.gpus_per_node:
        what = "site" if gpus else "recipe"
        name = site.name if gpus else recipe.name
        raise KitError(
            f"{what} {name} has no GPUs: there is nothing to plan",
            where=f"recipe {recipe.name}, site {site.name}",
            cause="memory, hours and energy are planned for GPUs",
            fix="mfo plan gemma-3-27b --site clariden; mfo run smoke walks the path in miniature",
        )
    place = hardware(site)
    size = corpus(recipe, site, runs)
    many = steps(recipe, size)
    model = dims.of(recipe)
    limit = minutes(site, "train") / 60

    def at(nodes: int, micro: int) -> Shape:
        ranks = nodes * site.processes_per_node
        one = setup(
            recipe.table("train"), ranks=ranks, micro=micro, accumulation=batch // (ranks * micro)
        )
        needs = memory(model, one)
        took = plan_time.time(
            model, one, place, many, gpus_per_node=site.processes_per_node, document=size.length
        )
        jobs = Range(math.ceil(took.hours.low / limit), math.ceil(took.hours.high / limit))
        return Shape(nodes, ranks, one, needs, fit(needs, place), took, jobs)

    batch = int(recipe.table("shape")["global_batch"])
    own = int(recipe.table("train")["micro_batch_size"])
    if not micros(batch, site.world_size, own):
        raise _cannot_keep(recipe, site, batch, own)
    all_shapes = [at(n, m) for n, m in _shapes(batch, own, site.processes_per_node)]
    chosen = at(site.nodes, micros(batch, site.world_size, own)[0])
    doubled = [s for s in all_shapes if s.nodes & (s.nodes - 1) == 0]
    first = {s.nodes: s for s in reversed(doubled)}  # of each number of nodes the first that it has
    sure = [s for s in all_shapes if s.fits == YES]
    return Plan(
        recipe, site, place, model, size, many, chosen, sorted(first.values(), key=_nodes),
        min(sure, key=_nodes) if sure else None,
        plan_time.checkpoint(model, chosen.setup, place), limit,
    )  # fmt: skip


def _nodes(shape: Shape) -> int:
    return shape.nodes


def micros(batch: int, ranks: int, own: int) -> list[int]:
    """Give the micro batches that keep a global batch over so many ranks, the best first.

    The recipe's own comes first; then smaller ones, the largest of them first; then larger ones.
    """
    found = [m for m in range(1, batch // ranks + 1) if batch % (ranks * m) == 0]
    return sorted(found, key=lambda m: (m != own, m > own, abs(m - own)))


def _shapes(batch: int, own: int, per_node: int) -> Iterator[tuple[int, int]]:
    for nodes in range(1, batch // per_node + 1):
        for micro in micros(batch, nodes * per_node, own):
            yield nodes, micro


def fit(needs: Memory, place: Hardware) -> str:
    """Say whether a rank fits into a GPU: "yes", "tight" or "no"."""
    if needs.gib.high <= place.memory_gib:
        return YES
    return TIGHT if needs.gib.low <= place.memory_gib else NO


def _cannot_keep(recipe: Recipe, site: Site, batch: int, own: int) -> KitError:
    per_node = site.processes_per_node
    kept = sorted({n for n, _ in _shapes(batch, own, per_node)})
    below = [n for n in kept if n < site.nodes][-1:]
    above = [n for n in kept if n > site.nodes][:1]
    near = " or ".join(f"--nodes {n}" for n in below + above) or "a site with fewer GPUs a node"
    beyond = site.world_size > batch
    return KitError(
        f"{site.nodes} nodes cannot keep the global batch of {batch} packed sequences",
        where=f"recipe {recipe.name}, site {site.name}",
        cause=f"{site.world_size} ranks are more than there are sequences in a step"
        if beyond
        else f"{batch} / {site.world_size} ranks is not a whole number",
        fix=near,
    )


# --- before a job is submitted -------------------------------------------------------------------


def guard(recipe: Recipe, site: Site, *, ignore: bool = False) -> list[str]:
    """Hold a run against its plan before anything is submitted; gives what is said of it.

    Args:
        recipe: as it will be run, with the micro batch that it will use.
        site: with the nodes that it will use.
        ignore: go on although memory does not fit, as the user said.

    Raises:
        KitError: memory does not fit even at the kind end of what is not known.
    """
    if site.scheduler != "slurm" or not site.gpus_per_node or not recipe.table("shape")["gpus"]:
        return []
    try:
        place = hardware(site)
    except KitError as error:
        if site.hardware:
            raise
        return [f"memory: not planned, {error.what}; {error.fix}"]
    try:
        model = dims.of(recipe)
    except KitError as error:  # a model that is trained all the same, as far as anyone knows
        return [f"memory: not planned, {error.what}: {error.cause or error.fix}"]
    train, batch = recipe.table("train"), int(recipe.table("shape")["global_batch"])
    micro = int(train["micro_batch_size"])
    one = setup(
        train, ranks=site.world_size, micro=micro,
        accumulation=max(1, batch // (site.world_size * micro)),
    )  # fmt: skip
    needs = memory(model, one)
    said = (
        f"{needs.gib.low:.0f} to {needs.gib.high:.0f} GiB a GPU are planned, {place.title} has "
        f"{place.memory_gib:g}"
    )
    fits = fit(needs, place)
    if fits == YES:
        return [f"memory: {said}"]
    ways = "; ".join(ways_out(make(recipe, site))) or "no shape of this site does"
    if fits == TIGHT or ignore:
        word = "tight" if fits == TIGHT else "does not fit, and you said --ignore-plan"
        return [f"memory: {word}: {said}. What fits: {ways}"]
    raise KitError(
        f"memory does not fit: {said}",
        where=f"recipe {recipe.name}, site {site.name}, {site.nodes} nodes, micro batch {micro}",
        cause=largest(needs),
        fix=f"{ways}. mfo plan {recipe.name} --site {site.name} shows why; --ignore-plan submits "
        "all the same",
    )


def largest(needs: Memory) -> str:
    """Name the two largest parts of a rank's memory."""
    parts = sorted(needs.parts.items(), key=lambda p: -p[1])[:2]
    return "the most: " + ", ".join(f"{name} {size / GIB:.1f} GiB" for name, size in parts)


def ways_out(plan: Plan) -> list[str]:
    """Give what to change so that memory fits, as command-line words, the smallest change first."""
    out = []
    here, own = plan.chosen, int(plan.recipe.table("train")["micro_batch_size"])
    if other := _variant(plan, "fast"):
        out.append(f"{plan.recipe.name}+fast at {here.words} ({_gib(other)})")
    if here.setup.keeps_whole:
        other = memory(plan.dims, replace(here.setup, scatter_each=True))
        if fit(other, plan.place) == YES:
            out.append(f"--set '{SCATTER}', not tried: scatters every time ({_gib(other)})")
    found = [s for s in _sure(plan) if s.nodes == here.nodes and s.setup.micro != here.setup.micro]
    if found:
        out.append(f"--set train.micro_batch_size={found[0].setup.micro} ({_gib(found[0].memory)})")
    if plan.smallest and plan.smallest.nodes != here.nodes:
        micro = plan.smallest.setup.micro
        more = f" --set train.micro_batch_size={micro}" if micro != own else ""
        out.append(
            f"--nodes {plan.smallest.nodes}{more}, the smallest that does "
            f"({_gib(plan.smallest.memory)})"
        )
    return out


def _gib(needs: Memory) -> str:
    return f"{needs.gib.low:.0f} to {needs.gib.high:.0f} GiB"


def _sure(plan: Plan) -> list[Shape]:
    shapes: list[Shape] = []
    for micro in micros(plan.batch, plan.chosen.ranks, plan.chosen.setup.micro):
        one = replace(
            plan.chosen.setup, micro=micro, accumulation=plan.batch // (plan.chosen.ranks * micro)
        )
        needs = memory(plan.dims, one)
        if fit(needs, plan.place) == YES:
            shapes.append(replace(plan.chosen, setup=one, memory=needs, fits=YES))
    return shapes


def _variant(plan: Plan, name: str) -> Memory | None:
    """Give the memory of a variant at the chosen shape, where it is there and fits."""
    if "+" in plan.recipe.name or name not in recipes.known_variants(plan.recipe):
        return None
    train = recipes.load(f"{plan.recipe.name}+{name}").table("train")
    one = plan.chosen.setup
    needs = memory(
        plan.dims,
        setup(train, ranks=one.ranks, micro=one.micro, accumulation=one.accumulation),
    )
    return needs if fit(needs, plan.place) == YES else None


def as_json(plan: Plan) -> dict[str, Any]:
    """Give a plan for programs: GiB, seconds, hours; ranges as [low, high]."""
    return {
        "recipe": plan.recipe.name, "site": plan.site.name, "gpu": plan.place.title,
        "gpu_memory_gib": plan.place.memory_gib, "parameters": plan.dims.parameters,
        "corpus": {
            "tokens": _ends(plan.corpus.tokens), "rows": plan.corpus.rows,
            "source": plan.corpus.source, "counted": plan.corpus.counted,
            "sequences": _ends(plan.steps.sequences), "steps": _ends(plan.steps.steps),
        },
        "global_batch": plan.batch, "time_limit_h": plan.limit_h,
        "chosen": _shape_json(plan.chosen), "shapes": [_shape_json(s) for s in plan.others],
        "smallest_that_fits": _shape_json(plan.smallest) if plan.smallest else None,
        "most_gpus": plan.most_ranks, "pays_to_nodes": plan.pays.nodes,
        "checkpoint": {
            "gb": plan.checkpoint.gb, "seconds": _ends(plan.checkpoint.seconds),
            "storage_known": plan.checkpoint.known,
        },
        "what_would_fit": ways_out(plan) if plan.chosen.fits != YES else [],
    }  # fmt: skip


def _ends(value: Range) -> list[float]:
    return [value.low, value.high]


def _shape_json(one: Shape) -> dict[str, Any]:
    return {
        "nodes": one.nodes, "gpus": one.ranks, "micro_batch": one.setup.micro,
        "accumulation": one.setup.accumulation, "fits": one.fits, "gib": _ends(one.memory.gib),
        "peak_at": one.memory.moment,
        "parts_gib": {k: v / GIB for k, v in one.memory.parts.items() if v},
        "step_s": _ends(one.time.step_s), "hours": _ends(one.time.hours),
        "gpu_hours": _ends(one.time.gpu_hours), "kwh": _ends(one.time.kwh),
        "cost": _ends(one.time.cost) if one.time.cost else None, "jobs": _ends(one.jobs),
    }  # fmt: skip
