"""uv, asked to resolve: the one place where a lock's versions and hashes come from.

The index is uv's own setting (UV_INDEX_URL, UV_FIND_LINKS, uv.toml), never a file of the kit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from containers.lockfile import Pin, parse
from containers.spec import Platform, Spec
from kit.errors import KitError

_LIMIT_S = 600


def program() -> list[str]:
    """Give the words that start uv.

    Raises:
        KitError: it is not installed.
    """
    try:
        from uv import find_uv_bin  # its own package says where the program is

        return [find_uv_bin()]
    except (ImportError, FileNotFoundError):
        raise KitError(
            "uv is not installed: it resolves the locks", where=sys.executable,
            fix="pip install -c constraints.txt -e '.[images]'",
        ) from None  # fmt: skip


def compile_pins(
    spec: Spec,
    requirements: Iterable[str],
    platform: Platform,
    python: str,
    *,
    keep: Mapping[str, str] | None = None,
) -> dict[str, Pin]:
    """Resolve requirements for one architecture, from the index alone.

    Args:
        spec: names the packages that may be built from source; all others must have a wheel.
        requirements: as pip takes them.
        platform: for which architecture.
        python: minor version.
        keep: name -> version of packages that must come out so if they come out at all.

    Raises:
        KitError: no solution, with uv's own words; no index in reach; uv is missing.
    """
    with tempfile.TemporaryDirectory(prefix="mfo-lock-") as name:
        folder = Path(name)
        (folder / "image.in").write_text("\n".join(requirements) + "\n", encoding="utf-8")
        kept = "".join(f"{n}=={v}\n" for n, v in sorted((keep or {}).items()))
        (folder / "keep.txt").write_text(kept, encoding="utf-8")
        (folder / "uv.toml").write_text(_metadata(spec), encoding="utf-8")
        words = [
            *program(), "pip", "compile", "image.in", "--constraint", "keep.txt", "--quiet",
            # This interpreter, for those source distributions that only a run tells about: uv would
            # look for, and download, the image's Python.
            "--python", sys.executable, "--no-python-downloads",
            "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url",
            "--python-version", python, "--python-platform", platform.uv, "--only-binary", ":all:",
        ]  # fmt: skip
        for package in spec.source_only:
            words += ["--no-binary", package]
        done = _run(words, folder, platform)
    return parse(done.stdout, f"uv's answer for {platform.name}")


def source_files(pins: Mapping[str, Pin], platform: Platform, python: str) -> list[tuple[Pin, str]]:
    """Ask the index where the source distributions of some pins lie; none of them is run.

    Raises:
        KitError: the index does not have one; no index in reach; uv is missing.
    """
    with tempfile.TemporaryDirectory(prefix="mfo-fetch-") as name:
        folder = Path(name)
        (folder / "image.in").write_text("".join(f"{p.name}=={p.version}\n" for p in pins.values()))
        # What they depend on is of no interest here, and to ask would be to build them.
        (folder / "uv.toml").write_text("".join(_dependency(p, []) for p in pins))
        words = [*program(), "pip", "compile", "image.in", "--no-deps", "--quiet",
                 "--no-binary", ":all:", "--python", sys.executable, "--no-python-downloads",
                 "--python-version", python, "--python-platform", platform.uv,
                 "--format", "pylock.toml"]  # fmt: skip
        done = _run(words, folder, platform)
    found = {p["name"]: p.get("sdist", {}) for p in tomllib.loads(done.stdout)["packages"]}
    # A file of this machine has a path and no address.
    places = {n: f.get("url") or Path(folder, f["path"]).as_uri() for n, f in found.items() if f}
    if lacking := [n for n in pins if n not in places]:
        raise KitError(f"the index has no source of {', '.join(lacking)}", where=platform.name)
    return [(pin, places[n]) for n, pin in pins.items()]


def _run(words: list[str], folder: Path, platform: Platform) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise KitError(
            f"uv did not answer within {_LIMIT_S // 60} minutes", where=platform.name,
            cause="the package index is slow or out of reach",
        ) from None  # fmt: skip
    if done.returncode:
        raise _failed(done.stderr, platform)
    return done


def _metadata(spec: Spec) -> str:
    """Say what the compiled packages depend on: asking them would mean building them."""
    return "".join(_dependency(*one) for one in spec.data.source.metadata.items())


def _dependency(package: str, requires: list[str]) -> str:
    said = json.dumps(requires)
    return f'[[dependency-metadata]]\nname = "{package}"\nrequires-dist = {said}\n'


def _failed(said: str, platform: Platform) -> KitError:
    words = " ".join(said.split())[-900:]
    if "no usable wheels" in said or "no wheels with a matching" in said or "No wheel" in said:
        return KitError(
            f"a package has no wheel for {platform.name}", where=words,
            cause="its authors build none for this architecture and Python",
            fix="choose a version that has one, or add it to source in containers/images.toml",
        )  # fmt: skip
    offline = (
        "error sending request",
        "Failed to fetch",
        "dns error",
        "timed out",
        "Could not connect",
    )
    if any(sign in said for sign in offline):
        return KitError(
            "the package index cannot be reached", where=words, cause="no network from here",
            fix="mfo image check --offline holds all that needs no index",
        )  # fmt: skip
    return KitError(f"the requirements cannot be resolved for {platform.name}", where=words)
