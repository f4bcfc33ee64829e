"""A run folder as a finished run leaves it, written by hand: nothing is trained."""

import json
from pathlib import Path
from typing import Any

from checks.verdict import write_verdict
from kit.files import sha256_file
from launch.run import recipe, site
from launch.run.folder import Run, create
from launch.stages import judge

TABLE = """
[table]
source = "an invented paper"
[benchmarks.medqa]
title = "MedQA"
items = 200
margin = 8.0
[benchmarks.rubric]
title = "Rubric"
items = 50
metric = "mean"
margin = 9.0
[models.base]
medqa = 60.0
[models.ours]
base = "base"
medqa = 75.0
rubric = 50.0
"""
ITEMS = {"medqa": 200, "rubric": 50}


def items(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Give 150 of 200 right, one or two items otherwise by seed, and rubric scores about 0.5."""
    right = 150 + seed % 3
    letters = ["A" if n < right else "B" for n in range(200)]
    medqa = [
        {"benchmark": "medqa", "id": str(n), "score": float(letter == "A"), "gold": "A",
         "answer": letter, "response": f"The answer is ({letter})."}
        for n, letter in enumerate(letters)
    ]  # fmt: skip
    # One conversation lost more points than it could earn.
    rubric = [
        {"benchmark": "rubric", "id": str(n), "score": -1.0 if n == 0 else 0.5 + 0.01 * (n % 7)}
        for n in range(50)
    ]
    return {"medqa": medqa, "rubric": rubric}


def finished_run(tmp: Path, corpus: Path, seed: int = 42, **settings: Any) -> Run:
    """Make a run folder with every stage finished and a verdict that follows from its items."""
    tmp.mkdir(exist_ok=True)
    table = tmp / "table.toml"
    table.write_text(TABLE)
    given = {
        "corpus.sources": str(corpus),
        "published.table": str(table),
        "published.model": "ours",
        "eval.benchmarks": list(ITEMS),
        "train.seed": seed,
        **settings,
    }
    chosen = recipe.with_settings(recipe.load("gemma-3-27b"), given.items())
    stages = ["corpus", "train", "evaluate", "judge"]
    run = create(chosen, site.load("laptop"), stages, ["why"], tmp / "runs")
    for stage in stages:
        run.folder(stage).mkdir()
        (run.folder(stage) / "log").write_text(f"{stage}: as it went\n")
        (run.folder(stage) / "inputs.json").write_text("{}")
    (run.folder("corpus") / "train.jsonl").write_text("{}\n")
    (run.folder("corpus") / "summary.json").write_text('{"rows": 1}')
    run.seal("corpus", {run.folder("corpus") / "train.jsonl": None}, sha256="c" * 64, rows=1)
    model = run.folder("train") / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"\0weights of seed %d" % seed * 100)
    (model / "config.json").write_text('{"architectures": ["Gemma3ForConditionalGeneration"]}')
    (run.folder("train") / "axolotl.yaml").write_text("learning_rate: 1.0e-06\n")
    progress = [json.dumps({"step": s, "loss": 2 / s}) for s in range(1, 9)]
    (run.folder("train") / "progress.jsonl").write_text("\n".join(progress) + "\n")
    outputs = [*model.iterdir(), run.folder("train") / "axolotl.yaml"]
    run.seal("train", dict.fromkeys(outputs), weights=f"{seed:064x}", model=str(model))
    run.items.mkdir()
    planned = {}
    for name, rows in items(seed).items():
        file = run.items / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        planned[name] = {"items": len(rows), "of": len(rows), "sha256": "b" * 64}
    summary = run.folder("evaluate") / "summary.json"
    summary.write_text(json.dumps({"trained": planned}))
    run.seal("evaluate", {summary: None, **dict.fromkeys(run.items.iterdir())})
    write_verdict(run.verdict, judge.derive(run))
    run.seal("judge", {run.verdict: sha256_file(run.verdict)})
    for stage in stages:
        run.set_status(stage, "finished")
    return run
