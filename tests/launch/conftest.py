"""A run that is real but small: the corpus stage alone, as a submitit job."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import recipe, site
from launch.run import Run, create

TURNS = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    rows = [json.dumps({"id": str(n), "conversations": TURNS}) for n in range(50)]
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture
def new_run(tmp_path: Path, corpus_file: Path) -> Callable[..., Run]:
    def make(stages: tuple[str, ...] = ("corpus",), runs: Path | None = None) -> Run:
        chosen = recipe.with_settings(
            recipe.load("gemma-3-27b"), [("corpus.sources", str(corpus_file))]
        )
        return create(chosen, site.load("laptop"), list(stages), ["why"], runs or tmp_path / "runs")

    return make
