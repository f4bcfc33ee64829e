"""Which of torch's builds this machine gets: asked by the Makefile before it installs anything.

    python -m launch.plan.torch_build [INDEX]

Prints pip's arguments on standard output, and on standard error one line of what was chosen and
why. torch for Linux comes in two builds: PyPI's brings NVIDIA's libraries, several gigabytes that
are of no use without a GPU; the index of PyTorch's own has one for the CPU, a tenth of that.

Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kit.errors import KitError
from launch.plan.node_probe import gpus

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
#: What TORCH_INDEX may be beside an address: whatever pip finds by itself.
PYPI = "pypi"
#: What an NVIDIA driver shows of itself; in a container only where the GPU was handed in.
DRIVER = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"))
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
#: Seconds that an index may take to answer, and pip to look at all that it is configured with.
_ANSWER_S, _PIP_S = 3, 30


@dataclass(frozen=True)
class Choice:
    """What pip is told, and what a person is told.

    Attributes:
        arguments: pip's, before the requirement.
        build: which one, and why.
        other: how another one is had.
    """

    arguments: tuple[str, ...]
    build: str
    other: str = f"make … TORCH_INDEX=URL, or TORCH_INDEX={PYPI}"


def choose(asked: str, version: str) -> Choice:
    """Choose a build of torch for this machine.

    Args:
        asked: TORCH_INDEX as it was given: an address, `pypi`, or "".
        version: of torch, as pinned.

    Raises:
        KitError: pip finds no such torch at all, and no index answers.
    """
    if there := installed(version):
        return Choice((), f"{there} is installed already", "make clean, then make … TORCH_INDEX=…")
    if asked == PYPI:
        return Choice((), f"what pip finds by itself, because TORCH_INDEX={PYPI}")
    if asked:
        return Choice(_extra(asked), "because TORCH_INDEX says so")
    if sys.platform != "linux":
        return Choice((), f"PyPI's build, which has no CUDA on {platform.system()}")
    if found := nvidia():
        return Choice((), f"PyPI's build with CUDA, because {found} shows an NVIDIA GPU")
    known = versions_at_hand()
    small = "the CPU build, because there is no NVIDIA GPU here"
    if f"{version}+cpu" in known:
        return Choice((), f"{small}; pip's configuration has its wheel at hand")
    # PIP_NO_INDEX keeps pip from every index, an extra one too.
    if not os.environ.get("PIP_NO_INDEX") and answers(f"{CPU_INDEX}/torch/"):
        return Choice(_extra(CPU_INDEX), small)
    if version not in known:
        raise KitError(
            f"pip finds no torch {version} for Python {platform.python_version()} on "
            f"{platform.machine()}",
            where="pip's configuration (pip config list)",
            cause="no network, or no wheel for this Python or processor",
            fix="make … TORCH_INDEX=URL of an index that has it, or PYTHON=/path/to/python3.11",
        )
    return Choice(
        (), "what pip finds by itself, because there is no NVIDIA GPU here, but the index of CPU "
        f"builds, {CPU_INDEX}, does not answer; PyPI's build runs here too and takes several GB"
    )  # fmt: skip


def _extra(index: str) -> tuple[str, ...]:
    return ("--extra-index-url", index)


def installed(version: str) -> str:
    """The torch of this environment where it is of the pinned version, whatever its build."""
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
    return found if found.partition("+")[0] == version else ""


def nvidia() -> str:
    """Name what shows an NVIDIA GPU on this machine; "" where nothing does."""
    for path in DRIVER:
        if path.exists():
            return str(path)
    return "nvidia-smi" if gpus()["count"] else ""


def versions_at_hand() -> set[str]:
    """The versions of torch that pip finds with its own configuration; empty where it fails."""
    words = [sys.executable, "-m", "pip", "index", "versions", "torch", "--retries", "0",
             "--timeout", str(_ANSWER_S), "--disable-pip-version-check"]  # fmt: skip
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=_PIP_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return set()
    listed = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
    return {word.strip() for word in listed[1].split(",")} if listed else set()


def answers(url: str) -> bool:
    """Whether an index answers, within seconds; a proxy of the environment is used, as pip does."""
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - CPU_INDEX
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def pinned() -> str:
    """The version of torch that constraints.txt pins."""
    found = re.search(r"^torch==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise KitError("constraints.txt pins no torch", where=str(CONSTRAINTS))
    return found[1]


def main() -> None:
    """Print pip's arguments, torch's pin among them, and what was chosen."""
    version = pinned()
    try:
        choice = choose(sys.argv[1] if len(sys.argv) > 1 else "", version)
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(*choice.arguments, f"torch=={version}")
    extra = f" from {choice.arguments[-1]}" if choice.arguments else ""
    print(f"torch {version}{extra}: {choice.build}; for another build: {choice.other}",
          file=sys.stderr)  # fmt: skip


if __name__ == "__main__":
    main()
