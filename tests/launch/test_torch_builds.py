"""Training with either build of torch for Linux, on a machine without a GPU.

PyPI's build has CUDA, and asks a driver that is not here; the index of CPU builds, which the
Makefile prefers, is not reached everywhere. The other build lies on top of the environment that
runs the tests, in a folder of its own.
"""

import hashlib
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("axolotl")
from short_training import configure, train

from launch.plan.torch_build import CONSTRAINTS, nvidia, pinned

pytestmark = [pytest.mark.slow, pytest.mark.gigabytes, pytest.mark.timeout(1800)]

_SAY = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"


def cuda_build(folder: Path) -> Path:
    """Install PyPI's build with what it needs into a folder, or skip."""
    version = pinned()
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-compile", "--no-cache-dir", "--only-binary", ":all:", "--target", str(folder),
         "-c", str(CONSTRAINTS), f"torch=={version},!={version}+cpu"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        pytest.skip(f"torch's build with CUDA cannot be had here: {said[-1] if said else ''}")
    return folder


def said(*first: Path) -> str:
    done = subprocess.run([sys.executable, "-c", _SAY], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(map(str, first))})  # fmt: skip
    return done.stdout.strip()


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "output" / "model.safetensors").read_bytes()).hexdigest()


def test_both_builds_train_to_the_same_weights(tmp_path: Path) -> None:
    if found := nvidia():
        pytest.skip(f"this is about machines without a GPU; {found} shows one")
    if "+cpu" not in metadata.version("torch"):
        pytest.skip("the environment's own torch is PyPI's: every slow test trains with it")
    other = cuda_build(tmp_path / "cuda")
    assert said(other) == f"{pinned()}+cu130 13.0 False"
    assert said() == f"{pinned()}+cpu None False"
    own, with_cuda = configure(tmp_path / "own"), configure(tmp_path / "with-cuda")
    train(own)
    train(with_cuda, other)
    shutil.rmtree(other)  # gigabytes, which pytest would keep for three runs
    assert weights(with_cuda) == weights(own)
