"""What `mfo image …` does once its words are parsed."""

from __future__ import annotations

import os
import platform as this_machine
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict
from pathlib import Path

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
from launch.plan import stack
from launch.run.recipe import ROOT


def about() -> Path:
    """Folder of the images' logs and evidence."""
    cache = os.environ.get("MFO_CACHE") or "~/.cache/mfo"
    return Path(cache).expanduser().resolve() / "images"


def check(offline: bool, as_json: bool) -> int:
    """Verify every pin; gives 1 where one does not hold."""
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
        click.secho("ok     " if finding.holds else "wrong  ", nl=False,
                    fg="green" if finding.holds else "red")  # fmt: skip
        click.echo(finding.words + (f"\n       next: {finding.fix}" if not finding.holds else ""))
    said = f"{len(wrong)} of {len(findings)} do not hold" if wrong else f"all {len(findings)} hold"
    click.echo(f"{said}; {time.monotonic() - begun:.0f} s")
    if offline:
        click.echo("not held against the index: --offline")
    for one in spec.brought.values():
        if not list(brought.folder(spec).glob(f"{one.stem}-*.whl")):
            click.echo(_not_brought(spec, one))
    if not spec.base.get("resolved"):
        click.echo("not resolved against a registry: the base image's digest\nnext:  mfo image pin")
    return 1 if wrong else 0


def _not_brought(spec: Spec, one: Brought) -> str:
    use = "needed by" if one.needed else "of use for"
    said = (f"not brought: {one.name}, {use} {', '.join(stack.users(spec, one))}: {one.why}\n"
            f"next:  bring {one.stem}-*.whl into containers/wheels/, from {one.source}, commit "
            f"{one.commit}")  # fmt: skip
    instead = f"mfo image build {one.image} --without {one.name}, and the variant {one.without}"
    return f"{said}; or {instead}" if one.without else said


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
    """Build an image; the engine's words go to a log, its steps to the terminal."""
    spec = load()
    plan = builder.Plan(
        spec.image(name).name, spec.platform(arch or this_machine.machine()),
        base or spec.base_reference, lock.resolve() if lock else spec.locks / name,
        wheels.resolve() if wheels else None, _engine(engine), no_cache, without,
    )  # fmt: skip
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
    click.echo(f"image:      {built.tag}\nid:         {built.id}\nplatform:   {built.platform.oci} "
               f"({built.platform.name})\npackages:   {built.packages}, the lock's\n"
               f"provenance: {built.provenance}\nmaterials:  {built.sbom}")  # fmt: skip
    click.echo(
        f"next:  mfo image selftest {name} --arch {built.platform.name}, then mfo image export "
        f"{name} --arch {built.platform.name} --to sqsh"
    )
    return 0


def _engine(name: str | None) -> str:
    found = engines.find(name)
    if name is None:
        click.echo(
            f"engine: {found}, the first of {', '.join(engines.ENGINES)} that works here", err=True
        )
    return found


def fetch(name: str, arch: str | None, lock: Path | None, out: Path) -> int:
    """Download a lock's files."""
    spec = load()
    platform = spec.platform(arch or this_machine.machine())
    held = lockfile.read(lock or spec.locks / spec.image(name).name, spec.platforms)
    count = carry.fetch(held, platform, out, lambda line: click.echo(line, err=True))
    size = sum(f.stat().st_size for f in out.iterdir() if f.is_file())
    click.echo(f"{count} files, {size / 1e9:,.1f} GB: {out}")
    other = f" --lock {lock}" if lock else ""
    click.echo(f"next:  mfo image build {name} --arch {platform.name}{other} --wheels {out}")
    return 0


def export(name: str, to: str, arch: str | None, engine: str | None, out: Path | None) -> int:
    """Write a built image as one file."""
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


def pull(reference: str, arch: str | None, out: Path, *, tls: bool) -> int:
    """Bring an image from a registry."""
    machine = load().platform(arch or this_machine.machine()).name
    bring.pull(reference, machine, out, tls=tls)
    click.echo(f"image: {out}, {out.stat().st_size / 1e6:,.0f} MB, for {machine}")
    click.echo(f"next:  podman load --input {out}, or apptainer build --build-arg from={out} …")
    return 0


def pin(as_json: bool, *, tls: bool) -> int:
    """Compare the base image's digest with the registry's."""
    spec = load()
    now, same, machines = bring.pin(spec, tls=tls)
    both = set(machines) >= {p.oci_arch for p in spec.platforms.values()}
    if as_json:
        emit({"image": spec.base["image"], "pinned": spec.base["digest"], "now": now, "same": same,
              "architectures": machines})  # fmt: skip
        return 0 if same and both else 1
    click.echo(f"image:  {spec.base['image']}\npinned: {spec.base['digest']}\nnow:    {now}")
    click.echo(
        f"the pinned digest is {'a list for ' + ', '.join(machines) if machines else 'one image'}"
    )
    if not both:
        click.secho("it does not hold every architecture of the spec", fg="red")
    if not same:
        click.secho("the tag has moved since the pin was written", fg="yellow")
        click.echo("The pin still gives the same image; take the new one only for a reason.\n"
                   "next:  edit base in containers/images.toml, then mfo image render")  # fmt: skip
    return 0 if same and both else 1


def selftest(name: str, arch: str | None, engine: str | None, as_json: bool) -> int:
    """Test the image that this runs in, or one that was built here."""
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
    words = [chosen, "run", "--rm", "--platform", machine.oci, "--network=host",
             f"--volume={ROOT}:/kit:ro", tag, "python", "/opt/mfo/selftest.py", "--image", name,
             "--kit", "/kit"]  # fmt: skip
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
    """Renew a lock."""
    spec: Spec = load()
    other = None
    if out is not None:
        if kit:
            requirements = (*_laptop(), *spec.data["common"]["requirements"], *requirements)
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
        raise KitError("--kit, --requirement, --constraint, --python and --arch are for --out",
                       fix="edit containers/images.toml for the image's own lock")  # fmt: skip
    made = locks.renew(spec, name, why, upgrade=upgrade, other=other,
                       say=lambda line: click.echo(line, err=True))  # fmt: skip
    click.echo(f"lock: {made.path}")
    if other:
        machine = next(iter(made.pins))
        click.echo(f"next:  mfo image build {name} --arch {machine} --lock {made.path} "
                   f"--base NAME@sha256:…, with Python {made.python}")  # fmt: skip
    else:
        click.echo(f"next:  git diff --stat {made.path}, then mfo image check")
    return 0


def _laptop() -> list[str]:
    """What `make setup` installs: the kit's own dependencies, and those to train and evaluate."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["train"], *extras["eval"]]


def _pins(file: Path) -> dict[str, str]:
    pairs = (line.split("==") for line in file.read_text(encoding="utf-8").splitlines()
             if "==" in line and not line.startswith("#"))  # fmt: skip
    return {lockfile.normal(name): version.strip() for name, version in pairs}


def render() -> int:
    """Write what the spec gives."""
    changed = rendering.write(load())
    for name in changed:
        click.echo(f"written: containers/{name}")
    click.echo(f"{len(changed)} files changed\nnext:  mfo image check")
    sys.stdout.flush()
    return 0
