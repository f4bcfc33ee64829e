"""The container images of a run: which bytes a stage runs in, and what is installed inside.

An image is a path in a site's profile, and a path may hold other bytes tomorrow. So its sha256 is
frozen in run.toml when a run is made, with the versions of the packages inside, as its bill of
materials lists them. Hashing 10 GB takes a while: it is done once for each path, size, time and
inode, and kept in the cache. The versions installed where `mfo` runs are the launcher's own, and
say nothing of what runs in a container.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from containers.sidecars import sidecars
from kit.errors import KitError
from kit.files import read_json, sha256_file, write_json
from launch.run.site import Site, expand

#: Which image a stage runs in, by the site's name of it.
ROLES = {"corpus": "train", "train": "train", "evaluate": "eval", "judge": "eval"}
#: Bytes above which hashing is announced.
LARGE = 2**30
UNKNOWN = "not known"
NOT_THERE = "not known until it is built"
NOT_RECORDED = "not recorded"
#: What run.toml says where a run has no containers.
NONE = "none"


def describe(site: Site, stages: Iterable[str], packages: Iterable[str]) -> dict[str, Any]:
    """Give what is known of the image of each role; nothing where the site has no containers.

    Args:
        site: whose images.
        stages: of the run.
        packages: whose versions are wanted.

    Returns:
        Role -> {"path", "sha256", "evidence", "packages", "file" (size, time and inode)}. An image
        that is not a file has the digest that its engine gives.

    Raises:
        KitError: an image's provenance is that of other bytes.
    """
    if site.runtime == "none":
        return {}
    roles = dict.fromkeys(ROLES[stage] for stage in stages)
    return {role: _describe(site, role, list(packages)) for role in roles}


def not_recorded(site: Site) -> dict[str, Any]:
    """Give what is known of the images of a run that an older kit made: their paths."""
    nothing = {"sha256": NOT_RECORDED, "evidence": NOT_RECORDED, "packages": {}}
    return {role: {"path": expand(name), **nothing} for role, name in site.images.items()}


def _describe(site: Site, role: str, packages: list[str]) -> dict[str, Any]:
    name = expand(site.images.get(role, ""))
    path = Path(name)
    if not path.is_file():
        looks_like_file = name.startswith(("/", ".")) or path.suffix in (".sqsh", ".sif")
        known = NOT_THERE if looks_like_file or "$" in name else _of_engine(site, name)
        return {"path": name, "sha256": known, "evidence": "none", "packages": {}}
    sha256 = digest(path, site.cache_path)
    inside, evidence = _evidence(path, sha256, packages)
    return {
        "path": name,
        "sha256": sha256,
        "evidence": evidence,
        "packages": inside,
        "file": _mark(path),
    }


def _of_engine(site: Site, name: str) -> str:
    """Ask podman-hpc for the digest of an image that has a name and no path."""
    words = [site.runtime, "image", "inspect", "--format", "{{.Digest}}", name]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        if done.stdout.startswith("sha256:"):
            return done.stdout.strip().removeprefix("sha256:")
    return UNKNOWN


def _evidence(path: Path, sha256: str, packages: list[str]) -> tuple[dict[str, str], str]:
    """Give versions by package and a word on where they are from.

    Raises:
        KitError: the evidence beside the image is another file's.
    """
    places = sidecars(path)
    statement = read_json(places["provenance.json"])
    bill = read_json(places["cdx.json"])
    if statement is None or bill is None:
        return {}, "none beside it"
    named = statement.get("subject")
    subjects = {
        one["digest"].get("sha256")
        for one in (named if isinstance(named, list) else ())
        if isinstance(one, dict) and isinstance(one.get("digest"), dict)
    }
    if sha256 not in subjects:
        raise KitError(
            "the image is not the one that its provenance names",
            where=f"{path}: sha256 {sha256[:12]}, {places['provenance.json'].name} names others",
            cause="the image was replaced, and its provenance was not",
            fix="mfo image export again, or remove the two files to run without evidence",
        )
    wanted = {name.replace("_", "-").lower(): name for name in packages}
    listed = bill.get("components")
    found = {
        wanted[str(one.get("name"))]: str(one.get("version"))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and str(one.get("name")) in wanted
    }
    return found, f"{places['provenance.json'].name}, {places['cdx.json'].name}"


def _mark(path: Path) -> dict[str, int]:
    """What tells a file from another under its path without reading it."""
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def digest(path: Path, cache: Path) -> str:
    """Give the sha256 of an image file, hashed once for each path, size, time and inode.

    Args:
        path: the image.
        cache: the site's; what cannot be written there is hashed again.
    """
    file, mark = cache / "images.json", _mark(path)
    known = read_json(file) or {}
    entry = known.get(str(path.resolve()))
    if isinstance(entry, dict) and entry.get("file") == mark:
        return str(entry.get("sha256"))
    if mark["size"] > LARGE:
        print(f"hashing {path} ({mark['size'] / 2**30:.0f} GiB), once", file=sys.stderr, flush=True)
    sha256 = sha256_file(path)
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        write_json(file, {**known, str(path.resolve()): {"file": mark, "sha256": sha256}})
    return sha256


def keep_evidence(images: dict[str, Any], folder: Path) -> None:
    """Copy the images' evidence into the run: beside the image it may be replaced."""
    for role, image in images.items():
        for kind, file in sidecars(Path(image["path"])).items():
            if image["evidence"] != "none" and file.is_file():
                folder.mkdir(exist_ok=True)
                shutil.copyfile(file, folder / f"{role}.{kind}")


