"""The stages in order: what decides each one's result, and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.stages import corpus, evaluate, judge, train

if TYPE_CHECKING:
    from launch.run.folder import Run

#: A stage's outputs, each with its sha256 where it is known already, and facts for later stages.
Outputs = tuple[dict[Path, str | None], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        inputs: everything that decides the stage's outputs, as JSON; the stages before it are
            finished when it is asked.
        execute: does the work in the stage's own process.
        resumable: whether it goes on from what it left half done.
        says: what it does, for people.
    """

    inputs: Callable[[Run], dict[str, Any]]
    execute: Callable[[Run], Outputs]
    says: str
    resumable: bool = False


STAGES = {
    "corpus": Stage(corpus.inputs, corpus.execute, "normalise the training data"),
    "train": Stage(train.inputs, train.execute, "fine-tune with Axolotl, merge", resumable=True),
    "evaluate": Stage(evaluate.inputs, evaluate.execute, "answer, grade, score", resumable=True),
    "judge": Stage(judge.inputs, judge.execute, "compare with the published table, report"),
}
