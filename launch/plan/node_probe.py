"""What one node is like: run by `mfo doctor` on each of them, prints one line of JSON.

    python -m launch.plan.node_probe [--image=NAME] FOLDER [FOLDER ...]

Standard library only: it must also run where the image lacks what a run needs, and say so.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: What a stage imports first.
MODULES = ("submitit", "torch", "axolotl", "lm_eval")
MARK = "MFO-PROBE "
_WRITE_MIB = 32


#: Where the kit's images hold their own test.
SELFTEST = Path("/opt/mfo/selftest.py")
_SELFTEST_S = 480


def probe(folders: list[str], image: str = "") -> dict[str, Any]:
    """Look at this node; nothing here raises.

    Args:
        folders: that a run writes to.
        image: name of the kit's image that this should run in; "": none.
    """
    return {
        "selftest": selftest(image) if image else {},
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "time": time.time(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "modules": {name: find_spec(name) is not None for name in MODULES},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "gpus": gpus(),
        "folders": {folder: write(Path(folder)) for folder in folders},
        "tokens": {n: n in os.environ for n in ("HF_TOKEN", "WANDB_API_KEY")},
    }


def selftest(image: str) -> dict[str, Any]:
    """Let the image test itself: {"results": [...]}, or {"error": why it did not}."""
    if not SELFTEST.is_file():
        return {"error": f"there is no {SELFTEST}: not an image of this kit"}
    with tempfile.TemporaryDirectory(prefix="mfo-doctor-") as name:
        file = Path(name) / "selftest.json"
        # Not the training step and not vLLM: they take minutes on each node. Nor the seams, which
        # the doctor looks at on one node, for both images.
        checks = ("machine", "versions", "cuda", "gpu", "attention", "all-reduce")
        words = [sys.executable, str(SELFTEST), "--image", image, "--json", str(file)]
        words += [w for check in checks for w in ("--only", check)]
        try:
            subprocess.run(words, capture_output=True, timeout=_SELFTEST_S)
            return {"results": json.loads(file.read_text(encoding="utf-8"))["results"]}
        except subprocess.TimeoutExpired:
            return {"error": f"not done within {_SELFTEST_S} s"}
        except (OSError, ValueError, KeyError) as error:
            return {"error": f"{type(error).__name__}: it left no results"}


def gpus() -> dict[str, Any]:
    """Count GPUs and give the driver's version as nvidia-smi says them."""
    if shutil.which("nvidia-smi") is None:
        return {"count": 0, "driver": ""}
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"count": 0, "driver": "", "error": str(error)}
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return {"count": len(lines) if done.returncode == 0 else 0, "driver": lines[0] if lines else ""}


def write(folder: Path) -> dict[str, Any]:
    """Write some MiB and give the speed in MB/s, or why it did not work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".mfo-doctor-") as file:
            begun = time.perf_counter()
            file.write(os.urandom(1 << 20) * _WRITE_MIB)
            file.flush()
            os.fsync(file.fileno())
            took = time.perf_counter() - begun
    except OSError as error:
        return {"error": error.strerror or str(error)}
    return {"free": free, "mb_s": round(_WRITE_MIB * 1.048576 / took)}


if __name__ == "__main__":
    # One write, so that lines of several nodes never mix.
    given = sys.argv[1:]
    named = given.pop(0).partition("=")[2] if given and given[0].startswith("--image=") else ""
    os.write(1, (MARK + json.dumps(probe(given, named)) + "\n").encode())