def check_unchanged(images: dict[str, Any], stage: str, site: Site) -> None:
    """Refuse to run in other bytes than the run was made for.

    Inside a container the image's own file may be out of sight: then the launcher's check counts.

    Args:
        images: as run.toml has them.
        stage: that is about to run.
        site: whose cache.

    Raises:
        KitError: the image was replaced since.
    """
    image = images.get(ROLES.get(stage, ""))
    if not image or "file" not in image:
        return
    path = Path(image["path"])
    try:
        if _mark(path) == image["file"]:
            return
        now = digest(path, site.cache_path)
    except OSError:
        return
    if now == image["sha256"]:
        return
    raise KitError(
        f"the image of stage {stage} was replaced since the run was made",
        where=f"{path}: was sha256 {image['sha256'][:12]}, is {now[:12]}",
        cause="an image was built or exported under the same path",
        fix="put the old one back and mfo resume, or mfo run RECIPE for a run in the new one",
    )


def deciding(images: dict[str, Any], stage: str) -> dict[str, Any] | None:
    """Give what of a stage's image decides its outputs; None without a container."""
    image = images.get(ROLES[stage])
    if not image or image["sha256"] == NOT_RECORDED:
        return None
    return {"sha256": image["sha256"]}


def lines(images: dict[str, Any]) -> list[str]:
    """Say of each image what is known, as it is printed before a run."""
    out = []
    for role, image in images.items():
        known = str(image["sha256"])
        shown = f"sha256 {known[:12]}" if len(known) == 64 else known
        inside = ", ".join(f"{k} {v}" for k, v in image["packages"].items())
        out.append(
            f"image for {role}: {image['path']}, {shown}; inside: "
            f"{inside or 'not known'} (evidence: {image['evidence']})"
        )
    return out


def as_text(images: dict[str, Any]) -> dict[str, str]:
    """Give role -> digest, path and evidence, for pages and cards."""
    return {
        role: f"sha256 {one['sha256']}, {one['path']}, evidence: {one['evidence']}"
        for role, one in images.items()
    }


def read_kept(folder: Path) -> dict[str, bytes]:
    """Give the evidence that a run kept, by file name."""
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return {file.name: file.read_bytes() for file in found}


def words(packages: dict[str, str], image: dict[str, Any] | None) -> str:
    """Say what a stage runs with, as its log begins."""
    inside = ", ".join(f"{k} {v}" for k, v in packages.items()) or "versions that are not known"
    return f"with {inside}" + (f", in image sha256 {image['sha256'][:12]}" if image else "")
