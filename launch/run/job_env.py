"""What every stage's process gets from the kit, beside what the site's profile says.

As upstream's scripts have it: no packages of the user's own, compiled kernels and data sets in a
cache that the container sees, vLLM's workers spawned, and as many open files as the system allows.

Not set, though upstream's script exports it: ACCELERATE_DEEPSPEED_ZERO3_INIT=false. With ZeRO-3
Axolotl writes "true" over it before accelerate reads it (setup_deepspeed_env in utils/trainer.py,
in 0.12.2, which upstream's Dockerfile names, as in 0.19.0), and transformers asks the configuration
and not the variable. So it had no effect, and the model is built in shards: whole on each rank it
would be 141 GB of bfloat16 weights, 564 GB on a node of four.
"""

from __future__ import annotations

import resource
import site as interpreter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.run.site import Site

#: As upstream's `ulimit -n`: a packed corpus, shards and sockets of many ranks are many files.
OPEN_FILES = 65_535
#: Without it no stage starts; where it is found says which packages a stage would use.
_NEEDED = "submitit"


def variables(site: Site, stage: str) -> dict[str, str]:
    """Give the environment of a stage: the kit's, and over it the site's own.

    Args:
        site: where it runs; `environment` of its profile wins.
        stage: corpus, train, evaluate or judge.
    """
    out = {} if uses_user_site(site) else {"PYTHONNOUSERSITE": "1"}
    if site.scheduler == "slurm":  # a container has no home, or one on a quota
        out["TRITON_CACHE_DIR"] = str(site.cache_path / "triton")
        out["HF_DATASETS_CACHE"] = str(site.cache_path / "datasets")
    if stage == "evaluate" and site.gpus_per_node:
        out["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # a forked worker cannot use CUDA again
    return {**out, **site.environment}


def uses_user_site(site: Site) -> bool:
    """Whether the kit itself was installed for this user alone (pip install --user)."""
    found = find_spec(_NEEDED) if site.runtime == "none" and not site.python else None
    if found is None or not found.origin:
        return False
    return Path(found.origin).is_relative_to(interpreter.getusersitepackages())


def describe(site: Site) -> list[str]:
    """Say what of it is a choice, and why."""
    if uses_user_site(site):
        return ["packages of your own (pip install --user): used, because the kit's are among them"]
    return [
        "packages of your own (pip install --user): not used by stages, as in upstream's script; "
        'PYTHONNOUSERSITE = "" under [environment] of the site lets them in'
    ]


def raise_open_files() -> str:
    """Let this process and its children open as many files as the system allows, up to OPEN_FILES.

    Returns:
        What was done, in words.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= top:
        return f"open files: {_number(soft)} are allowed"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    except (OSError, ValueError) as error:
        return f"open files: {_number(soft)} are allowed; more were refused ({error})"
    return f"open files: {_number(top)} are allowed, raised from {_number(soft)}"


def _number(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else f"{limit:,}"
