"""A package index of one folder: tiny real wheels for any architecture, written here."""

import base64
import hashlib
import tarfile
import tomllib
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import tomli_w

from containers.spec import SPEC, Spec, load

#: What the real spec wants the same in both images, beside torch.
SHARED = ("transformers", "tokenizers", "datasets", "accelerate", "openai", "submitit")
SEAMS = '[transformers]\nimages = ["train", "eval"]\n"transformers:version" = []\n'
AARCH64, X86 = "manylinux_2_28_aarch64", "manylinux_2_28_x86_64"


def wheel(
    folder: Path, name: str, version: str, tag: str = "any", requires: tuple[str, ...] = ()
) -> Path:
    """Write NAME-VERSION-py3-none-TAG.whl with one module in it."""
    flat = name.replace("-", "_")
    info = f"{flat}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
    files = {
        f"{flat}.py": f"version = {version!r}  # {tag}\n",
        f"{info}/METADATA": head + "".join(f"Requires-Dist: {r}\n" for r in requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-{tag}\n",
    }
    lines = []
    for path, text in files.items():
        found = (
            base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        )
        lines.append(f"{path},sha256={found},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    target = folder / f"{flat}-{version}-py3-none-{tag}.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
    return target


def source(folder: Path, name: str, version: str) -> Path:
    """Write a source distribution that cannot be asked anything: its setup.py wants torch."""
    flat = f"{name.replace('-', '_')}-{version}"
    files = {"PKG-INFO": f"Metadata-Version: 1.1\nName: {name}\nVersion: {version}\n",
             "setup.py": "import torch_that_is_not_here\n"}  # fmt: skip
    target = folder / f"{flat}.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{flat}/{path}")
            entry.size = len(text)
            archive.addfile(entry, BytesIO(text.encode()))
    return target


def publish(folder: Path) -> str:
    """Make a package index (PEP 503) of the files in a folder, and give its address."""
    pages: dict[str, str] = {}
    for file in sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")]):
        name = file.name.partition("-")[0].replace("_", "-")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        link = f'<a href="{file.as_uri()}#sha256={digest}">{file.name}</a>'
        pages[name] = pages.get(name, "<!DOCTYPE html>") + link
    for name, text in pages.items():
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
    return (folder / "simple").as_uri()


def torchlike(folder: Path) -> None:
    """Fill an index with stand-ins named as the packages that the invariants speak of."""
    cuda = ("nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cuda-runtime", "nvidia-nccl-cu13")
    for tag in (AARCH64, X86):
        for version in ("2.10.0", "2.13.0", "2.14.1"):
            needs = () if version == "2.10.0" and tag == AARCH64 else cuda
            wheel(folder, "torch", version, tag, needs)
        for name in cuda:
            wheel(folder, name, "13.0", tag)
    for name in (*SHARED, "flash-attn"):
        for version in ("1.0", "2.0", "2.8.3"):
            wheel(folder, name, version)
    for version in ("0.4.11", "0.4.13"):
        wheel(folder, "lm-eval", version)
    wheel(folder, "vllm", "0.30.0")
    wheel(folder, "only-x86", "1.0", X86)


def spec(room: Path, train: list[str], evaluate: list[str] | None = None) -> Spec:
    """Write a spec of small images with these requirements, rendered, and load it."""
    from containers import render

    data: dict[str, Any] = tomllib.loads(SPEC.read_text())
    common = [f"{name}==1.0" for name in SHARED]
    data["common"]["requirements"] = []
    data["source"] |= {"pure": [], "kernels": [], "metadata": {}}
    data["images"]["train"]["requirements"] = [*common, *train]
    data["images"]["eval"]["requirements"] = [*common, *(train if evaluate is None else evaluate)]
    room.mkdir(exist_ok=True)
    (room / "images.toml").write_text(tomli_w.dumps(data))
    (room / "seams.toml").write_text(SEAMS)
    found = load(room / "images.toml")
    render.write(found)
    return found
