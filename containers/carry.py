"""A lock's files in one folder, to be carried to where there is no index: `mfo image fetch`.

Wheels come by pip, which checks every sha256; another architecture's need no emulation. Sources are
downloaded as they are: pip would run each one's setup.py to learn its name, and flash-attn's wants
torch for that.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlparse
from urllib.request import urlopen

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from containers.lockfile import Lock, Pin, text
from containers.spec import Platform
from containers.uv import source_files
from kit.errors import KitError
from kit.files import replacing, sha256_file

_LIMIT_S = 120
_OLDEST_GLIBC = 5
_PLATFORM = re.compile(r"(?P<machine>[a-z0-9_]+)-manylinux_2_(?P<glibc>\d+)")


def fetch(lock: Lock, platform: Platform, folder: Path, say: Callable[[str], None]) -> int:
    """Download every file of a lock for one architecture; gives how many are there.

    Args:
        lock: whose files.
        platform: for which architecture.
        folder: made if it is missing; files that are there already are kept.
        say: called with a line for each step.

    Raises:
        KitError: the lock has nothing for it, a hash is wrong, or the index is out of reach.
    """
    if platform.name not in lock.pins:
        raise KitError(f"the lock has nothing for {platform.name}", where=str(lock.path))
    folder.mkdir(parents=True, exist_ok=True)
    parts = lock.pins[platform.name]
    if wheels := parts[""]:
        say(f"{platform.name}: {len(wheels)} wheels")
        file = folder / ".wheels.txt"
        file.write_text(text(wheels), encoding="utf-8")
        try:
            _pip([*_target(lock, platform), "--requirement", str(file), "--dest", str(folder)],
                 platform)  # fmt: skip
        finally:
            file.unlink(missing_ok=True)
    if sources := {**parts[".source"], **parts[".kernels"]}:
        say(f"{platform.name}: {len(sources)} sources")
        for pin, address in source_files(sources, platform, lock.python):
            _download(pin, address, folder)
    return sum(1 for f in folder.iterdir() if f.is_file())


def _target(lock: Lock, platform: Platform) -> list[str]:
    """Tell pip what the wheels are for."""
    words = [w for tag in tags(platform) for w in ("--platform", tag)]
    words += ["--python-version", lock.python, "--implementation", "cp"]
    version = lock.python.replace(".", "")
    words += [w for abi in (f"cp{version}", "abi3", "none") for w in ("--abi", abi)]
    return [*words, "--only-binary", ":all:"]


def _download(pin: Pin, address: str, folder: Path) -> None:
    """Download one file, beside first, and hold it against the lock."""
    target = folder / Path(unquote(urlparse(address).path)).name
    if target.is_file() and sha256_file(target) in pin.hashes:
        return
    try:
        with replacing(target, single=True) as half:
            with urlopen(address, timeout=_LIMIT_S) as source, half.open("wb") as sink:  # noqa: S310
                shutil.copyfileobj(source, sink)
            found = sha256_file(half)
            if found not in pin.hashes:
                raise KitError(
                    f"{target.name}: its sha256 is {found}, which is not the lock's",
                    where=address,
                    cause="the file was changed on its way or in the index",
                    fix="mfo image check",
                )
    except (OSError, HTTPException, ValueError) as error:  # ValueError: no address at all
        raise KitError(f"{target.name} cannot be downloaded: {error}", where=address,
                       fix="the same command again; what is there is kept") from None  # fmt: skip


def tags(platform: Platform) -> list[str]:
    """Give pip's names of the platforms whose wheels run here, newest first."""
    found = _PLATFORM.fullmatch(platform.uv)
    if found is None:
        raise KitError(f"{platform.uv!r} is no platform that pip knows", where="images.toml")
    newest = [
        f"manylinux_2_{n}_{found['machine']}"
        for n in range(int(found["glibc"]), _OLDEST_GLIBC - 1, -1)
    ]
    old = ("manylinux2014", "manylinux2010", "manylinux1", "linux")
    return [*newest, *(f"{name}_{found['machine']}" for name in old)]


def hold_against(folder: Path, lock: Lock, platform: Platform) -> int:
    """Hold a folder of files against a lock, as pip will in the build; gives how many packages.

    Args:
        folder: what fetch() left.
        lock: whose packages must be there.
        platform: for which architecture.

    Raises:
        KitError: a package is not there, has no wheel for this architecture and Python, or is
            another file than the one that the lock holds.
    """
    if not folder.is_dir():
        raise KitError("there is no folder of wheels", where=str(folder))
    there: dict[tuple[str, Version], list[tuple[Path, frozenset[Tag] | None]]] = {}
    for file in sorted(folder.iterdir()):
        if named := _named(file.name):
            there.setdefault(named[:2], []).append((file, named[2]))
    parts = lock.pins[platform.name]
    missing = [p.name for p in lock.all(platform.name).values()
               if (p.name, Version(p.version)) not in there]  # fmt: skip
    fix = f"mfo image fetch NAME --arch {platform.name} --out {folder}"
    if missing:
        raise KitError(
            f"{len(missing)} packages of the lock are not in the folder: {', '.join(missing[:8])}",
            where=str(folder), fix=fix,
        )  # fmt: skip
    fitting = runs(platform, lock.python)
    for part, pins in parts.items():
        for pin in pins.values():
            files = there[pin.name, Version(pin.version)]
            fit = [f for f, tags in files if (part != "" if tags is None else tags & fitting)]
            if not fit:
                raise KitError(
                    f"{pin.name} {pin.version} has no wheel for {platform.name} and Python "
                    f"{lock.python} in the folder", where=str(folder),
                    cause=f"there is only {', '.join(f.name for f, _ in files)}", fix=fix,
                )  # fmt: skip
            _one_is(pin, fit)
    return len(lock.all(platform.name))


def _named(name: str) -> tuple[str, Version, frozenset[Tag] | None] | None:
    """Package, version and tags (None for a source distribution) of a file; None for another."""
    try:
        if name.endswith(".whl"):
            package, version, _, tags_ = parse_wheel_filename(name)
            return package, version, tags_
        return *parse_sdist_filename(name), None
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def runs(platform: Platform, python: str) -> set[Tag]:
    """Every wheel tag that an interpreter of this version accepts on this platform."""
    version, names = [int(n) for n in python.split(".")], tags(platform)
    interpreter = f"cp{python.replace('.', '')}"
    return {*cpython_tags(version, platforms=names), *compatible_tags(version, interpreter, names)}


def _one_is(pin: Pin, files: list[Path]) -> None:
    """Hold the files of one package against its hashes."""
    found = ""
    for file in files:
        found = sha256_file(file)
        if found in pin.hashes:
            return
    raise KitError(
        f"{files[-1].name} is not the file that the lock holds: its sha256 is {found}",
        where=str(files[-1]), cause="the file was changed, or the lock was",
        fix="remove the file and fetch it again; mfo image check holds the lock against the index",
    )  # fmt: skip


def _pip(words: list[str], platform: Platform) -> None:
    full = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        *words,
    ]
    done = subprocess.run(full, capture_output=True, text=True)
    if done.returncode == 0:
        return
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
        done.stderr[-300:]
    ]
    wrong = "DO NOT MATCH" in done.stderr
    raise KitError(
        "a file's sha256 is not the lock's"
        if wrong
        else f"pip cannot download for {platform.name}",
        where=said[0][:300],
        cause="the file was changed on its way or in the index" if wrong else "",
        fix="mfo image check",
    )
