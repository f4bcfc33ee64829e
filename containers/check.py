"""Is what the images are made of what it must be? `mfo image check`.

Without a network: rendered files and locks are as new as the spec, both architectures hold the same
versions, the images agree with each other, torch's wheels are CUDA builds, the clusters' two
network modes are not mixed. With an index: every package is there for its architecture, and every
hash is one that the index has for that version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from containers import lockfile, render, seams
from containers.lockfile import Lock, Pin
from containers.spec import Bound, Platform, Spec
from containers.uv import compile_pins, program
from kit.errors import KitError


@dataclass(frozen=True)
class Finding:
    """Something that was looked at: whether it holds, in words, and what to do if it does not."""

    holds: bool
    words: str
    fix: str = ""


def read_locks(spec: Spec) -> dict[str, Lock]:
    """Read every image's lock.

    Raises:
        KitError: one is missing or broken.
    """
    return {name: lockfile.read(spec.locks / name, spec.platforms) for name in spec.images}


def static(spec: Spec, locks: dict[str, Lock]) -> list[Finding]:
    """Look at everything that needs no index."""
    out = [_rendered(spec)]
    for name, lock in locks.items():
        out += [_fresh(spec, name, lock), _platforms(spec, name, lock), _sources(spec, name, lock)]
        for machine in lock.pins:
            out += _versions(spec, f"{name}, {machine}", lock.all(machine))
    out += _between(spec, locks)
    out += [_seams(spec, name, lock) for name, lock in locks.items()]
    out.append(_modes(spec))
    return out


def _rendered(spec: Spec) -> Finding:
    stale = render.stale(spec)
    words = (
        f"older than images.toml: {', '.join(stale)}" if stale else "rendered files are the spec's"
    )
    return Finding(not stale, words, "mfo image render")


def _fresh(spec: Spec, name: str, lock: Lock) -> Finding:
    good = lock.facts.made_from == spec.requirements_digest(name)
    words = (
        f"{name}: the lock is made from {'' if good else 'other '}requirements than images.toml's"
    )
    if good:
        words = f"{name}: the lock is made from images.toml's requirements"
    return Finding(good, words, f"mfo image lock {name} --why '…'")


def _platforms(spec: Spec, name: str, lock: Lock) -> Finding:
    """The same versions on every architecture."""
    fix = f"mfo image lock {name} --why '…'"
    if lacking := [m for m in spec.platforms if m not in lock.pins]:
        return Finding(False, f"{name}: no lock for {', '.join(lacking)}", fix)
    first, *others = ({n: p.version for n, p in lock.all(m).items()} for m in spec.platforms)
    for other in others:
        for package in sorted(first.keys() & other.keys()):
            if first[package] != other[package]:
                return Finding(
                    False,
                    f"{name}: {package} is {first[package]} and {other[package]}, by architecture",
                    fix,
                )
    counts = ", ".join(f"{len(lock.all(m))} for {m}" for m in spec.platforms)
    return Finding(True, f"{name}: every architecture has the same versions ({counts})")


def _sources(spec: Spec, name: str, lock: Lock) -> Finding:
    """Nothing else is built from source than what the spec lists."""
    listed = set(spec.source_only)
    found = {n for parts in lock.pins.values() for p in (".source", ".kernels") for n in parts[p]}
    if extra := sorted(found - listed):
        return Finding(False, f"{name}: built from source, but not listed: {', '.join(extra)}",
                       "list it in source of containers/images.toml")  # fmt: skip
    return Finding(True, f"{name}: built from source: {', '.join(sorted(found)) or 'nothing'}")


def _versions(spec: Spec, where: str, pins: dict[str, Pin]) -> list[Finding]:
    rules = spec.data.invariants
    out = []
    for rule in rules.below:
        if held := _bound(rule, pins):
            good = _version(held) < Version(rule.limit)
            out.append(_rule(good, where, held, f"below {rule.limit}", rule.why))
    for rule in rules.at_least:
        if held := _bound(rule, pins):
            good = _version(held) >= Version(rule.limit)
            out.append(_rule(good, where, held, f"{rule.limit} or newer", rule.why))
    cuda = rules.cuda
    if cuda and cuda.of in pins:
        lacking = [p for p in cuda.packages if p not in pins]
        other = [n for n in pins if n.startswith("nvidia-") and n[-5:-2] == "-cu"
                 and not n.endswith(f"-cu{cuda.major}") and n not in cuda.beside]  # fmt: skip
        said = f"without {', '.join(lacking)}: a CPU build" if lacking else "with CUDA's libraries"
        if other:
            said = f"beside libraries of another CUDA: {', '.join(other)}"
        out.append(Finding(not lacking and not other, f"{where}: {cuda.of} comes {said}",
                           f"choose a {cuda.of} whose wheel is a CUDA build"))  # fmt: skip
    return out


def _bound(rule: Bound, pins: dict[str, Pin]) -> Pin | None:
    """The pin that a rule speaks of; None where it is not locked, or the rule's `while` not met."""
    package, _, version = rule.where.partition("==")
    met = not package or (package in pins and pins[package].version == version)
    return pins.get(rule.package) if met else None


