"""Whether training computes in bfloat16 on a CPU: measured, since processors differ both ways.

With AVX512-BF16 or AMX a bfloat16 product takes half a float32 one's time or less; without, it is
emulated and takes twice as long. `train.bf16 = "auto"` asks this module, which times one product in
each; GPUs are not asked, every one that is trained on here has bfloat16.
"""

from __future__ import annotations

import copy
import functools
import time
from dataclasses import dataclass
from importlib.util import find_spec

from launch.run.recipe import Recipe
from launch.run.site import Site

#: Rows, inner channels and columns of the product: some milliseconds, so that a busy machine leaves
#: one of the tries alone.
SHAPE = (256, 576, 1536)
TRIES = 30
#: bfloat16 has to be this much faster: below it the exacter numbers are worth more.
WORTH = 1.2


@dataclass(frozen=True)
class Speeds:
    """GFLOP/s of one product on one thread."""

    float32: float
    bfloat16: float


@functools.cache
def measure() -> Speeds:
    """Time the product in both, by turns, in this thread's own processor time; the best counts.

    A third of a second, on a busy machine as on a quiet one.
    """
    import torch

    rows, inner, columns = SHAPE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    try:
        pairs = {
            dtype: (torch.ones(rows, inner, dtype=dtype), torch.ones(columns, inner, dtype=dtype))
            for dtype in best
        }
        for _ in range(TRIES):
            for dtype, (left, right) in pairs.items():
                began = time.thread_time()
                torch.nn.functional.linear(left, right)
                best[dtype] = min(best[dtype], time.thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    flop = 2 * rows * inner * columns
    return Speeds(*(flop / seconds / 1e9 for seconds in best.values()))


def settle(recipe: Recipe, site: Site) -> tuple[Recipe, list[str]]:
    """Put true or false in the place of `train.bf16 = "auto"`; gives a line that says why.

    Without bfloat16 the plugin that keeps float32 weights beside it has nothing to do, and goes.
    """
    train = recipe.table("train")
    if train.get("bf16") != "auto":
        return recipe, []
    bf16, why = True, f"site {site.name} has GPUs"
    if not site.gpus_per_node:
        if find_spec("torch") is None:
            bf16, why = False, "torch is not installed here, so it was not measured"
        else:
            found = measure()
            ratio = found.bfloat16 / found.float32
            bf16 = ratio >= WORTH
            why = (
                f"a product on one core of this processor: {found.float32:.0f} GFLOP/s in "
                f"float32, {found.bfloat16:.0f} in bfloat16, {ratio:.1f} times"
            )
    train = copy.deepcopy(train) | {"bf16": bf16}
    if not bf16:
        train["plugins"] = [p for p in train.get("plugins", []) if "MasterWeights" not in p]
    data = {**recipe.data, "train": train}
    settled = Recipe(recipe.name, data, recipe.lineage, recipe.settings)
    return settled, [f"bf16: {'on' if bf16 else 'off'}; {why}"]
