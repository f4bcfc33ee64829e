"""From a built image to where it runs: a file for the site, or a registry's image by its digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import IO

from containers import engine, evidence
from containers.sidecars import sidecars
from containers.spec import DIGEST, ROOM, Spec
from kit.errors import KitError
from kit.files import os_errors, replacing


def export(
    name: str, machine: str, to: str, target: Path, engine_name: str, about: Path
) -> list[Path]:
    """Write a built image as one file, with its evidence beside it.

    Args:
        name: of the image.
        machine: its architecture.
        to: "oci" (an archive for podman, skopeo and Apptainer), "sqsh" (enroot, Pyxis, Container
            Engine) or "sif" (Apptainer).
        target: the file; written beside first, then renamed.
        engine_name: which engine holds the image.
        about: folder of the image's evidence.

    Returns: the files that were written, the image first.

    Raises:
        KitError: no such image here, a program that is missing, or no space.
    """
    tag = f"localhost/mfo-{name}:{machine}"
    if engine.inspect(engine_name, tag) is None:
        raise KitError(f"{tag} is not built on this machine",
                       fix=f"mfo image build {name} --arch {machine}")  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    writers = {"oci": _oci, "sqsh": _sqsh, "sif": _sif}
    with os_errors("the image cannot be written", target), replacing(target, single=True) as half:
        writers[to](tag, name, engine_name, half)
    return [target, *_evidence(name, machine, target, about)]


def _oci(tag: str, name: str, engine_name: str, target: Path) -> None:  # noqa: ARG001
    if engine_name == "podman":
        words = [
            "podman",
            "save",
            "--quiet",
            "--format",
            "oci-archive",
            "--output",
            str(target),
            tag,
        ]
    elif engine_name == "buildah":
        words = ["buildah", "push", "--quiet", tag, f"oci-archive:{target}"]
    else:
        words = ["skopeo", "copy", "--quiet", f"docker-daemon:{tag}", f"oci-archive:{target}"]
    engine.run(words, "writing the OCI archive")


def _sif(tag: str, name: str, engine_name: str, target: Path) -> None:
    if shutil.which("apptainer") is None:
        raise KitError(
            "a .sif is made by apptainer, which is not installed here",
            fix=f"mfo image export {name} --to oci, and where apptainer is: apptainer build "
            f"--build-arg from=FILE.oci.tar mfo-{name}.sif containers/{name}.def",
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".mfo-sif-") as folder:
        archive = Path(folder) / f"mfo-{name}.oci.tar"
        _oci(tag, name, engine_name, archive)
        words = ["apptainer", "build", "--build-arg", f"from={archive}", str(target),
                 str(ROOM / f"{name}.def")]  # fmt: skip
        engine.run(words, "making the .sif (its %test included)")


def _sqsh(tag: str, name: str, engine_name: str, target: Path) -> None:  # noqa: ARG001
    if engine_name == "podman" and shutil.which("enroot"):
        engine.run(["enroot", "import", "-x", "mount", "-o", str(target), f"podman://{tag}"],
                   "enroot's import")  # fmt: skip
        return
    if shutil.which("mksquashfs") is None:
        raise KitError("a .sqsh is made by enroot or mksquashfs, and neither is here",
                       fix="apt-get install squashfs-tools, or --to oci")  # fmt: skip
    found = engine.inspect(engine_name, tag)
    if found is None or engine_name == "buildah":
        raise KitError("a .sqsh is made from podman's or docker's storage", fix="--engine podman")
    made = (
        engine.run([engine_name, "create", tag, "true"], "opening the image")
        .strip()
        .splitlines()[-1]
    )
    words = ["mksquashfs", "-", str(target), "-tar", "-noappend", "-comp", "zstd",
             "-Xcompression-level", "3", "-reproducible",
             "-mkfs-time", "0", "-quiet", "-no-progress"]  # fmt: skip
    try:
        with (
            subprocess.Popen([engine_name, "export", made], stdout=subprocess.PIPE) as source,
            subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE) as sink,
        ):  # fmt: skip
            if source.stdout is None or sink.stdin is None:
                raise KitError("no pipe between the engine and mksquashfs")
            with sink.stdin:
                _for_enroot(source.stdout, sink.stdin, found["env"])
            said = sink.stderr.read().decode(errors="replace") if sink.stderr else ""
    finally:
        subprocess.run([engine_name, "rm", "--force", made], capture_output=True)
    if source.returncode or sink.returncode:
        raise KitError(f"mksquashfs failed: {said.strip()[-300:] or 'the image was cut short'}",
                       cause="no space?", where=str(target.parent))  # fmt: skip


#: enroot starts a container by sourcing this; it is what its own import writes, for no entrypoint.
_RC = """\
mkdir -p "/home/mfo" 2> /dev/null
cd "/home/mfo" && unset OLDPWD || exit 1
if [ -s /etc/rc.local ]; then . /etc/rc.local; fi
if [ $# -gt 0 ]; then exec "$@"; else exec /bin/sh; fi
"""


def _for_enroot(source: IO[bytes], sink: IO[bytes], env: list[str]) -> None:
    """Copy a file system; the image's environment becomes the file that enroot reads."""
    more = {"etc/environment": "".join(f"{line}\n" for line in env), "etc/rc": _RC}
    with (
        tarfile.open(fileobj=source, mode="r|") as read,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as write,
    ):
        for member in read:
            if member.name in more:
                continue
            if member.isreg():
                write.addfile(member, read.extractfile(member))
            else:
                write.addfile(member)
        for name, text in more.items():
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755 if name == "etc/rc" else 0o644
            write.addfile(entry, BytesIO(data))


def _evidence(name: str, machine: str, target: Path, about: Path) -> list[Path]:
    out = []
    for kind, place in sidecars(target).items():
        source = about / f"{name}-{machine}.{kind}"
        if not source.is_file():
            continue
        text = source.read_text(encoding="utf-8")
        if kind == "provenance.json":
            text = evidence.add_subject(text, target)
        place.write_text(text, encoding="utf-8")
        out.append(place)
    return out


def digest_of(reference: str, *, tls: bool = True) -> str:
    """Ask a registry for the digest of a tag: the sha256 of its manifest's bytes.

    Raises:
        KitError: skopeo is missing, or the registry does not answer.
    """
    words = ["skopeo", "inspect", "--raw", *([] if tls else ["--tls-verify=false"]),
             f"docker://{reference}"]  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, timeout=120)
    except FileNotFoundError:
        raise KitError("a registry is asked by skopeo, which is not installed here",
                       fix="apt-get install skopeo") from None  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KitError("the registry did not answer within 2 minutes", where=reference) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise KitError(
            f"the registry does not give {reference}",
            where=said[-1][-300:],
            cause="no network from here, no such tag, or a login that is needed",
        )
    return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"


