"""Engines that build and run images: podman, buildah, docker. What each is asked, and what it says.

Nothing here is decided by the engine's own defaults: platform, base, timestamps and build arguments
are always given, so that two builds of one commit give one image id.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from containers.spec import Platform
from kit.errors import KitError

ENGINES = ("podman", "buildah", "docker")
INSTALL = "apt-get install podman buildah, or on a cluster: a compute node with podman"


@dataclass(frozen=True)
class Build:
    """One build.

    Attributes:
        file: the Dockerfile.
        context: folder of everything that it copies.
        platform: for which architecture.
        tag: name that the image gets.
        arguments: build arguments.
        epoch: seconds since 1970, the time of every file and of the image.
        fresh: whether cached layers are left aside.
    """

    file: Path
    context: Path
    platform: Platform
    tag: str
    arguments: dict[str, str]
    epoch: int
    fresh: bool = False


def find(name: str | None = None) -> str:
    """Give the engine to use: the one that was asked for, or the first that works here.

    Raises:
        KitError: it is not there, or none is, or docker's daemon does not answer.
    """
    if name is not None and name not in ENGINES:
        raise KitError(f"there is no engine {name!r}; known: {', '.join(ENGINES)}")
    there = [e for e in ((name,) if name else ENGINES) if shutil.which(e)]
    if not there:
        wanted = name or "podman, buildah or docker"
        raise KitError(f"{wanted} is not installed here", cause="images are built by an engine",
                       fix=f"{INSTALL}; without one: docs/images.md")  # fmt: skip
    for engine in there:
        if engine != "docker" or _quiet(["docker", "version"]) == 0:
            return engine
    raise KitError("docker's daemon does not answer", fix="start it, or --engine podman")


def _quiet(words: list[str]) -> int:
    try:
        return subprocess.run(words, capture_output=True, timeout=60).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 1


def storage(engine: str) -> Path:
    """Give the folder where an engine keeps its images."""
    kept = {
        "podman": ["podman", "info", "--format", "{{.Store.GraphRoot}}"],
        "buildah": ["buildah", "info", "--format", "{{.store.GraphRoot}}"],
        "docker": ["docker", "info", "--format", "{{.DockerRootDir}}"],
    }[engine]
    return Path(run(kept, f"asking {engine} where it keeps images").strip())


def build_command(engine: str, build: Build, id_file: Path) -> list[str]:
    """Give the words of one build."""
    given = [w for k, v in sorted(build.arguments.items()) for w in ("--build-arg", f"{k}={v}")]
    common = ["--platform", build.platform.oci, "--tag", build.tag, "--iidfile", str(id_file),
              "--file", str(build.file), *given]  # fmt: skip
    if build.fresh:
        common.append("--no-cache")
    if engine == "docker":
        # BuildKit: the epoch sets the image's time, the exporter that of every file.
        return [
            "docker",
            "buildx",
            "build",
            "--progress=plain",
            "--provenance=false",
            "--build-arg",
            f"SOURCE_DATE_EPOCH={build.epoch}",
            "--output",
            "type=docker,rewrite-timestamp=true",
            *common,
            str(build.context),
        ]
    # Without --pull a local base would be looked for in a registry first.
    words = [engine, "build", "--layers", "--pull=missing", "--format", "oci"]
    if engine == "buildah":
        words[3] = (
            "--pull=false" if build.arguments.get("BASE", "").startswith("localhost/") else "--pull"
        )
    return [*words, "--timestamp", str(build.epoch), *common, str(build.context)]


def build(engine: str, what: Build, log: Path, say: Callable[[str], None]) -> str:
    """Build, with the engine's output in a log, and give the image's id ("sha256:…").

    Raises:
        KitError: the build failed; the error names the step and the log.
    """
    id_file = log.with_suffix(".iid")
    id_file.unlink(missing_ok=True)
    words = build_command(engine, what, id_file)
    last = ""
    with log.open("w", encoding="utf-8") as file:
        file.write(f"$ {' '.join(words)}\n")
        file.flush()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace")  # fmt: skip
        try:
            last = _follow(process.stdout, file, say)
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code or not id_file.is_file():
        raise KitError(
            f"the build failed: {reason(log.read_text(encoding='utf-8', errors='replace'))}",
            where=f"{last or 'before the first step'}; {log}",
            cause="the log's last lines say more",
            fix=f"tail -50 {log}",
        )
    found = id_file.read_text(encoding="utf-8").strip()
    return found if found.startswith("sha256:") else f"sha256:{found}"


def _follow(lines: IO[str] | None, log: IO[str], say: Callable[[str], None]) -> str:
    """Copy the engine's output into the log; show its steps."""
    last = ""
    for line in lines or ():
        log.write(line)
        log.flush()
        text = line.strip()
        if "STEP " in text or (text.startswith("#") and " [" in text):
            last = text[:160]
            say(last)
    return last


def reason(log: str) -> str:
    """Give the line of a build's log that says why it failed."""
    signs = (
        "THESE PACKAGES DO NOT MATCH THE HASHES",
        "No space left on device",
        "ERROR: ",
        "fail  ",
        "exec format error",
        "Error: ",
    )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for sign in signs:
        if found := [line for line in lines if sign in line and "ERROR: $" not in line]:
            return found[0][:300]
    return lines[-1][:300] if lines else "the engine said nothing"


def inspect(engine: str, reference: str) -> dict[str, Any] | None:
    """Give an image's {"id", "arch", "digest", "labels", "env"}; None where it is not here."""
    if engine == "buildah":
        return _inspect_buildah(reference)
    found = _json([engine, "image", "inspect", reference])
    if not found:
        return None
    one = found[0]
    config = one.get("Config") or {}
    return {
        "id": _sha(one["Id"]),
        "arch": one.get("Architecture", ""),
        "env": config.get("Env") or [],
        "digest": one.get("Digest", ""),
        "labels": config.get("Labels") or {},
        "user": config.get("User", ""),
    }


def _inspect_buildah(reference: str) -> dict[str, Any] | None:
    found = _json(["buildah", "inspect", "--type", "image", reference])
    if not found:
        return None
    oci = found["OCIv1"]
    config = oci.get("config", {})
    return {"id": _sha(found["FromImageID"]), "arch": oci.get("architecture", ""),
            "env": config.get("Env") or [], "digest": found.get("FromImageDigest", ""),
            "labels": config.get("Labels") or {}, "user": config.get("User", "")}  # fmt: skip


def _json(words: list[str]) -> Any:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _sha(text: str) -> str:
    return text if text.startswith("sha256:") else f"sha256:{text}"


def run(words: list[str], what: str, *, fix: str = "") -> str:
    """Run a helper program to its end and give what it printed.

    Raises:
        KitError: it is not there, or it failed.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        raise KitError(f"{what} needs {words[0]}, which is not installed here", fix=fix) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise KitError(f"{what} failed: {said[:300]}", where=" ".join(words), fix=fix)
    return done.stdout
