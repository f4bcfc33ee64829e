"""Evidence: one file that lets anybody derive a run's verdict again from its items.

A bundle is a gzipped tar archive with plain files only::

    manifest.json      every other member's sha256 and size, and what was redacted
    verdict.json       the verdict that is claimed
    case.json          what decides a verdict beside items and table: model, benchmarks, tier, plan
    table.toml         the published table
    items/*.jsonl      the scored items; base/*.jsonl those of the untrained model
    …                  whatever else shows how the run went: run.toml, logs, versions

The same content gives the same bytes. :func:`check_bundle` reads a bundle as hostile input (see
:mod:`checks.archive`), verifies every sha256 and judges the items again. It shows that a verdict
follows from its items; it cannot show that the items are honest, for which the evaluation must be
run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks.archive import PART, pack, unpack
from checks.terminal import printable
from kit.errors import KitError
from kit.files import os_errors, replacing, sha256_file

__all__ = ["CASE_KEYS", "Checked", "check_bundle", "make_bundle"]

FORMAT = "mfo-bundle"
VERSION = 1
CASE_KEYS = ("model", "benchmarks", "tier", "planned", "allow_partial")
#: Numbers are rounded to 4 decimals; another machine's libraries may round the last one otherwise.
TOLERANCE = 1e-3
MOST_ITEMS = 10**8  # no benchmark has so many
#: What the reader must not take from the bundle is derived again; words alone may differ between
#: versions of the kit and are not held against each other.
WORDS = ("headline", "reason", "notes", "next", "interval_method", "margin_why", "method")
#: What older verdicts do not hold; it is shown and decides nothing.
SHOWN = ("sensitivity",)
PASSED_ON = ("loss", "provenance")
PLAN_WORDS = ("why", "sha256", "problem")


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a whole bundle says.

    Attributes:
        verdict: derived again from the items.
        claimed: the verdict.json inside.
        differences: where the two disagree, in words; empty where they agree.
        members: number of files in it, the manifest left out.
        sha256: of the whole file.
        table: what is known about the table, in words.
        redacted: how often a secret was cut out when it was packed.
    """

    verdict: dict[str, Any]
    claimed: dict[str, Any]
    differences: tuple[str, ...]
    members: int
    sha256: str
    table: str
    redacted: int


def make_bundle(path: Path, members: Mapping[str, bytes], redacted: int = 0) -> str:
    """Write a bundle whole or not at all, and give its sha256.

    Args:
        path: the file.
        members: name -> content; must hold verdict.json, case.json, table.toml and items.
            Secrets are already cut out (:mod:`checks.redact`).
        redacted: how often something was.

    Raises:
        KitError: a member is missing or too large, or the verdict does not follow from the items,
            so that the bundle would not pass its own check.
    """
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "redacted": redacted,
        "members": {name: _entry(data) for name, data in sorted(members.items())},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    with (
        os_errors("the bundle cannot be written", path, fix="--out FILE with another place"),
        replacing(path) as beside,
    ):
        beside.write_bytes(pack({"manifest.json": text.encode(), **dict(sorted(members.items()))}))
        checked = check_bundle(beside)
        if checked.differences:
            raise KitError(
                "the run's verdict.json does not follow from its items",
                where=str(path),
                cause=checked.differences[0],
                fix="remove verdict.json, judge again with mfo resume RUN, then bundle",
            )
    return checked.sha256


def check_bundle(path: Path) -> Checked:
    """Verify a bundle and derive its verdict again.

    Raises:
        KitError: it is damaged or not a bundle, and nothing in it can be believed. Its text has
            no control characters, wherever in the bundle it comes from.
    """
    try:
        return _check(path)
    except KitError as error:
        said = (printable(text) for text in (error.what, error.where, error.cause, error.fix))
        what, where, cause, fix = said
        raise KitError(what, where=where, cause=cause, fix=fix) from None


