"""The words for the images that everything runs in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from launch.cli.options import JSON

HERE = click.option(
    "--arch", metavar="MACHINE", help="aarch64 or x86_64; this machine's without it."
)
ENGINE = click.option("--engine", type=click.Choice(["podman", "buildah", "docker"]),
                      help="The first that works here without it.")  # fmt: skip
TLS = click.option("--no-tls", is_flag=True, help="For a registry of this machine, without TLS.")


def complete_images(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the images whose names begin like this."""
    from containers.spec import load

    return [n for n in load().images if n.startswith(incomplete)]


NAME = click.argument("name", shell_complete=complete_images)


@click.group()
def image() -> None:
    """The images for ARM64 GH200 (and x86-64): pins, builds, proof.

    \b
    mfo image check                        every pin, before anything is built
    mfo image build train --arch aarch64   then: mfo image export train --to sqsh
    """


@image.command()
@click.option("--offline", is_flag=True, help="Only what needs no package index.")
@JSON
def check(offline: bool, as_json: bool) -> None:
    """Verify every pin of every lock for both architectures; exits 1 where one does not hold.

    Rendered files, locks and images against each other, and each hash against the index.
    """
    from launch.cli import image_commands

    sys.exit(image_commands.check(offline, as_json))


@image.command()
@NAME
@HERE
@ENGINE
@click.option("--base", metavar="IMAGE", help="Another base: NAME@sha256:…, or localhost/…")
@click.option("--lock", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Another lock's folder, for a small image.")  # fmt: skip
@click.option("--wheels", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Build from this folder of wheels, without an index.")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Build every layer again.")
@click.option("--without", multiple=True, metavar="PACKAGE",
              help="Leave out what recipes load and no package index carries.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check, print the engine's command; build nothing.")
@JSON
def build(name: str, as_json: bool, **given: Any) -> None:
    """Build NAME, with its checks before and its evidence after.

    The log, the bill of materials and the provenance lie in the cache folder (MFO_CACHE).
    """
    from launch.cli import image_commands

    sys.exit(image_commands.build(name, as_json, **given))


@image.command()
@NAME
@HERE
@click.option("--lock", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Another lock's folder.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="The folder; for mfo image build --wheels.")  # fmt: skip
def fetch(name: str, arch: str | None, lock: Path | None, out: Path) -> None:
    """Download every file of NAME's lock, checked, to build where there is no index."""
    from launch.cli import image_commands

    sys.exit(image_commands.fetch(name, arch, lock, out))


@image.command()
@NAME
@HERE
@ENGINE
@click.option(
    "--to",
    type=click.Choice(["oci", "sqsh", "sif"]),
    required=True,
    help="oci: podman, skopeo; sqsh: enroot, Container Engine; sif: Apptainer.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file.")
def export(name: str, to: str, arch: str | None, engine: str | None, out: Path | None) -> None:
    """Write the built image NAME as one file for a site, with its evidence beside it."""
    from launch.cli import image_commands

    sys.exit(image_commands.export(name, to, arch, engine, out))


@image.command()
@click.argument("reference", metavar="NAME@sha256:…")
@HERE
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="The OCI archive to write.")  # fmt: skip
@TLS
def pull(reference: str, arch: str | None, out: Path, no_tls: bool) -> None:
    """Bring an image from a registry, by its digest and never by a tag."""
    from launch.cli import image_commands

    sys.exit(image_commands.pull(reference, arch, out, tls=not no_tls))


@image.command()
@TLS
@JSON
def pin(no_tls: bool, as_json: bool) -> None:
    """Ask the registry for the base image's digest and compare; exits 1 where it differs."""
    from launch.cli import image_commands

    sys.exit(image_commands.pin(as_json, tls=not no_tls))


@image.command()
@click.argument("name", shell_complete=complete_images, default="train")
@HERE
@ENGINE
@JSON
def selftest(name: str, arch: str | None, engine: str | None, as_json: bool) -> None:
    """Test NAME: inside an image, that one; outside, the one that was built here.

    Imports, versions, GPU, attention, all-reduce, a training step, generation; what cannot be
    tested here is said, and is no pass.
    """
    from launch.cli import image_commands

    sys.exit(image_commands.selftest(name, arch, engine, as_json))


@image.command()
@NAME
@click.option("--why", required=True, help="Kept in the lock with the date.")
@click.option("--upgrade", is_flag=True, help="Newest versions of all that is not pinned.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Another lock, in this folder, of these:")  # fmt: skip
@click.option("--kit", is_flag=True, help="With --out: what the kit installs on a laptop, in "
              "constraints.txt's versions: an image to run the miniature in.")  # fmt: skip
@click.option("--requirement", "requirements", multiple=True, metavar="PACKAGE[==VERSION]")
@click.option("--constraint", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="With --out: versions to take, as pip's constraints.")  # fmt: skip
@click.option("--python", default="", help="With --out: Python's minor version.")
@click.option("--arch", "machines", multiple=True, help="With --out: only these.")
def lock(name: str, why: str, upgrade: bool, **other: Any) -> None:
    """Resolve NAME's requirements again, for both architectures, and write its lock."""
    from launch.cli import image_commands

    sys.exit(image_commands.lock(name, why, upgrade, **other))


@image.command()
def render() -> None:
    """Write the Dockerfiles, .def, EDF and podman-hpc lines that images.toml gives."""
    from launch.cli import image_commands

    sys.exit(image_commands.render())
