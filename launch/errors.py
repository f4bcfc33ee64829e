"""Errors that a user can act on, and the nearest names for what was mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from checks.errors import KitError
from containers.errors import KitError as ImageError
from corpus.errors import KitError as CorpusError

#: Everything that the command line prints without a stack trace.
ACTIONABLE = (KitError, CorpusError, ImageError)

__all__ = ["ACTIONABLE", "CorpusError", "ImageError", "KitError", "nearest"]


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """Say which known names are closest to `name`, or list them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.5)
    if not close:  # "eval.limt" is far from "eval.limit" for no ratio, but "limit" may be a part
        close = [k for k in known if name.rsplit(".", 1)[-1] in k][:most]
    if close:
        return "nearest: " + ", ".join(close)
    return "known: " + ", ".join(known)
