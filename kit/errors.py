"""The one shape of an error that a user can act on, and the nearest names for one mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Names that are listed where none is close: a benchmark has thousands of items.
_LISTED = 20


class KitError(Exception):
    """An error that a user can act on.

    Args:
        what: what went wrong, in one sentence.
        where: the file (with a line number where there is one), flag or stage.
        cause: the likely cause.
        fix: the next command or edit.
        exit_code: 2 unless said otherwise (wrong usage or invalid input).
    """

    def __init__(
        self, what: str, *, where: str = "", cause: str = "", fix: str = "", exit_code: int = 2
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.cause, self.fix = what, where, cause, fix
        self.exit_code = exit_code

    def __str__(self) -> str:
        """Give the error as it is printed, a line for each part that is known."""
        parts = [("", self.what), ("where: ", self.where), ("cause: ", self.cause)]
        parts.append(("next:  ", self.fix))
        return "\n".join(label + text for label, text in parts if text)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the parts when a job hands the error back by pickle."""
        return (_rebuild, (type(self), self.what, self.where, self.cause, self.fix, self.exit_code))


def _rebuild(
    kind: type[KitError], what: str, where: str, cause: str, fix: str, code: int
) -> KitError:
    return kind(what, where=where, cause=cause, fix=fix, exit_code=code)


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """Say which known names are closest to `name`, or list them when none is close."""
    lower = {one.lower(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.5)
    if not close:  # "eval.limt" is far from "eval.limit" for no ratio, but "limit" may be a part
        close = [one for one in lower if name.lower().rsplit(".", 1)[-1] in one][:most]
    if close:
        return "nearest: " + ", ".join(lower[one] for one in close)
    shown = list(lower.values())[:_LISTED]
    more = len(lower) - len(shown)
    return "known: " + ", ".join(shown) + (f" and {more:,} more" if more else "")