def _rule(good: bool, where: str, pin: Pin, wanted: str, why: str) -> Finding:
    words = f"{where}: {pin.name} {pin.version} is {'' if good else 'not '}{wanted}"
    return Finding(good, words if good else f"{words}: {why}", f"pin another {pin.name}")


def _version(pin: Pin) -> Version:
    try:
        return Version(pin.version)
    except InvalidVersion:
        raise KitError(f"{pin.name}: {pin.version!r} is no version") from None


def _between(spec: Spec, locks: dict[str, Lock]) -> list[Finding]:
    """The images share what decides a result."""
    out = []
    for package in spec.data.invariants.same:
        held = {
            f"{name}, {machine}": lock.all(machine)[package].version
            for name, lock in locks.items()
            for machine in lock.pins
            if package in lock.all(machine)
        }
        versions = sorted(set(held.values()))
        missing = [
            n for n, lock in locks.items() if not any(package in lock.all(m) for m in lock.pins)
        ]
        if missing:
            out.append(
                Finding(False, f"{package} is not in {', '.join(missing)}", "mfo image lock")
            )
        elif len(versions) > 1:
            told = "; ".join(f"{where}: {version}" for where, version in held.items())
            out.append(Finding(False, f"the images differ in {package}: {told}",
                               "pin one version in containers/images.toml"))  # fmt: skip
        else:
            out.append(Finding(True, f"every image has {package} {versions[0]}"))
    return out


#: The kit itself: mounted into the images, and no package of theirs.
_MOUNTED = "mfo-kit"


def _seams(spec: Spec, name: str, lock: Lock) -> Finding:
    """What is imported and called in an image is locked for it, or can be brought."""
    try:
        listed = seams.of_image(seams.read(spec.seams), name)
    except (OSError, ValueError) as error:
        raise KitError(
            f"the list of seams cannot be read: {error}", where=str(spec.seams)
        ) from None
    packages = {seam.package for seam in listed}
    can_be = {one.name for one in spec.brought.values() if one.image == name}
    for machine in lock.pins:
        for package in sorted(packages - can_be - lock.all(machine).keys() - {_MOUNTED}):
            one = next(seam for seam in listed if seam.package == package)
            return Finding(False, f"{name}, {machine}: {one.target} is called there, and {package} "
                           "is not locked", f"pin it in containers/images.toml, then mfo image "
                           f"lock {name} --why '…'")  # fmt: skip
    return Finding(True, f"{name}: the packages of its {len(listed)} seams are locked, or brought")


