"""What a list of sources may say: recipes/corpus.toml, recipes/benchmarks.toml, a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from corpus.counts import Published
from corpus.medquad import Reader
from kit.files import read_toml
from kit.schema import Count, Table, convert


class Repository(Table):
    """[corpus]: where the components are; without `repository` beside the list itself.

    Attributes:
        repository: "ORG/NAME".
        kind: of the hub, or one of GitHub's.
        revision: a commit, or a branch until it is locked.
        tokens: of all components, as published; 0: nobody said.
    """

    repository: str = ""
    kind: Literal["dataset", "model", "github"] = "dataset"
    revision: str = "main"
    licence: str = ""
    tokens: Count = 0
    note: str = ""


class Component(Published, kw_only=True):
    """[components.NAME].

    Attributes:
        path: of its files, a pattern is allowed.
        reader: for files of another form.
        sha256: of its file; of several, by their paths; empty: not pinned yet.
    """

    path: str
    reader: Reader | None = None
    sha256: str | dict[str, str] = ""
    licence: str = ""


class Selection(Component, kw_only=True):
    """[benchmarks.NAME.selection]: a file of GitHub's that says which items are asked."""

    repository: str
    revision: str


class Benchmark(Component, kw_only=True):
    """[benchmarks.NAME].

    Attributes:
        examples: what is shown before the questions, of the same data set.
    """

    repository: str
    kind: Literal["dataset", "model", "github"] = "dataset"
    revision: str = "main"
    selection: Selection | None = None
    examples: Component | None = None


class Listing(Table):
    """A list of sources: components of one corpus, or benchmarks."""

    corpus: Repository = msgspec.field(default_factory=Repository)
    components: dict[str, Component] = msgspec.field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = msgspec.field(default_factory=dict)


def read(file: Path, what: str, fix: str = "") -> Listing:
    """Read a list of sources.

    Raises:
        KitError: a broken file, or one that says what it may not.
    """
    return convert(read_toml(file, what, fix), Listing, where=str(file), what=what)
