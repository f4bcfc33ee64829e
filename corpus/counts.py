"""Rows that were found against rows that were published, and why they differ where that is known.

In recipes/corpus.toml a component's `rows` is the published number, `note` what has to be known
about it, and `also` lists other numbers that can be accounted for, each with its reason. Any other
number is refused: then the files are not those that were published.
"""

from __future__ import annotations

from dataclasses import dataclass

from kit.schema import Count as Rows
from kit.schema import Table


class Other(Table):
    """Another number of rows that may be met, and why."""

    rows: Rows
    why: str


class Published(Table):
    """What is known of the rows of a component.

    Attributes:
        rows: the published number; None: nobody said.
        note: what has to be known about it.
        also: other numbers, with their reasons.
    """

    rows: Rows | None = None
    note: str = ""
    also: tuple[Other, ...] = ()


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


def account(component: str, found: int, about: Published) -> Count:
    """Hold the rows of a component against what is known of it.

    Args:
        component: its name.
        found: its rows.
        about: what is known.
    """
    if about.rows is None or found == about.rows:
        return Count(component, found, about.rows, about.note, True)
    for other in about.also:
        if other.rows == found:
            return Count(component, found, about.rows, other.why, True)
    return Count(component, found, about.rows, "nothing that is known explains it", False)
