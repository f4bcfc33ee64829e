"""Renew a lock: `python -m containers.lock NAME --why WORDS`, the same as `mfo image lock`.

aarch64 is resolved first; x86-64 must then take the same versions. About a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tomli_w
from msgspec import structs

from containers import lockfile
from containers.spec import SPEC, Spec, load
from containers.uv import compile_pins
from kit.errors import KitError


@dataclass(frozen=True)
class Other:
    """A lock of other requirements than the spec's: a small image, to try the path itself.

    Attributes:
        folder: where it is written.
        requirements: as pip takes them.
        python: minor version.
        machines: architectures.
        keep: name -> version of what must come out so if it comes out at all.
    """

    folder: Path
    requirements: tuple[str, ...]
    python: str
    machines: tuple[str, ...]
    keep: Mapping[str, str] = field(default_factory=dict)


def renew(
    spec: Spec,
    name: str,
    why: str,
    *,
    upgrade: bool = False,
    other: Other | None = None,
    say: Callable[[str], None] = print,
) -> lockfile.Lock:
    """Resolve an image's requirements for every architecture and write its lock.

    Args:
        spec: the images.
        name: which of them.
        why: kept in lock.toml with the date.
        upgrade: take the newest of everything that is not pinned; without it, versions that the
            present lock holds stay where they can.
        other: another lock than the spec's, for a small image; None: the spec's own.
        say: called with a line for each step.

    Raises:
        KitError: no reason given, no solution, or no index.
    """
    if not why.strip():
        raise KitError("a lock is renewed for a reason", fix=f"mfo image lock {name} --why '…'")
    folder = other.folder if other else spec.locks / name
    image = spec.image(name)
    requirements = other.requirements if other else image.requirements
    python = other.python if other else spec.python
    machines = other.machines if other else tuple(spec.platforms)
    keep = {} if upgrade or other else _present(spec, folder)
    keep, history = {**keep, **(other.keep if other else {})}, _history(folder)
    parts: dict[str, dict[str, lockfile.Pin]] = {}
    for platform in map(spec.platform, machines):
        say(f"{name}, {platform.name}: asking the index")
        pins = compile_pins(spec, requirements, platform, python, keep=keep)
        keep = {**keep, **{n: p.version for n, p in pins.items()}}
        parts |= _split(spec, platform.name, pins)
        say(f"{name}, {platform.name}: {len(pins)} packages")
    facts = {
        "image": name,
        "python": python,
        "made_from": "other requirements" if other else spec.requirements_digest(name),
        "machines": list(machines),
        "renewed": [*history, {"date": datetime.now(UTC).date().isoformat(), "why": why.strip()}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, pins in parts.items():
        (folder / file).write_text(lockfile.text(pins), encoding="utf-8")
    (folder / "lock.toml").write_text(tomli_w.dumps(facts), encoding="utf-8")
    return lockfile.read(folder, spec.platforms)


def _split(
    spec: Spec, machine: str, pins: dict[str, lockfile.Pin]
) -> dict[str, dict[str, lockfile.Pin]]:
    """Give the lock's files for one architecture: name of the file -> its pins."""
    pure, kernels = set(spec.data.source.pure), set(spec.data.source.kernels)
    return {
        f"{machine}.txt": {n: p for n, p in pins.items() if n not in pure | kernels},
        f"{machine}.source.txt": {n: p for n, p in pins.items() if n in pure},
        f"{machine}.kernels.txt": {n: p for n, p in pins.items() if n in kernels},
    }


def _present(spec: Spec, folder: Path) -> dict[str, str]:
    """Versions to keep: those of the present lock that no requirement of the spec pins."""
    if not (folder / "lock.toml").is_file():
        return {}
    lock = lockfile.read(folder, spec.platforms)
    pinned = spec.image(folder.name).pins
    versions = {n: p.version for machine in lock.pins for n, p in lock.all(machine).items()}
    return {n: v for n, v in versions.items() if n not in pinned}


def _history(folder: Path) -> list[dict[str, str]]:
    if not (folder / "lock.toml").is_file():
        return []
    return [structs.asdict(one) for one in lockfile.read(folder, ()).facts.renewed]


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m containers.lock", description="Renew locks.")
    parser.add_argument("name", nargs="+")
    parser.add_argument("--why", required=True)
    parser.add_argument("--upgrade", action="store_true")
    parser.add_argument("--spec", type=Path, default=SPEC)
    given = parser.parse_args(arguments)
    try:
        spec = load(given.spec)
        for name in given.name:
            renew(spec, name, given.why, upgrade=given.upgrade)
    except KitError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
