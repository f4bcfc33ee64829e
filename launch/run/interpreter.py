"""The interpreter of each stage where no container brings one.

Axolotl 0.19 pins lm-evaluation-harness 0.4.11, which cannot import vLLM 0.30; the two images carry
different versions, and so do the two environments here: the one that runs mfo, and the serve
environment that `make serve-cpu` sets up. A stage that evaluates with vLLM runs in the second.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import KitError
from launch.run.recipe import ROOT

if TYPE_CHECKING:
    from launch.run.recipe import Recipe
    from launch.run.site import Site

#: Names the serve environment where it is not the checkout's own.
VARIABLE = "MFO_SERVE_VENV"
#: Where `make serve-cpu` puts it.
OWN = ROOT / ".venv-serve"
_VERSIONS = """
import json, platform, sys
from importlib import metadata
out = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        out[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(out))
"""


def of(recipe: Recipe, site: Site, stage: str) -> str:
    """Give the interpreter of a stage; "": the one that runs mfo, or the container's.

    Args:
        recipe: whose eval.backend asks for vLLM, or not.
        site: whose `pythons` win over what is found here.
        stage: name of the stage.

    Raises:
        KitError: the stage needs vLLM, and no environment here has it.
    """
    if site.runtime != "none":
        return ""
    if given := site.pythons.get(stage):
        return _there(Path(given).expanduser(), f"site {site.name}, pythons.{stage}")
    wants_vllm = stage == "evaluate" and recipe.table("eval")["backend"] == "vllm"
    if not wants_vllm or find_spec("vllm") is not None:
        return ""
    return _there(serving(), VARIABLE if os.environ.get(VARIABLE) else "eval.backend = vllm")


def serving() -> Path:
    """Give the interpreter of the serve environment, whether or not it is there."""
    named = os.environ.get(VARIABLE)
    return ((Path(named).expanduser() if named else OWN) / "bin" / "python").absolute()


def _there(python: Path, where: str) -> str:
    if not python.is_file():
        raise KitError(
            "vLLM is in no environment of this machine",
            where=where,
            cause=f"it is not installed here, and there is no {python}",
            fix="make serve-cpu, for vLLM without a GPU; with GPUs a site with the eval image; or "
            "--set eval.backend=hf",
        )
    return str(python)


def versions(python: str, packages: Iterable[str]) -> dict[str, str]:
    """Ask an interpreter for the versions of packages, and its own; what it lacks is left out.

    Raises:
        KitError: it cannot be run.
    """
    try:
        done = subprocess.run(
            [python, "-c", _VERSIONS, *packages],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return dict(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise KitError(
            "the interpreter of stage evaluate cannot be run",
            where=python,
            cause=said[-1][:300] if said else type(error).__name__,
            fix=f"rm -r {Path(python).parents[1]}; then make serve-cpu",
        ) from None
