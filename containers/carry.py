"""A lock's files in one folder, to be carried to where there is no index: `mfo image fetch`.

pip downloads and checks every sha256; another architecture's files need no emulation.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from containers.errors import KitError
from containers.lockfile import Lock, text
from containers.spec import Platform

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
    version = lock.python.replace(".", "")
    target = [w for tag in tags(platform) for w in ("--platform", tag)]
    target += ["--python-version", lock.python, "--implementation", "cp"]
    target += [w for abi in (f"cp{version}", "abi3", "none") for w in ("--abi", abi)]
    steps = [
        ("wheels", parts[""], [*target, "--only-binary", ":all:"]),
        # pip asks a source distribution for its metadata, in an isolated build that is thrown away.
        ("sources", {**parts[".source"], **parts[".kernels"]}, ["--no-binary", ":all:"]),
    ]
    for what, pins, words in steps:
        if pins:
            say(f"{platform.name}: {len(pins)} {what}")
            file = folder / f".{what}.txt"
            file.write_text(text(pins), encoding="utf-8")
            try:
                _pip([*words, "--requirement", str(file), "--dest", str(folder)], platform)
            finally:
                file.unlink(missing_ok=True)
    return sum(1 for f in folder.iterdir() if f.is_file())


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
