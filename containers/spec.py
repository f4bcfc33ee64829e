"""The spec of the images, images.toml, read and held against what it must be."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.lockfile import normal
from kit.errors import KitError

ROOM = Path(__file__).resolve().parent
SPEC = ROOM / "images.toml"
FORMAT = 1
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?==[A-Za-z0-9.+!]+")
_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Platform:
    """One architecture: its name for uname -m, for OCI and for uv."""

    name: str
    oci: str
    uv: str

    @property
    def oci_arch(self) -> str:
        """ "arm64" or "amd64"."""
        return self.oci.partition("/")[2]


@dataclass(frozen=True)
class Image:
    """One of the images.

    Attributes:
        requirements: its own pins, then those that all images share.
        environment: set in the image.
        size_gb: free space that a build needs, in GB.
        brought: how the wheels' names begin that a person may bring for it.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    environment: dict[str, str]
    size_gb: int
    brought: tuple[str, ...] = ()

    @property
    def pins(self) -> dict[str, str]:
        """The packages that the spec itself pins: normalised name -> version."""
        pairs = (r.partition("==") for r in self.requirements if "==" in r)
        return {normal(name.partition("[")[0]): version for name, _, version in pairs}


@dataclass(frozen=True)
class Brought:
    """What a recipe needs and no package index carries; a person brings its wheel.

    Attributes:
        image: which image it is for.
        module: what is imported.
        file, marker: a file of the wheel, and what it must hold: others have the same name.
        plugins: of Axolotl, which stop without it.
        architectures: of models, which are computed more slowly without it.
        needed: whether a recipe that uses it stops without it.
        source, commit: where it comes from, as data: nothing here fetches it.
        without: the variant of a recipe that does without it; "" where none has to.
    """

    name: str
    image: str
    module: str
    file: str
    marker: str
    plugins: tuple[str, ...]
    architectures: tuple[str, ...]
    needed: bool
    source: str
    commit: str
    licence: str
    why: str
    without: str

    @property
    def stem(self) -> str:
        """How its wheel's name begins."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Spec:
    """images.toml.

    Attributes:
        path: the file.
        data: all of it, as read.
        images: by name.
        platforms: by `uname -m`.
        brought: by name, what no package index carries.
    """

    path: Path
    data: dict[str, Any]
    images: dict[str, Image]
    platforms: dict[str, Platform]
    brought: dict[str, Brought]

    @property
    def python(self) -> str:
        """Python's minor version, "3.12"."""
        return str(self.data["python"])

    @property
    def base(self) -> dict[str, Any]:
        """The table [base]."""
        return dict(self.data["base"])

    @property
    def base_reference(self) -> str:
        """The base image by tag and digest; the digest decides."""
        return f"{self.base['image']}@{self.base['digest']}"

    @property
    def source_only(self) -> tuple[str, ...]:
        """Packages that are built from source, the compiled ones last."""
        return (*self.data["source"]["pure"], *self.data["source"]["kernels"])

    @property
    def seams(self) -> Path:
        """The list of what is imported and called."""
        return self.path.parent / "seams.toml"

    @property
    def locks(self) -> Path:
        """Folder of the locks, one folder an image."""
        return self.path.parent / "locks"

    def image(self, name: str) -> Image:
        """Give one image.

        Raises:
            KitError: there is none of that name.
        """
        if name not in self.images:
            raise KitError(
                f"there is no image {name!r}; known: {', '.join(self.images)}", where=str(self.path)
            )
        return self.images[name]

    def platform(self, name: str) -> Platform:
        """Give one platform by any of its names (aarch64, arm64, linux/arm64).

        Raises:
            KitError: none is called so.
        """
        for platform in self.platforms.values():
            if name in (platform.name, platform.oci, platform.oci_arch):
                return platform
        known = ", ".join(self.platforms)
        raise KitError(f"there is no architecture {name!r}; known: {known}", where=str(self.path))

    def requirements_digest(self, name: str) -> str:
        """Give the sha256 of what a lock of this image is made from."""
        made_from = {
            "python": self.python,
            "requirements": self.image(name).requirements,
            "platforms": {p.name: p.uv for p in self.platforms.values()},
            "source": self.data["source"]["pure"],
            "kernels": self.data["source"]["kernels"],
        }
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def load(path: Path = SPEC) -> Spec:
    """Read the spec.

    Raises:
        KitError: it is missing, not TOML, or says something that no image can be built from: an
            unpinned base, an unpinned package, a key that is missing.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KitError(f"the spec cannot be read: {error.strerror}", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(f"the spec is not TOML: {error}", where=str(path)) from None
    if data.get("format") != FORMAT:
        raise KitError(
            f"the spec has format {data.get('format')!r}, this kit reads {FORMAT}", where=str(path)
        )
    try:
        return _spec(path, data)
    except (KeyError, TypeError, AttributeError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise KitError(f"the spec is incomplete: {said}", where=str(path)) from None


def _spec(path: Path, data: dict[str, Any]) -> Spec:
    check_pinned(data["base"]["image"], data["base"].get("digest", ""), str(path))
    shared = tuple(data["common"]["requirements"])
    images = {}
    for name, table in data["images"].items():
        if not _NAME.fullmatch(name):
            raise KitError(f"{name!r} is no name for an image", where=str(path))
        own = tuple(table["requirements"])
        for one in own:
            if not _PINNED.fullmatch(one):
                raise KitError(
                    f"image {name}: the requirement {one!r} is not pinned", where=str(path),
                    fix="write PACKAGE==VERSION, then mfo image lock " + name,
                )  # fmt: skip
        images[name] = Image(name, table["title"], (*own, *shared),
                             dict(table.get("environment", {})), int(table["size_gb"]),
                             _stems(name, data))  # fmt: skip
    platforms = {n: Platform(n, t["oci"], t["uv"]) for n, t in data["platforms"].items()}
    for key in ("pure", "kernels", "metadata", "environment"):
        data["source"][key]
    for key in ("hook", "aei", "common"):
        data["edf"][key]
    data["invariants"]["same"]
    str(data["python"]), data["base"]["cuda"], data["base"]["driver"]
    return Spec(path, data, images, platforms, _brought(path, data, images))


def _stems(image: str, data: dict[str, Any]) -> tuple[str, ...]:
    tables = data.get("brought", {}).items()
    return tuple(name.replace("-", "_") for name, table in tables if table["image"] == image)


def _brought(path: Path, data: dict[str, Any], images: dict[str, Image]) -> dict[str, Brought]:
    out = {}
    for name, table in data.get("brought", {}).items():
        lists = {key: tuple(table.get(key, ())) for key in ("plugins", "architectures")}
        words = {key: str(table[key]) for key in ("image", "module", "file", "marker", "source",
                                                  "commit", "licence", "why")}  # fmt: skip
        one = Brought(name, **words, **lists, needed=bool(table["needed"]),  # type: ignore[arg-type]
                      without=str(table.get("without", "")))  # fmt: skip
        if one.image not in images or normal(name) != name:
            raise KitError(f"brought.{name} is for no image of this spec, or is no package's name",
                           where=str(path))  # fmt: skip
        out[name] = one
    return out


def check_pinned(image: str, digest: str, where: str) -> None:
    """Refuse a base image that is a moving target.

    Raises:
        KitError: the digest is missing or is none.
    """
    if DIGEST.fullmatch(digest or ""):
        return
    raise KitError(
        f"the base image {image} is not pinned: its digest is {digest or 'missing'!r}",
        where=where,
        cause="a tag moves: next month the same name is another image",
        fix=f"skopeo inspect --raw docker://{image} | sha256sum, and write it as sha256:…",
    )
