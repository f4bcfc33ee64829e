"""`mfo image …`: the images that everything runs in."""

from __future__ import annotations

import os
import platform as this_machine
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from containers import bring, brought, builder, carry, lockfile
from containers import check as checks
from containers import engine as engines
from containers import lock as locks
from containers import render as rendering
from containers import selftest as tests
from containers.spec import Brought, Spec, load
from kit.errors import KitError
from kit.printing import emit
from launch.cli.options import JSON
from launch.plan import stack
from launch.run.recipe import ROOT

HERE = click.option(
    "--arch", metavar="MACHINE", help="aarch64 or x86_64; this machine's without it."
)
ENGINE = click.option(
    "--engine",
    type=click.Choice(["podman", "buildah", "docker"]),
    help="The first that works here without it.",
)
TLS = click.option("--no-tls", is_flag=True, help="For a registry of this machine, without TLS.")


def complete_images(ctx: Any, param: Any, incomplete: str) -> list[str]:  # noqa: ARG001
    """Give the images whose names begin like this."""
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
def check(offline: bool, as_json: bool) -> int:
    """Verify every pin of every lock for both architectures; exits 1 where one does not hold.

    Rendered files, locks and images against each other, and each hash against the index.
    """
    begun = time.monotonic()
    spec = load()
    held = checks.read_locks(spec)
    findings = [*checks.static(spec, held), *stack.listed(spec)]
    if not offline:
        findings += checks.against_index(spec, held, lambda line: click.echo(line, err=True))
    wrong = [f for f in findings if not f.holds]
    if as_json:
        emit([asdict(f) for f in findings])
        return 1 if wrong else 0
    for finding in findings:
        click.secho(
            "ok     " if finding.holds else "wrong  ",
            nl=False,
            fg="green" if finding.holds else "red",
        )
        click.echo(finding.words + (f"\n       next: {finding.fix}" if not finding.holds else ""))
    said = f"{len(wrong)} of {len(findings)} do not hold" if wrong else f"all {len(findings)} hold"
    click.echo(f"{said}; {time.monotonic() - begun:.0f} s")
    if offline:
        click.echo("not held against the index: --offline")
    for one in spec.brought.values():
        if not list(brought.folder(spec).glob(f"{one.stem}-*.whl")):
            click.echo(_not_brought(spec, one))
    if not spec.base.resolved:
        click.echo("not resolved against a registry: the base image's digest\nnext:  mfo image pin")
    return 1 if wrong else 0


def _not_brought(spec: Spec, one: Brought) -> str:
    use = "needed by" if one.needed else "of use for"
    said = (
        f"not brought: {one.name}, {use} {', '.join(stack.users(spec, one))}: {one.why}\n"
        f"next:  bring {one.stem}-*.whl into containers/wheels/, from {one.source}, commit "
        f"{one.commit}"
    )
    instead = f"mfo image build {one.image} --without {one.name}, and the variant {one.without}"
    return f"{said}; or {instead}" if one.without else said


