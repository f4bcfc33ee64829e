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
    weights = "…"                      # digest of the shards whose row it is; optional
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
    [[claims]]                         # what the text says of comparisons with the base
    name = "auto_moove"
    low = 67.2
    high = 92.0
    [[statements]]                     # what else is known, and from where
    where = "synthetic_moove"
    message = "…"
    source = "…"

Scores are in per cent, margins and gains in points. Anything else is refused, with the nearest
key that is known: a mistyped key must not quietly take a number out of the comparison.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from pathlib import Path

from checks.table import (
    DIRECTIONS,
    METRICS,
    PLUS_MINUS,
    Average,
    Benchmark,
    Claim,
    Comparison,
    ModelRow,
    Score,
    Statement,
    Table,
)
from kit.errors import KitError, nearest
from kit.files import parse_toml

__all__ = [
    "Average",
    "Benchmark",
    "Comparison",
    "ModelRow",
    "Score",
    "Table",
    "load_table",
    "parse_table",
    "table_names",
    "table_path",
]

PUBLISHED = Path(__file__).parent / "published"
_FILE = ("table", "benchmarks", "models", "comparisons", "claims", "statements")
_TABLE = ("source", "title", "plus_minus", "notes")
_BENCHMARK = (
    "title",
    "items",
    "decimals",
    "metric",
    "margin",
    "margin_why",
    "chance",
    "direction",
    "sha256",
    "source",
)
_MODEL = ("base", "average", "gain", "gains", "source", "weights")
_SCORE = ("value", "pm", "seeds")
_AVERAGE = ("value", "over", "pm", "gain", "name", "decimals", "source")
_COMPARISON = (
    "name",
    "model",
    "against",
    "win",
    "tie",
    "loss",
    "preferred",
    "decimals",
    "items",
    "source",
)


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
    raw = parse_toml(
        data,
        "the published table",
        path,
        cause="a missing quote or bracket, or a model's name with dots that is not quoted",
        fix='write [models."Name-1.5"] with quotes',
    )
    return parse_table(
        raw, name=path.stem, where=str(path), digest=hashlib.sha256(data).hexdigest()
    )


def parse_table(raw: Mapping[str, object], *, name: str, where: str, digest: str = "") -> Table:
    """Check the parsed TOML of a table and give the table."""
    return _Parser(where).table(raw, name, digest)


