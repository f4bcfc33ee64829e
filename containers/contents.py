"""What really is in an image: its file system is read, nothing in it is run."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import IO

from containers.lockfile import Pin, normal
from kit.errors import KitError

#: Brought by Python's venv itself, and no part of a lock.
OF_VENV = ("pip",)
_LARGEST = 2**20
#: Straight in site-packages: what a package carries inside itself (setuptools does) is its own.
_METADATA = re.compile(r"\.?/?opt/venv/lib/python[0-9.]+/site-packages/[^/]+\.dist-info/METADATA")


@dataclass(frozen=True)
class Package:
    """An installed package by its own metadata: name, version, licence ("" if it says none)."""

    name: str
    version: str
    licence: str


def of_image(engine: str, image: str) -> dict[str, Package]:
    """Read an image's installed packages from its file system.

    Raises:
        KitError: the engine could not give it.
    """
    if engine == "buildah":
        return _buildah(image)
    made = subprocess.run([engine, "create", image, "true"], capture_output=True, text=True)
    if made.returncode:
        raise KitError(f"the image cannot be opened: {made.stderr.strip()[-300:]}", where=image)
    name = made.stdout.strip().splitlines()[-1]
    try:
        with subprocess.Popen([engine, "export", name], stdout=subprocess.PIPE) as process:
            if process.stdout is None:
                raise KitError("the engine gave no file system", where=image)
            found = packages(process.stdout)
        if process.returncode:
            raise KitError("the image's file system was cut short", where=image)
        return found
    finally:
        subprocess.run([engine, "rm", "--force", name], capture_output=True)


def _buildah(image: str) -> dict[str, Package]:
    made = subprocess.run(
        ["buildah", "from", "--pull-never", image], capture_output=True, text=True
    )
    if made.returncode:
        raise KitError(f"the image cannot be opened: {made.stderr.strip()[-300:]}", where=image)
    name = made.stdout.strip().splitlines()[-1]
    try:
        root = subprocess.run(["buildah", "mount", name], capture_output=True, text=True)
        if root.returncode:
            raise KitError(
                f"the image cannot be mounted: {root.stderr.strip()[-300:]}", where=image
            )
        files = Path(root.stdout.strip()).glob(
            "opt/venv/lib/python*/site-packages/*.dist-info/METADATA"
        )
        return _by_name(package(f.read_text(encoding="utf-8", errors="replace")) for f in files)
    finally:
        subprocess.run(["buildah", "rm", name], capture_output=True)


def packages(stream: IO[bytes]) -> dict[str, Package]:
    """Read installed packages from a file system as a tar stream."""
    found = []
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if _METADATA.fullmatch(member.name) and member.size < _LARGEST:
                file = archive.extractfile(member)
                if file is not None:
                    found.append(package(file.read().decode("utf-8", errors="replace")))
    return _by_name(found)


def package(metadata: str) -> Package:
    """Read one package's METADATA."""
    said = HeaderParser().parsestr(metadata)
    licence = said["License-Expression"] or ""
    if not licence:
        classified = [c.split(" :: ")[-1] for c in said.get_all("Classifier", [])
                      if c.startswith("License ::")]  # fmt: skip
        licence = " AND ".join(sorted(set(classified))) or (said["License"] or "").split("\n")[0]
    return Package(normal(said["Name"] or ""), said["Version"] or "", licence.strip()[:120])


def _by_name(found: Iterable[Package]) -> dict[str, Package]:
    return {p.name: p for p in found if p.name}


def hold_against(
    found: Mapping[str, Package], pins: Mapping[str, Pin], brought: Mapping[str, str]
) -> None:
    """Hold what is installed against the lock, and against what was brought beside it.

    Args:
        found: what is in the image.
        pins: the lock's packages.
        brought: name -> version of the wheels that the build was given.

    Raises:
        KitError: a package is missing, of another version, or not in the lock.
    """
    wanted = {**{n: p.version for n, p in pins.items()}, **brought}
    said = [f"{n} is missing" for n in wanted if n not in found]
    said += [f"{n} is {found[n].version}, not {version}" for n, version in wanted.items()
             if n in found and found[n].version != version]  # fmt: skip
    said += [f"{n} is not in the lock" for n in found if n not in wanted and n not in OF_VENV]
    if said:
        raise KitError(
            f"the image does not hold what the lock says: {'; '.join(sorted(said)[:6])}",
            cause="the base image brought packages, or a build step installed others",
            fix="the image is not to be used; mfo image build … --no-cache",
        )
