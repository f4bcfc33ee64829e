"""From the spec to an image and its evidence: what is looked at before, the build, what it leaves.

An image's evidence lies beside its build log: NAME-MACHINE.provenance.json (an in-toto statement
with SLSA provenance), NAME-MACHINE.cdx.json (a CycloneDX bill of materials), both small.
"""

from __future__ import annotations

import os
import platform as this_machine
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers import brought, carry, check, contents, engine, evidence, lockfile, render
from containers.engine import Build
from containers.selftest import driver_trouble
from containers.spec import DIGEST, Platform, Spec
from kit.errors import KitError

GB = 10**9
#: What the Dockerfile copies beside the lock.
COPIED = ("selftest.py", "seams.py", "seams.toml", "images.toml")
#: The time of every file and layer. One for all commits: engines reuse layers of earlier builds,
#: whatever their times. The commit's date is a label.
EPOCH = 0
#: A small lock's image is not as large as the real one.
SMALL_GB = 1
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True)
class Plan:
    """What will be built.

    Attributes:
        name: image of the spec.
        platform: for which architecture.
        base: reference of the base image, pinned by digest or local.
        lock: folder of the lock; another one than the spec's for a small image.
        wheels: folder of wheels to build from, without an index; None: pip's own index.
        engine: podman, buildah or docker.
        fresh: whether cached layers are left aside.
        do_without: what recipes need and no index carries, and this image shall not have.
    """

    name: str
    platform: Platform
    base: str
    lock: Path
    wheels: Path | None
    engine: str
    fresh: bool = False
    do_without: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The built image's name."""
        return f"localhost/mfo-{self.name}:{self.platform.name}"


@dataclass(frozen=True)
class Built:
    """A finished image: its id, its name, and the files that were written about it."""

    id: str
    tag: str
    platform: Platform
    packages: int
    provenance: Path
    sbom: Path


def look(spec: Spec, plan: Plan, out: Path) -> list[str]:
    """Look at everything that would end a build hours later; gives what is worth knowing.

    Raises:
        KitError: the base is not pinned or is of another architecture, the lock is stale or has
            nothing for this architecture, a hash is wrong, a package has no wheel for it, a
            rendered file is stale, no emulation, no space.
    """
    notes = [_base(plan)]
    lock = lockfile.read(plan.lock, spec.platforms)
    if plan.platform.name not in lock.pins:
        raise KitError(f"the lock has nothing for {plan.platform.name}", where=str(plan.lock),
                       fix=f"mfo image lock {plan.name} --why '…'")  # fmt: skip
    if own := _own(spec, plan):
        for finding in check.static(spec, check.read_locks(spec)):
            if not finding.holds:
                raise KitError(finding.words, where=str(spec.path), fix=finding.fix)
    elif stale := render.stale(spec):
        raise KitError(f"older than images.toml: {', '.join(stale)}", fix="mfo image render")
    # What takes no time first.
    notes += _brought(spec, plan, lock)
    notes += [_emulation(plan), _space(plan, out, spec.image(plan.name).size_gb if own else 0)]
    trouble = driver_trouble(spec.base.driver)
    if trouble.startswith("driver") and "older" in trouble:
        notes.append(f"warning: this machine's {trouble}")
    if plan.wheels is not None:
        count = carry.hold_against(plan.wheels, lock, plan.platform)
        notes.append(f"packages: {count} from {plan.wheels}, each the lock's; without an index")
    else:
        notes.append(_index(spec, plan, lock))
    return [note for note in notes if note]


def _base(plan: Plan) -> str:
    reference, _, digest = plan.base.partition("@")
    if DIGEST.fullmatch(digest):
        return f"base: {plan.base}"
    if not reference.startswith("localhost/"):
        raise KitError(
            f"the base image {plan.base} is not pinned", cause="a tag moves",
            fix="--base NAME@sha256:…, or an image of this machine: --base localhost/…",
        )  # fmt: skip
    found = engine.inspect(plan.engine, plan.base)
    if found is None:
        raise KitError(f"there is no image {plan.base} on this machine",
                       fix=f"{plan.engine} images")  # fmt: skip
    if found["arch"] != plan.platform.oci_arch:
        raise KitError(
            f"the base image {plan.base} is for {found['arch']}, not for {plan.platform.oci_arch}",
            fix=f"--arch {found['arch']}, or another base",
        )
    return f"base: {plan.base}, local, {found['id']}: good for trying, not for publishing"