def architectures(reference: str, *, tls: bool = True) -> list[str]:
    """Give the architectures of a list of manifests in a registry; empty for a single image."""
    words = ["skopeo", "inspect", "--raw", *([] if tls else ["--tls-verify=false"]),
             f"docker://{reference}"]  # fmt: skip
    try:
        found = json.loads(engine.run(words, "asking the registry"))
        return sorted({m["platform"]["architecture"] for m in found.get("manifests", [])})
    except (ValueError, KeyError, TypeError):
        raise KitError("the registry's answer is no manifest", where=reference) from None


def pin(spec: Spec, *, tls: bool = True) -> tuple[str, bool, list[str]]:
    """Resolve the base image's tag: its digest now, whether it is the spec's, architectures."""
    now = digest_of(spec.base.image, tls=tls)
    name = spec.base.image.rpartition(":")[0]
    return now, now == spec.base.digest, architectures(f"{name}@{spec.base.digest}", tls=tls)


def pull(reference: str, machine: str, target: Path, *, tls: bool = True) -> None:
    """Bring an image from a registry as an OCI archive, by its digest.

    Raises:
        KitError: the reference is a tag, skopeo is missing, or the registry does not give it.
    """
    if not DIGEST.fullmatch(reference.partition("@")[2]):
        raise KitError(f"{reference} is not pinned", cause="a tag moves",
                       fix="NAME@sha256:…, as the build printed it")  # fmt: skip
    arch = {"aarch64": "arm64", "x86_64": "amd64"}.get(machine, machine)
    with os_errors("the image cannot be written", target), replacing(target, single=True) as half:
        words = ["skopeo", "copy", "--quiet", "--override-os=linux", f"--override-arch={arch}",
                 *([] if tls else ["--src-tls-verify=false"]), f"docker://{reference}",
                 f"oci-archive:{half}"]  # fmt: skip
        engine.run(words, "pulling", fix="apt-get install skopeo, or load it on a login node")
