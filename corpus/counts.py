"""Rows that were found against rows that were published, and why they differ where that is known.

In recipes/corpus.toml a component's `rows` is the published number, `note` what has to be known
about it, and `also` lists other numbers that can be accounted for, each with its reason. Any other
number is refused: then the files are not those that were published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.errors import KitError


@dataclass(frozen=True)
class Count:
    """The rows of one component.

    Attributes:
        component: its name.
        found: rows that are there.
        published: rows that should be there; None: nobody said.
        why: what explains the difference, or has to be known where there is none; empty: nothing.
        explained: whether the rows can be accounted for.
    """

    component: str
    found: int
    published: int | None
    why: str
    explained: bool

    def __str__(self) -> str:
        """Give the count as one line."""
        if self.published is None:
            return f"{self.component}: {self.found:,} rows"
        more = self.found - self.published
        than = "as published" if not more else f"published {self.published:,}, {more:+,}"
        because = f": {self.why}" if self.why else ""
        return f"{self.component}: {self.found:,} rows, {than}{because}"


def account(component: str, found: int, about: Mapping[str, Any]) -> Count:
    """Hold the rows of a component against what is known of it.

    Args:
        component: its name.
        found: its rows.
        about: `rows`, `note` and `also` of its table.
    """
    published = about.get("rows")
    if published is None or found == published:
        return Count(component, found, published, str(about.get("note", "")), True)
    for other in about.get("also", ()):
        if other["rows"] == found:
            return Count(component, found, published, str(other["why"]), True)
    return Count(component, found, published, "nothing that is known explains it", False)


def check(component: str, about: Mapping[str, Any], where: str) -> None:
    """Refuse a component's `also` that is not a list of {rows, why}.

    Raises:
        KitError: it is not.
    """
    also = about.get("also", [])
    good = isinstance(also, list) and all(
        isinstance(one, dict)
        and set(one) == {"rows", "why"}
        and type(one["rows"]) is int
        and isinstance(one["why"], str)
        for one in also
    )
    if not good:
        raise KitError(
            f"components.{component}.also is a list of {{rows = NUMBER, why = TEXT}}", where=where
        )
