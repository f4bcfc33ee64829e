"""A lock on disk: a folder an image, with a file for each architecture and way of installing.

locks/<image>/
  lock.toml                  Python, what it was made from, when and why it was renewed
  <machine>.txt              packages that are installed from wheels
  <machine>.source.txt       packages that are built from source, in seconds
  <machine>.kernels.txt      packages that nvcc compiles, in a stage of their own

Each .txt is a requirements file that pip itself checks (`--require-hashes`): one `name==version`
and its sha256 hashes, nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kit.errors import KitError
from kit.files import read_toml
from kit.schema import Table, convert

PARTS = ("", ".source", ".kernels")
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[A-Za-z0-9.+!]+)")
_HASH = re.compile(r"--hash=sha256:(?P<hash>[0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One package: its normalised name, its version, and the sha256 of each file of it."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        """Give the lines of a requirements file."""
        lines = [f"{self.name}=={self.version}", *(f"--hash=sha256:{h}" for h in self.hashes)]
        return " \\\n    ".join(lines) + "\n"


def normal(name: str) -> str:
    """Give a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(text: str, where: str) -> dict[str, Pin]:
    """Read a requirements file with hashes.

    Args:
        text: its content; comments and blank lines are skipped.
        where: its name, for errors.

    Raises:
        KitError: a line is something else than a pin and its hashes, a package has no hash, or
            stands twice.
    """
    pins: dict[str, Pin] = {}
    joined = text.replace("\\\n", " ")
    for number, line in enumerate(joined.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        found = _PIN.fullmatch(words[0])
        hashes = [_HASH.fullmatch(word) for word in words[1:]]
        if not found or not all(hashes):
            raise KitError(
                f"entry {number} is not NAME==VERSION with sha256 hashes: {line.strip()[:80]!r}",
                where=where,
                cause="the lock was edited by hand, or cut",
                fix="mfo image lock NAME",
            )
        name, version = found["name"], found["version"]
        if not hashes:
            raise KitError(f"{name} has no hash", where=where, fix="mfo image lock NAME")
        if name in pins:
            raise KitError(f"{name} stands twice", where=where, fix="mfo image lock NAME")
        pins[name] = Pin(name, version, tuple(h["hash"] for h in hashes if h))
    return pins


class Renewal(Table):
    """When a lock was renewed, and why."""

    date: str
    why: str


class Facts(Table):
    """lock.toml: what a lock was made from."""

    python: str
    made_from: str
    machines: list[str]
    renewed: list[Renewal]
    image: str = ""


@dataclass(frozen=True)
class Lock:
    """One image's lock.

    Attributes:
        path: its folder.
        facts: lock.toml.
        pins: machine -> part ("", ".source", ".kernels") -> name -> Pin.
    """

    path: Path
    facts: Facts
    pins: dict[str, dict[str, dict[str, Pin]]]

    def all(self, machine: str) -> dict[str, Pin]:
        """Every package of one architecture."""
        return {n: p for part in self.pins[machine].values() for n, p in part.items()}

    @property
    def python(self) -> str:
        """Python's minor version that it was made for."""
        return self.facts.python

    def digest(self, machine: str) -> str:
        """Give the sha256 of what is installed on one architecture."""
        text = "".join(str(p) for _, p in sorted(self.all(machine).items()))
        return hashlib.sha256(text.encode()).hexdigest()


def read(folder: Path, machines: Iterable[str]) -> Lock:
    """Read an image's lock, with those of the architectures that it has.

    Raises:
        KitError: a file is missing or broken, or a package stands in two parts.
    """
    facts = _facts(folder)
    pins: dict[str, dict[str, dict[str, Pin]]] = {}
    for machine in machines:
        if machine not in facts.machines:
            continue
        pins[machine] = {part: _part(folder / f"{machine}{part}.txt") for part in PARTS}
        seen: set[str] = set()
        for part in pins[machine].values():
            if twice := seen & part.keys():
                raise KitError(f"{min(twice)} stands in two parts of the lock", where=str(folder))
            seen |= part.keys()
    return Lock(folder, facts, pins)


def _facts(folder: Path) -> Facts:
    file = folder / "lock.toml"
    if not file.is_file():
        raise KitError("there is no lock", where=str(file), fix="mfo image lock NAME")
    facts = read_toml(file, "lock.toml")
    return convert(facts, Facts, where=str(file), what="lock.toml", fix="mfo image lock NAME")


def _part(file: Path) -> dict[str, Pin]:
    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise KitError(
            f"the lock cannot be read: {said}", where=str(file), fix="mfo image lock NAME"
        ) from None


def text(pins: Mapping[str, Pin]) -> str:
    """Give the content of one part."""
    return "".join(str(pin) for _, pin in sorted(pins.items()))
