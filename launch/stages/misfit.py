"""Packages that do not fit each other, told by name and pin and not by a stack trace.

What is called of them stands in one list (containers/seams.toml). An ImportError of one of its
packages, or a TypeError or AttributeError of one of its names, is a pin that is wrong or an
environment that is not the lock's.
"""

from __future__ import annotations

import platform
import re
from types import ModuleType

from containers import seams
from containers.seams import Seam
from containers.spec import load
from kit.errors import KitError

_CALL = re.compile(r"(?P<name>[\w.<>]+)\(\) (got an unexpected|missing \d+ required)")
_NAME = re.compile(r"No module named '(?P<name>[\w.]+)'|from '(?P<other>[\w.]+)'")


def explain(error: Exception) -> KitError | None:
    """Give the error in the kit's words, if it stands at a seam; None: it is another's.

    Args:
        error: as a stage raised it.
    """
    spec = load()
    seam = _seam(error, seams.read(spec.seams))
    if seam is None:
        return None
    have = seams.version(seam.package) or "not installed"
    pins = {image: seams.locked(spec.locks / image, platform.machine()).get(seam.package)
            for image in seam.images}  # fmt: skip
    pinned = ", ".join(f"{pin} in the {image} image" for image, pin in pins.items() if pin)
    first = (str(error).splitlines() or [""])[0][:300]
    return KitError(
        f"{seam.package} does not fit: {type(error).__name__}: {first}",
        where=f"{seam.package} {have}; the kit's pin is {pinned or 'none'}",
        cause="another version than the pin, or a package beside it is another than the lock's",
        fix=f"python -m containers.seams --image {seam.images[-1]} says all that does not fit; "
        "then install the pins (make setup, make serve-cpu), or use the images",
    )


def _seam(error: Exception, listed: list[Seam]) -> Seam | None:
    """The seam that an error stands at: by its module, or by the name that was called."""
    if isinstance(error, ImportError):
        found = _NAME.search(str(error))
        module = error.name or (found["name"] or found["other"] if found else "") or ""
        return _of_module(module, listed)
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return _of_module(error.obj.__name__, listed)
    if isinstance(error, TypeError) and (said := _CALL.match(str(error))):
        words = said["name"].split(".")
        called = words[0] if words[-1] == "__init__" else words[-1]
        return next((s for s in listed if re.split("[:.]", s.target)[-1] == called), None)
    return None


def _of_module(module: str, listed: list[Seam]) -> Seam | None:
    head = module.partition(".")[0]
    return next((s for s in listed if head and s.target.split(":")[0].split(".")[0] == head), None)
