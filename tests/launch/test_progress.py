"""What the lines of a finished stage say."""

from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from launch.slurm.progress import Bars


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"score": 0.75}, "medqa 75.0%"),
        ({"accuracy": 0.75}, "medqa 75.0%"),  # of a run that an older kit evaluated
        ({"score": None}, "medqa —"),
    ],
)
def test_a_finished_evaluation_says_its_scores(numbers: dict[str, Any], says: str) -> None:
    run: Any = SimpleNamespace(facts=lambda _: {"summary": {"medqa": numbers}})
    out = StringIO()
    Bars(run, Console(file=out, width=100)).ended("evaluate", "finished")
    assert says in out.getvalue()
