"""The whole path as a newcomer walks it: `mfo run smoke`, interrupted, killed, resumed, judged.

Each test here runs the real frameworks; the first takes minutes, the others share its run.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.process import is_alive

sys.path.insert(0, str(Path(__file__).parent))
from stacks import serve_python

pytest.importorskip("axolotl")
pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MFO = [sys.executable, "-m", "launch"]
BENCHMARKS = {"medmcqa", "medqa", "pubmedqa", "medxpertqa", "healthbench", "auto_moove"}


def hear_sigint() -> None:
    """A shell starts what it puts into the background deaf to SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Kit:
    """The command line with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.runs = home / "runs"
        self.env = {**os.environ, "MFO_RUNS": str(self.runs), "MFO_CACHE": str(home / "cache")}
        for name in ("WANDB_MODE", "WANDB_API_KEY"):
            self.env.pop(name, None)

    def __call__(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*MFO, *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr + self.log()
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*MFO, *arguments], env=self.env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=hear_sigint,
        )  # fmt: skip

    def latest(self) -> Path:
        return max(self.runs.glob("*/run.toml"), key=lambda p: p.stat().st_mtime).parent

    def log(self) -> str:
        logs = sorted(self.runs.glob("*/*/log"), key=lambda p: p.stat().st_mtime)
        return logs[-1].read_text()[-4000:] if logs else ""


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def whole(kit: Kit) -> tuple[Path, str]:
    """Give a finished run and what was printed."""
    done = kit("run", "smoke")
    return kit.latest(), done.stdout


def weights(run: Path) -> str:
    return str(json.loads((run / "train" / "outputs.json").read_text())["weights"])


def verdict(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "verdict.json").read_text()))


def test_a_newcomer_gets_six_benchmarks_reproduced(whole: tuple[Path, str]) -> None:
    run, printed = whole
    found = verdict(run)
    assert found["verdict"] == "reproduced"
    assert {b["benchmark"]: b["verdict"] for b in found["benchmarks"]} == dict.fromkeys(
        BENCHMARKS, "reproduced"
    )
    assert str(run / "report" / "index.html") in printed
    assert "W&B: offline" in printed
    judged = {b["benchmark"]: b["judged"] for b in found["benchmarks"] if b["judged"]}
    assert judged["healthbench"]["grades"] == 160
    assert judged["auto_moove"]["position_bias"]["biased"] is False
    assert "No position bias is seen" in printed
    page = (run / "report" / "index.html").read_text()
    assert "reproduced" in page
    assert found["loss"][0]["loss"] > 10 * found["loss"][-1]["loss"]


def test_training_is_what_lifts_the_score_above_chance(whole: tuple[Path, str]) -> None:
    summary = json.loads((whole[0] / "evaluate" / "summary.json").read_text())
    chance = {"medmcqa": 0.25, "medqa": 0.25, "pubmedqa": 1 / 3, "medxpertqa": 0.1}
    for name, by_chance in chance.items():
        assert summary["base"][name]["score"] <= by_chance + 0.05
        assert summary["trained"][name]["score"] > by_chance + 0.5
        assert (
            len((whole[0] / "items" / f"{name}.jsonl").read_text().splitlines())
            == (summary["trained"][name]["items"])
        )


def test_a_finished_run_is_resumed_without_doing_anything_again(
    kit: Kit, whole: tuple[Path, str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole[0].rglob("*.safetensors")}
    done = kit("resume", str(whole[0]))
    assert done.stdout.count("already done") == 4
    assert before == {p: p.stat().st_mtime_ns for p in whole[0].rglob("*.safetensors")}


def test_the_weights_load_as_the_model_card_shows(whole: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model_dir = whole[0] / "train" / "model"
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    assert type(model).__name__ == "Gemma3ForConditionalGeneration"
    item = json.loads((whole[0] / "items" / "medqa.jsonl").read_text().splitlines()[0])
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": item["question"]}],
        add_generation_prompt=True, return_tensors="pt", return_dict=True,
    )  # fmt: skip
    output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    text = tokenizer.decode(output[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Final Answer" in text
    assert not [p for p in model_dir.iterdir() if p.suffix in (".bin", ".pt", ".pkl", ".py")]


@pytest.mark.vllm
def test_vllm_gives_the_trained_weights_the_scores_of_transformers(
    kit: Kit, whole: tuple[Path, str]
) -> None:
    serve_python()
    names = sorted(BENCHMARKS - {"auto_moove"})  # that asks the base as well: minutes more
    run, _ = whole
    chosen = [f"eval.benchmarks={json.dumps(names)}", "eval.backend=vllm", "eval.base=false"]
    given = [word for value in chosen for word in ("--set", value)]
    kit("verify", str(run / "train" / "model"), "--recipe", "smoke", "--tier", "retrain", *given)
    other = kit.latest()
    assert "backend: vLLM" in (other / "evaluate" / "log").read_text()
    for name in names:
        rows = [
            [json.loads(line) for line in (one / "items" / f"{name}.jsonl").open()]
            for one in (run, other)
        ]
        assert len(rows[0]) == 40
        assert [(r["id"], r["score"]) for r in rows[0]] == [(r["id"], r["score"]) for r in rows[1]]


def test_eight_items_are_too_few_and_the_verdict_says_how_many_would_do(
    kit: Kit, whole: tuple[Path, str]
) -> None:
    done = kit(
        "verify", str(whole[0] / "train" / "model"), "--recipe", "smoke", "--tier", "retrain",
        "--set", "eval.limit=8", code=3,
    )  # fmt: skip
    found = verdict(kit.latest())
    assert found["verdict"] == "inconclusive"
    assert all(one["n"] == 8 for one in found["benchmarks"])
    undecided = [one for one in found["benchmarks"] if one["verdict"] == "inconclusive"]
    assert {one["benchmark"] for one in undecided} >= {"medqa", "medmcqa"}
    assert all(one["items_needed"] > 8 for one in undecided)
    assert "inconclusive" in done.stdout


def test_an_item_taken_away_makes_the_verdict_invalid(kit: Kit, whole: tuple[Path, str]) -> None:
    items = whole[0] / "items" / "medqa.jsonl"
    text = items.read_text()
    try:
        items.write_text("".join(text.splitlines(keepends=True)[1:]))
        assert kit("verify", str(whole[0]), "--json", code=2).stdout.count('"invalid"') >= 1
    finally:
        items.write_text(text)
    kit("verify", str(whole[0]))


def test_training_that_learns_nothing_is_not_reproduced(kit: Kit) -> None:
    kit("run", "smoke", "--set", "train.learning_rate=0", "--set", "train.max_steps=8", code=1)
    assert verdict(kit.latest())["verdict"] == "not reproduced"


def children(pid: int) -> list[int]:
    out = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            child = int(entry.parent.name)
            out += [child, *children(child)]
    return out


def until(condition: Any, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def running(kit: Kit) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()


def test_interrupted_then_killed_then_resumed_gives_the_same_bits(
    kit: Kit, whole: tuple[Path, str], running: list[subprocess.Popen[str]]
) -> None:
    known = set(kit.runs.iterdir())
    process = kit.start("run", "smoke")
    running.append(process)
    until(lambda: set(kit.runs.iterdir()) - known)
    run = next(iter(set(kit.runs.iterdir()) - known))

    # Ctrl-C, while Axolotl starts: one message, and the finished corpus is kept.
    until((run / "train" / "axolotl.yaml").exists)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert f"mfo resume {run.name}" in printed
    assert "Traceback" not in printed
    assert (run / "corpus" / "outputs.json").exists()

    # kill -9 of everything in mid-training, after a checkpoint.
    process = kit.start("resume", run.name)
    running.append(process)
    until(lambda: list(run.glob("train/output/checkpoint-*/whole.json")))
    steps = len((run / "train" / "progress.jsonl").read_text().splitlines())
    until(lambda: len((run / "train" / "progress.jsonl").read_text().splitlines()) > steps)
    family = [process.pid, *children(process.pid)]
    assert len(family) > 4, "launcher, controller, job, torchrun and two ranks"
    for pid in family:
        # A rank dies with its torchrun, and may be gone before its turn comes.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    assert not (run / "train" / "outputs.json").exists()
    assert "interrupted" in kit("status", run.name).stdout

    done = kit("resume", run.name)
    assert "resuming from checkpoint-" in (run / "train" / "log").read_text()
    assert weights(run) == weights(whole[0])
    assert "reproduced" in done.stdout
    assert [p["loss"] for p in verdict(run)["loss"]] == [
        p["loss"] for p in verdict(whole[0])["loss"]
    ]


def test_no_process_outlives_a_killed_launcher(
    kit: Kit, running: list[subprocess.Popen[str]]
) -> None:
    known = set(kit.runs.iterdir())
    process = kit.start("run", "smoke")
    running.append(process)
    until(lambda: set(kit.runs.iterdir()) - known)
    run = next(iter(set(kit.runs.iterdir()) - known))
    until((run / "train" / "progress.jsonl").exists)
    family = children(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(is_alive(pid) for pid in family), 30)
    assert kit("resume", "no-such-run", code=2).stderr.startswith("error: there is no run")