def _check(path: Path) -> Checked:
    members = unpack(path)
    manifest = _json(members.pop("manifest.json", b""), "manifest.json", path)
    _verify(manifest, members, path)
    claimed = _json(members.get("verdict.json", b""), "verdict.json", path)
    case = _case(_json(members.get("case.json", b""), "case.json", path), path)
    with tempfile.TemporaryDirectory(prefix="mfo-bundle-") as folder:
        try:
            derived, table = _derive(Path(folder), members, case, claimed)
        except KitError as error:
            inside = error.where.replace(f"{folder}/", f"{path}: ")
            raise KitError(error.what, where=inside, cause=error.cause, fix=error.fix) from None
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            # Numbers of a thousand digits and other things that no evaluation leaves behind.
            raise _damaged("what is inside cannot be judged", path) from None
    judged = {f"items/{name}.jsonl" for name in case["benchmarks"]}
    unjudged = [f"{n} was scored and is not judged" for n in members if n.startswith("items/")
                and n not in judged]  # fmt: skip
    differences = [*compare(claimed, derived), *table[1], *unjudged]
    redacted = manifest.get("redacted")
    return Checked(
        verdict=derived,
        claimed=claimed,
        differences=tuple(differences),
        members=len(members),
        sha256=sha256_file(path),
        table=table[0],
        redacted=redacted if isinstance(redacted, int) else 0,
    )


