"""Do the packages of this environment fit where the kit and its recipes touch them?

    python containers/seams.py --image train [--lock FOLDER] [--line | --json]

Standard library only until it imports what it looks at, and one file beside its list, seams.toml,
so that an image can hold both. A seam is imported, its name found, and the arguments that it is
given by name are held against its signature; nothing is trained, generated or downloaded. Costs
what importing Axolotl or vLLM costs: 10 to 40 s. Exit code: 0 what is here fits, 1 something does
not, 3 none of the packages is here.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import inspect
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STATES = ("ok", "missing", "absent", "unseen")
LIST = Path(__file__).with_name("seams.toml")
_PARSER = ("vllm.utils.argparse_utils", "FlexibleArgumentParser")  # of every command of vLLM
_NO_DEVICE = "Failed to infer device type"  # what vLLM says to many questions where no GPU is
_WORDS = 240


@dataclass(frozen=True)
class Seam:
    """One place of a package that is called.

    Attributes:
        package: as the lock calls it.
        target: "module", "module:name" or "module:name.attribute".
        images: where it is asked.
        arguments: given by name; with + before it: through the callee's own **kwargs.
        flags: options of the command line whose parser it makes.
        holds: what its result must hold when it is called without arguments.
        by: the kit's file that calls it, "" where none is named; called: how, there.
        imported: whether it may be imported, or is only looked for.
    """

    package: str
    target: str
    images: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    by: str = ""
    called: str = ""
    imported: bool = True


@dataclass(frozen=True)
class Found:
    """What was seen of a seam, and in words.

    "ok"; "missing": it does not fit; "absent": there is no such package here; "unseen": it cannot
    be looked at without a GPU.
    """

    package: str
    target: str
    state: str
    words: str


def read(path: Path = LIST) -> list[Seam]:
    """Read the list.

    Raises:
        ValueError: it is not TOML, or says of a seam what this program does not know.
    """
    out = []
    for package, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        images = table.pop("images")
        for target, said in table.items():
            more = {"arguments": said} if isinstance(said, list) else dict(said)
            words = {k: tuple(v) if isinstance(v, list) else v for k, v in more.items()}
            try:
                out.append(Seam(package, target, **{"images": tuple(images), **words}))  # type: ignore[arg-type]
            except TypeError as error:
                raise ValueError(f"{path}: {package}, {target}: {error}") from None
    return out


def of_image(seams: Iterable[Seam], image: str) -> list[Seam]:
    """Give those that are asked in one image."""
    return [seam for seam in seams if image in seam.images]


def look(seams: Iterable[Seam], pins: Mapping[str, str]) -> list[Found]:
    """Hold this environment against seams.

    Args:
        seams: to look at.
        pins: name -> version that the lock holds; empty: there is none to hold it against. What
            it holds and is not here is missing; what it does not hold and is not here, absent.
    """
    return [_look(seam, pins) for seam in seams]


def _look(seam: Seam, pins: Mapping[str, str]) -> Found:
    pin, have = pins.get(seam.package), version(seam.package)
    module = seam.target.partition(":")[0]
    if pin is None and not _there(module):
        return Found(seam.package, seam.target, "absent", f"{seam.package} is not installed here")
    told = f"{seam.package} {have or 'not installed'}" + (f", pinned {pin}" if pin else "")
    try:
        wrong = _wrong(seam)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a package raises
        wrong = f"{type(error).__name__}: {_short(error)}"
        if _NO_DEVICE in wrong:
            return Found(seam.package, seam.target, "unseen",
                         f"{seam.target}: only where a GPU is ({told})")  # fmt: skip
    if wrong:
        return Found(seam.package, seam.target, "missing", f"{seam.target}: {wrong} ({told})")
    return Found(seam.package, seam.target, "ok", f"{seam.target} ({told})")


def version(package: str) -> str:
    """Give the version of an installed package; "" where there is none."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _there(module: str) -> bool:
    return find_spec(module.partition(".")[0]) is not None


def _wrong(seam: Seam) -> str:
    """Say what does not fit; "" where all does."""
    module, _, path = seam.target.partition(":")
    if not seam.imported:
        return "" if find_spec(module) else f"there is no module {module}"
    found: Any = importlib.import_module(module)
    for name in path.split(".") if path else ():
        try:
            found = getattr(found, name)
        except AttributeError:
            return f"there is no {name}"
    if seam.arguments and (unknown := _unknown(found, seam.arguments)):
        return f"it takes no {', '.join(unknown)}"
    if seam.flags:
        known = _parser(found)._option_string_actions
        if unknown := [flag for flag in seam.flags if flag not in known]:
            return f"its command line has no {', '.join(unknown)}"
    if seam.holds:
        result = found()
        if lacking := [one for one in seam.holds if one not in result]:
            return f"it does not know {', '.join(lacking)}"
    return ""


def _unknown(found: Any, arguments: Iterable[str]) -> list[str]:
    """Arguments that a callable does not name; **kwargs takes those that are marked with +."""
    known = inspect.signature(found).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    return [a for a in arguments if not (open_ended if a.startswith("+") else a in known)]


def _parser(make: Any) -> argparse.ArgumentParser:
    module, name = _PARSER
    parser: argparse.ArgumentParser = make(getattr(importlib.import_module(module), name)())
    return parser


def _short(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else "no message")[:_WORDS]


def summary(found: Iterable[Found]) -> str:
    """Give in one line what was seen; the same for two environments of the same packages."""
    by: dict[str, list[Found]] = {state: [] for state in STATES}
    for one in found:
        by[one.state].append(one)
    if wrong := by["missing"]:
        return f"{len(wrong)} do not fit: {'; '.join(one.words for one in wrong[:4])}"
    if not by["ok"]:
        return "no package of the list is here"
    said = f"{len(by['ok'])} fit"
    if by["unseen"]:
        said += f"; only where a GPU is: {', '.join(one.target for one in by['unseen'])}"
    absent = sorted({one.package for one in by["absent"]})
    return said + (f"; not here: {', '.join(absent)}" if absent else "")


def locked(folder: Path, machine: str) -> dict[str, str]:
    """Give name -> version of a lock's folder for one architecture."""
    text = "".join(f.read_text(encoding="utf-8") for f in sorted(folder.glob(f"{machine}.*txt")))
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="seams.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--image", required=True)
    parser.add_argument("--lock", type=Path, help="hold packages against this lock's folder too")
    parser.add_argument("--package", action="append", help="only this one's seams")
    parser.add_argument("--json", action="store_true", help="a line of JSON, the last one")
    parser.add_argument("--line", action="store_true", help="one line, the last one")
    given = parser.parse_args(arguments)
    # Nothing here may wait for a network, or ask a GPU for more than whether it is there.
    os.environ |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "VLLM_NO_USAGE_STATS": "1",
                   "AXOLOTL_DO_NOT_TRACK": "1"}  # fmt: skip
    seams = of_image(read(), given.image)
    if given.package:
        seams = [seam for seam in seams if seam.package in given.package]
    found = look(seams, locked(given.lock, os.uname().machine) if given.lock else {})
    if given.json:
        print(json.dumps([asdict(one) for one in found]), flush=True)
    else:
        for one in found if not given.line else ():
            print(f"{one.state:<8} {one.words}", flush=True)
        print(summary(found), flush=True)
    states = {one.state for one in found}
    return 1 if "missing" in states else 0 if "ok" in states else 3


if __name__ == "__main__":
    # Python looks first where a program lies: there `check` or `lock` would be the room's files.
    with contextlib.suppress(ValueError):
        sys.path.remove(str(Path(__file__).resolve().parent))
    sys.exit(main())