@image.command()
@NAME
@HERE
@ENGINE
@click.option("--base", metavar="IMAGE", help="Another base: NAME@sha256:…, or localhost/…")
@click.option(
    "--lock",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another lock's folder, for a small image.",
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Build from this folder of wheels, without an index.",
)
@click.option("--no-cache", is_flag=True, help="Build every layer again.")
@click.option(
    "--without",
    multiple=True,
    metavar="PACKAGE",
    help="Leave out what recipes load and no package index carries.",
)
@click.option("--dry-run", is_flag=True, help="Check, print the engine's command; build nothing.")
@JSON
def build(
    name: str,
    as_json: bool,
    *,
    arch: str | None,
    engine: str | None,
    base: str | None,
    lock: Path | None,
    wheels: Path | None,
    no_cache: bool,
    without: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Build NAME, with its checks before and its evidence after.

    The log, the bill of materials and the provenance lie in the cache folder (MFO_CACHE).
    """
    spec = load()
    plan = builder.Plan(
        spec.image(name).name,
        spec.platform(arch or this_machine.machine()),
        base or spec.base_reference,
        lock.resolve() if lock else spec.locks / name,
        wheels.resolve() if wheels else None,
        _engine(engine),
        no_cache,
        without,
    )
    if plan.wheels is None:
        click.echo("holding the lock against the index: up to half a minute", err=True)
    for note in builder.look(spec, plan, about()):
        click.echo(note, err=True)
    if dry_run:
        click.echo(
            f"{plan.engine} would build {plan.tag} for {plan.platform.oci}; every check before "
            "the build holds\nnext:  the same without --dry-run"
        )
        return 0
    begun = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - begun:6.0f} s  {line}", err=True)

    built = builder.build(spec, plan, about(), say)
    if as_json:
        emit(
            {
                "id": built.id,
                "tag": built.tag,
                "platform": built.platform.oci,
                "packages": built.packages,
                "provenance": str(built.provenance),
                "sbom": str(built.sbom),
            }
        )
        return 0
    click.echo(
        f"image:      {built.tag}\nid:         {built.id}\nplatform:   {built.platform.oci} "
        f"({built.platform.name})\npackages:   {built.packages}, the lock's\n"
        f"provenance: {built.provenance}\nmaterials:  {built.sbom}"
    )
    click.echo(
        f"next:  mfo image selftest {name} --arch {built.platform.name}, then mfo image export "
        f"{name} --arch {built.platform.name} --to sqsh"
    )
    return 0


@image.command()
@NAME
@HERE
@click.option(
    "--lock",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another lock's folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder; for mfo image build --wheels.",
)
def fetch(name: str, arch: str | None, lock: Path | None, out: Path) -> int:
    """Download every file of NAME's lock, checked, to build where there is no index."""
    spec = load()
    platform = spec.platform(arch or this_machine.machine())
    held = lockfile.read(lock or spec.locks / spec.image(name).name, spec.platforms)
    count = carry.fetch(held, platform, out, lambda line: click.echo(line, err=True))
    size = sum(f.stat().st_size for f in out.iterdir() if f.is_file())
    click.echo(f"{count} files, {size / 1e9:,.1f} GB: {out}")
    other = f" --lock {lock}" if lock else ""
    click.echo(f"next:  mfo image build {name} --arch {platform.name}{other} --wheels {out}")
    return 0


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
def export(name: str, to: str, arch: str | None, engine: str | None, out: Path | None) -> int:
    """Write the built image NAME as one file for a site, with its evidence beside it."""
    spec = load()
    machine = spec.platform(arch or this_machine.machine()).name
    suffix = {"oci": "oci.tar", "sqsh": "sqsh", "sif": "sif"}[to]
    target = out or Path(f"mfo-{spec.image(name).name}.{suffix}")
    files = bring.export(name, machine, to, target, _engine(engine), about())
    click.echo(f"image: {target}, {target.stat().st_size / 1e6:,.0f} MB")
    for file in files[1:]:
        click.echo(f"beside it: {file}")
    click.echo("next:  copy all of them to the folder that the site's profile names: mfo site show")
    return 0


@image.command()
@click.argument("reference", metavar="NAME@sha256:…")
@HERE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The OCI archive to write.",
)
@TLS
def pull(reference: str, arch: str | None, out: Path, no_tls: bool) -> int:
    """Bring an image from a registry, by its digest and never by a tag."""
    machine = load().platform(arch or this_machine.machine()).name
    bring.pull(reference, machine, out, tls=not no_tls)
    click.echo(f"image: {out}, {out.stat().st_size / 1e6:,.0f} MB, for {machine}")
    click.echo(f"next:  podman load --input {out}, or apptainer build --build-arg from={out} …")
    return 0


@image.command()
@TLS
@JSON
def pin(no_tls: bool, as_json: bool) -> int:
    """Ask the registry for the base image's digest and compare; exits 1 where it differs."""
    spec = load()
    now, same, machines = bring.pin(spec, tls=not no_tls)
    both = set(machines) >= {p.oci_arch for p in spec.platforms.values()}
    if as_json:
        emit(
            {
                "image": spec.base.image,
                "pinned": spec.base.digest,
                "now": now,
                "same": same,
                "architectures": machines,
            }
        )
        return 0 if same and both else 1
    click.echo(f"image:  {spec.base.image}\npinned: {spec.base.digest}\nnow:    {now}")
    click.echo(
        f"the pinned digest is {'a list for ' + ', '.join(machines) if machines else 'one image'}"
    )
    if not both:
        click.secho("it does not hold every architecture of the spec", fg="red")
    if not same:
        click.secho("the tag has moved since the pin was written", fg="yellow")
        click.echo(
            "The pin still gives the same image; take the new one only for a reason.\n"
            "next:  edit base in containers/images.toml, then mfo image render"
        )
    return 0 if same and both else 1


