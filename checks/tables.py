"""Published tables as data: what a paper says that each model scores, in one TOML format.

::

    [table]
    source = "where the numbers were read"
    plus_minus = "standard error"      # what ± means there; "not stated" if it is not said
    [benchmarks.medqa]
    items = 1273                       # of the published evaluation
    decimals = 2                       # as printed
    metric = "accuracy"                # counts of right answers; "mean" for rubric scores
    margin = 2.0                       # points, fixed before the run; optional
    margin_why = "…"                   # why this margin; optional
    [models."Gemma-3-27B-MeditronFO"]
    base = "Gemma-3-27B-it"            # what gains are over, and "before" in a report
    medqa = 77.61                      # or { value = 77.61, pm = 1.17, seeds = [77.2, 78.0] }
    average = { value = 56.45, over = ["medqa", "…"], gain = 1.25 }   # or a list of such
    gains = { medqa = 1.41 }
    [[comparisons]]                    # one model against another, per cent of the questions
    name = "auto_moove"
    model = "Gemma-3-27B-MeditronFO"
    against = "MedGemma-27B"
    win = 45.1
    tie = 26.9
    loss = 28.0

Scores are in per cent, margins and gains in points. Anything else is refused, with the nearest
key that is known: a mistyped key must not quietly take a number out of the comparison.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from checks.errors import KitError

__all__ = [
    "Average",
    "Benchmark",
    "Comparison",
    "ModelRow",
    "Score",
    "Table",
    "load_table",
    "nearest",
    "parse_table",
    "table_names",
    "table_path",
]

PUBLISHED = Path(__file__).parent / "published"
METRICS = ("accuracy", "mean")
DIRECTIONS = ("higher", "lower")
PLUS_MINUS = ("standard error", "95% interval", "not stated")


@dataclasses.dataclass(frozen=True, slots=True)
class Benchmark:
    """A column: how many items, what is counted, how far a score may be off.

    Attributes:
        key: its name in the file and in the items, such as ``medqa``.
        title: its name for readers.
        items: number of items in the published evaluation; None where it is not known.
        decimals: decimals as printed.
        metric: ``accuracy`` or ``mean``.
        margin: points; None where the rule of the tier decides.
        margin_why: why this margin.
        chance: per cent that guessing scores; None where it is not known.
        direction: whether ``higher`` or ``lower`` is better.
        sha256: of the file of items, where it was published.
        source: where the column was read, if not where the table was.
    """

    key: str
    title: str
    items: int | None = None
    decimals: int = 2
    metric: str = "accuracy"
    margin: float | None = None
    margin_why: str = ""
    chance: float | None = None
    direction: str = "higher"
    sha256: str = ""
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """A cell: per cent, with the published ± and the scores of single seeds where given."""

    value: float
    pm: float | None = None
    seeds: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Average:
    """An average cell: per cent, over which benchmarks, with its ± and its gain over the base."""

    value: float
    over: tuple[str, ...]
    pm: float | None = None
    gain: float | None = None
    name: str = "average"
    decimals: int = 2
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelRow:
    """A row: one model's scores, averages and gains (points over the base)."""

    name: str
    base: str | None
    scores: Mapping[str, Score]
    averages: tuple[Average, ...] = ()
    gains: Mapping[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One model held against another by a judge: wins, ties and losses in per cent.

    ``preferred`` is the published share of wins plus half the ties; None where not published.
    """

    name: str
    model: str
    against: str
    win: float
    tie: float
    loss: float
    preferred: float | None = None
    decimals: int = 1
    items: int | None = None
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A published table.

    Attributes:
        name: the file's name without its ending.
        source: where the numbers were read.
        plus_minus: what the published ± means, one of ``PLUS_MINUS``.
        benchmarks: key -> column.
        models: name -> row.
        comparisons: the pairwise comparisons.
        sha256: of the file.
    """

    name: str
    source: str
    plus_minus: str
    benchmarks: Mapping[str, Benchmark]
    models: Mapping[str, ModelRow]
    comparisons: tuple[Comparison, ...] = ()
    sha256: str = ""

    @property
    def rubric(self) -> frozenset[str]:
        """Benchmarks that average rubric scores, which may be below 0."""
        return frozenset(k for k, column in self.benchmarks.items() if column.metric == "mean")

    def model(self, name: str) -> ModelRow:
        """Give a model's row, or an error that names the nearest rows."""
        if name not in self.models:
            raise KitError(
                f"the table {self.name} has no model {name!r}",
                where=self.name,
                cause=nearest(name, self.models),
                fix=f"it has: {', '.join(self.models)}",
            )
        return self.models[name]


def table_names() -> list[str]:
    """Give the names of the built-in tables."""
    return sorted(path.stem for path in PUBLISHED.glob("*.toml"))


def table_path(name_or_path: str | Path) -> Path:
    """Find a table: a file, or the name of a built-in one.

    Raises:
        KitError: where there is neither; it names the nearest built-in tables.
    """
    text = str(name_or_path)
    if "/" in text or text.endswith(".toml"):
        path = Path(text)
        if path.is_file():
            return path
        fix = "give a TOML file, or one of " + ", ".join(table_names())
        raise KitError(f"there is no published table {text}", where=text, fix=fix)
    if text not in table_names():
        raise KitError(
            f"there is no published table {text!r}",
            where=str(PUBLISHED),
            cause=nearest(text, table_names()),
            fix=f"give a TOML file, or one of {', '.join(table_names())}",
        )
    return PUBLISHED / f"{text}.toml"


def load_table(name_or_path: str | Path) -> Table:
    """Read and check a published table.

    Args:
        name_or_path: the name of a built-in table, or a TOML file (a path with / or .toml).

    Raises:
        KitError: on a missing file, broken TOML, an unknown key, a percentage out of range, or
            an average over a benchmark that the file does not have.
    """
    path = table_path(name_or_path)
    data = path.read_bytes()
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(
            f"the published table is not valid TOML: {error}",
            where=str(path),
            cause="a missing quote or bracket, or a model's name with dots that is not quoted",
            fix='write [models."Name-1.5"] with quotes',
        ) from None
    return parse_table(
        raw, name=path.stem, where=str(path), digest=hashlib.sha256(data).hexdigest()
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are nearest to one that is not known; empty where none is near."""
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(lower[c]) for c in close)}?" if close else ""


def parse_table(raw: Mapping[str, object], *, name: str, where: str, digest: str = "") -> Table:
    """Check the parsed TOML of a table and give the table."""
    from checks.tables_parse import Parser

    return Parser(where).table(raw, name, digest)