class _Parser:
    """Reads one file strictly: every key is known, every number possible.

    Args:
        where: the file, for error messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def table(self, raw: Mapping[str, object], name: str, digest: str) -> Table:
        """Read the whole file."""
        self.known(raw, _FILE, "the file")
        head = self.mapping(raw.get("table"), "[table]")
        self.known(head, _TABLE, "[table]")
        source = self.text(head, "source", "[table]")
        if not source:
            raise self.error("[table] has no source", "say where the numbers were read")
        plus_minus = self.text(head, "plus_minus", "[table]") or "not stated"
        self.one_of(plus_minus, PLUS_MINUS, "[table] plus_minus")
        columns = {
            key: self.benchmark(key, value)
            for key, value in self.mapping(raw.get("benchmarks"), "[benchmarks]").items()
        }
        rows = self.mapping(raw.get("models"), "[models]")
        models = {key: self.model(key, value, columns) for key, value in rows.items()}
        for row in models.values():
            if row.base is not None and row.base not in models:
                raise self.error(
                    f"the base of {row.name} is {row.base!r}, which is not in the file",
                    "add the base's row, or drop the key",
                    nearest(row.base, models),
                )
            if row.base is None and (row.gains or any(a.gain is not None for a in row.averages)):
                raise self.error(f"{row.name} has a gain and no base", 'add base = "…"')
        return Table(
            name=name,
            source=source,
            plus_minus=plus_minus,
            benchmarks=columns,
            models=models,
            comparisons=tuple(map(self.comparison, self.list_of(raw, "comparisons"))),
            claims=tuple(map(self.claim, self.list_of(raw, "claims"))),
            statements=tuple(map(self.statement, self.list_of(raw, "statements"))),
            sha256=digest,
        )

    def benchmark(self, key: str, value: object) -> Benchmark:
        """Read one column."""
        place = f"[benchmarks.{key}]"
        raw = self.mapping(value, place)
        self.known(raw, _BENCHMARK, place)
        if key in _MODEL:
            raise self.error(f"a benchmark cannot be called {key!r}", "choose another name")
        metric = self.text(raw, "metric", place) or "accuracy"
        self.one_of(metric, METRICS, f"{place} metric")
        direction = self.text(raw, "direction", place) or "higher"
        self.one_of(direction, DIRECTIONS, f"{place} direction")
        margin = self.number(raw, "margin", place, 0, 100)
        if margin == 0:
            raise self.error(
                f"{place} margin is 0", "a margin is above 0; leave it out to let the rule decide"
            )
        return Benchmark(
            key=key,
            title=self.text(raw, "title", place) or key,
            items=self.whole(raw, "items", place, 1),
            decimals=self.decimals(raw, place, 2),
            metric=metric,
            margin=margin,
            margin_why=self.text(raw, "margin_why", place),
            chance=self.number(raw, "chance", place, 0, 100),
            direction=direction,
            sha256=self.text(raw, "sha256", place),
            source=self.text(raw, "source", place),
        )

    def model(self, name: str, value: object, columns: Mapping[str, Benchmark]) -> ModelRow:
        """Read one row."""
        place = f'[models."{name}"]'
        raw = self.mapping(value, place)
        self.known(raw, (*columns, *_MODEL), place)
        scores = {key: self.score(raw[key], f"{place} {key}") for key in columns if key in raw}
        stated = raw.get("average", [])
        averages = [
            self.average(entry, place, columns)
            for entry in (stated if isinstance(stated, list) else [stated])
        ]
        gain = self.number(raw, "gain", place, -100, 100)
        if gain is not None:
            if not averages:
                raise self.error(f"{place} has a gain and no average", "add the average")
            if averages[0].gain is not None:
                raise self.error(f"{place} states the gain twice", "keep one of the two")
            first = averages[0]
            averages[0] = Average(
                first.value, first.over, first.pm, gain, first.name, first.decimals, first.source
            )
        gains = self.mapping(raw.get("gains", {}), f"{place} gains")
        self.known(gains, tuple(columns), f"{place} gains")
        return ModelRow(
            name=name,
            base=self.text(raw, "base", place) or None,
            scores=scores,
            averages=tuple(averages),
            gains={k: self.required(gains, k, f"{place} gains", -100, 100) for k in gains},
            source=self.text(raw, "source", place),
            weights=self.text(raw, "weights", place),
        )

    def score(self, value: object, place: str) -> Score:
        """Read one cell: a number, or a table with value, pm and seeds."""
        raw = value if isinstance(value, Mapping) else {"value": value}
        self.known(raw, _SCORE, place)
        seeds = raw.get("seeds", [])
        if not isinstance(seeds, list):
            raise self.error(f"{place}: seeds is not a list", "write seeds = [77.2, 78.0]")
        numbered = {f"seeds[{i}]": seed for i, seed in enumerate(seeds)}
        return Score(
            value=self.required(raw, "value", place, 0, 100),
            pm=self.number(raw, "pm", place, 0, 100),
            seeds=tuple(self.required(numbered, key, place, 0, 100) for key in numbered),
        )

    def average(self, value: object, model: str, columns: Mapping[str, Benchmark]) -> Average:
        """Read one average cell."""
        place = f"{model} average"
        raw = self.mapping(value, place)
        self.known(raw, _AVERAGE, place)
        over = raw.get("over")
        if not isinstance(over, list) or not over:
            raise self.error(f"{place} does not say what it averages", 'add over = ["…", "…"]')
        for key in over:
            if key not in columns:
                raise self.error(
                    f"{place} is over {key!r}, which is not a benchmark of this file",
                    f"the file has: {', '.join(columns)}",
                    nearest(str(key), columns),
                )
        return Average(
            value=self.required(raw, "value", place, 0, 100),
            over=tuple(over),
            pm=self.number(raw, "pm", place, 0, 100),
            gain=self.number(raw, "gain", place, -100, 100),
            name=self.text(raw, "name", place) or "average",
            decimals=self.decimals(raw, place, max(columns[k].decimals for k in over)),
            source=self.text(raw, "source", place),
        )

    def comparison(self, value: object) -> Comparison:
        """Read one pairwise comparison."""
        place = "[[comparisons]]"
        raw = self.mapping(value, place)
        self.known(raw, _COMPARISON, place)
        name, model, against = (self.text(raw, k, place) for k in ("name", "model", "against"))
        if not (name and model and against):
            raise self.error(f"{place} needs name, model and against", "add them")
        return Comparison(
            name=name,
            model=model,
            against=against,
            win=self.required(raw, "win", place, 0, 100),
            tie=self.required(raw, "tie", place, 0, 100),
            loss=self.required(raw, "loss", place, 0, 100),
            preferred=self.number(raw, "preferred", place, 0, 100),
            decimals=self.decimals(raw, place, 1),
            items=self.whole(raw, "items", place, 1),
            source=self.text(raw, "source", place),
        )

    def claim(self, value: object) -> Claim:
        """Read what a text says of comparisons."""
        place = "[[claims]]"
        raw = self.mapping(value, place)
        self.known(raw, ("name", "low", "high", "source"), place)
        name = self.text(raw, "name", place)
        if not name:
            raise self.error(f"{place} needs a name", "name the comparison that it is about")
        low, high = (self.required(raw, key, place, 0, 100) for key in ("low", "high"))
        return Claim(name, low, high, self.text(raw, "source", place))

    def statement(self, value: object) -> Statement:
        """Read what is known beside the numbers."""
        place = "[[statements]]"
        raw = self.mapping(value, place)
        self.known(raw, ("where", "message", "source"), place)
        where, message, source = (self.text(raw, k, place) for k in ("where", "message", "source"))
        if not (where and message and source):
            raise self.error(f"{place} needs where, message and source", "add them")
        return Statement(where, message, source)

    def list_of(self, raw: Mapping[str, object], key: str) -> list[object]:
        """Give a list of tables, empty where there is none."""
        value = raw.get(key, [])
        if not isinstance(value, list):
            raise self.error(f"{key} is not a list", f"write [[{key}]]")
        return value

    def error(self, what: str, fix: str, cause: str = "") -> KitError:
        """Build an error that names the file."""
        return KitError(what, where=self.where, cause=cause, fix=fix)

    def known(self, raw: Mapping[str, object], keys: Collection[str], place: str) -> None:
        """Refuse a key that is not known, naming the nearest that are."""
        for key in raw:
            if key not in keys:
                raise self.error(
                    f"{place} has an unknown key {key!r}",
                    f"known keys: {', '.join(keys)}",
                    nearest(key, keys),
                )

    def one_of(self, value: str, allowed: Collection[str], place: str) -> None:
        """Refuse a word that is not one of the allowed."""
        if value not in allowed:
            raise self.error(
                f"{place} is {value!r}", f"one of: {', '.join(allowed)}", nearest(value, allowed)
            )

    def mapping(self, value: object, place: str) -> Mapping[str, object]:
        """Give a table, or an error where it is missing or something else."""
        if not isinstance(value, Mapping):
            there = "is missing" if value is None else "is not a table"
            raise self.error(f"{place} {there}", "see the format at the head of checks/tables.py")
        return value

    def text(self, raw: Mapping[str, object], key: str, place: str) -> str:
        """Give a text, empty where it is missing."""
        value = raw.get(key, "")
        if not isinstance(value, str):
            raise self.error(f"{place} {key} is {value!r}, not text", "put it in quotes")
        return value

    def number(
        self, raw: Mapping[str, object], key: str, place: str, low: float, high: float
    ) -> float | None:
        """Give a finite number within its bounds, or None where it is missing."""
        value = raw.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{place} {key} is {value!r}, not a number", "write it without quotes")
        if not math.isfinite(value) or not low <= value <= high:
            raise self.error(
                f"{place} {key} is {value}, not between {low} and {high}",
                "scores are in per cent, gains and margins in points",
                "a mistyped digit",
            )
        return float(value)

    def required(
        self, raw: Mapping[str, object], key: str, place: str, low: float, high: float
    ) -> float:
        """Give a number that must be there."""
        value = self.number(raw, key, place, low, high)
        if value is None:
            raise self.error(f"{place} has no {key}", f"add {key}")
        return value

    def whole(self, raw: Mapping[str, object], key: str, place: str, low: int) -> int | None:
        """Give a whole number, or None where it is missing."""
        value = raw.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.error(f"{place} {key} is {value!r}", f"a whole number from {low}")
        return value

    def decimals(self, raw: Mapping[str, object], place: str, default: int) -> int:
        """Give the number of printed decimals, 0 to 6."""
        value = self.whole(raw, "decimals", place, 0)
        if value is not None and value > 6:
            raise self.error(f"{place} decimals is {value}", "0 to 6")
        return default if value is None else value
