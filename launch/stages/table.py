"""The whole path of a run on one screen: the stages in order, what each reads and leaves."""

from __future__ import annotations

from typing import Any

from launch.stages import corpus, evaluate, judge, train
from launch.stages.stage import Stage

#: Name -> stage. What decides a stage's outputs is its module's class Inputs:
#:   corpus    components                            -> corpus/train.jsonl
#:   train     train.jsonl, base model, hyperparameters, ranks, versions -> train/model
#:   evaluate  model, benchmarks, protocol, judge    -> items/*.jsonl, evaluate/summary.json
#:   judge     items, published table                -> verdict.json, report/index.html
STAGES: dict[str, Stage[Any]] = {
    "corpus": Stage(
        corpus.inputs,
        corpus.execute,
        "normalise the training data",
        describe=lambda recipe, _: [corpus.chosen(recipe)],
    ),
    "train": Stage(
        train.inputs,
        train.execute,
        "fine-tune with Axolotl, merge",
        resumable=True,
        needs=train.needs,
        describe=train.describe,
    ),
    "evaluate": Stage(
        evaluate.inputs,
        evaluate.execute,
        "answer, grade, score",
        resumable=True,
        needs=evaluate.needs,
        describe=evaluate.describe,
    ),
    "judge": Stage(judge.inputs, judge.execute, "compare with the published table, report"),
}
