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
import tomllib
from collections.abc import Mapping
from pathlib import Path

from checks.table import Average, Benchmark, Comparison, ModelRow, Score, Table
from checks.tables_parse import Parser
from kit.errors import KitError, nearest

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


def parse_table(raw: Mapping[str, object], *, name: str, where: str, digest: str = "") -> Table:
    """Check the parsed TOML of a table and give the table."""
    return Parser(where).table(raw, name, digest)
