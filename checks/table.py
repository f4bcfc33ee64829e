"""What a published table is; :mod:`checks.tables` says how its file is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kit.errors import KitError, nearest

METRICS = ("accuracy", "mean")
DIRECTIONS = ("higher", "lower")
PLUS_MINUS = ("standard error", "95% interval", "not stated")


#: Benchmarks that are comparisons: the name of their rows, what readers call them, and the model
#: that ours is held against; None: its own base.
COMPARED: dict[str, tuple[str, str, str | None]] = {
    "auto_moove": ("auto_moove", "Auto-MOOVE", None),
    "auto_moove_medgemma": ("auto_moove", "Auto-MOOVE", "MedGemma-27B"),
}


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
    """A row: one model's scores, averages and gains (points over the base).

    ``weights`` is the digest of the shards that were scored, where the row belongs to them alone.
    """

    name: str
    base: str | None
    scores: Mapping[str, Score]
    averages: tuple[Average, ...] = ()
    gains: Mapping[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""
    weights: str = ""


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
class Claim:
    """What a text says of comparisons with the bases: each one's preferred share, in per cent.

    ``low`` and ``high`` are the ends of the range that it gives.
    """

    name: str
    low: float
    high: float
    source: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """What is known of the published work beside its numbers, in words and with its source."""

    where: str
    message: str
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
        claims: what the text says of them.
        statements: what else is known.
        sha256: of the file.
    """

    name: str
    source: str
    plus_minus: str
    benchmarks: Mapping[str, Benchmark]
    models: Mapping[str, ModelRow]
    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[Claim, ...] = ()
    statements: tuple[Statement, ...] = ()
    sha256: str = ""

    def column(self, key: str, model: str) -> Benchmark | None:
        """Give a benchmark's column; a comparison (``COMPARED``) is one as well.

        What is judged of a comparison is the share preferred: wins plus half the ties.
        """
        if key in self.benchmarks:
            return self.benchmarks[key]
        found = self.comparison(key, model)
        if found is None:
            return None
        title = f"{_compared(key)[1]} against {found.against}"
        return Benchmark(key, title, items=found.items, decimals=found.decimals, metric="mean",
                         source=found.source)  # fmt: skip

    def score(self, key: str, model: str) -> Score | None:
        """Give a model's cell, or the share preferred that was published of its comparison."""
        row = self.model(model)
        if key in row.scores:
            return row.scores[key]
        found = self.comparison(key, model)
        if found is None:
            return None
        preferred = found.preferred
        return Score(preferred if preferred is not None else found.win + found.tie / 2)

    def comparison(self, key: str, model: str) -> Comparison | None:
        """Give the published comparison that a benchmark repeats; None where there is none.

        Args:
            key: the benchmark; ``COMPARED`` says with whom it compares, any other with the base.
            model: whose comparison it is.
        """
        name, _, other = _compared(key)
        row = (name, model, other or self.model(model).base)
        own = (c for c in self.comparisons if (c.name, c.model, c.against) == row)
        return next(own, None)

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


def _compared(key: str) -> tuple[str, str, str | None]:
    return COMPARED.get(key, (key, key, None))