def wheels(spec: Spec, plan: Plan) -> list[brought.Wheel]:
    """Find what a person brought for this image.

    Raises:
        KitError: a wheel is another's, or does not run in the image.
    """
    places = [place for place in (plan.wheels, brought.folder(spec)) if place is not None]
    found = brought.wheels(spec, plan.name, plan.platform, places)
    return [wheel for wheel in found if wheel.of.name not in plan.do_without]


def _brought(spec: Spec, plan: Plan, lock: lockfile.Lock) -> list[str]:
    """Refuse a training image in which recipes would stop at the import of their plugin."""
    if unknown := [n for n in plan.do_without if n not in spec.brought]:
        raise KitError(f"nothing that is brought is called {unknown[0]!r}",
                       fix=f"one of {', '.join(spec.brought)}")  # fmt: skip
    found = wheels(spec, plan)
    notes = [f"brought: {w.file.name}, sha256:{w.sha256}" for w in found]
    for one in brought.missing(spec, plan.name, found):
        if "axolotl" not in lock.all(plan.platform.name):
            continue  # a small image, which trains no recipe
        if one.name not in plan.do_without:
            raise KitError(
                f"no package index carries {one.name}, and nobody has brought its wheel: recipes "
                f"with {one.plugins[0].rpartition('.')[2]} would stop in this image",
                where=str(brought.folder(spec)),
                cause=one.why,
                fix=f"bring {one.stem}-*.whl there, from {one.source}, commit {one.commit} "
                f"(licence: {one.licence}); or --without {one.name}, and train with the variant "
                f"{one.without} (mfo run RECIPE+{one.without})",
            )
        notes.append(f"without {one.name}, as you asked: its recipes need +{one.without}")
    return notes


def _index(spec: Spec, plan: Plan, lock: lockfile.Lock) -> str:
    """Hold the lock against the index that uv sees; pip, in the build, may be told of another."""
    where = f"{plan.name}, {plan.platform.name}"
    own = spec.image(plan.name).requirements if _own(spec, plan) else ()
    try:
        findings = check.one_against_index(spec, where, lock, plan.platform, own)
    except KitError as error:
        return f"warning: not held against the index: {error.what}"
    if wrong := [f for f in findings if not f.holds]:
        raise KitError(wrong[0].words, where=str(plan.lock), fix=wrong[0].fix)
    return f"lock: {findings[0].words}"


def _own(spec: Spec, plan: Plan) -> bool:
    return plan.lock == spec.locks / plan.name


def _emulation(plan: Plan) -> str:
    if plan.platform.name == this_machine.machine():
        return ""
    entry = _BINFMT / f"qemu-{plan.platform.name}"
    if not entry.is_file():
        raise KitError(
            f"this machine, {this_machine.machine()}, cannot run programs for {plan.platform.name}",
            where=str(entry),
            cause="no emulator is registered",
            fix="apt-get install qemu-user-static binfmt-support (and, as root, where no system "
            f"does it: mount -t binfmt_misc binfmt_misc {_BINFMT}; update-binfmts --enable), or "
            "build on such a machine",
        )
    return f"emulated: {plan.platform.name} on {this_machine.machine()}, many times slower"


