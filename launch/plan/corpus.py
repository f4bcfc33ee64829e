"""How many tokens a recipe trains on, and into how many packed sequences and steps they go.

Counted where Axolotl has prepared the corpus in a run of the same tokenizer and rows; else what the
corpus file publishes; else estimated from the characters of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.sources import count_rows, load, read_spec
from kit.errors import KitError
from launch.plan.assume import Range, assumed
from launch.run.recipe import Recipe
from launch.run.site import Site
from launch.stages.corpus import components


@dataclass(frozen=True)
class Corpus:
    """The size of a corpus.

    Attributes:
        tokens: of one epoch.
        rows: conversations; 0: not known.
        source: where the numbers come from, in words.
        counted: whether the tokens were counted rather than published or estimated.
    """

    tokens: Range
    rows: int
    source: str
    counted: bool = False

    @property
    def length(self) -> float:
        """Tokens of a document, on average."""
        return self.tokens.middle / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Steps:
    """Packed sequences of one epoch, and optimiser steps of the whole training."""

    sequences: Range
    steps: Range
    capped: bool


def corpus(recipe: Recipe, site: Site, runs: Path | None = None) -> Corpus:
    """Give the size of a recipe's corpus.

    Args:
        recipe: whose corpus, base model and length of sequences it is.
        site: in whose cache a data set of the hub was fetched.
        runs: folder of runs, in which a prepared corpus is looked for.

    Raises:
        KitError: the corpus file is missing or broken.
    """
    for folder, name in _prepared(recipe, runs):
        if counted := _count(folder):
            tokens, rows = counted
            return Corpus(Range(tokens, tokens), rows, f"counted in run {name}", counted=True)
    spec, only = Path(recipe.table("corpus")["sources"]), components(recipe)
    listed = read_spec(spec) if spec.suffix == ".toml" else None
    if listed and (published := listed.corpus.tokens):
        of = {name: c.rows or 0 for name, c in listed.components.items()}
        rows = sum(n for name, n in of.items() if not only or name in only)
        whole = sum(of.values())
        about = float(published) * (rows / whole if whole else 1.0)
        share = "" if rows == whole else f", {rows / whole:.0%} of the rows"
        return Corpus(Range(about, about), rows, f"published, not counted{share}")
    found = load(spec, only, cache=site.cache_path, revision=recipe.table("corpus").get("revision"))
    rows = sum(count_rows(file) for source in found for file in source.files)
    size = sum(file.stat().st_size for source in found for file in source.files)
    each = assumed("corpus.characters")
    return Corpus(Range(size / each.high, size / each.low), rows, "estimated from the files' size")


def steps(recipe: Recipe, size: Corpus) -> Steps:
    """Give packed sequences and optimiser steps.

    Args:
        recipe: its sequence_len, num_epochs, max_steps and global batch.
        size: of its corpus.
    """
    train = recipe.table("train")
    length, fill = int(train["sequence_len"]), assumed("corpus.fill")
    batch = int(recipe.table("shape")["global_batch"])
    sequences = Range(size.tokens.low / length / fill.high, size.tokens.high / length / fill.low)
    ends = [
        math.ceil(end / batch) * float(train["num_epochs"])
        for end in (sequences.low, sequences.high)
    ]
    most = int(train.get("max_steps") or 0)
    capped = 0 < most < ends[1]
    if most > 0:
        ends = [min(end, most) for end in ends]
    return Steps(sequences, Range(*ends), capped)


def _prepared(recipe: Recipe, runs: Path | None) -> Iterator[tuple[Path, str]]:
    """Give the prepared corpora of runs with the same rows, tokenizer and length, newest first."""
    from launch.run.folder import open_run

    wanted = _identity(recipe)
    if runs is None or not runs.is_dir():
        return
    for file in sorted(runs.glob("*/run.toml"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            same = _identity(open_run(file.parent).recipe) == wanted
        except (KitError, KeyError, TypeError, OSError):
            continue
        if same:
            for folder in sorted((file.parent / "train" / "prepared").glob("*")):
                yield folder, file.parent.name


def _identity(recipe: Recipe) -> dict[str, Any]:
    table = {k: v for k, v in recipe.table("corpus").items() if k != "revision"}
    train = recipe.table("train")
    return {
        "corpus": table, "base": recipe.table("model")["base"],
        "config": recipe.table("model").get("config"),
        "length": train["sequence_len"], "template": train.get("chat_template"),
    }  # fmt: skip


def _count(folder: Path) -> tuple[int, int] | None:
    """Give tokens and rows of a data set that `datasets` saved; None where it cannot be read."""
    files = sorted(folder.glob("*.arrow"))
    if not files:
        return None
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
    except ImportError:  # the extra that trains is not installed: then nothing was prepared either
        return None
    tokens = rows = 0
    try:
        for file in files:
            with pa.memory_map(str(file)) as source:
                for batch in pa.ipc.open_stream(source):
                    column = batch.column("input_ids")
                    tokens += int(pc.sum(pc.list_value_length(column)).as_py() or 0)
                    rows += batch.num_rows
    except (OSError, KeyError, pa.ArrowException):
        return None
    return (tokens, rows) if tokens else None