def _entry(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _verify(manifest: Mapping[str, Any], members: Mapping[str, bytes], path: Path) -> None:
    """Hold every member against the manifest: none changed, none missing, none added."""
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise _damaged(
            f"this is not a bundle that this kit reads ({manifest.get('format')!r}, version "
            f"{manifest.get('version')!r})",
            path,
            "another program's archive, or a bundle of another version of the kit",
        )
    listed = manifest.get("members")
    if not isinstance(listed, dict):
        raise _damaged("the manifest lists no members", path)
    for name in sorted(members.keys() ^ listed.keys()):
        said = "is not in the manifest" if name in members else "is missing"
        raise _damaged(f"{name} {said}", path, "the bundle was changed after it was made")
    for name, data in members.items():
        if listed[name] != _entry(data):
            raise _damaged(
                f"{name} is not what was packed: its sha256 or size differs from the manifest's",
                path,
                "the bundle was changed after it was made, or damaged on the way",
            )


def _case(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Take what the judge needs, of the right types, and nothing else."""
    kinds = {"model": str, "benchmarks": list, "tier": str, "planned": dict, "allow_partial": bool}
    case = {"allow_partial": False, "planned": {}, **raw}
    for key, kind in kinds.items():
        if not isinstance(case.get(key), kind):
            raise _damaged(f"case.json: {key} is {case.get(key)!r}", path)
    if set(case) - set(CASE_KEYS):
        raise _damaged(f"case.json has unknown keys: {sorted(set(case) - set(CASE_KEYS))}", path)
    # They become names of files: the same letters as the archive allows, and no folder.
    if not all(isinstance(name, str) and PART.match(name) for name in case["benchmarks"]):
        raise _damaged("case.json: benchmarks are not names", path)
    for name, plan in case["planned"].items():
        known = isinstance(plan, dict) and set(plan) <= {"items", "of", "why", "sha256", "problem"}
        whole = known and all(
            type(plan[k]) is int and 0 <= plan[k] <= MOST_ITEMS
            for k in ("items", "of")
            if k in plan
        )
        if not whole or not all(isinstance(plan.get(k, ""), str) for k in PLAN_WORDS):
            raise _damaged(f"case.json: the plan of {name!r} is not understood", path)
    return case


def _derive(
    folder: Path, members: Mapping[str, bytes], case: dict[str, Any], claimed: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, list[str]]]:
    """Judge the items again, against the table inside and against this kit's own of that name."""
    from checks.tables import load_table

    for name, data in members.items():  # names were checked by unpack: none climbs out
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if "table.toml" not in members:
        raise KitError("table.toml is missing", where=f"{folder}/table.toml")
    own_name = _text(claimed.get("table"), "name")
    # A table is called after its file. The name is text from the bundle and never a path here.
    table = dataclasses.replace(load_table(folder / "table.toml"), name=own_name)
    derived = _judge(folder, case, claimed, table)
    return derived, _against_own(folder, case, claimed, derived, own_name)


def _judge(folder: Path, case: dict[str, Any], claimed: Mapping[str, Any], table: Any) -> Any:
    from checks.items import read_items
    from checks.verdict import judge

    def groups(place: str) -> dict[str, Any]:
        files = {name: folder / place / f"{name}.jsonl" for name in case["benchmarks"]}
        return {
            name: read_items(file, name, rubric=table.rubric)
            for name, file in files.items()
            if file.is_file()
        }

    loss, origin = claimed.get("loss"), claimed.get("provenance")
    return judge(
        items=groups("items"),
        table=table,
        **case,
        base_items=groups("base") or None,
        loss=[p for p in loss if isinstance(p, dict)] if isinstance(loss, list) else None,
        provenance=origin if isinstance(origin, dict) else None,
    )


def _against_own(
    folder: Path,
    case: dict[str, Any],
    claimed: Mapping[str, Any],
    derived: Mapping[str, Any],
    name: str,
) -> tuple[str, list[str]]:
    from checks.tables import load_table, table_names

    if name not in table_names():
        return f"{name!r} is not a table of this kit: the published values are the bundle's", []
    own = load_table(name)
    if own.sha256 == derived["table"]["sha256"]:
        return f"{name}, the same bytes as this kit's", []
    found = compare(derived, {**_judge(folder, case, claimed, own), "table": derived["table"]})
    if found:
        return f"{name}, but NOT as this kit has it", [f"the table inside: {d}" for d in found]
    return f"{name}, another version of this kit's file, with the same values here", []


def compare(claimed: Any, derived: Any, place: str = "") -> list[str]:
    """Say where two verdicts differ in a number, a word of the verdict or a hash.

    Wording (``WORDS``) is left out: it may change between versions of the kit, and readers are
    shown the derived one.
    """
    if isinstance(derived, dict) and isinstance(claimed, dict):
        found = []
        for key in sorted(claimed.keys() | derived.keys()):
            if key in WORDS or (not place and key in PASSED_ON):
                continue
            if not place and key in SHOWN and key not in claimed:
                continue
            # What one version of the kit does not write yet, the other leaves empty.
            found += compare(claimed.get(key), derived.get(key), _at(place, key))
        return found
    if isinstance(derived, list) and isinstance(claimed, list):
        if len(claimed) != len(derived):
            return [f"{place} has {len(claimed)} entries, derived {len(derived)}"]
        named = [_text(d, "benchmark") or str(i) for i, d in enumerate(derived)]
        pairs = zip(claimed, derived, named, strict=True)
        return [line for c, d, name in pairs for line in compare(c, d, f"{place}[{name}]")]
    if _same(claimed, derived):
        return []
    return [f"{place}: the bundle says {claimed!r}, its items give {derived!r}"]


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _same(left: Any, right: Any) -> bool:
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, numbers) and isinstance(right, numbers):
        with contextlib.suppress(OverflowError):  # a whole number of thousands of digits
            return abs(left - right) <= TOLERANCE
        return False
    return type(left) is type(right) and bool(left == right)


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _json(data: bytes, name: str, path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        said = "is missing" if not data else "is not a JSON object"
        raise _damaged(f"{name} {said}", path)
    return value


def _damaged(what: str, path: Path, cause: str = "") -> KitError:
    return KitError(
        what, where=str(path), cause=cause or "not a bundle, or one that was changed",
        fix="ask for the bundle again, and compare its sha256 with the one that was published",
    )  # fmt: skip
