"""A real engine for the tests: its settings, and a small base image without a registry."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

SMALL = Path(__file__).parent / "small"
#: With this set, the parts that take many minutes run as well: emulated arm64, Apptainer.
EVERYTHING = os.environ.get("MFO_IMAGES") == "all"
#: Building takes minutes and a package index, so it is asked for: MFO_IMAGES=native, or all.
ASKED = os.environ.get("MFO_IMAGES") in ("native", "all")
_CODENAME = "bookworm"  # its Python is the small lock's


def settings(folder: Path) -> dict[str, str]:
    """Variables for an engine in a sandbox: runc and the host's network, as nested ones need."""
    conf = folder / "containers.conf"
    conf.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "host"\n'
        + ('[engine]\nruntime = "runc"\n' if shutil.which("runc") else "")
    )
    return {"CONTAINERS_CONF": str(conf)}


def base(machine: str) -> str:
    """Give a Debian base image for an architecture, made now if it is not here."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    tag = f"localhost/mfo-base:{_CODENAME}-{arch}"
    if subprocess.run(["podman", "image", "exists", tag]).returncode == 0:
        return tag
    if shutil.which("mmdebstrap") is None:
        pytest.skip(
            "no base image, and mmdebstrap is not installed here (apt-get install mmdebstrap)"
        )
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"mfo-base-{os.getpid()}"  # noqa: S108
    folder.mkdir()
    try:
        tar = folder / "base.tar"
        words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={arch}",
                 "--include=ca-certificates,python3-venv", _CODENAME, str(tar)]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Debian's archive gives no base image: {done.stderr.strip()[-200:]}")
        subprocess.run(["podman", "import", "--os", "linux", "--arch", arch, str(tar), tag],
                       check=True, capture_output=True)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tag


def missing() -> str:
    """Why no image can be built here; "" where one can."""
    if not ASKED:
        return "real images are built on demand: MFO_IMAGES=native pytest -m images"
    if shutil.which("podman") is None:
        return "podman is not installed here (apt-get install podman buildah runc mmdebstrap)"
    probe = subprocess.run(["podman", "info"], capture_output=True, text=True)
    if probe.returncode:
        return f"podman does not work here: {probe.stderr.strip()[-200:]}"
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"the small lock has nothing for {platform.machine()}"
    return ""
