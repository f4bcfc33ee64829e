"""W&B: offline unless there is a key, one run for training and verdict alike."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launch.run.folder import Run


def mode() -> str:
    """Give "online" where a key is there, else "offline"; WANDB_MODE wins."""
    chosen = os.environ.get("WANDB_MODE")
    return chosen or ("online" if has_key() else "offline")


def has_key() -> bool:
    """Whether W&B's key is in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import netrc

    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reason() -> str:
    """Say in words what `mode` chose, and why."""
    if os.environ.get("WANDB_MODE"):
        return f"W&B: {mode()}, as WANDB_MODE says"
    if mode() == "online":
        return "W&B: online, an API key is there"
    return "W&B: offline, no WANDB_API_KEY (later: mfo sync RUN)"


def run_id(name: str) -> str:
    """Give the id of a run in W&B: the same when it is resumed, so its curves stay one."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def axolotl_keys(recipe: str, name: str) -> dict[str, Any]:
    """Axolotl's W&B keys for a run."""
    return {
        "wandb_project": f"mfo-{recipe}",
        "wandb_name": name,
        "wandb_run_id": run_id(name),
        "wandb_mode": mode(),
    }


def environment(run_path: Path) -> dict[str, str]:
    """Keep W&B's files in the run's folder, and its console quiet."""
    return {
        "WANDB_MODE": mode(),
        "WANDB_DIR": str(run_path),
        "WANDB_RESUME": "allow",
        "WANDB_SILENT": "true",
        "WANDB_DISABLE_CODE": "true",
    }


def report(run: Run, verdict: dict[str, Any]) -> str:
    """Put recipe, hashes and verdict into the run's W&B record; gives what happened in words."""
    if mode() == "disabled":
        return "W&B: disabled"
    try:
        import wandb
    except ImportError:
        return "W&B: not installed, nothing was recorded"
    os.environ.update(environment(run.path))
    try:
        with wandb.init(
            project=f"mfo-{run.recipe.name}",
            name=run.name,
            id=run_id(run.name),
            resume="allow",
            dir=str(run.path),
            config={
                "kit": run.spec["kit"],
                "packages": run.packages("train"),
                "launcher_packages": run.spec["packages"],
                "images": run.images,
                "recipe": run.recipe.data,
                "settings": run.recipe.settings,
                "corpus_sha256": run.facts("corpus").get("sha256"),
                "weights_sha256": run.facts("train").get("weights"),
            },
        ) as record:
            record.summary["verdict"] = verdict["verdict"]
            for one in verdict["benchmarks"]:
                for key in ("observed", "published", "difference", "verdict"):
                    if one.get(key) is not None:
                        record.summary[f"{one['benchmark']}/{key}"] = one[key]
    except (wandb.errors.Error, OSError) as error:
        # A tracker that is down must not cost a verdict.
        return f"W&B: not recorded ({error})"
    return f"W&B: recorded, {mode()}"
