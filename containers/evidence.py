"""What an image is made of and how it was made: CycloneDX and SLSA provenance, as two JSON files.

Both are the same to the byte for two builds of one commit: their times are the commit's.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from containers.brought import Wheel
from containers.contents import Package
from containers.lockfile import Lock
from containers.spec import DIGEST, Platform
from kit.errors import KitError
from kit.files import sha256_file

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mfo-kit:image-build:1"


@dataclass(frozen=True)
class Facts:
    """What is known about a build.

    Attributes:
        base: reference of the base image.
        id: the built image's, "sha256:…".
        arguments: build arguments, none of them secret.
        source: {"commit", "date", "epoch", "clean"}.
        spec_digest: of what the lock was made from.
        brought: wheels that a person brought, beside the lock's.
    """

    name: str
    platform: Platform
    base: str
    id: str
    engine: str
    arguments: Mapping[str, str]
    source: Mapping[str, Any]
    lock: Lock
    spec_digest: str
    brought: tuple[Wheel, ...] = ()


def sbom(facts: Facts, seen: Mapping[str, Package]) -> str:
    """Give the bill of materials: the lock's packages with their hashes, the image's licences.

    Args:
        facts: of the build.
        seen: packages that stand in the image's file system; already held against the lock.

    Raises:
        KitError: the library that writes it is not installed.
    """
    try:
        from cyclonedx.model import (
            ExternalReference,
            ExternalReferenceType,
            HashAlgorithm,
            HashType,
            XsUri,
        )
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.license import DisjunctiveLicense
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError:
        raise KitError("cyclonedx-python-lib is not installed: it writes the bill of materials",
                       fix="pip install -c constraints.txt -e '.[images]'") from None  # fmt: skip

    def sha256(digest: str) -> HashType:
        return HashType(alg=HashAlgorithm.SHA_256, content=digest)

    machine = facts.platform.name
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, facts.id))
    bom.metadata.timestamp = datetime.fromisoformat(facts.source["date"])
    bom.metadata.component = Component(
        name=f"mfo-{facts.name}", type=ComponentType.CONTAINER, version=str(facts.source["commit"]),
        bom_ref=facts.id, hashes=[sha256(facts.id.removeprefix("sha256:"))],
    )  # fmt: skip
    for name, pin in sorted(facts.lock.all(machine).items()):
        licence = seen[name].licence if name in seen else ""
        bom.components.add(
            Component(
                name=name,
                version=pin.version,
                type=ComponentType.LIBRARY,
                bom_ref=f"{name}=={pin.version}",
                purl=PackageURL("pypi", None, name, pin.version),
                # One of these files was installed: an index holds many for one version.
                external_references=[
                    ExternalReference(
                        type=ExternalReferenceType.DISTRIBUTION,
                        url=XsUri(f"https://pypi.org/project/{name}/"),
                        hashes=[sha256(h) for h in pin.hashes],
                    )
                ],
                licenses=[DisjunctiveLicense(name=licence)] if licence else (),
            )
        )
    for wheel in facts.brought:
        bom.components.add(
            Component(
                name=wheel.of.name,
                version=wheel.version,
                type=ComponentType.LIBRARY,
                bom_ref=f"{wheel.of.name}=={wheel.version}",
                description=f"brought as {wheel.file.name}; no package index carries it",
                external_references=[
                    ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(wheel.of.source))
                ],
                hashes=[sha256(wheel.sha256)],
                licenses=[DisjunctiveLicense(name=wheel.of.licence)],
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text + "\n"


def provenance(facts: Facts, more: Mapping[str, str] | None = None) -> str:
    """Give the statement of how the image was built.

    Args:
        facts: of the build.
        more: further subjects, name -> sha256 in hex, for example an exported file.
    """
    subjects = {
        f"mfo-{facts.name}-{facts.platform.name}": facts.id.removeprefix("sha256:"),
        **(more or {}),
    }
    reference, _, digest = facts.base.partition("@")
    base: dict[str, Any] = {"uri": reference}
    known = digest or facts.arguments.get("BASE_DIGEST", "")
    if DIGEST.fullmatch(known):
        base["digest"] = {"sha256": known.removeprefix("sha256:")}
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": n, "digest": {"sha256": d}} for n, d in sorted(subjects.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"image": facts.name, "platform": facts.platform.oci,
                                       "arguments": dict(sorted(facts.arguments.items()))},
                "internalParameters": {"engine": facts.engine},
                "resolvedDependencies": [
                    base,
                    {"uri": "kit", "digest": {"gitCommit": facts.source["commit"]},
                     "annotations": {"clean": facts.source["clean"]}},
                    {"uri": f"locks/{facts.name}/{facts.platform.name}",
                     "digest": {"sha256": facts.lock.digest(facts.platform.name)},
                     "annotations": {"made_from": facts.spec_digest}},
                    *(wheel.fact() for wheel in facts.brought),
                ],
            },
            # SLSA asks for who built it: a person's own machine, which vouches for nothing more.
            "runDetails": {"builder": {"id": f"{BUILD_TYPE}/local"},
                           "metadata": {"startedOn": facts.source["date"]}},
        },
    }  # fmt: skip
    return json.dumps(statement, indent=1, sort_keys=True) + "\n"


def add_subject(statement: str, file: Path) -> str:
    """Give a statement with one more subject: a file that was exported from the image.

    Raises:
        KitError: it is no statement of this kit.
    """
    try:
        value = json.loads(statement)
        subjects = [s for s in value["subject"] if s["name"] != file.name]
    except (ValueError, KeyError, TypeError):
        raise KitError("this is no provenance of an image", where=str(file)) from None
    value["subject"] = [*subjects, {"name": file.name, "digest": {"sha256": sha256_file(file)}}]
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
