"""The real vLLM on the CPU, in the serve environment (make serve-cpu): whole, killed, refused.

It starts in about a minute on two quiet cores, most of which compiles. Nothing is trained: the
untrained miniature answers, whose noise is as good a witness of equal answers as sense would be.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.errors import KitError
from launch.inputs import base_model as fetch
from launch.run import interpreter, recipe, site
from launch.run.recipe import ROOT
from launch.stages import serve

PYTHON = interpreter.serving()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not PYTHON.is_file(), reason=f"no serve environment (make serve-cpu): {PYTHON}"
    ),
]
CHOICE = ["medqa", "pubmedqa"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="module")
def model(home: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFO_CACHE", str(home / "cache"))
        yield fetch.base_model(recipe.load("smoke"), site.load("laptop"))


def verify(home: Path, model: Path, backend: str) -> Path:
    """Score a folder by the smoke recipe's protocol; gives the run's folder."""
    names = json.dumps([*CHOICE, "healthbench"])
    done = subprocess.run(
        [sys.executable, "-m", "launch", "verify", str(model), "--recipe", "smoke",
         "--tier", "retrain", "--limit", "12", "--set", f"eval.backend={backend}",
         "--set", f"eval.benchmarks={names}"],
        env={**os.environ, "MFO_RUNS": str(home / backend), "MFO_CACHE": str(home / "cache")},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (1, 3), done.stdout + done.stderr  # noise reproduces nothing
    assert "loss curve" not in done.stdout, "nothing was trained"
    return next((home / backend).glob("*/run.toml")).parent


def test_the_whole_evaluation_gives_the_scores_of_transformers(home: Path, model: Path) -> None:
    ours, theirs = verify(home, model, "vllm"), verify(home, model, "hf")
    log = (ours / "evaluate" / "log").read_text()
    assert "backend: vLLM" in log
    for name in [*CHOICE, "healthbench"]:
        rows = [[json.loads(line) for line in (run / "items" / f"{name}.jsonl").open()]
                for run in (ours, theirs)]  # fmt: skip
        assert [r["id"] for r in rows[0]] == [r["id"] for r in rows[1]]
        assert len(rows[0]) == 12
        assert [r["score"] for r in rows[0]] == [r["score"] for r in rows[1]], name
        if name in CHOICE:  # greedy: the same texts, not only the same letters
            assert [r["response"] for r in rows[0]] == [r["response"] for r in rows[1]]
    served = json.loads((ours / "evaluate" / "summary.json").read_text())["judged"]["servers"]
    assert served["trained"]["command"][0] == "vllm"
    versions = json.loads((ours / "evaluate" / "inputs.json").read_text())["packages"]
    assert "cpu" in versions["vllm"]
    assert versions["lm_eval"] != "0.4.11"


@pytest.fixture
def vllm(model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the kit's own way to serve the miniature, found as the serve environment finds it."""
    monkeypatch.setenv("PATH", f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda name="m", **more: serve.vllm(
        str(model), name, gpus=0, **{"max_length": 128, "dtype": "float32", "seed": 1, **more}
    )


def test_a_killed_vllm_is_started_again_and_answers_the_same(vllm: Any, tmp_path: Path) -> None:
    said: list[str] = []
    with serve.Server(vllm(), tmp_path, said.append) as server:
        client = serve.ServedClient(server, "w", tmp_path / "calls.jsonl", tries=2)

        def call(take: int) -> serve.Call:
            words = [{"role": "user", "content": "Which organ?"}]
            return serve.Call(words, 0.7, 8, 7, take=take)

        first = client.ask([call(0)])[0]
        assert first.text
        assert server.process is not None
        os.killpg(server.process.pid, signal.SIGKILL)
        assert client.ask([call(1)])[0].text == first.text, "seeded, so the same once more"
        assert server.starts == 2
    assert any("was ended by SIGKILL" in line for line in said)


@pytest.mark.parametrize("fault", ["weights", "flag"])
def test_what_cannot_start_is_started_once_and_says_why(
    fault: str, vllm: Any, model: Path, tmp_path: Path
) -> None:
    serving = vllm()
    if fault == "weights":
        broken = tmp_path / "broken"
        broken.mkdir()
        for file in model.iterdir():
            data = file.read_bytes()
            cut = file.suffix == ".safetensors"
            (broken / file.name).write_bytes(data[: len(data) // 2] if cut else data)
        words = (*serving.command[:2], str(broken), *serving.command[3:])
    else:
        words = (*serving.command, "--an-option-of-no-version")
    server = serve.Server(
        serve.Serving("m", words, 900.0, serving.environment), tmp_path, lambda _: None
    )
    with pytest.raises(KitError, match="before it answered") as caught, server:
        pass
    assert server.starts == 1
    told = {"weights": "afetensor", "flag": "--an-option-of-no-version"}[fault]
    assert told in caught.value.cause
    assert "mfo resume" in caught.value.fix
