"""The spec of the images, images.toml, read and held against what it must be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec import field, structs

from containers.lockfile import normal
from kit.errors import KitError
from kit.files import digest, read_toml
from kit.schema import Count, Table, convert

ROOM = Path(__file__).resolve().parent
SPEC = ROOM / "images.toml"
FORMAT = 1
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,_-]+\])?==[A-Za-z0-9.+!]+")
_NAME = re.compile(r"[a-z][a-z0-9-]*")


class BaseTable(Table):
    """[base]: the image that both are built on."""

    image: str
    digest: str
    origin: str
    resolved: bool
    cuda: str
    driver: Count
    apt: tuple[str, ...]
    apt_snapshot: str


class PlatformTable(Table):
    """[platforms.NAME]: an architecture, as OCI and as uv call it."""

    oci: str
    uv: str


class ImageTable(Table):
    """[images.NAME]."""

    title: str
    requirements: tuple[str, ...]
    size_gb: Count
    environment: dict[str, str] = field(default_factory=dict)


class Common(Table):
    """[common]: requirements of every image."""

    requirements: tuple[str, ...]


class Source(Table):
    """[source]: what is built from source, and how."""

    pure: tuple[str, ...]
    kernels: tuple[str, ...]
    pure_environment: dict[str, str]
    metadata: dict[str, list[str]]
    environment: dict[str, str]


class BroughtTable(Table):
    """[brought.NAME]: what a recipe needs and no package index carries; a person brings its wheel.

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

    image: str
    module: str
    file: str
    marker: str
    needed: bool
    source: str
    commit: str
    licence: str
    why: str
    plugins: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    without: str = ""


class Brought(BroughtTable, kw_only=True):
    """The same, with its package's name."""

    name: str

    @property
    def stem(self) -> str:
        """How its wheel's name begins."""
        return self.name.replace("-", "_")


class Bound(Table):
    """[[invariants.below]], [[invariants.at_least]]; `while` another package has this version."""

    package: str
    limit: str
    why: str
    where: str = field(default="", name="while")


class Cuda(Table):
    """[invariants.cuda]: packages that must be locked with another."""

    major: Count
    beside: tuple[str, ...]
    packages: tuple[str, ...]
    of: str = field(name="with")


class Invariants(Table):
    """[invariants]: what must hold between and within the locks."""

    same: tuple[str, ...]
    below: tuple[Bound, ...] = ()
    at_least: tuple[Bound, ...] = ()
    cuda: Cuda | None = None


class Mode(Table):
    """[edf.hook], [edf.aei]: one of the two network modes."""

    why: str
    suffix: str
    entrypoint: bool
    annotations: dict[str, str]
    environment: dict[str, str]


class EdfCommon(Table):
    """[edf.common]."""

    folder: str
    mounts: tuple[str, ...]
    workdir: str
    environment: dict[str, str]


class Edf(Table):
    """[edf]: files for the Container Engine."""

    hook: Mode
    aei: Mode
    common: EdfCommon


class ImagesFile(Table):
    """images.toml, as read."""

    format: Literal[1]
    vendor: str
    url: str
    python: str
    base: BaseTable
    platforms: dict[str, PlatformTable]
    images: dict[str, ImageTable]
    common: Common
    source: Source
    invariants: Invariants
    edf: Edf
    brought: dict[str, BroughtTable] = field(default_factory=dict)


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
    data: ImagesFile
    images: dict[str, Image]
    platforms: dict[str, Platform]
    brought: dict[str, Brought]

    @property
    def python(self) -> str:
        """Python's minor version, "3.12"."""
        return self.data.python

    @property
    def base(self) -> BaseTable:
        """The table [base]."""
        return self.data.base

    @property
    def base_reference(self) -> str:
        """The base image by tag and digest; the digest decides."""
        return f"{self.base.image}@{self.base.digest}"

    @property
    def source_only(self) -> tuple[str, ...]:
        """Packages that are built from source, the compiled ones last."""
        return (*self.data.source.pure, *self.data.source.kernels)

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
            "source": self.data.source.pure,
            "kernels": self.data.source.kernels,
        }
        return digest(made_from)


def load(path: Path = SPEC) -> Spec:
    """Read the spec.

    Raises:
        KitError: it is missing, not TOML, or says something that no image can be built from: an
            unpinned base, an unpinned package, a key that is missing.
    """
    read = read_toml(path, "the spec of the images")
    if read.get("format") != FORMAT:
        raise KitError(
            f"the spec has format {read.get('format')!r}, this kit reads {FORMAT}", where=str(path)
        )
    data = convert(read, ImagesFile, where=str(path), what="the spec of the images")
    check_pinned(data.base.image, data.base.digest, str(path))
    images = {name: _image(name, table, data, path) for name, table in data.images.items()}
    platforms = {n: Platform(n, t.oci, t.uv) for n, t in data.platforms.items()}
    for name, one in data.brought.items():
        if one.image not in images or normal(name) != name:
            raise KitError(
                f"brought.{name} is for no image of this spec, or is no package's name",
                where=str(path),
            )
    brought = {n: Brought(name=n, **structs.asdict(t)) for n, t in data.brought.items()}
    return Spec(path, data, images, platforms, brought)


def _image(name: str, table: ImageTable, data: ImagesFile, path: Path) -> Image:
    if not _NAME.fullmatch(name):
        raise KitError(f"{name!r} is no name for an image", where=str(path))
    for one in table.requirements:
        if not _PINNED.fullmatch(one):
            raise KitError(
                f"image {name}: the requirement {one!r} is not pinned",
                where=str(path),
                fix="write PACKAGE==VERSION, then mfo image lock " + name,
            )
    stems = (n.replace("-", "_") for n, one in data.brought.items() if one.image == name)
    requirements = (*table.requirements, *data.common.requirements)
    return Image(name, table.title, requirements, table.environment, table.size_gb, tuple(stems))


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