def _modes(spec: Spec) -> Finding:
    """CSCS: the hook for our own image, or the image's own Libfabric; never both, never neither."""
    edf = spec.data.edf
    modes = {"hook": edf.hook, "aei": edf.aei}
    wrong = [name for name, mode in modes.items() if not one_mode(mode.annotations)]
    if wrong:
        return Finding(
            False,
            f"edf.{wrong[0]} asks for both network modes, or for none",
            "aws_ofi_nccl enabled and cxi untouched, or disabled and cxi disabled",
        )
    return Finding(True, "each EDF asks for exactly one of CSCS's network modes")


def one_mode(annotations: dict[str, str]) -> bool:
    """Whether annotations choose exactly one network mode."""
    hook = annotations.get("com.hooks.aws_ofi_nccl.enabled") == "true"
    own = annotations.get("com.hooks.cxi.enabled") == "false"
    return hook != own


def against_index(
    spec: Spec, locks: dict[str, Lock], say: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Resolve every lock again from the index, and compare versions and hashes.

    Args:
        spec: the images.
        locks: theirs.
        say: called with a line when an architecture is done.

    Raises:
        KitError: no index in reach, or uv is not installed.
    """
    jobs = [(name, machine) for name, lock in locks.items() for machine in lock.pins]

    def one(job: tuple[str, str]) -> list[Finding]:
        name, machine = job
        found = one_against_index(spec, f"{name}, {machine}", locks[name], spec.platform(machine),
                                  spec.image(name).requirements)  # fmt: skip
        say(f"{name}, {machine}: held against the index")
        return found

    # Before the threads begin: where uv lies is asked of sysconfig, which fills its table at its
    # first use, and lets a second thread see half of it.
    program()
    # Two at a time: uv itself is parallel, and each resolution holds a core for some seconds.
    with ThreadPoolExecutor(2) as pool:
        return [finding for found in pool.map(one, jobs) for finding in found]


def one_against_index(
    spec: Spec, where: str, lock: Lock, platform: Platform, requirements: Iterable[str]
) -> list[Finding]:
    """Resolve a lock again for one architecture, 5 to 20 s; gives at least one finding.

    Args:
        spec: the images.
        where: what the lock is called in the findings.
        lock: it must have this architecture.
        platform: for which architecture.
        requirements: what it was made from; none: whatever it holds.

    Raises:
        KitError: no index in reach, or uv is not installed.
    """
    held = lock.all(platform.name)
    try:
        fresh = compile_pins(spec, [*requirements, *_exactly(held)], platform, lock.python)
    except KitError as error:
        if "cannot be reached" in error.what or "not installed" in error.what:
            raise
        return [Finding(False, f"{where}: {error.what}: {_tail(error.where)}", error.fix)]
    hashes = sum(len(p.hashes) for p in held.values())
    return list(compare(where, held, fresh)) or [Finding(
        True, f"{where}: all {len(held)} packages are in the index, with {hashes:,} hashes that "
        "are its own")]  # fmt: skip


def _exactly(pins: dict[str, Pin]) -> list[str]:
    return [f"{p.name}=={p.version}" for p in pins.values()]


def _tail(words: str) -> str:
    return words if len(words) < 300 else f"{words[:300]}…"


def compare(where: str, held: dict[str, Pin], fresh: dict[str, Pin]) -> Iterable[Finding]:
    """Say where a lock differs from what the index gives for the same pins.

    A file that was added to the index later is no fault: no lock can know of it.
    """
    fix = "mfo image lock NAME --why '…', and find out who changed it"
    for name in sorted(held.keys() | fresh.keys()):
        if name not in fresh:
            yield Finding(False, f"{where}: {name} is locked, but nothing here needs it", fix)
        elif name not in held:
            yield Finding(False, f"{where}: {name} is needed, but not locked", fix)
        elif held[name].version != fresh[name].version:
            yield Finding(False, f"{where}: {name} is locked as {held[name].version}, the index "
                          f"gives {fresh[name].version}", fix)  # fmt: skip
        elif wrong := sorted(set(held[name].hashes) - set(fresh[name].hashes)):
            yield Finding(False, f"{where}: {name} {held[name].version} has a hash that the index "
                          f"does not know: sha256:{wrong[0]}", fix)  # fmt: skip