def _space(plan: Plan, out: Path, size_gb: float) -> str:
    wheels = sum(f.stat().st_size for f in plan.wheels.glob("*")) if plan.wheels else 0
    # Of another lock's image nobody has said how large it is: its wheels are copied once into the
    # build, unpacked to about three times their size, and packed again as a layer.
    size_gb = size_gb or SMALL_GB + 5 * wheels / GB
    for place in (engine.storage(plan.engine), out):
        there = next(p for p in (place, *place.parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < size_gb * GB:
            raise KitError(
                f"{free / GB:,.1f} GB are free, and the image may take {size_gb:,.0f} GB",
                where=str(there),
                fix="make room, or move the engine's storage (graphroot in storage.conf)",
            )
    return ""


def build(spec: Spec, plan: Plan, out: Path, say: Callable[[str], None]) -> Built:
    """Build an image, look into it, and write its evidence.

    Args:
        spec: the images.
        plan: what to build; look() has passed.
        out: folder for the log and the evidence.
        say: called with a line for each step.

    Raises:
        KitError: the build failed, or the image does not hold what the lock says.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = lockfile.read(plan.lock, spec.platforms)
    source = git_state(spec.path.parent)
    stem = f"{plan.name}-{plan.platform.name}"
    context = out / f".{stem}.context"
    try:
        stage(spec, plan, context)
        arguments = {
            "BASE": plan.base,
            "PYTHON": f"python{lock.python}",
            "PIP_ARGS": "--no-index" if plan.wheels is not None else "",
            "REVISION": source["commit"],
            "CREATED": source["date"],
            "LOCK_SHA256": lock.digest(plan.platform.name),
            **_base_labels(plan),
        }
        what = Build(
            context / f"{plan.name}.Dockerfile",
            context,
            plan.platform,
            plan.tag,
            arguments,
            EPOCH,
            plan.fresh,
        )
        found = engine.build(plan.engine, what, out / f"{stem}.log", say)
    finally:
        shutil.rmtree(context, ignore_errors=True)
    say("looking into the image")
    seen = contents.of_image(plan.engine, found)
    given = wheels(spec, plan)
    contents.hold_against(seen, lock.all(plan.platform.name), {w.of.name: w.version for w in given})
    facts = evidence.Facts(
        plan.name,
        plan.platform,
        plan.base,
        found,
        plan.engine,
        arguments,
        source,
        lock,
        spec.requirements_digest(plan.name),
        tuple(given),
    )
    sbom, provenance = out / f"{stem}.cdx.json", out / f"{stem}.provenance.json"
    sbom.write_text(evidence.sbom(facts, seen), encoding="utf-8")
    provenance.write_text(evidence.provenance(facts), encoding="utf-8")
    return Built(
        found, plan.tag, plan.platform, len(lock.all(plan.platform.name)), provenance, sbom
    )


def _base_labels(plan: Plan) -> dict[str, str]:
    reference, _, digest = plan.base.partition("@")
    if digest:
        return {"BASE_NAME": reference, "BASE_DIGEST": digest}
    found = engine.inspect(plan.engine, plan.base) or {}
    return {"BASE_NAME": reference, "BASE_DIGEST": str(found.get("id", "unknown"))}


def stage(spec: Spec, plan: Plan, context: Path) -> None:
    """Make the build's context: what the Dockerfile copies, and nothing else of this machine."""
    shutil.rmtree(context, ignore_errors=True)
    (context / "wheels").mkdir(parents=True)
    room = spec.path.parent
    for name in (f"{plan.name}.Dockerfile", *COPIED):
        shutil.copyfile(room / name, context / name)
    target = context / "locks" / plan.name
    target.mkdir(parents=True)
    files = ["lock.toml", *(f"{plan.platform.name}{part}.txt" for part in lockfile.PARTS)]
    for file in files:
        shutil.copyfile(plan.lock / file, target / file)
    given = [path for path in plan.wheels.iterdir() if path.is_file()] if plan.wheels else []
    given = [path for path in given if not path.name.startswith(spec.image(plan.name).brought)]
    for path in (*given, *(wheel.file for wheel in wheels(spec, plan))):
        try:
            os.link(path.resolve(), context / "wheels" / path.name)
        except OSError:  # another file system
            shutil.copyfile(path, context / "wheels" / path.name)
    for path in context.rglob("*"):  # the umask of whoever builds is no part of the image
        if "wheels" not in path.parts:
            path.chmod(0o755 if path.is_dir() else 0o644)


def git_state(folder: Path) -> dict[str, Any]:
    """Give {"commit", "date", "epoch", "clean"} of the kit; zeros where it is no git clone."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    if not commit:
        return {"commit": "unknown", "date": "1970-01-01T00:00:00Z", "epoch": 0, "clean": False}
    clean = not git("status", "--porcelain", "--", str(folder))
    date = git("log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ")
    return {"commit": commit if clean else f"{commit}-changed", "date": date,
            "epoch": int(git("log", "-1", "--format=%ct") or 0), "clean": clean}  # fmt: skip
