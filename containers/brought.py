"""What recipes need and no package index carries: brought as a wheel by whoever runs them.

The kit neither fetches nor builds it: images.toml says what it is, where it comes from and under
which licence. Its wheel lies in containers/wheels/ (or in the folder of --wheels), the build
installs it without dependencies, and its sha256 goes into the image's evidence.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from containers.carry import runs
from containers.spec import Brought, Platform, Spec
from kit.errors import KitError
from kit.files import sha256_file

#: What the provenance calls a brought wheel's place.
PLACE = "wheels/"


@dataclass(frozen=True)
class Wheel:
    """A wheel that was brought: what it is for, the file, its version and its sha256 in hex."""

    of: Brought
    file: Path
    version: str
    sha256: str

    def fact(self) -> dict[str, Any]:
        """Give what the image's provenance says of it."""
        return {
            "uri": f"{PLACE}{self.file.name}",
            "digest": {"sha256": self.sha256},
            "annotations": {"package": self.of.name, "version": self.version,
                            "source": self.of.source, "licence": self.of.licence},
        }  # fmt: skip


def folder(spec: Spec) -> Path:
    """Where brought wheels lie."""
    return spec.path.parent / "wheels"


def wheels(spec: Spec, image: str, platform: Platform, folders: Iterable[Path]) -> list[Wheel]:
    """Find what was brought for an image, and look into each wheel.

    Args:
        spec: names what may be brought.
        image: for which image.
        platform: for which architecture.
        folders: where to look; the first that has a package's wheel counts.

    Raises:
        KitError: a wheel is for another architecture or Python, is no wheel, is another package
            of the same name, or stands twice.
    """
    places = list(folders)
    out = []
    for one in spec.brought.values():
        for place in places if one.image == image else ():
            if files := sorted(place.glob(f"{one.stem}-*.whl")):
                out.append(_look(one, files, platform, spec.python))
                break
    return out


def missing(spec: Spec, image: str, found: Iterable[Wheel]) -> list[Brought]:
    """Give what recipes need of an image and nobody has brought."""
    there = {wheel.of.name for wheel in found}
    return [b for b in spec.brought.values()
            if b.image == image and b.needed and b.name not in there]  # fmt: skip


def _look(one: Brought, files: list[Path], platform: Platform, python: str) -> Wheel:
    if len(files) > 1:
        raise KitError(f"there are {len(files)} wheels of {one.name}", where=str(files[0].parent),
                       fix=f"keep one: {', '.join(f.name for f in files)}")  # fmt: skip
    [file] = files
    try:
        _, version, _, tags = parse_wheel_filename(file.name)
        with zipfile.ZipFile(file) as archive:
            text = archive.read(one.file).decode("utf-8", errors="replace")
    except InvalidWheelFilename as error:
        raise KitError(f"{file.name} is no wheel's name: {error}", where=str(file)) from None
    except KeyError:
        text = ""
    except (OSError, zipfile.BadZipFile) as error:
        raise KitError(f"{file.name} cannot be read: {error}", where=str(file),
                       cause="cut while it was copied?") from None  # fmt: skip
    if one.marker not in text:
        raise KitError(
            f"{file.name} is not the {one.name} that recipes need", where=str(file),
            cause=f"{one.file} does not hold {one.marker}: another package has the same name",
            fix=f"bring the wheel of {one.source}, commit {one.commit}",
        )  # fmt: skip
    if not tags & runs(platform, python):
        raise KitError(
            f"{file.name} does not run on {platform.name} with Python {python}", where=str(file),
            fix=f"build it on such a machine, from {one.source}, commit {one.commit}",
        )  # fmt: skip
    return Wheel(one, file, str(version), sha256_file(file))


def of_statement(text: str, where: str) -> dict[str, str]:
    """Give what an image's provenance says was brought: package -> version.

    Raises:
        KitError: it is no provenance of this kit.
    """
    try:
        facts = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
        return {f["annotations"]["package"]: f["annotations"]["version"]
                for f in facts if str(f["uri"]).startswith(PLACE)}  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise KitError("this is no provenance of an image", where=where) from None