@image.command()
@click.argument("name", shell_complete=complete_images, default="train")
@HERE
@ENGINE
@JSON
def selftest(name: str, arch: str | None, engine: str | None, as_json: bool) -> int:
    """Test NAME: inside an image, that one; outside, the one that was built here.

    Imports, versions, GPU, attention, all-reduce, a training step, generation; what cannot be
    tested here is said, and is no pass.
    """
    spec = load()
    spec.image(name)
    inside = (tests.HOME / "images.toml").is_file()
    if inside:
        click.echo(f"inside an image: {tests.HOME} is there", err=True)
        return _test_here(name, as_json)
    chosen = _engine(engine)
    machine = spec.platform(arch or this_machine.machine())
    tag = f"localhost/mfo-{name}:{machine.name}"
    if chosen == "buildah" or engines.inspect(chosen, tag) is None:
        raise KitError(
            f"there is no {tag} that {chosen} could run",
            fix=f"mfo image build {name} --arch {machine.name} --engine podman",
        )
    words = [
        chosen,
        "run",
        "--rm",
        "--platform",
        machine.oci,
        "--network=host",
        f"--volume={ROOT}:/kit:ro",
        tag,
        "python",
        "/opt/mfo/selftest.py",
        "--image",
        name,
        "--kit",
        "/kit",
    ]
    click.echo(f"$ {' '.join(words)}", err=True)
    return subprocess.run(words).returncode


def _test_here(name: str, as_json: bool) -> int:
    try:
        subject = tests.read(name, tests.HOME, kit=ROOT)
    except tests.Wrong as reason:
        raise KitError(str(reason), where=str(tests.HOME)) from None
    results = tests.run(subject)
    if as_json:
        emit([asdict(r) for r in results])
    else:
        for result in results:
            click.echo(f"{result.state:<5} {result.name:<11} {result.words}")
    return 1 if any(r.state == "fail" for r in results) else 0


@image.command()
@NAME
@click.option("--why", required=True, help="Kept in the lock with the date.")
@click.option("--upgrade", is_flag=True, help="Newest versions of all that is not pinned.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Another lock, in this folder, of these:",
)
@click.option(
    "--kit",
    is_flag=True,
    help="With --out: what the kit installs on a laptop, in "
    "constraints.txt's versions: an image to run the miniature in.",
)
@click.option("--requirement", "requirements", multiple=True, metavar="PACKAGE[==VERSION]")
@click.option(
    "--constraint",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --out: versions to take, as pip's constraints.",
)
@click.option("--python", default="", help="With --out: Python's minor version.")
@click.option("--arch", "machines", multiple=True, help="With --out: only these.")
def lock(
    name: str,
    why: str,
    upgrade: bool,
    *,
    out: Path | None,
    kit: bool,
    requirements: tuple[str, ...],
    constraint: Path | None,
    python: str,
    machines: tuple[str, ...],
) -> int:
    """Resolve NAME's requirements again, for both architectures, and write its lock."""
    spec: Spec = load()
    other = None
    if out is not None:
        if kit:
            requirements = (*_laptop(), *spec.data.common.requirements, *requirements)
            constraint = constraint or ROOT / "constraints.txt"
        keep = _pins(constraint) if constraint else {}
        other = locks.Other(
            out,
            requirements,
            python or spec.python,
            tuple(spec.platform(m).name for m in machines) or tuple(spec.platforms),
            keep,
        )
        if not requirements:
            raise KitError("--out needs --kit, or at least one --requirement")
    elif kit or requirements or constraint or python or machines:
        raise KitError(
            "--kit, --requirement, --constraint, --python and --arch are for --out",
            fix="edit containers/images.toml for the image's own lock",
        )
    made = locks.renew(
        spec, name, why, upgrade=upgrade, other=other, say=lambda line: click.echo(line, err=True)
    )
    click.echo(f"lock: {made.path}")
    if other:
        machine = next(iter(made.pins))
        click.echo(
            f"next:  mfo image build {name} --arch {machine} --lock {made.path} "
            f"--base NAME@sha256:…, with Python {made.python}"
        )
    else:
        click.echo(f"next:  git diff --stat {made.path}, then mfo image check")
    return 0


def _laptop() -> list[str]:
    """What `make setup` installs: the kit's own dependencies, and those to train and evaluate."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["train"], *extras["eval"]]


def _pins(file: Path) -> dict[str, str]:
    pairs = (
        line.split("==")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    )
    return {lockfile.normal(name): version.strip() for name, version in pairs}


@image.command()
def render() -> int:
    """Write the Dockerfiles, .def, EDF and podman-hpc lines that images.toml gives."""
    changed = rendering.write(load())
    for name in changed:
        click.echo(f"written: containers/{name}")
    click.echo(f"{len(changed)} files changed\nnext:  mfo image check")
    sys.stdout.flush()
    return 0


def about() -> Path:
    """Folder of the images' logs and evidence."""
    cache = os.environ.get("MFO_CACHE") or "~/.cache/mfo"
    return Path(cache).expanduser().resolve() / "images"


def _engine(name: str | None) -> str:
    found = engines.find(name)
    if name is None:
        click.echo(
            f"engine: {found}, the first of {', '.join(engines.ENGINES)} that works here", err=True
        )
    return found
